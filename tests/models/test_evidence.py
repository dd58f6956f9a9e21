"""Past runs are read back day by day, in pages, through the partitions of the days that are asked for."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from models import evidence
from models.evidence import judged_runs
from models.retention import ensure_partitions

INSERT = b"""
INSERT INTO run_history (connection_id, run_seq, finished_at, state, worker_id, organization_id, vendor, trigger,
                         scheduled_for, skipped_slots, cred_version, started_at, deadline_at, name, reason, rule,
                         evidence, data_types)
SELECT %(connection_id)s, n, now() - %(age)s * interval '1 s' + n * interval '1 ms', 'FAILED', gen_random_uuid(),
       gen_random_uuid(), %(vendor)s, 'SCHEDULED', now(), 0, 1, now(), now(), 'UNAUTHORIZED', 'unauthorized',
       'status.401', '{"status": 401}', '[]'
  FROM generate_series(1, %(count)s::int) n"""


@pytest.fixture
def db(fresh_database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(fresh_database_url, autocommit=True) as opened:
        ensure_partitions(opened, days_ahead=1)
        yield opened


def fill(db: psycopg.Connection[Any], *, age_s: float, count: int = 3, vendor: str = "acme") -> UUID:
    connection_id = uuid4()
    db.execute(INSERT, {"connection_id": connection_id, "age": age_s, "count": count, "vendor": vendor})
    return connection_id


@pytest.mark.parametrize("page", [1, 2, 3, 500])
def test_every_run_is_met_once_whatever_the_size_of_a_page(db: psycopg.Connection[Any], page: int) -> None:
    made = {fill(db, age_s=age * 3600) for age in (1, 5, 30, 30, 60)}
    met = [(run.connection_id, run.run_seq) for run in judged_runs(db, since_s=7 * 86_400, page=page)]
    assert sorted(met) == sorted((each, number) for each in made for number in (1, 2, 3))


def test_newest_days_come_first_and_what_is_older_stays_out(db: psycopg.Connection[Any]) -> None:
    old, older = fill(db, age_s=26 * 3600), fill(db, age_s=100 * 3600)
    new = fill(db, age_s=10)
    met = [run.connection_id for run in judged_runs(db, since_s=48 * 3600)]
    assert met[:3] == [new] * 3
    assert met[-3:] == [old] * 3
    assert older not in met
    finished = [run.finished_at for run in judged_runs(db, since_s=48 * 3600)]
    assert min(finished) > datetime.now(UTC) - timedelta(hours=49)


def test_one_vendors_runs_alone(db: psycopg.Connection[Any]) -> None:
    fill(db, age_s=10)
    wanted = fill(db, age_s=10, vendor="okta")
    assert {run.connection_id for run in judged_runs(db, since_s=3600, vendor="okta", page=2)} == {wanted}
    assert list(judged_runs(db, since_s=3600, vendor="nobody")) == []


def test_no_page_holds_a_snapshot_while_the_next_is_awaited(db: psycopg.Connection[Any]) -> None:
    fill(db, age_s=10, count=10)
    runs = judged_runs(db, since_s=3600, page=4)
    next(runs)
    assert db.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_a_day_is_read_from_its_own_partition_by_its_key(db: psycopg.Connection[Any]) -> None:
    """Generic plans, as the server reuses them: other days are pruned, and rows come in order without a sort."""
    for days in range(5):
        fill(db, age_s=days * 86_400 + 10, count=2_000)
    db.execute("VACUUM ANALYZE run_history")
    db.execute("SET plan_cache_mode = force_generic_plan")
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    values = evidence._PAGE.values(
        {
            "since": midnight,
            "until": midnight + timedelta(days=1),
            "after_id": UUID(int=0),
            "after_seq": 0,
            "vendor": None,
            "limit": 500,
        }
    )
    db.execute(b"PREPARE looked_at AS " + evidence._PAGE.sql)
    arguments = sql.SQL(", ").join(sql.Literal(value) for value in values)
    explain = sql.SQL("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE looked_at({})").format(arguments)
    shown = "\n".join(line for (line,) in db.execute(explain).fetchall())
    assert f"on run_history_{midnight:%Y%m%d}" in shown, shown
    assert shown.count(" on run_history_") == 1, shown
    assert "Subplans Removed" in shown, shown
    assert "Index Scan using" in shown, shown
    assert "Sort Method" not in shown, shown
    assert "-> Sort" not in " ".join(shown.split()), shown
