"""A small world to act in: one organization, connections, workers, and an audit that writes down all that happens."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from classifier.vocabulary import HealthName
from models import connections, runs, vault
from models.connections import ConnectionView
from models.database import Database
from models.runs import ClaimedRun, FinishedRun
from models.vault import Keyring
from models.vocabulary import ConnectionState, RunState

HEALTHY = FinishedRun(
    state=RunState.SUCCEEDED,
    name=HealthName.HEALTHY,
    reason="healthy",
    rule="healthy",
    sentence="All data types were read.",
    next_step="Nothing.",
    requests=3,
    records_new=1,
    records_unchanged=2,
    classifier_version="1",
)
UNAUTHORIZED = FinishedRun(
    state=RunState.FAILED,
    name=HealthName.UNAUTHORIZED,
    reason="token_expired",
    rule="status.401",
    sentence="The vendor says that the token has expired.",
    next_step="Connect again.",
    details=[{"data_export_type": "alerts", "endpoint": "GET /alerts"}],
    evidence={"status": 401},
    exchanges=[{"status": 401}],
    requests=1,
    classifier_version="1",
)

# An append-only history, written by the tables themselves: the final state does not show what was wrong in between.
AUDIT = """
CREATE TABLE audit (at bigint GENERATED ALWAYS AS IDENTITY, xid bigint DEFAULT txid_current(), what text NOT NULL,
                    connection_id uuid NOT NULL, run_seq bigint, more jsonb);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE r jsonb := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
BEGIN
  INSERT INTO audit (what, connection_id, run_seq, more)
  VALUES (regexp_replace(TG_TABLE_NAME, '^run_history_.*', 'run_history') || '.' || lower(TG_OP),
          (r->>'connection_id')::uuid, (r->>'run_seq')::bigint, r);
  RETURN NULL;
END $$;
CREATE TRIGGER audit_run AFTER INSERT OR UPDATE OR DELETE ON run FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER audit_history AFTER INSERT OR UPDATE OR DELETE ON run_history FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER audit_health AFTER UPDATE ON health FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER audit_event AFTER INSERT ON event FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER audit_change AFTER INSERT ON health_history FOR EACH ROW EXECUTE FUNCTION note();
"""


@dataclass
class World:
    """What a test acts with. db: the test's own connection; its transaction is the test's affair."""

    db: psycopg.Connection[Any]
    keyring: Keyring = field(default_factory=lambda: Keyring.parse(vault.generate_key()))
    organization_id: UUID = field(init=False)
    vendor: str = field(default_factory=lambda: f"vendor-{uuid4().hex[:8]}")

    def __post_init__(self) -> None:
        self.organization_id = connections.create_organization(self.db, "An organization").organization_id

    def connection(self, **changed: Any) -> ConnectionView:
        """Create a connection that is due."""
        wanted: dict[str, Any] = {
            "organization_id": self.organization_id,
            "vendor": self.vendor,
            "credentials": {"api_key": "k"},
            "refresh_interval_secs": 3600,
            "timeout_secs": 60,
            "state": ConnectionState.ACTIVE,
        }
        view = connections.create_connection(self.db, self.keyring, **{**wanted, **changed})
        self.set_sched(view.connection_id, requested_trigger=None)
        return view

    def worker(self, lease_s: float = 3600.0) -> UUID:
        """Register a worker."""
        worker_id = uuid4()
        runs.register_worker(self.db, worker_id, host="test", pid=1, lease_s=lease_s)
        return worker_id

    def running(self, connection_id: UUID | None = None, worker_id: UUID | None = None) -> ClaimedRun:
        """Claim a run, of a connection of its own where none is given."""
        claimed = runs.claim(
            self.db,
            connection_id or self.connection().connection_id,
            worker_id=worker_id or self.worker(),
            due_only=False,
        )
        assert claimed is not None
        return claimed

    def set_sched(self, connection_id: UUID, **columns: Any) -> None:
        """Set columns of the schedule. Values that begin with `=` are SQL."""
        parts = [
            f"{name} = {value[1:]}" if isinstance(value, str) and value.startswith("=") else f"{name} = %({name})s"
            for name, value in columns.items()
        ]
        self.db.execute(
            f"UPDATE connection_sched SET {', '.join(parts)} WHERE connection_id = %(connection_id)s".encode(),  # noqa: S608 - the test's own words
            {"connection_id": connection_id, **columns},
        )

    def one(self, table: str, connection_id: UUID) -> dict[str, Any]:
        """Return the only row that a connection has in a table."""
        found = self.all(table, connection_id)
        assert len(found) == 1, found
        return found[0]

    def all(self, table: str, connection_id: UUID) -> list[dict[str, Any]]:
        """Return the rows that a connection has in a table, with the server's time as `now`."""
        with self.db.cursor(row_factory=dict_row) as cursor:
            statement = f"SELECT *, now() AS now FROM {table} WHERE connection_id = %s"  # noqa: S608 - the test's own words
            return cursor.execute(statement.encode(), (connection_id,)).fetchall()

    def sched(self, connection_id: UUID) -> dict[str, Any]:
        """Return the schedule of a connection."""
        return self.one("connection_sched", connection_id)

    def health(self, connection_id: UUID) -> dict[str, Any]:
        """Return the health row of a connection."""
        return self.one("health", connection_id)


