"""An installation that is about to be broken: short leases, a vendor that stops runs where a test wants them, an audit.

Whatever a drill does, its whole history is held against the invariants once it is over (audit.py).
"""

import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from embedded.postgres import Postgres
from embedded.redis import Redis
from models.history import RunView
from models.runs import RunKey
from models.vocabulary import RunState
from tests.faults import audit
from tests.faults.between import Between, BetweenPostgres
from tests.faults.turnstile import Turnstile
from tests.system.stack import Installation, Program, installed, show_logs, until

HERE: Final = Path(__file__).parent
LEASE_S: Final = 3
SWEEP_S: Final = 5.0
SETTINGS: Final[dict[str, object]] = {
    "vendors_dir": HERE / "definitions",
    "lease_s": LEASE_S,
    "hard_after_s": 2,
    "degraded_after_s": 2,
    "concurrency": 16,
}


@pytest.fixture
def turnstile() -> Iterator[Turnstile]:
    with Turnstile() as running:
        yield running


@dataclass(frozen=True)
class Drill:
    """What a drill acts with: an installation, its vendor, and the servers to break."""

    installation: Installation
    turnstile: Turnstile
    postgres: Postgres
    redis: Redis

    def worker(self, *arguments: str, **settings: object) -> Program:
        # Without what this application switched off anyway: a worker would wait a second for its neighbours to answer.
        return self.installation.start_worker("--without-mingle", "--without-gossip", *arguments, **settings)

    def connect(self, account: str, **how: Any) -> UUID:
        """Connect an account of the turnstile. Its first run is due at once."""
        vendor, options = how.pop("vendor", "turnstile"), how.pop("options", {})
        return self.installation.connect(vendor, {"token": account}, {"port": self.turnstile.port, **options}, **how)

    def connect_and_run(self, account: str, **how: Any) -> UUID:
        """Connect an account and wait until its first run has ended well."""
        connection_id = self.connect(account, **how)
        assert self.installation.run_after(connection_id, 0).state is RunState.SUCCEEDED
        return connection_id

    def run_in_its_middle(self, account: str, connection_id: UUID) -> None:
        """Bring a run of the account to its first page, and keep it there: the account is held from now on."""
        calls = len(self.turnstile.calls(account))
        self.turnstile.hold(account)
        self.installation.request_run(connection_id)
        self.turnstile.wait_for(account, calls + 1)

    def ended(self, connection_id: UUID, state: RunState, after: int = 0) -> RunView:
        """Wait for a run that ended in this state."""
        query = (
            b"SELECT run_seq FROM run_history WHERE connection_id = %s AND state = %s AND run_seq > %s ORDER BY run_seq"
        )

        def found() -> RunView | None:
            with self.installation.database.transaction() as db:
                row = db.execute(query, (connection_id, state.value, after)).fetchone()
            return self.installation.run_after(connection_id, row[0] - 1) if row else None

        return until(found, f"a run of {connection_id} is {state}", more=self.installation.logs)

    def running(self, connection_id: UUID) -> RunKey | None:
        with self.installation.database.transaction() as db:
            row = db.execute(
                b"SELECT run_seq, worker_id FROM run WHERE connection_id = %s", (connection_id,)
            ).fetchone()
        return RunKey(connection_id=connection_id, run_seq=row[0], worker_id=row[1]) if row else None

    def wait_for_runs(self, connection_id: UUID, count: int, state: RunState | None = None) -> None:
        """Wait until so many runs have ended (in this state, where one is given)."""
        until(
            lambda: sum(state in {None, found} for found in self.states(connection_id)) >= count,
            f"{count} runs of {connection_id} have ended",
            more=self.installation.logs,
        )

    def states(self, connection_id: UUID) -> list[RunState]:
        """How the connection's runs ended, in their order."""
        with self.installation.database.transaction() as db:
            rows = db.execute(
                b"SELECT state FROM run_history WHERE connection_id = %s ORDER BY run_seq", (connection_id,)
            ).fetchall()
        return [RunState(state) for (state,) in rows]


@pytest.fixture(autouse=True)
def _mutant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the guard out of the programs that `mutation_gate.py` names, if it is that which runs this drill."""
    mutant = os.environ.get("FAULTS_MUTANT")
    if mutant:
        monkeypatch.setenv("MUTANT", mutant)
        monkeypatch.setenv("PYTHONPATH", str(HERE / "mutants"), prepend=os.pathsep)


@contextmanager
def drilling(
    postgres: Postgres,
    template: str,
    redis_server: Redis,
    folder: Path,
    turnstile: Turnstile,
    *,
    sweep_s: float = LEASE_S + 2 * SWEEP_S,
    **settings: object,
) -> Iterator[Drill]:
    """Give a drill on these servers, and hold its history against the invariants in the end.

    sweep_s: how long after its deadline a run may still be on.
    """
    with installed(postgres, template, redis_server, folder, **(SETTINGS | settings)) as installation:
        audit.begin(installation.database_url)
        yield Drill(installation, turnstile, postgres, redis_server)
        for program in installation.programs:
            if program.is_alive:
                program.signal(signal.SIGCONT)
        installation.close()
        with installation.database.transaction() as db:
            _, found = audit.read(db, sweep_s=sweep_s)
        installation.database.close()
        assert found.wrong == []


@pytest.fixture
def drill(
    postgres_server: Postgres, migrated_template: str, redis_server: Redis, tmp_path: Path, turnstile: Turnstile
) -> Iterator[Drill]:
    with drilling(postgres_server, migrated_template, redis_server, tmp_path, turnstile) as running:
        yield running


@pytest.fixture
def new_wire(postgres_server: Postgres) -> Iterator[Callable[[], BetweenPostgres]]:
    """Give what stands between a worker and PostgreSQL. To be asked for before the drill: it outlives the workers."""
    place = postgres_server._place()
    with ExitStack() as wires:
        yield lambda: wires.enter_context(BetweenPostgres(place.socket_dir / f".s.PGSQL.{postgres_server.port}"))


@pytest.fixture
def wire(new_wire: Callable[[], BetweenPostgres]) -> BetweenPostgres:
    return new_wire()


@pytest.fixture
def redis_wire(redis_server: Redis) -> Iterator[Between]:
    """Likewise before Redis."""
    with Between(redis_server.socket_path) as between:
        yield between


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--repeat", type=int, default=1, help="how often a drill that can be repeated cheaply is")


@pytest.fixture
def repetitions(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--repeat", default=1))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the programs wrote beside a failure."""
    report = yield
    drilled = getattr(item, "funcargs", {}).get("drill")
    if isinstance(drilled, Drill):
        item.funcargs["installation"] = drilled.installation  # type: ignore[attr-defined]
    show_logs(item, report)
    return report


def tell(figure: str) -> None:
    """Show a figure of a drill: what was measured, and against what. `-rA` or `-s` shows it."""
    sys.stdout.write(figure + "\n")


def signal_group(program: Program, number: int) -> None:
    """Signal a program and every process that it started."""
    os.killpg(program.pid, number)


def children_of(pid: int) -> list[int]:
    """The processes that a process started and that are still there (Linux)."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def _plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers find a code connector for `gripped`, as they find an installed package."""
    monkeypatch.setenv("PYTHONPATH", str(HERE / "plugin"), prepend=os.pathsep)
