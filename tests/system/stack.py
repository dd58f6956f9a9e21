"""A whole installation under test: a migrated database, a Redis, and as many workers and beats as a test asks for.

Workers and beats are the very commands that an operator starts, each a process of its own. What a test learns, it
learns from the database, by polling with a generous limit; nothing here measures time.
"""

import ctypes
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from uuid import UUID

import pytest
import redis

from embedded.postgres import Postgres
from embedded.redis import Redis
from models import connections, history, runs, vault
from models.connections import ConnectionView
from models.database import Database
from models.history import HealthView, RunView
from models.vocabulary import Trigger
from worker.settings import Settings
from worker.station import Station

T = TypeVar("T")

ROOT: Final = Path(__file__).parents[2]
PREFIX: Final = "CONNECTION_HEALTH_"
A_DAY_S: Final = 86_400
PATIENCE_S: Final = 90.0
"""How long to wait for what happens within a second or two on an idle machine."""

_POLL_S: Final = 0.05
_NUMBERS: Final = itertools.count(1)
_DATABASES_OF_REDIS: Final = 16
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


class Program:
    """One worker or beat: a process that the tests started, and the file that takes all that it writes."""

    def __init__(
        self, name: str, command: list[str], environment: Mapping[str, str], folder: Path, tree: Path = ROOT
    ) -> None:
        self.name = name
        self.log_path = folder / f"{name}.log"
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=tree,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_the_tests,  # noqa: PLW1509 - one system call, no lock is taken
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def peak_memory_bytes(self) -> int:
        """The most that the process ever held in memory (Linux)."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def stop(self, within_s: float = 30.0) -> int:
        """Ask it to end, as a supervisor does; return its exit code. A program that does not end fails the test."""
        self._process.terminate()
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"{self.name} did not end within {within_s:g} s of SIGTERM\n{self.log[-4000:]}")

    def kill(self) -> None:
        """End it as the kernel does when memory is short."""
        self._process.kill()
        self._process.wait()

    def wait_for_log(self, words: str, within_s: float = PATIENCE_S) -> None:
        """Wait until it has written these words."""

        def is_written() -> bool:
            if words in self.log:
                return True
            assert self.is_alive, f"{self.name} ended:\n{self.log[-4000:]}"
            return False

        until(is_written, f"{self.name} writes {words!r}", within_s=within_s, more=lambda: self.log[-4000:])


class Installation:
    """One database and one Redis with the programs that work on them.

    settings: of all its programs, by the name of the field (`dispatch_interval_s=0.1`).
    """

    def __init__(self, *, database_url: str, redis_url: str, folder: Path, settings: Mapping[str, object]) -> None:
        self.folder = folder
        self.programs: list[Program] = []
        self._settings = {
            "database_url": database_url,
            "redis_url": redis_url,
            "vault_keys": vault.generate_key(),
            "allow_loopback_vendors": "true",
            "dispatch_interval_s": "0.1",
            **{name: str(value) for name, value in settings.items()},
        }

    @property
    def database_url(self) -> str:
        return self._settings["database_url"]

    @property
    def redis_url(self) -> str:
        return self._settings["redis_url"]

    def environment(self, **settings: object) -> dict[str, str]:
        """Return what a program of this installation gets; settings go over those of the whole."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        merged = {**self._settings, **{name: str(value) for name, value in settings.items()}}
        return own | {PREFIX + name.upper(): value for name, value in merged.items()}

    @cached_property
    def station(self) -> Station:
        """The same tools that a worker has, in the tests' own process."""
        return self.new_station()

    def new_station(self, **settings: object) -> Station:
        """Return another; the caller closes it."""
        environment = self.environment(**settings)
        return Station.of(Settings.read({k: v for k, v in environment.items() if k.startswith(PREFIX)}))

    @cached_property
    def database(self) -> Database:
        return Database(self.database_url, max_size=4, application_name="tests")

    # --- programs ----------------------------------------------------------------------------------------------------

    def start_worker(self, *arguments: str, **settings: object) -> Program:
        """Start `celery -A worker worker`; return once it takes runs. tree: another checkout, to run its code."""
        worker = self._start("worker", *arguments, **settings)
        worker.wait_for_log("worker.ready")
        return worker

    def start_beat(self, **settings: object) -> Program:
        """Start `celery -A worker beat`; return once it has begun."""
        beat = self._start("beat", **settings)
        beat.wait_for_log("is starting")
        return beat

    def celery(self, *arguments: str) -> str:
        """Run `celery -A worker …` to its end and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "worker", *arguments],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"celery {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def _start(self, role: str, *arguments: str, **settings: object) -> Program:
        tree = settings.pop("tree", ROOT)
        assert isinstance(tree, Path)
        name = f"{role}-{sum(p.name.startswith(role) for p in self.programs) + 1}"
        command = [sys.executable, "-m", "celery", "-A", "worker", role, *arguments]
        program = Program(name, command, self.environment(**settings), self.folder, tree)
        self.programs.append(program)
        return program

    def logs(self, last_characters: int = 4000) -> str:
        """Return the end of what each program wrote."""
        return "\n".join(f"--- {p.name} ---\n{p.log[-last_characters:]}" for p in self.programs)

    def close(self) -> None:
        """End every program and close every connection of the tests' own."""
        for program in self.programs:
            if program.is_alive:
                program.signal(signal.SIGTERM)
        for program in self.programs:
            if program.is_alive:
                program.stop()
        for name in ("station", "database"):
            opened = self.__dict__.pop(name, None)
            if opened is not None:
                opened.close()

    # --- connections and their runs ----------------------------------------------------------------------------------

    @cached_property
    def organization_id(self) -> UUID:
        with self.database.transaction() as db:
            return connections.create_organization(db, "tests").organization_id

    def connect(
        self,
        vendor: str,
        credentials: Mapping[str, object],
        options: Mapping[str, object],
        *,
        refresh_interval_secs: int = A_DAY_S,
        timeout_secs: int = 60,
    ) -> UUID:
        """Create a connection without trying its credentials. Its first run is due at once, the next in a day."""
        with self.database.transaction() as db:
            return connections.create_connection(
                db,
                self.station.keyring,
                organization_id=self.organization_id,
                vendor=vendor,
                credentials=credentials,
                options=options,
                identifier=None,
                refresh_interval_secs=refresh_interval_secs,
                timeout_secs=timeout_secs,
            ).connection_id

    def request_run(self, connection_id: UUID, trigger: Trigger = Trigger.MANUAL) -> int:
        """Ask for a run; return the number of the newest run so far: the one that was asked for comes after it."""
        before = self.view(connection_id).run_seq
        with self.database.transaction() as db:
            assert runs.trigger(db, connection_id, trigger)
        return before

    def run_now(self, connection_id: UUID) -> RunView:
        """Ask for a run and wait for its end."""
        return self.run_after(connection_id, self.request_run(connection_id))

    def run_after(self, connection_id: UUID, run_seq: int, *, within_s: float = PATIENCE_S) -> RunView:
        """Wait until the first run after this one has ended, and return it with its exchanges."""
        query = b"SELECT min(run_seq) FROM run_history WHERE connection_id = %s AND run_seq > %s"

        def ended() -> RunView | None:
            with self.database.transaction() as db:
                row = db.execute(query, (connection_id, run_seq)).fetchone()
                return history.get_run(db, connection_id, row[0]) if row and row[0] is not None else None

        return until(ended, f"a run of {connection_id} after {run_seq}", within_s=within_s, more=self._state)

    def view(self, connection_id: UUID) -> ConnectionView:
        with self.database.transaction() as db:
            found = connections.get_connection(db, connection_id)
        assert found is not None
        return found

    def health(self, connection_id: UUID) -> HealthView:
        with self.database.transaction() as db:
            found = history.get_health(db, connection_id)
        assert found is not None, f"{connection_id} has finished no run"
        return found

    def record_ids(self, connection_id: UUID, data_type: str, *, changed_by: int | None = None) -> set[str]:
        """Return the ids of what is stored. changed_by: only of records that this run brought or changed."""
        with self.database.transaction() as db:
            found = db.execute(
                b"SELECT record_id FROM record WHERE connection_id = %s AND data_type = %s AND gone_at IS NULL"
                b" AND changed_seq = COALESCE(%s, changed_seq)",
                (connection_id, data_type, changed_by),
            ).fetchall()
        return {row[0] for row in found}

    def stored(self, connection_id: UUID, kind: Literal["credentials", "token"]) -> Mapping[str, Any]:
        """Return what the vault holds."""
        with self.database.transaction() as db:
            return vault.load(db, self.station.keyring, connection_id, kind) or {}

    def _state(self) -> str:
        with self.database.transaction() as db:
            waiting = db.execute(
                b"SELECT connection_id, vendor, next_due_at <= now(), active_seq, requested_trigger, hinted_at"
                b" FROM connection_sched WHERE enabled AND (next_due_at <= now() OR active_seq IS NOT NULL)"
            ).fetchall()
        return f"due or active: {waiting}\n{self.logs()}"