def audited(url: str) -> None:
    """Let the tables of a database write down what happens to them."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(AUDIT.encode())


class Oracle:
    """Reads the audit in the order in which it was written, and says what went wrong, a sentence each."""

    def __init__(self, db: psycopg.Connection[Any]) -> None:
        self.wrong: list[str] = []
        self.current: dict[UUID, int | None] = {}
        self.claimed: dict[UUID, int] = {}
        self.ended: dict[UUID, dict[int, dict[str, Any]]] = {}
        self.health: dict[UUID, int] = {}
        self.told: dict[UUID, list[int]] = {}
        told = db.execute("SELECT what, connection_id, run_seq, more FROM audit ORDER BY at").fetchall()
        self.entries = len(told)
        for what, connection_id, run_seq, more in told:
            handler = getattr(self, what.replace(".", "_"), None)
            if handler is None:
                self.wrong.append(f"{what} of run {run_seq}")
            else:
                handler(connection_id, run_seq, more)
        for found in db.execute(
            "SELECT h.connection_id, h.run_seq, h.name, h.reason, s.active_seq, s.run_seq FROM health h "
            "JOIN connection_sched s USING (connection_id)"
        ).fetchall():
            self.compare(found[0], found[1:4], found[4], found[5])

    def run_insert(self, connection_id: UUID, run_seq: int, _more: dict[str, Any]) -> None:
        if self.current.get(connection_id) is not None:
            self.wrong.append(f"run {run_seq} began while {self.current[connection_id]} was on")
        if run_seq != self.claimed.get(connection_id, 0) + 1:
            self.wrong.append(f"run {run_seq} came after {self.claimed.get(connection_id, 0)}")
        self.current[connection_id] = self.claimed[connection_id] = run_seq

    def run_delete(self, connection_id: UUID, _run_seq: int, _more: dict[str, Any]) -> None:
        self.current[connection_id] = None

    def run_history_insert(self, connection_id: UUID, run_seq: int, more: dict[str, Any]) -> None:
        if run_seq in self.ended.setdefault(connection_id, {}):
            self.wrong.append(f"run {run_seq} ended twice")
        self.ended[connection_id][run_seq] = more

    def run_history_update(self, connection_id: UUID, run_seq: int, more: dict[str, Any]) -> None:
        if {**more, "late_result": None} != {**self.ended[connection_id][run_seq], "late_result": None}:
            self.wrong.append(f"ended run {run_seq} changed")

    def health_update(self, connection_id: UUID, run_seq: int, _more: dict[str, Any]) -> None:
        if run_seq < self.health.get(connection_id, 0):
            self.wrong.append(f"health went back from {self.health[connection_id]} to {run_seq}")
        self.health[connection_id] = run_seq

    def event_insert(self, connection_id: UUID, run_seq: int, _more: dict[str, Any]) -> None:
        if run_seq <= max(self.told.get(connection_id, [0])):
            self.wrong.append(f"the event of run {run_seq} came out of order")
        self.told.setdefault(connection_id, []).append(run_seq)

    def health_history_insert(self, connection_id: UUID, run_seq: int, _more: dict[str, Any]) -> None:
        """The event beside it is what is looked at."""

    def compare(self, connection_id: UUID, shown: tuple[Any, ...], active: int | None, last: int) -> None:
        """Compare what the tables show in the end with what the audit says they must."""
        ended = self.ended.get(connection_id, {})
        finished = max((seq for seq, more in ended.items() if more["name"] is not None), default=0)
        expected = (finished, ended[finished]["name"], ended[finished]["reason"]) if finished else (0, None, None)
        if shown != expected:
            self.wrong.append(f"health shows {shown}, the last finished run is {expected}")
        if active != self.current.get(connection_id):
            self.wrong.append(f"the schedule holds run {active}, on is {self.current.get(connection_id)}")
        if last != self.claimed.get(connection_id, 0):
            self.wrong.append(f"run_seq {last}, claimed were {self.claimed.get(connection_id, 0)}")
        open_runs = set(range(1, last + 1)) - set(ended) - {active}
        if open_runs:
            self.wrong.append(f"runs {open_runs} were never recorded as ended")
        changes, before = [], (None, None)
        for seq in sorted(ended):
            if ended[seq]["name"] is not None and (ended[seq]["name"], ended[seq]["reason"]) != before:
                changes.append(seq)
                before = (ended[seq]["name"], ended[seq]["reason"])
        if changes != self.told.get(connection_id, []):
            self.wrong.append(f"changes {changes}, events {self.told.get(connection_id, [])}")


@pytest.fixture
def world(db: psycopg.Connection[Any]) -> World:
    return World(db)


@pytest.fixture
def committed(fresh_database_url: str) -> Iterator[World]:
    """A world of its own whose statements commit at once."""
    with psycopg.connect(fresh_database_url, autocommit=True) as connection:
        yield World(connection)


@pytest.fixture
def database(fresh_database_url: str) -> Iterator[Database]:
    made = Database(fresh_database_url)
    yield made
    made.close()


@pytest.fixture
def healthy() -> FinishedRun:
    return HEALTHY


@pytest.fixture
def unauthorized() -> FinishedRun:
    return UNAUTHORIZED


@pytest.fixture
def with_wait() -> Any:
    return lambda result, seconds: replace(result, next_in_s=seconds)


@pytest.fixture
def audit() -> Any:
    """The two halves of the audit: switch it on, and read what went wrong."""
    return audited, Oracle
