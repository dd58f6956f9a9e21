"""Everything on one machine: embedded PostgreSQL and Redis, the tables, a vault key, worker, beat, HTTP API."""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cli.errors import CliError
from cli.supervisor import Program, Restart, Supervisor
from cli.surroundings import CONFIG_FILE, KEYS_FILE
from embedded.stack import Stack
from models import migrate
from models.vault import generate_key
from worker.settings import PREFIX, Settings
from worker.station import Station

OWN_SETTINGS: Final = ("DATABASE_URL", "REDIS_URL", "VAULT_KEYS", "CONFIG", "HOME")
DEFAULT_PORT: Final = 8080
ROOT: Final = Path(__file__).resolve().parent.parent


class ServerEndedError(CliError):
    """PostgreSQL or Redis ended on its own while the stack ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What whoever starts a stack may choose.

    settings: beside those that the stack itself decides, by name; inherits: whether the environment may set others.
    """

    settings: Mapping[str, str]
    inherits: bool = False
    durable: bool = True
    programs: Sequence[str] = ("worker", "beat", "web")


class LocalStack:
    """The whole house in one folder. A context manager: entering starts it, leaving ends every process and server.

    Entering raises EmbeddedError (a server program that is missing, a folder in use) and MigrationError.
    """

    def __init__(self, folder: Path, wishes: Wishes) -> None:
        self.folder, self._wishes = folder.resolve(), wishes
        self._servers = Stack(self.folder, durable=wishes.durable)
        self._supervisor: Supervisor | None = None
        self._undo = ExitStack()
        self.station: Station

    @property
    def config_file(self) -> Path:
        """The settings of this stack, for other commands."""
        return self.folder / CONFIG_FILE

    @property
    def keys_file(self) -> Path:
        """The vault's keys."""
        return self.folder / KEYS_FILE

    @property
    def logs(self) -> Path:
        """Where the programs write to."""
        return self.folder / "logs"

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each program that runs."""
        return {} if self._supervisor is None else self._supervisor.pids

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self.folder.mkdir(parents=True, exist_ok=True)
            undo.enter_context(self._servers)
            _ensure_key(self.keys_file)
            _write_private(self.config_file, _as_toml(self._settings()))
            settings = Settings.read(self.environment())
            migrate.upgrade(settings.database_url.get_secret_value())
            self.station = Station.of(settings)
            undo.callback(self.station.close)
            self._supervisor = undo.enter_context(Supervisor(self._programs()))
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    @property
    def url(self) -> str:
        """Where the HTTP API is."""
        settings = self.station.settings
        host = f"[{settings.http_host}]" if ":" in settings.http_host else settings.http_host
        return f"http://{host}:{settings.http_port}"

    def tend(self) -> list[Restart]:
        """Start again what ended. Raises ServerEndedError where a server did: its data are safe, but nothing runs."""
        if not self._servers.alive:
            raise ServerEndedError(
                f"PostgreSQL or Redis ended on its own; their logs are below {self.folder}. Start again to go on"
            )
        return [] if self._supervisor is None else self._supervisor.tend()

    def environment(self) -> dict[str, str]:
        """Return the environment in which commands and programs find this stack."""
        kept = {name: value for name, value in os.environ.items() if self._is_kept(name)}
        # The programs are run by module name, whatever the folder is that we were called in.
        paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
        return {
            **kept,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
            f"{PREFIX}CONFIG": str(self.config_file),
            f"{PREFIX}VAULT_KEYS_FILE": str(self.keys_file),
        }

    def _is_kept(self, name: str) -> bool:
        if not name.startswith(PREFIX):
            return True
        # What the stack decides: its own servers, its own key. The environment would beat the file.
        return self._wishes.inherits and not name.removeprefix(PREFIX).startswith(OWN_SETTINGS)

    def _settings(self) -> dict[str, str]:
        wanted = int(self._wishes.settings.get("http_port", DEFAULT_PORT))
        return {
            **self._wishes.settings,
            "http_port": str(free_port(wanted)),
            "database_url": self._servers.postgres.url,
            "redis_url": self._servers.redis.url,
        }

    def _programs(self) -> list[Program]:
        programs = {
            "worker": ("celery", ["-A", "worker", "worker", "--without-gossip", "--without-mingle"]),
            "beat": ("celery", ["-A", "worker", "beat"]),
            "web": ("web", []),
        }
        return [
            Program(
                name=name,
                module=programs[name][0],
                arguments=programs[name][1],
                environment=self.environment(),
                log=self.logs / f"{name}.log",
            )
            for name in self._wishes.programs
        ]


def free_port(wanted: int) -> int:
    """Return the port that is wanted where nobody listens on it on loopback, else one that is free."""
    for port in (wanted, 0):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just given up is free
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(tried.getsockname()[1])
    return wanted


def _ensure_key(path: Path) -> None:
    if not path.exists():
        _write_private(path, generate_key() + "\n")
    elif sys.platform != "win32" and path.stat().st_mode & 0o077:
        path.chmod(0o600)


def _write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone may read, whole or not at all."""
    new = path.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def _as_toml(settings: Mapping[str, str]) -> str:
    quoted = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in settings.items()}
    return "# Written anew at each start.\n" + "".join(f'{name} = "{value}"\n' for name, value in quoted.items())