def until(
    found: Callable[[], T | None],
    what: str,
    *,
    within_s: float = PATIENCE_S,
    more: Callable[[], str] = lambda: "",
) -> T:
    """Return the first true thing that is found; fail the test, and say what was awaited, where none comes."""
    give_up_at = time.monotonic() + within_s
    while True:
        thing = found()
        if thing:
            return thing
        if time.monotonic() > give_up_at:
            pytest.fail(f"waited {within_s:g} s in vain until {what}\n{more()}")
        time.sleep(_POLL_S)


@contextmanager
def installed(
    postgres: Postgres, template: str, redis_server: Redis, folder: Path, **settings: object
) -> Iterator[Installation]:
    """Give an installation of its own: a copy of the migrated database and an emptied database of Redis.

    folder: takes the programs' logs.
    """
    number = next(_NUMBERS)
    name = f"system_{number}"
    redis_server.start()  # a fault test may have left it dead
    redis_url = redis_server.url.replace("?db=0", f"?db={1 + number % (_DATABASES_OF_REDIS - 1)}")
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    found = Installation(
        database_url=postgres.create_database(name, template=template),
        redis_url=redis_url,
        folder=folder,
        settings=settings,
    )
    try:
        yield found
    finally:
        try:
            found.close()
        finally:
            postgres.drop_database(name)


def show_logs(item: pytest.Item, report: pytest.TestReport) -> None:
    """Add the programs' logs to the report of a test that failed. For a conftest's `pytest_runtest_makereport`."""
    if not report.failed:
        return
    for name, value in getattr(item, "funcargs", {}).items():
        if isinstance(value, Installation):
            with suppress(OSError):
                report.sections.append((f"programs of {name}", value.logs()))


def _die_with_the_tests() -> None:
    # So that no worker is left where the tests are killed: nobody else would end it.
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
