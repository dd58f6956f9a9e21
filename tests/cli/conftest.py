"""A house for the command: a database of its own, a Redis, simulated vendors, and a worker where one is wanted."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from cli.main import app
from models import runs
from models.vault import generate_key
from simulator.server import Simulator
from worker import journal
from worker.run import execute
from worker.settings import Settings
from worker.station import Station

DEFINITIONS = Path(__file__).parents[2] / "simulator" / "definitions"


@dataclass(frozen=True, kw_only=True)
class House:
    """Runs commands as a person would, and connections as a worker would."""

    environ: Mapping[str, str]
    simulator: Simulator
    folder: Path
    runner: CliRunner = field(default_factory=CliRunner)

    def run(self, *words: str, stdin: str | None = None) -> Result:
        return self.runner.invoke(app, list(words), input=stdin, prog_name="connection-health")

    def ok(self, *words: str, stdin: str | None = None) -> str:
        """Run a command that must succeed, and return its standard output."""
        result = self.run(*words, stdin=stdin)
        assert result.exit_code == 0, f"{words}: {result.exit_code}\n{result.stdout}\n{result.stderr}"
        return result.stdout

    def json(self, *words: str, stdin: str | None = None) -> Any:
        return json.loads(self.ok(*words, "--json", stdin=stdin))

    def credentials(self, vendor: str, account: str = "north") -> dict[str, str]:
        document = self.simulator.world.act(vendor, account, "credentials", {})["credentials"]
        assert isinstance(document, dict)
        return document

    def credentials_file(self, vendor: str, account: str = "north") -> str:
        path = self.folder / f"{vendor}-{account}.json"
        path.write_text(json.dumps(self.credentials(vendor, account)))
        return str(path)

    def organization(self, name: str = "Umbra") -> str:
        return self.ok("organizations", "create", name).strip()

    def add(self, vendor: str, *words: str, org: str | None = None) -> str:
        """Add a connection with good credentials and return its id."""
        organization = org or self.organization()
        return self.ok(
            "connections", "add", vendor, "--org", organization, "--option", f"port={self.simulator.port}",
            "--credentials-file", self.credentials_file(vendor), *words,
        ).strip()  # fmt: skip

    def work(self, connection_id: str) -> None:
        """Run the connection once, here and now, as a worker would."""
        with self.station() as station:
            with station.database.transaction() as db:
                run = runs.claim(db, UUID(connection_id), worker_id=station.lease.worker_id, due_only=False)
            assert run is not None
            execute(station, run)

    def station(self) -> "Working":
        return Working(Settings.read(self.environ))


class Working:
    """A station that holds a lease for as long as the block lasts."""

    def __init__(self, settings: Settings) -> None:
        self.station = Station.of(settings)

    def __enter__(self) -> Station:
        self.station.lease.acquire(self.station.control)
        return self.station

    def __exit__(self, *_: object) -> None:
        self.station.lease.give_back(self.station.control)
        self.station.close()


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Result]]:
    """Run a command with nothing set and nothing kept from an earlier `up`."""
    monkeypatch.setenv("CONNECTION_HEALTH_HOME", str(tmp_path / "home"))
    # Logging stays as pytest set it up; what a command makes of it is tested in a process of its own.
    monkeypatch.setattr(journal, "set_up", lambda _settings: None)

    def run(*words: str, stdin: str | None = None, **environ: str) -> Result:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(app, list(words), input=stdin, prog_name="connection-health")

    with capture_logs():
        yield run


@pytest.fixture
def environ(fresh_database_url: str, redis_url: str) -> dict[str, str]:
    return {
        "CONNECTION_HEALTH_DATABASE_URL": fresh_database_url,
        "CONNECTION_HEALTH_REDIS_URL": redis_url,
        "CONNECTION_HEALTH_VAULT_KEYS": generate_key(),
        "CONNECTION_HEALTH_VENDORS_DIR": str(DEFINITIONS),
        "CONNECTION_HEALTH_ALLOW_LOOPBACK_VENDORS": "true",
    }


@pytest.fixture
def house(
    bare: Callable[..., Result],
    environ: dict[str, str],
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> House:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return House(environ=environ, simulator=simulator, folder=tmp_path)


@pytest.fixture
def worker(house: House) -> Iterator[None]:
    """A worker in a thread: takes what is due until the test is over."""
    stopping = threading.Event()

    def work() -> None:
        with house.station() as station:
            while not stopping.wait(0.02):
                with station.database.transaction() as db:
                    claimed = runs.claim_due(db, worker_id=station.lease.worker_id, limit=5)
                for run in claimed:
                    execute(station, run)

    thread = threading.Thread(target=work, name="worker of a test")
    thread.start()
    yield
    stopping.set()
    thread.join()
