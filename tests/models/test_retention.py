from datetime import date, timedelta
from typing import Any

import psycopg
import pytest

from models import connections, history, retention, runs
from models.runs import FinishedRun


def partitions(db: psycopg.Connection[Any]) -> list[str]:
    found = db.execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'run_history'::regclass ORDER BY 1"
    )
    return [name for (name,) in found.fetchall()]


def today(db: psycopg.Connection[Any]) -> date:
    found = db.execute("SELECT (now() AT TIME ZONE 'UTC')::date").fetchone()
    assert found is not None
    day: date = found[0]
    return day


def test_days_are_made_ahead_once(world: Any) -> None:
    made = retention.ensure_partitions(world.db, days_ahead=3)
    first = today(world.db) - timedelta(days=1)
    assert made == [first + timedelta(days=number) for number in range(5)]
    assert retention.ensure_partitions(world.db, days_ahead=3) == []
    assert retention.ensure_partitions(world.db, days_ahead=4) == [first + timedelta(days=5)]
    assert partitions(world.db)[0] == f"run_history_{first:%Y%m%d}"


def test_nothing_is_lost_without_a_partition_and_it_moves_to_its_day_later(world: Any, healthy: FinishedRun) -> None:
    run = world.running()
    runs.finish(world.db, run.key, healthy)
    before = world.all("run_history", run.key.connection_id)
    assert world.db.execute("SELECT count(*) FROM run_history_default").fetchone() == (1,)
    retention.ensure_partitions(world.db)
    assert world.db.execute("SELECT count(*) FROM run_history_default").fetchone() == (0,)
    assert world.all("run_history", run.key.connection_id) == before
    further = world.running(run.key.connection_id)
    runs.finish(world.db, further.key, healthy)
    assert world.db.execute("SELECT count(*) FROM run_history_default").fetchone() == (0,)
    assert [view.run_seq for view in history.list_runs(world.db, run.key.connection_id)] == [2, 1]


def test_a_partition_has_every_index_and_check_of_its_parent(world: Any) -> None:
    retention.ensure_partitions(world.db)
    day = f"run_history_{today(world.db):%Y%m%d}"

    def count(table: str) -> Any:
        return world.db.execute(
            "SELECT (SELECT count(*) FROM pg_index WHERE indrelid = t.oid), "
            "(SELECT count(*) FROM pg_constraint WHERE conrelid = t.oid AND contype IN ('c', 'p')) "
            "FROM pg_class t WHERE relname = %s",
            (table,),
        ).fetchone()

    assert count(day) == count("run_history_default") == count("run_history")


def test_old_days_are_dropped_and_health_stays(world: Any, unauthorized: FinishedRun) -> None:
    retention.ensure_partitions(world.db)
    old = today(world.db) - timedelta(days=40)
    world.db.execute(
        f"CREATE TABLE run_history_{old:%Y%m%d} PARTITION OF run_history "
        f"FOR VALUES FROM ('{old} 00:00+00') TO ('{old + timedelta(days=1)} 00:00+00')".encode()
    )
    run = world.running()
    runs.finish(world.db, run.key, unauthorized)
    world.db.execute("UPDATE run_history SET finished_at = %s", (old,))
    health = world.health(run.key.connection_id)
    purged = retention.purge(world.db, run_days=30)
    assert purged.partitions == (old,)
    assert history.get_run(world.db, run.key.connection_id, 1) is None
    assert world.health(run.key.connection_id) == health
    seen = history.get_health(world.db, run.key.connection_id)
    assert seen is not None
    assert seen.evidence == {"status": 401}


def test_old_rows_of_the_default_partition_go_too(world: Any, healthy: FinishedRun) -> None:
    run = world.running()
    runs.finish(world.db, run.key, healthy)
    world.db.execute("UPDATE run_history_default SET finished_at = now() - interval '50 days'")
    assert retention.purge(world.db, run_days=49).strays == 1


def test_old_changes_go_but_the_one_that_stands(world: Any, healthy: FinishedRun, unauthorized: FinishedRun) -> None:
    connection_id = world.connection().connection_id
    for result in (healthy, unauthorized, healthy):
        runs.finish(world.db, world.running(connection_id).key, result)
    world.db.execute("UPDATE health_history SET changed_at = now() - interval '500 days'")
    assert retention.purge(world.db, history_days=400).changes == 2
    assert [change.run_seq for change in history.health_history(world.db, connection_id)] == [3]


