"""How statements find their rows among 100,000, by the plans that the server reuses (generic ones)."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from classifier.vocabulary import HealthName, ResolutionOwner
from models import checks, connections, counts, limits, records, runs
from models.database import Statement
from models.lists import ConnectionFilter, Order, Place, list_params, list_statement, walk_for
from models.vocabulary import ConnectionState, RunState

COUNT = 100_000
BIG = ("connection", "connection_sched", "health", "credential", "record_", "run_history")

FILL = """
INSERT INTO organization (organization_id, name) SELECT gen_random_uuid(), 'o' FROM generate_series(1, 20);
INSERT INTO vendor_limit (vendor) SELECT 'vendor-' || n FROM generate_series(0, 9) n;
INSERT INTO connection (connection_id, organization_id, vendor, state, identifier)
SELECT gen_random_uuid(), o.organization_id, 'vendor-' || n % 10, 'ACTIVE', 'i' || n
  FROM (SELECT organization_id, row_number() OVER () AS k FROM organization) o
  JOIN generate_series(1, {count}) n ON o.k = 1 + n % 20;
INSERT INTO connection_sched (connection_id, vendor, enabled, refresh_interval_secs, timeout_secs, slot_origin,
                              slot_at, next_due_at)
SELECT connection_id, vendor, TRUE, 3600, 60, '2000-01-01Z', now(), now() + (random() - 0.5) * interval '1 hour'
  FROM connection;
ALTER TABLE health DISABLE TRIGGER USER;
INSERT INTO health (connection_id, organization_id, vendor, connection_state, name, status, owner, reason, run_seq,
                    since, consecutive_failures)
SELECT connection_id, organization_id, vendor, 'ACTIVE', 'HEALTHY', 'HEALTHY', 'LEEN', 'healthy', 1,
       now() - random() * interval '9 days', 0
  FROM connection;
ALTER TABLE health ENABLE TRIGGER USER;
INSERT INTO health_count (organization_id, vendor, listed_as, connection_state, reason, n)
SELECT organization_id, vendor, listed_as, connection_state, reason, count(*) FROM health GROUP BY 1, 2, 3, 4, 5;
INSERT INTO health_count_total (vendor, listed_as, connection_state, reason, n)
SELECT vendor, listed_as, connection_state, reason, sum(n) FROM health_count GROUP BY 1, 2, 3, 4;
INSERT INTO credential (connection_id, kind, key_id, sealed)
SELECT connection_id, 'credentials', 'k', '' FROM connection;
INSERT INTO record (connection_id, data_type, record_id, digest, first_seen_at, changed_at, changed_seq, payload)
SELECT c.connection_id, 'a', n::text, '', now(), now(), 1, '{{}}'
  FROM (SELECT connection_id FROM connection LIMIT 200) c CROSS JOIN generate_series(1, 300) n;
