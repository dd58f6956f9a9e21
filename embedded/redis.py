"""A real Redis for trying out and for tests, over a private socket; else an imitation, which says so."""

import logging
import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import Final
from urllib.parse import quote

from embedded import binaries, imitation
from embedded.errors import ServerMissingError
from embedded.guard import Order
from embedded.ports import free_port
from embedded.quarters import Quarters, quarters, reachable_copy
from embedded.server import Server

_SOCKET: Final = "redis.sock"
_PATIENCE_S: Final = 2.0
_LOG: Final = logging.getLogger(__name__)


class Redis(Server):
    """A Redis server on a folder.

    port: None for the socket alone, 0 for a free one on 127.0.0.1; then a password is asked on both ways.
    append_only: keep what was written over a restart. Off: nothing that we run depends on it.
    """

    name = "Redis"

    def __init__(
        self, data_dir: Path, *, port: int | None = None, socket_dir: Path | None = None, append_only: bool = False
    ) -> None:
        super().__init__(data_dir)
        self.append_only = append_only
        self._socket_dir = socket_dir
        self.port = free_port() if port == 0 else port
        self._quarters: Quarters | None = None
        self._password = secrets.token_urlsafe(24) if port is not None else None
        self.binary: binaries.RedisBinary | None = None
        self.missing: ServerMissingError | None = None

    @property
    def is_imitation(self) -> bool:
        """Whether no Redis could be had, and fakeredis stands in for it."""
        return self.missing is not None

    @property
    def url(self) -> str:
        """`unix://`, as redis-py reads it."""
        return f"unix://{self._credentials}{quote(str(self.socket_path))}?db=0"

    @property
    def broker_url(self) -> str:
        """`redis+socket://`, as kombu and so Celery read it."""
        return f"redis+socket://{self._credentials}{quote(str(self.socket_path))}?virtual_host=0"

    @property
    def tcp_url(self) -> str | None:
        """`redis://` over 127.0.0.1 with its password; None where there was no port asked for."""
        return None if self.port is None else f"redis://{self._credentials}127.0.0.1:{self.port}/0"

    @property
    def socket_path(self) -> Path:
        """The socket itself."""
        return self._place().socket_dir / _SOCKET

    @property
    def _credentials(self) -> str:
        return "" if self._password is None else f":{self._password}@"

    def _place(self) -> Quarters:
        if self._quarters is None:
            self._quarters = quarters(self.data_dir, socket_name=_SOCKET, socket_dir=self._socket_dir)
        return self._quarters

    def _order(self) -> tuple[Quarters, Order]:
        self._quarters = None
        place = self._place()
        configuration = place.home / "redis.conf"
        account = place.account
        try:
            self.binary, self.missing = binaries.redis_binary(), None
            command = [str(reachable_copy(self.binary.server, account)), str(configuration)]
        except ServerMissingError as error:
            command = self._imitation(error)
            account = None  # the interpreter may lie where only we can go
        return place, {
            "owner": os.getpid(),
            "uid": account.uid if account else None,
            "gid": account.gid if account else None,
            "lock": str(place.lock),
            "log": str(place.log),
            "folders": [str(place.socket_dir)],
            "files": {str(configuration): self._configuration(place)},
            "first_files": {},
            "data": str(place.data),
            "prepare": None,
            "stale": [str(self.socket_path)],
            "pid_file": None,
            "command": command,
            "environment": {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"},
            "stop": [(signal.SIGTERM, 5.0)],
            "quit": [(signal.SIGKILL, 5.0)],
            "death_signal": signal.SIGKILL,
        }

    def _imitation(self, error: ServerMissingError) -> list[str]:
        if not imitation.is_available() or self.port is not None or self.append_only:
            raise error
        self.binary, self.missing = None, error
        _LOG.warning("%s. fakeredis stands in for it: for trying out only; it keeps nothing and is slow", error)
        # -P: the folder of the program has a redis.py of ours, which must not stand in for the library.
        return [sys.executable, "-P", imitation.__file__, str(self.socket_path)]

    def _configuration(self, place: Quarters) -> str:
        settings = {
            "port": str(self.port or 0),
            "bind": "127.0.0.1",
            "unixsocket": _quoted(str(self.socket_path)),
            "unixsocketperm": "700",
            "dir": _quoted(str(place.data)),
            "daemonize": "no",
            "save": '""',
            "appendonly": "yes" if self.append_only else "no",
        }
        if self._password is not None:
            settings["requirepass"] = self._password
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _is_ready(self, place: Quarters) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_PATIENCE_S)
            try:
                client.connect(str(place.socket_dir / _SOCKET))
                client.sendall(b"*1\r\n$4\r\nPING\r\n")
                # Asking for a password is an answer too; while it loads its file it says -LOADING.
                return client.recv(64).startswith((b"+PONG", b"-NOAUTH"))
            except OSError:
                return False


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