def test_what_was_delivered_and_who_has_gone_go_in_time(world: Any, healthy: FinishedRun) -> None:
    run = world.running()
    runs.finish(world.db, run.key, healthy)
    other = world.running()
    world.db.execute("UPDATE event SET delivered_at = now() - interval '8 days'")
    world.db.execute("UPDATE worker SET lease_until = now() - interval '3 days'")
    purged = retention.purge(world.db)
    assert (purged.events, purged.workers) == (1, 1)
    assert [reaped.run_seq for reaped in runs.reap(world.db)] == [other.key.run_seq]  # its worker is still known


def test_undelivered_events_stay_until_nobody_can_be_waiting_for_them(world: Any, healthy: FinishedRun) -> None:
    run = world.running()
    runs.finish(world.db, run.key, healthy)
    world.db.execute("UPDATE event SET next_attempt_at = now() - interval '6 days'")
    assert retention.purge(world.db).events == 0
    world.db.execute("UPDATE event SET next_attempt_at = now() - interval '8 days'")
    assert retention.purge(world.db).events == 1


def test_the_records_of_a_connection_deleted_long_ago_go(world: Any, healthy: FinishedRun) -> None:
    from models import records
    from models.records import RecordRow

    run = world.running()
    rows = [RecordRow(id=str(number), payload={}) for number in range(3)]
    records.land_page(world.db, run.key, "alerts", rows, cursor={"p": 1}, full_pass=False)
    connections.delete_connection(world.db, run.key.connection_id)
    assert retention.purge(world.db).records == 0
    world.db.execute("UPDATE connection SET deleted_at = now() - interval '500 days' WHERE state = 'DELETED'")
    assert retention.purge(world.db).records == 3
    for table in ("record", "cursor", "sighting"):
        assert world.all(table, run.key.connection_id) == []


def test_keeping_less_than_a_day_is_refused(world: Any) -> None:
    with pytest.raises(ValueError, match="at least one day"):
        retention.purge(world.db, run_days=0)


def test_a_day_that_somebody_reads_is_postponed(committed: Any, fresh_database_url: str) -> None:
    old = today(committed.db) - timedelta(days=40)
    committed.db.execute(
        f"CREATE TABLE run_history_{old:%Y%m%d} PARTITION OF run_history "
        f"FOR VALUES FROM ('{old} 00:00+00') TO ('{old + timedelta(days=1)} 00:00+00')".encode()
    )
    with psycopg.connect(fresh_database_url) as reader:
        reader.execute("SELECT count(*) FROM run_history")
        assert retention.purge(committed.db).postponed == (old,)
        assert retention.ensure_partitions(committed.db, days_ahead=1) == []  # and no new day can be made meanwhile
    assert retention.purge(committed.db).partitions == (old,)
    assert len(retention.ensure_partitions(committed.db, days_ahead=1)) == 3


def test_two_who_keep_house_at_once_do_not_collide(committed: Any, fresh_database_url: str) -> None:
    with psycopg.connect(fresh_database_url) as other:
        retention.ensure_partitions(other)
        assert retention.ensure_partitions(committed.db) == []
        assert retention.purge(committed.db) == retention.Purged()
        other.commit()
    assert retention.ensure_partitions(committed.db) == []


def test_what_the_http_door_keeps_goes_when_nobody_can_ask_for_it(world: Any) -> None:
    view = world.connection()
    actor = {"organization_id": view.organization_id, "connection_id": view.connection_id}
    for days in (0, 2, 31, 401):
        shifted = {**actor, "days": days, "id": f"{days:08x}-0000-4000-8000-000000000000"}
        for table, columns, values in (
            ("repeatable_request", "actor, idempotency_key, fingerprint, created_at", "'a', %(id)s, 'x'"),
            ("invite", "invite_id, organization_id, created_by, expires_at", "%(id)s, %(organization_id)s, 'a'"),
            (
                "authorization_attempt",
                "attempt_id, connection_id, state_digest, key_id, sealed, expires_at",
                "%(id)s::text::uuid, %(connection_id)s, convert_to(%(id)s::text, 'UTF8'), 'k', 'x'",
            ),
            ("audit_entry", "entry_id, actor, action, happened_at", "%(id)s, 'a', 'b'"),
        ):
            statement = f"INSERT INTO {table} ({columns}) VALUES ({values}, now() - make_interval(days => %(days)s))"  # noqa: S608 - words of this test
            world.db.execute(statement.encode(), shifted)

    purged = retention.purge(world.db)

    assert (purged.requests, purged.invites, purged.attempts, purged.entries) == (3, 2, 2, 1)
    assert retention.purge(world.db) == retention.Purged()