INSERT INTO cursor (connection_id, data_type, state, run_seq, updated_at, last_pass_at)
SELECT connection_id, 'a', '{{}}', 1, now(), now() FROM connection;
INSERT INTO worker (worker_id, host, pid, lease_until)
VALUES ('00000000-0000-0000-0000-000000000001', 'h', 1, now() + interval '1 day');
VACUUM ANALYZE;
"""


@pytest.fixture(scope="module")
def crowded(postgres_server: Any, migrated_template: str) -> Iterator[psycopg.Connection[Any]]:
    url = postgres_server.create_database("crowded", template=migrated_template)
    with psycopg.connect(url, autocommit=True) as db:
        for statement in FILL.format(count=COUNT).split(";")[:-1]:
            db.execute(statement.encode())
        db.execute("SET plan_cache_mode = force_generic_plan")
        yield db
    postgres_server.drop_database("crowded")


@pytest.fixture
def some_id(crowded: psycopg.Connection[Any]) -> UUID:
    found = crowded.execute("SELECT connection_id FROM connection OFFSET 500 LIMIT 1").fetchone()
    assert found is not None
    one: UUID = found[0]
    return one


def plan(db: psycopg.Connection[Any], statement: Statement, params: dict[str, Any]) -> str:
    """Return the generic plan, as it is when executed."""
    values = statement.values(params)
    with db.transaction(force_rollback=True):
        db.execute(b"PREPARE looked_at AS " + statement.sql)
        explain = sql.SQL("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE looked_at")
        arguments = sql.SQL(", ").join([sql.Literal(value) for value in values])
        command = sql.SQL("{}({})").format(explain, arguments) if values else explain
        lines = db.execute(command).fetchall()
        db.execute(b"DEALLOCATE looked_at")
    return "\n".join(line for (line,) in lines)


def reads_a_big_table_whole(text: str) -> list[str]:
    return [line for line in text.splitlines() if "Seq Scan on" in line and any(f" {big}" in line for big in BIG)]


WORKER = UUID(int=1)
FINISH = runs.FinishedRun(
    state=RunState.SUCCEEDED, name=HealthName.HEALTHY, reason="r", rule="r", sentence="s", next_step="n"
)


def hot(connection_id: UUID) -> dict[str, tuple[Statement, dict[str, Any]]]:
    key = runs.RunKey(connection_id=connection_id, run_seq=1, worker_id=WORKER)
    of_key = {"connection_id": connection_id, "run_seq": 1, "worker_id": WORKER}
    share = {"share": 50, "limit": 500, "limited": ["vendor-1"], "rehint_after_s": 60.0, "worker_id": WORKER}
    page = {**of_key, "data_type": "a", "ids": "1\n2", "digests": bytes(32), "covered": True, "state": "{}"}
    return {
        "claim": (runs._CLAIM_UNLIMITED, {**of_key, "due_only": False}),
        "claim within a limit": (runs._CLAIM_COUNTED, {**of_key, "due_only": False}),
        "claim_due": (runs._CLAIM_DUE, {**share, "locked": True}),
        "take_due": (runs._TAKE_DUE, {**share, "locked": False}),
        "vendors": (runs._VENDORS_UNHINTED, share),
        "trigger": (runs._TRIGGER, {"connection_id": connection_id, "trigger": "MANUAL"}),
        "finish": (runs._FINISH, runs._finish_params(key, FINISH)),
        "interrupt a worker": (
            runs._INTERRUPT_WORKER,
            {"worker_id": WORKER, "reason": "r", "due_at_once": True, "state": "INTERRUPTED"},
        ),
        "reap": (runs._REAP, {"limit": 500, "reaper": None, "held_for_s": 0.0}),
        "land": (records._COMPARE, page),
        "end a pass": (records._END_PASS, {**page, "whole": bytes(32)}),
        "reserve": (
            limits._RESERVE,
            {"scope_key": "s", "per_ms": [0], "width_us": [1], "most": [1], "want": 1, "spare": 1},
        ),
        "checks: what waits": (checks._QUEUES, {"rehint_after_s": 60.0, "most": checks.COUNTED}),
        "checks: orphans": (checks._ORPHANS, {"patience_s": 30.0, "most": checks.COUNTED, "listed": 10}),
        "checks: stuck runs": (checks._STUCK, {"patience_s": 30.0, "listed": 10}),
        "checks: keys": (checks._KEYS, {"most": checks.COUNTED}),
        "checks: vendors in use": (checks._IN_USE, {}),
        "view": (connections._GET, {"connection_id": connection_id}),
    }


@pytest.mark.parametrize("name", list(hot(UUID(int=0))))
def test_no_hot_statement_reads_a_big_table_whole(crowded: psycopg.Connection[Any], some_id: UUID, name: str) -> None:
    statement, params = hot(some_id)[name]
    with crowded.transaction(force_rollback=True):
        if name not in ("trigger", "view"):  # the doors use those as well
            crowded.execute("SET LOCAL enable_seqscan = off")  # as a worker's sessions have it
        # As in use: runs are on, some of them by a worker that is gone.
        if name in ("finish", "interrupt a worker", "reap", "land", "end a pass"):
            claimed = runs.claim_due(crowded, worker_id=WORKER, limit=400)
            assert len(claimed) == 400
            run = runs.claim(crowded, some_id, worker_id=WORKER, due_only=False)
            if run is not None:
                params = {**params, "run_seq": run.key.run_seq}
        if name == "reap":
            crowded.execute("UPDATE worker SET lease_until = now() - interval '1 s'")
        shown = plan(crowded, statement, params)
    assert reads_a_big_table_whole(shown) == [], shown


LISTS: dict[str, dict[str, Any]] = {
    "everything": {},
    "a common health": {"health": HealthName.HEALTHY},
    "a health that none has": {"health": HealthName.UNAUTHORIZED},
    "an owner that none has": {"owner": ResolutionOwner.CUSTOMER},
    "never run": {"never_run": True},
    "a vendor": {"vendor": "vendor-3"},
    "a vendor that is not there": {"vendor": "nobody"},
    "a reason": {"reason": "healthy"},
    "a reason that none has": {"reason": "nothing"},
    "a reason and a state that none has": {"reason": "healthy", "state": ConnectionState.PENDING},
    "an organization and a reason": {"organization_id": None, "reason": "healthy"},
    "a vendor and a reason": {"vendor": "vendor-3", "reason": "healthy"},
    "a reason and a vendor that is not there": {"vendor": "nobody", "reason": "healthy"},
    "a vendor and a reason that none has": {"vendor": "vendor-3", "reason": "nothing"},
    "an organization, a reason, and a vendor that it does not have": {
        "organization_id": None,
        "vendor": "nobody",
        "reason": "healthy",
    },
    "an identifier": {"identifier": "i77"},
    "an identifier that none has": {"identifier": "nothing"},
    "an organization": {"organization_id": None},
    "an organization and a health that none has": {"organization_id": None, "health": HealthName.UNAUTHORIZED},
    "an organization, a vendor, a state": {
        "organization_id": None,
        "vendor": "vendor-1",
        "state": ConnectionState.PAUSED,
    },
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("place", ["from the start", "from the middle"])
@pytest.mark.parametrize("order", Order)
def test_every_list_walks_one_index_and_stops(
    crowded: psycopg.Connection[Any], name: str, place: str, order: Order
) -> None:
    asked = dict(LISTS[name])
    if "organization_id" in asked:
        found = crowded.execute("SELECT organization_id FROM organization LIMIT 1").fetchone()
        assert found is not None
        asked["organization_id"] = found[0]
    chosen = ConnectionFilter(**asked)
    if order.is_by_since and (chosen.identifier or chosen.reason):
        return  # refused: no index has that order
    middle = crowded.execute("SELECT since FROM health OFFSET 5000 LIMIT 1").fetchone()
    assert middle is not None
    after = Place(connection_id=UUID(int=2**127), since=middle[0] if order.is_by_since else None)
    params = list_params(chosen, order, None if place == "from the start" else after)
    with crowded.transaction(force_rollback=True):
        crowded.execute("SET LOCAL enable_seqscan = off")  # as the sessions of the HTTP API have it
        shown = plan(crowded, list_statement(walk_for(chosen), order), params)
    assert reads_a_big_table_whole(shown) == [], shown
    # Each short walk reads a page at most; all rows of a value, read and sorted, would be 100,000.
    read = [float(number) for number in re.findall(r" on health[ _].*?rows=([\d.]+)", shown)]
    assert max(read, default=0) <= 60, shown
    # What a walk passes over without showing it is what a plan that went astray would be full of.
    removed = [int(line.rpartition(" ")[2]) for line in shown.splitlines() if "Rows Removed by Filter" in line]
    assert sum(removed) <= 60, shown
    assert "pk_health on health" not in shown.partition("Join")[0], shown


@pytest.mark.parametrize("order", Order)
def test_a_page_that_one_health_fills_reads_next_to_nothing_of_the_others(
    crowded: psycopg.Connection[Any], order: Order
) -> None:
    with crowded.transaction(force_rollback=True):
        crowded.execute("ALTER TABLE health DISABLE TRIGGER USER")
        # Every fourth by its id: all in the order of the walk, so that each other walk could fill the page as well.
        crowded.execute(
            "UPDATE health SET name = 'UNAUTHORIZED', status = 'UNHEALTHY', consecutive_failures = 1 "
            "WHERE hashtext(connection_id::text) % 4 = 0"
        )
        crowded.execute("SET LOCAL enable_seqscan = off")
        chosen = ConnectionFilter()
        shown = plan(crowded, list_statement(walk_for(chosen), order), list_params(chosen, order, None))
    found = re.findall(r"rows=([\d.]+) loops=(\d+)", "\n".join(re.findall(r".* on health[ _].*", shown)))
    walked = sum(float(number) * int(loops) for number, loops in found)
    # The first walk, a third of it in the others (as the ids fall), and the rows of the page.
    assert walked <= 51 + 51 + 51 * 0.75, shown


def test_counts_read_sums_and_no_connection(crowded: psycopg.Connection[Any]) -> None:
    found = crowded.execute("SELECT organization_id FROM organization LIMIT 1").fetchone()
    assert found is not None
    params = {**counts._params(ConnectionFilter(), Order.OLDEST), "organization_id": found[0]}
    for statement in (counts.BY_HEALTH, counts.BY_HEALTH_OF_ORGANIZATION):
        shown = plan(crowded, statement, params)
        assert " on health " not in shown, shown
        assert "connection" not in shown.replace("connection_state", ""), shown


def test_a_full_pass_compares_without_comparing_each_with_each(crowded: psycopg.Connection[Any]) -> None:
    connection_id = uuid4()
    with crowded.transaction(force_rollback=True):
        crowded.execute(
            "INSERT INTO record (connection_id, data_type, record_id, digest, first_seen_at, changed_at, changed_seq, "
            "payload) SELECT %s, 'a', n::text, '', now(), now(), 1, '{}' FROM generate_series(1, 20000) n",
            (connection_id,),
        )
        crowded.execute(
            "INSERT INTO sighting (connection_id, data_type, run_seq, covered, hashes) "
            "SELECT %s, 'a', 1, TRUE, array_agg(hashtextextended(n::text, 0)) FROM generate_series(1, 19990) n "
            "GROUP BY n / 1000",
            (connection_id,),
        )
        shown = plan(crowded, records._MARK_GONE, {"connection_id": connection_id, "data_type": "a", "run_seq": 2})
    assert "Update on record" in shown
    assert "loops=19" not in shown, shown
    assert "loops=2000" not in shown, shown
