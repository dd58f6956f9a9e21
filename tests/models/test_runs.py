import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from classifier.vocabulary import HealthName
from models import connections, limits, runs, vault
from models.runs import FinishedRun, RunKey
from models.vocabulary import ConnectionState, RunState, Trigger

HOUR = timedelta(hours=1)


# --- claiming


def test_a_claim_makes_the_run_ours_and_says_what_it_needs(world: Any) -> None:
    connection = world.connection(options={"region": "eu"}, timeout_secs=90)
    worker_id = world.worker()
    run = runs.claim(world.db, connection.connection_id, worker_id=worker_id)
    assert run is not None
    assert run.key == RunKey(connection_id=connection.connection_id, run_seq=1, worker_id=worker_id)
    assert (run.organization_id, run.vendor, run.options) == (world.organization_id, world.vendor, {"region": "eu"})
    assert (run.trigger, run.cred_version, run.timeout_secs, run.refresh_interval_secs) == (
        Trigger.SCHEDULED,
        1,
        90,
        3600,
    )
    assert run.deadline_at - run.started_at == timedelta(seconds=90 + runs.GRACE_S)
    assert (run.health_name, run.health_reason, run.consecutive_failures) == (None, None, 0)
    assert runs.is_current(world.db, run.key)


def test_a_claim_knows_the_health_before_it(world: Any, unauthorized: FinishedRun) -> None:
    run = world.running()
    runs.finish(world.db, run.key, unauthorized)
    again = world.running(run.key.connection_id)
    assert (again.health_name, again.health_reason, again.consecutive_failures) == (
        HealthName.UNAUTHORIZED,
        "token_expired",
        1,
    )


def test_credentials_replaced_while_a_claim_is_under_way_are_those_it_brings(
    committed: Any, fresh_database_url: str
) -> None:
    # The claim's statement has begun, and so sees the old credentials; a gate keeps it from the row that it locks.
    connection_id = committed.connection().connection_id
    worker_id = committed.worker()
    committed.db.execute("ALTER TABLE vendor_limit RENAME TO vendor_limit_itself")
    committed.db.execute(
        "CREATE FUNCTION gate() RETURNS boolean LANGUAGE sql VOLATILE AS"
        " $$ SELECT pg_advisory_xact_lock_shared(17) IS NOT NULL $$"
    )
    committed.db.execute("CREATE VIEW vendor_limit AS SELECT * FROM vendor_limit_itself WHERE gate()")
    committed.db.execute("SELECT pg_advisory_lock(17)")
    with psycopg.connect(fresh_database_url, autocommit=True) as claiming, ThreadPoolExecutor(1) as aside:
        claimed = aside.submit(runs.claim, claiming, connection_id, worker_id=worker_id)
        while not committed.db.execute("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchall():
            assert not claimed.done()
        connections.replace_credentials(committed.db, committed.keyring, connection_id, {"access_token": "the new one"})
        committed.db.execute("SELECT pg_advisory_unlock(17)")
        run = claimed.result(timeout=30)
    assert run is not None
    assert run.sealed is not None
    assert (run.trigger, run.cred_version) == (Trigger.CREDENTIALS, 2)
    assert vault.unseal(committed.keyring, connection_id, "credentials", run.sealed.key_id, run.sealed.data) == {
        "access_token": "the new one"
    }


def test_a_second_claim_finds_nothing(world: Any) -> None:
    run = world.running()
    world.set_sched(run.key.connection_id, next_due_at="=now() - interval '1 hour'")
    assert runs.claim(world.db, run.key.connection_id, worker_id=world.worker()) is None


def test_what_is_not_due_is_claimed_only_where_its_caller_says_so(world: Any) -> None:
    connection = world.connection()
    world.set_sched(connection.connection_id, next_due_at="=now() + interval '1 second'")
    worker_id = world.worker()
    assert runs.claim(world.db, connection.connection_id, worker_id=worker_id) is None
    run = runs.claim(world.db, connection.connection_id, worker_id=worker_id, due_only=False)
    assert run is not None
    assert run.trigger is Trigger.MANUAL


@pytest.mark.parametrize("state", [ConnectionState.PENDING, ConnectionState.PAUSED])
def test_only_active_connections_are_claimed(world: Any, state: ConnectionState) -> None:
    connection = world.connection(state=state)
    assert runs.claim(world.db, connection.connection_id, worker_id=world.worker(), due_only=False) is None
    assert runs.take_due(world.db, limit=100) == []
    assert not runs.trigger(world.db, connection.connection_id, Trigger.MANUAL)


def test_a_deleted_or_unknown_connection_is_not_claimed(world: Any) -> None:
    connection = world.connection()
    connections.delete_connection(world.db, connection.connection_id)
    for connection_id in (connection.connection_id, uuid4()):
        assert runs.claim(world.db, connection_id, worker_id=world.worker(), due_only=False) is None


@pytest.mark.parametrize("how", ["unknown", "lease spent", "retired"])
def test_a_worker_without_a_lease_claims_nothing(world: Any, how: str) -> None:
    connection = world.connection()
    worker_id = uuid4() if how == "unknown" else world.worker()
    if how == "lease spent":
        world.db.execute("UPDATE worker SET lease_until = now() WHERE worker_id = %s", (worker_id,))
    if how == "retired":
        runs.retire_worker(world.db, worker_id)
    assert runs.claim(world.db, connection.connection_id, worker_id=worker_id) is None
    assert runs.claim_due(world.db, worker_id=worker_id, limit=5) == []


def wait_for_a_lock(db: psycopg.Connection[Any], waiting: psycopg.Connection[Any]) -> None:
    """Return once the other session waits; whoever waits longer than it may fails by itself."""
    end = time.monotonic() + 4  # shorter than a claim is patient
    waits = b"SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = %s"
    while db.execute(waits, (waiting.info.backend_pid,)).fetchone() is None:
        assert time.monotonic() < end, "it did not wait"
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("holds", "ends", "is_claimed"),
    [
        pytest.param("claim", "commit", False, id="a claim that succeeds"),
        pytest.param("claim", "rollback", True, id="a claim that is given up"),
        pytest.param("trigger", "commit", True, id="a trigger"),
    ],
)
@pytest.mark.parametrize("limit", [None, 1], ids=["without a limit", "with a limit"])
def test_a_claim_waits_for_who_has_the_row_or_its_hint_would_be_lost(
    committed: Any, fresh_database_url: str, limit: int | None, holds: str, ends: str, *, is_claimed: bool
) -> None:
    connection, worker_id = committed.connection(), committed.worker()
    limits.set_vendor_limits(committed.db, {committed.vendor: limit})
    with psycopg.connect(fresh_database_url) as other, ThreadPoolExecutor(1) as thread:
        if holds == "claim":
            assert runs.claim(other, connection.connection_id, worker_id=worker_id) is not None
        else:
            assert runs.trigger(other, connection.connection_id, Trigger.MANUAL)
        claimed = thread.submit(runs.claim, committed.db, connection.connection_id, worker_id=worker_id)
        wait_for_a_lock(other, committed.db)
        getattr(other, ends)()
        assert (claimed.result(30) is not None) == is_claimed


def test_a_claim_does_not_wait_for_ever(committed: Any, fresh_database_url: str, monkeypatch: Any) -> None:
    connection, worker_id = committed.connection(), committed.worker()
    monkeypatch.setattr(runs, "_WAIT_BRIEFLY", b"SET LOCAL lock_timeout = '50ms'")
    with psycopg.connect(fresh_database_url) as other:
        assert runs.trigger(other, connection.connection_id, Trigger.MANUAL)
        committed.db.execute("SET statement_timeout = '30s'")
        assert runs.claim(committed.db, connection.connection_id, worker_id=worker_id) is None
    assert runs.claim(committed.db, connection.connection_id, worker_id=worker_id) is not None


# --- slots


def test_the_next_slot_is_on_the_grid_and_strictly_later(world: Any) -> None:
    connection = world.connection()
    world.set_sched(connection.connection_id, slot_origin="=now()", slot_at="=now()", next_due_at="=now()")
    world.running(connection.connection_id)
    sched = world.sched(connection.connection_id)
    assert sched["next_due_at"] == sched["slot_at"] == sched["now"] + HOUR


def test_slots_that_passed_are_counted_and_the_phase_is_kept(world: Any) -> None:
    connection = world.connection()
    world.set_sched(
        connection.connection_id,
        slot_origin="=now() - interval '150 min'",
        slot_at="=now() - interval '150 min'",
        next_due_at="=now() - interval '150 min'",
    )
    before = runs.queue_stats(world.db).skipped_slots_total
    run = world.running(connection.connection_id)
    sched = world.sched(connection.connection_id)
    assert run.skipped_slots == 2
    assert sched["slot_at"] == sched["now"] + timedelta(minutes=30)
    assert runs.queue_stats(world.db).skipped_slots_total - before == 2


def test_a_run_ahead_of_its_slot_skips_none_and_leaves_the_slot(world: Any) -> None:
    connection = world.connection()
    world.set_sched(
        connection.connection_id,
        slot_origin="=now() + interval '10 min'",
        slot_at="=now() + interval '10 min'",
        next_due_at="=now() + interval '10 min'",
    )
    runs.trigger(world.db, connection.connection_id, Trigger.MANUAL)
    run = world.running(connection.connection_id)
    assert (run.trigger, run.skipped_slots) == (Trigger.MANUAL, 0)
    sched = world.sched(connection.connection_id)
    assert sched["next_due_at"] == sched["now"] + timedelta(minutes=10)


def test_slots_that_a_vendors_wait_runs_over_are_counted(world: Any, unauthorized: FinishedRun, with_wait: Any) -> None:
    connection = world.connection()
    world.set_sched(connection.connection_id, slot_origin="=now()", slot_at="=now()", next_due_at="=now()")
    runs.finish(world.db, world.running(connection.connection_id).key, with_wait(unauthorized, 3.5 * 3600))
    # As it looks three and a half hours later.
    world.set_sched(
        connection.connection_id,
        slot_origin="=slot_origin - interval '210 min'",
        slot_at="=slot_at - interval '210 min'",
        next_due_at="=next_due_at - interval '210 min'",
    )
    run = runs.claim(world.db, connection.connection_id, worker_id=world.worker())
    assert run is not None
    assert run.skipped_slots == 2  # of the three that were owed, this run answers for one


def test_after_two_idle_hours_a_connection_catches_up_with_one_run(world: Any, healthy: FinishedRun) -> None:
    connection = world.connection(refresh_interval_secs=10)
    world.set_sched(connection.connection_id, slot_at="=slot_at - interval '2 hours'", next_due_at="=slot_at")
    world.set_sched(connection.connection_id, next_due_at="=slot_at")
    run = runs.claim(world.db, connection.connection_id, worker_id=world.worker())
    assert run is not None
    assert run.skipped_slots in (718, 719, 720)
    runs.finish(world.db, run.key, healthy)
    assert runs.claim(world.db, connection.connection_id, worker_id=world.worker()) is None


def test_connections_spread_over_their_interval(world: Any) -> None:
    phases = [(connections.slot_origin(connections.new_id(), 3600).timestamp() % 3600) // 360 for _ in range(2000)]
    assert all(140 < phases.count(tenth) < 260 for tenth in range(10))


# --- triggers


def test_a_thousand_triggers_while_idle_make_one_run(world: Any, healthy: FinishedRun) -> None:
    connection = world.connection()
    world.set_sched(connection.connection_id, next_due_at="=now() + interval '1 hour'")
    assert all(runs.trigger(world.db, connection.connection_id, Trigger.MANUAL) for _ in range(1000))
    run = runs.claim(world.db, connection.connection_id, worker_id=world.worker())
    assert run is not None
    assert run.trigger is Trigger.MANUAL
    runs.finish(world.db, run.key, healthy)
    assert runs.claim(world.db, connection.connection_id, worker_id=world.worker()) is None


def test_a_thousand_triggers_during_a_run_make_one_more(world: Any, healthy: FinishedRun) -> None:
    run = world.running()
    connection_id = run.key.connection_id
    assert all(runs.trigger(world.db, connection_id, Trigger.MANUAL) for _ in range(1000))
    assert runs.claim(world.db, connection_id, worker_id=world.worker()) is None
    runs.finish(world.db, run.key, healthy)
    further = runs.claim(world.db, connection_id, worker_id=world.worker())
    assert further is not None
    assert further.trigger is Trigger.MANUAL
    runs.finish(world.db, further.key, healthy)
    assert runs.claim(world.db, connection_id, worker_id=world.worker()) is None


def test_a_pending_trigger_beats_a_wait(world: Any, unauthorized: FinishedRun, with_wait: Any) -> None:
    run = world.running()
    runs.trigger(world.db, run.key.connection_id, Trigger.MANUAL)
    runs.finish(world.db, run.key, with_wait(unauthorized, 86_400.0))
    assert runs.claim(world.db, run.key.connection_id, worker_id=world.worker()) is not None


def test_new_credentials_are_not_demoted_to_a_manual_run(world: Any) -> None:
    connection = world.connection()
    connections.replace_credentials(world.db, world.keyring, connection.connection_id, {"api_key": "new"})
    runs.trigger(world.db, connection.connection_id, Trigger.MANUAL)
    run = runs.claim(world.db, connection.connection_id, worker_id=world.worker())
    assert run is not None
    assert (run.trigger, run.cred_version) == (Trigger.CREDENTIALS, 2)


def test_credentials_replaced_during_a_run_bring_a_run_with_them(world: Any, unauthorized: FinishedRun) -> None:
    run = world.running()
    connection_id = run.key.connection_id
    assert connections.replace_credentials(world.db, world.keyring, connection_id, {"api_key": "new"}) == 2
    runs.finish(world.db, run.key, unauthorized)
    view = connections.get_connection(world.db, connection_id)
    assert view is not None
    assert view.health is not None
    assert view.health.superseded
    further = runs.claim(world.db, connection_id, worker_id=world.worker())
    assert further is not None
    assert (further.trigger, further.cred_version) == (Trigger.CREDENTIALS, 2)


# --- finishing


def test_a_finish_writes_run_schedule_health_change_and_event(world: Any, unauthorized: FinishedRun) -> None:
    run = world.running()
    connection_id = run.key.connection_id
    assert runs.finish(world.db, run.key, unauthorized)
    ended = world.one("run_history", connection_id)
    assert (ended["state"], ended["name"], ended["evidence"]) == ("FAILED", "UNAUTHORIZED", {"status": 401})
    assert ended["exchanges"] == [{"status": 401}]
    health = world.health(connection_id)
    assert (health["name"], health["status"], health["owner"]) == ("UNAUTHORIZED", "UNHEALTHY", "CUSTOMER")
    assert (health["run_seq"], health["changed_seq"], health["consecutive_failures"]) == (1, 1, 1)
    assert health["since"] == health["first_failure_at"] == health["last_failure_at"] == health["now"]
    assert world.one("health_history", connection_id)["previous_name"] is None
    event = world.one("event", connection_id)
    assert event["payload"]["resolution_owner"] == "CUSTOMER"
    assert event["payload"]["run_seq"] == event["run_seq"] == 1
    sched = world.sched(connection_id)
    assert (sched["active_seq"], sched["next_due_at"]) == (None, sched["slot_at"])
    assert world.all("run", connection_id) == []
    assert not runs.is_current(world.db, run.key)


def test_the_same_health_again_is_no_change(world: Any, unauthorized: FinishedRun) -> None:
    run = world.running()
    connection_id = run.key.connection_id
    runs.finish(world.db, run.key, unauthorized)
    world.db.execute("UPDATE health SET since = since - interval '1 day' WHERE connection_id = %s", (connection_id,))
    runs.finish(world.db, world.running(connection_id).key, unauthorized)
    health = world.health(connection_id)
    assert (health["run_seq"], health["changed_seq"], health["consecutive_failures"]) == (2, 1, 2)
    assert health["since"] == health["now"] - timedelta(days=1)
    assert len(world.all("health_history", connection_id)) == len(world.all("event", connection_id)) == 1


def test_another_reason_is_a_change_but_no_new_since(world: Any, unauthorized: FinishedRun) -> None:
    run = world.running()
    connection_id = run.key.connection_id
    runs.finish(world.db, run.key, unauthorized)
    world.db.execute("UPDATE health SET since = since - interval '1 day' WHERE connection_id = %s", (connection_id,))
    other = FinishedRun(
        state=RunState.FAILED,
        name=HealthName.UNAUTHORIZED,
        reason="scope_missing",
        rule="r",
        sentence="s",
        next_step="n",
    )
    runs.finish(world.db, world.running(connection_id).key, other)
    health = world.health(connection_id)
    assert (health["changed_seq"], health["previous_name"], health["previous_reason"]) == (
        2,
        "UNAUTHORIZED",
        "token_expired",
    )
    assert health["since"] == health["now"] - timedelta(days=1)
    assert len(world.all("event", connection_id)) == 2


def test_success_ends_the_streak(world: Any, unauthorized: FinishedRun, healthy: FinishedRun) -> None:
    run = world.running()
    connection_id = run.key.connection_id
    runs.finish(world.db, run.key, unauthorized)
    runs.finish(world.db, world.running(connection_id).key, healthy)
    health = world.health(connection_id)
    assert (health["consecutive_failures"], health["previous_name"]) == (0, "UNAUTHORIZED")
    assert health["first_success_at"] == health["last_success_at"] == health["since"] == health["now"]


@pytest.mark.parametrize(
    ("wait_s", "expected"),
    [
        pytest.param(None, None, id="the regular slot"),
        pytest.param(5.0, timedelta(seconds=5), id="a wait"),
        pytest.param(0.0, timedelta(0), id="at once"),
        pytest.param(1e12, timedelta(days=30), id="at most thirty days"),
    ],
)
def test_the_next_run_comes_when_it_was_asked_for(
    world: Any, unauthorized: FinishedRun, with_wait: Any, wait_s: float | None, expected: timedelta | None
) -> None:
    run = world.running()
    runs.finish(world.db, run.key, with_wait(unauthorized, wait_s))
    sched = world.sched(run.key.connection_id)
    assert sched["next_due_at"] == (sched["slot_at"] if expected is None else sched["now"] + expected)


@pytest.mark.parametrize("wait_s", [float("nan"), -1.0])
def test_a_wait_that_is_none_is_refused(world: Any, unauthorized: FinishedRun, with_wait: Any, wait_s: float) -> None:
    run = world.running()
    with pytest.raises(ValueError, match="seconds from now"):
        runs.finish(world.db, run.key, with_wait(unauthorized, wait_s))


def test_characters_that_postgresql_refuses_do_not_fail_a_run(world: Any) -> None:
    run = world.running()
    odd = "a\x00b\ud800c"
    result = FinishedRun(
        state=RunState.FAILED,
        name=HealthName.VENDOR_SERVER_ERROR,
        reason="r",
        rule="r",
        sentence=odd,
        next_step=odd,
        evidence={odd: odd, "deep": [{"x": odd}]},
        exchanges=[{"body": odd}],
    )
    assert runs.finish(world.db, run.key, result)
    assert world.health(run.key.connection_id)["sentence"] == "a\ufffdb\ufffdc"


@pytest.mark.parametrize("state", [RunState.LOST, RunState.RUNNING, RunState.CANCELLED])
def test_a_run_finishes_with_a_verdict_or_not_at_all(world: Any, healthy: FinishedRun, state: RunState) -> None:
    run = world.running()
    result = FinishedRun(state=state, name=HealthName.HEALTHY, reason="healthy", rule="r", sentence="s", next_step="n")
    with pytest.raises(ValueError, match="SUCCEEDED or FAILED"):
        runs.finish(world.db, run.key, result)


# --- fences


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"run_seq": 2}, id="another run"),
        pytest.param({"worker_id": UUID(int=7)}, id="another worker with the same number"),
        pytest.param({"connection_id": UUID(int=7)}, id="another connection"),
    ],
)
def test_a_key_that_is_not_the_runs_changes_nothing(world: Any, healthy: FinishedRun, wrong: dict[str, Any]) -> None:
    run = world.running()
    connection_id = run.key.connection_id
    before = world.health(connection_id), world.sched(connection_id)
    parts = {"connection_id": connection_id, "run_seq": run.key.run_seq, "worker_id": run.key.worker_id}
    key = RunKey(**{**parts, **wrong})
    assert not runs.is_current(world.db, key)
    assert not runs.finish(world.db, key, healthy)
    assert not runs.interrupt(world.db, key, reason="stop")
    assert (world.health(connection_id), world.sched(connection_id)) == before
    assert runs.is_current(world.db, run.key)


def test_a_late_finish_is_refused_and_kept(world: Any, healthy: FinishedRun) -> None:
    run = world.running()
    connection_id = run.key.connection_id
    world.db.execute("UPDATE worker SET lease_until = now() WHERE worker_id = %s", (run.key.worker_id,))
    assert len(runs.reap(world.db)) == 1
    after_reap = world.health(connection_id)
    assert not runs.finish(world.db, run.key, healthy)
    assert world.health(connection_id) == after_reap
    ended = world.one("run_history", connection_id)
    assert ended["state"] == "LOST"
    assert ended["late_result"]["name"] == "HEALTHY"
    assert runs.ended_as(world.db, run.key) is RunState.LOST


def test_a_finish_repeated_after_an_unknown_commit_is_harmless(world: Any, healthy: FinishedRun) -> None:
    run = world.running()
    assert runs.ended_as(world.db, run.key) is None
    assert runs.finish(world.db, run.key, healthy)
    before = world.all("run_history", run.key.connection_id), world.health(run.key.connection_id)
    assert not runs.finish(world.db, run.key, healthy)
    assert (world.all("run_history", run.key.connection_id), world.health(run.key.connection_id)) == before
    assert runs.ended_as(world.db, run.key) is RunState.SUCCEEDED


def test_health_is_not_written_by_an_older_run(world: Any, unauthorized: FinishedRun) -> None:
    run = world.running()
    connection_id = run.key.connection_id
    world.db.execute(
        "UPDATE health SET name = 'HEALTHY', status = 'HEALTHY', owner = 'LEEN', reason = 'healthy', since = now(), "
        "run_seq = 5 WHERE connection_id = %s",
        (connection_id,),
    )
    assert runs.finish(world.db, run.key, unauthorized)
    assert world.health(connection_id)["name"] == "HEALTHY"


def test_a_run_of_a_paused_connection_writes_its_health(world: Any, unauthorized: FinishedRun) -> None:
    run = world.running()
    connections.pause_connection(world.db, run.key.connection_id)
    assert runs.finish(world.db, run.key, unauthorized)
    assert world.health(run.key.connection_id)["name"] == "UNAUTHORIZED"
    assert runs.claim(world.db, run.key.connection_id, worker_id=world.worker(), due_only=False) is None


def test_a_run_of_a_deleted_connection_leaves_its_health(world: Any, unauthorized: FinishedRun) -> None:
    run = world.running()
    # As where the claim came in the moment of the deletion, so that the run was not cancelled with it.
    world.db.execute(
        "UPDATE connection SET state = 'DELETED', deleted_at = now() WHERE connection_id = %s",
        (run.key.connection_id,),
    )
    assert runs.finish(world.db, run.key, unauthorized)
    assert world.health(run.key.connection_id)["name"] is None
    assert world.one("run_history", run.key.connection_id)["name"] == "UNAUTHORIZED"


# --- stopping


def test_an_interrupted_run_says_nothing_of_health_and_is_due_at_once(world: Any) -> None:
    run = world.running()
    connection_id = run.key.connection_id
    before = world.health(connection_id)
    assert runs.interrupt(world.db, run.key, reason="shutdown")
    assert not runs.interrupt(world.db, run.key, reason="shutdown")
    assert world.health(connection_id) == before
    ended = world.one("run_history", connection_id)
    assert (ended["state"], ended["name"], ended["reason"]) == ("INTERRUPTED", None, "shutdown")
    again = runs.claim(world.db, connection_id, worker_id=world.worker())
    assert again is not None
    assert again.trigger is Trigger.RECOVERY


def test_an_interrupted_run_may_wait_for_its_slot(world: Any) -> None:
    run = world.running()
    assert runs.interrupt(world.db, run.key, reason="shutdown", due_at_once=False)
    sched = world.sched(run.key.connection_id)
    assert sched["next_due_at"] == sched["slot_at"]


def test_an_interruption_keeps_the_trigger_that_waits(world: Any) -> None:
    run = world.running()
    runs.trigger(world.db, run.key.connection_id, Trigger.MANUAL)
    runs.interrupt(world.db, run.key, reason="shutdown")
    again = runs.claim(world.db, run.key.connection_id, worker_id=world.worker())
    assert again is not None
    assert again.trigger is Trigger.MANUAL


def test_all_runs_of_a_worker_are_interrupted_and_no_others(world: Any) -> None:
    worker_id = world.worker()
    ours = [world.running(worker_id=worker_id) for _ in range(3)]
    other = world.running()
    assert runs.running_of(world.db, worker_id) == {run.key for run in ours}
    assert runs.interrupt_worker(world.db, worker_id, reason="watchdog") == 3
    assert runs.running_of(world.db, worker_id) == frozenset()
    assert runs.is_current(world.db, other.key)


def test_a_cancelled_run_waits_for_its_slot(world: Any) -> None:
    run = world.running()
    connection_id = run.key.connection_id
    assert not runs.cancel(world.db, connection_id, run.key.run_seq + 1)
    assert runs.cancel(world.db, connection_id, run.key.run_seq)
    assert not runs.cancel(world.db, connection_id, run.key.run_seq)
    assert not runs.is_current(world.db, run.key)
    sched = world.sched(connection_id)
    assert sched["next_due_at"] == sched["slot_at"]
    assert world.health(connection_id)["name"] is None
    assert world.one("run_history", connection_id)["state"] == "CANCELLED"


# --- reaping


def spend_lease(world: Any, worker_id: UUID) -> None:
    world.db.execute("UPDATE worker SET lease_until = now() WHERE worker_id = %s", (worker_id,))


def test_a_run_of_a_live_worker_within_its_deadline_is_left_alone(world: Any) -> None:
    run = world.running()
    assert runs.reap(world.db) == []
    assert runs.is_current(world.db, run.key)


def test_a_run_of_a_dead_worker_is_lost(world: Any) -> None:
    run = world.running()
    spend_lease(world, run.key.worker_id)
    (reaped,) = runs.reap(world.db)
    assert (reaped.connection_id, reaped.run_seq, reaped.name, reaped.reason, reaped.crash_streak) == (
        run.key.connection_id,
        1,
        HealthName.INTERNAL_ERROR,
        "worker_lost",
        1,
    )
    health = world.health(run.key.connection_id)
    assert (health["name"], health["owner"], health["reason"]) == ("INTERNAL_ERROR", "LEEN", "worker_lost")
    again = runs.claim(world.db, run.key.connection_id, worker_id=world.worker())
    assert again is not None
    assert again.trigger is Trigger.RECOVERY


def test_a_run_past_its_deadline_under_a_live_worker_has_spent_its_budget(world: Any) -> None:
    run = world.running()
    world.db.execute(
        "UPDATE run SET deadline_at = now(), started_at = now() - interval '90 s' WHERE connection_id = %s",
        (run.key.connection_id,),
    )
    (reaped,) = runs.reap(world.db)
    assert (reaped.name, reaped.reason) == (HealthName.EXECUTION_TIMEOUT, "budget_spent")


def test_a_worker_that_died_before_the_budget_was_spent_is_lost_though_found_late(world: Any) -> None:
    run = world.running()
    world.db.execute(
        "UPDATE run SET deadline_at = now() - interval '1 hour' WHERE connection_id = %s", (run.key.connection_id,)
    )
    world.db.execute(
        "UPDATE worker SET lease_until = now() - interval '2 hours' WHERE worker_id = %s", (run.key.worker_id,)
    )
    (reaped,) = runs.reap(world.db)
    assert reaped.reason == "worker_lost"


def test_the_fourth_loss_in_a_row_waits_for_its_slot(world: Any, healthy: FinishedRun) -> None:
    connection_id = world.connection().connection_id
    for streak in (1, 2, 3, 4, 5):
        run = world.running(connection_id)
        spend_lease(world, run.key.worker_id)
        (reaped,) = runs.reap(world.db)
        assert reaped.crash_streak == streak
        due_at_once = runs.claim(world.db, connection_id, worker_id=world.worker())
        assert (due_at_once is not None) == (streak <= 3)
        if due_at_once is not None:
            runs.interrupt(world.db, due_at_once.key, reason="test", due_at_once=False)
            world.set_sched(connection_id, requested_trigger=None)
    health = world.health(connection_id)
    assert "5 runs in a row" in health["sentence"]
    assert "regular time" in health["sentence"]
    assert health["evidence"]["crash_streak"] == 5
    runs.finish(world.db, world.running(connection_id).key, healthy)
    assert world.sched(connection_id)["crash_streak"] == 0


@pytest.mark.parametrize(
    ("interval_s", "waits_s"),
    [
        pytest.param(10, (runs.QUARANTINE_S, runs.QUARANTINE_S), id="a short interval is no quarantine"),
        pytest.param(3600, (0, 3600), id="a long one is: its slot stands"),
    ],
)
def test_a_connection_that_kills_its_workers_does_not_do_so_every_few_seconds(
    world: Any, interval_s: int, waits_s: tuple[int, int]
) -> None:
    connection_id = world.connection(refresh_interval_secs=interval_s).connection_id
    run = world.running(connection_id)
    world.set_sched(connection_id, crash_streak=runs.RETRIES_OF_LOST)
    spend_lease(world, run.key.worker_id)
    runs.reap(world.db)
    (wait_s,) = world.db.execute(
        "SELECT extract(epoch FROM next_due_at - now())::float8 FROM connection_sched WHERE connection_id = %s",
        (connection_id,),
    ).fetchone()
    assert waits_s[0] <= wait_s <= waits_s[1]


def test_a_trigger_runs_a_connection_that_crashed_too_often(world: Any) -> None:
    connection_id = world.connection().connection_id
    world.set_sched(connection_id, crash_streak=7)
    run = world.running(connection_id)
    runs.trigger(world.db, connection_id, Trigger.MANUAL)
    spend_lease(world, run.key.worker_id)
    runs.reap(world.db)
    again = runs.claim(world.db, connection_id, worker_id=world.worker())
    assert again is not None
    assert again.trigger is Trigger.MANUAL


def test_reaping_takes_no_more_than_it_is_told(world: Any) -> None:
    worker_id = world.worker()
    for _ in range(5):
        world.running(worker_id=worker_id)
    spend_lease(world, worker_id)
    assert [len(runs.reap(world.db, limit=2)) for _ in range(4)] == [2, 2, 1, 0]


def test_reaping_passes_over_a_run_that_is_just_being_ended(
    committed: Any, fresh_database_url: str, healthy: FinishedRun
) -> None:
    run = committed.running()
    spend_lease(committed, run.key.worker_id)
    with psycopg.connect(fresh_database_url) as other:
        assert runs.finish(other, run.key, healthy)
        assert runs.reap(committed.db) == []
        other.commit()
    assert committed.health(run.key.connection_id)["name"] == "HEALTHY"


# --- workers


def test_a_lease_that_has_run_out_cannot_be_renewed(world: Any) -> None:
    worker_id = world.worker(20.0)
    assert runs.renew_lease(world.db, worker_id, lease_s=20.0)
    spend_lease(world, worker_id)
    assert not runs.renew_lease(world.db, worker_id, lease_s=20.0)
    assert not runs.renew_lease(world.db, uuid4(), lease_s=20.0)


def test_a_retired_worker_keeps_no_lease(world: Any) -> None:
    worker_id = world.worker()
    run = world.running(worker_id=worker_id)
    runs.retire_worker(world.db, worker_id)
    assert not runs.renew_lease(world.db, worker_id, lease_s=20.0)
    assert [reaped.run_seq for reaped in runs.reap(world.db)] == [run.key.run_seq]


# --- taking turns


def test_a_hint_is_given_once_and_again_after_a_while(world: Any) -> None:
    connection = world.connection()
    (due,) = runs.take_due(world.db, limit=10)
    assert (due.connection_id, due.vendor) == (connection.connection_id, world.vendor)
    assert runs.take_due(world.db, limit=10) == []
    world.set_sched(connection.connection_id, hinted_at="=now() - interval '61 s'")
    assert len(runs.take_due(world.db, limit=10, rehint_after_s=60.0)) == 1
    assert runs.unhint(world.db, [connection.connection_id]) == 1
    assert len(runs.take_due(world.db, limit=10)) == 1


def test_no_hint_is_given_for_what_runs(world: Any) -> None:
    run = world.running()
    world.set_sched(run.key.connection_id, next_due_at="=now() - interval '1 hour'")
    assert runs.take_due(world.db, limit=10) == []
    assert runs.claim_due(world.db, worker_id=world.worker(), limit=10) == []


@pytest.mark.parametrize("how", ["take_due", "claim_due"])
def test_vendors_take_turns(world: Any, how: str) -> None:
    for vendor, count in (("big", 60), ("small", 3), ("middle", 12)):
        for _ in range(count):
            world.connection(vendor=f"{world.vendor}.{vendor}")
    worker_id = world.worker()

    def taken(limit: int) -> list[str]:
        found = (
            runs.take_due(world.db, limit=limit)
            if how == "take_due"
            else runs.claim_due(world.db, worker_id=worker_id, limit=limit)
        )
        return [one.vendor.rpartition(".")[2] for one in found]

    first = taken(24)
    assert len(first) == 24
    assert first.count("small") == 3
    assert first.count("middle") >= 8
    rest = taken(1000)
    assert len(first) + len(rest) == 75


def test_with_more_vendors_than_places_none_is_always_left_out(world: Any) -> None:
    vendors = [f"{world.vendor}.{number}" for number in range(12)]
    for vendor in vendors:
        for _ in range(12):
            world.connection(vendor=vendor)
    served = {due.vendor for _ in range(12) for due in runs.take_due(world.db, limit=4)}
    assert len(served) > 8


def test_the_longest_due_goes_first(world: Any) -> None:
    late, later = world.connection(), world.connection()
    world.set_sched(late.connection_id, next_due_at="=now() - interval '1 hour'")
    world.set_sched(later.connection_id, next_due_at="=now() - interval '2 hours'")
    (due,) = runs.take_due(world.db, limit=1)
    assert due.connection_id == later.connection_id


# --- vendors' limits


def test_a_vendors_limit_holds_for_every_way_to_claim(world: Any) -> None:
    ids = [world.connection().connection_id for _ in range(6)]
    limits.set_vendor_limits(world.db, {world.vendor: 2})
    worker_id = world.worker()
    assert len(runs.take_due(world.db, limit=10)) == 2
    assert runs.take_due(world.db, limit=10) == []  # the hints that are out have the places
    assert runs.claim(world.db, ids[0], worker_id=worker_id) is not None
    (second,) = runs.claim_due(world.db, worker_id=worker_id, limit=10)
    assert runs.claim_due(world.db, worker_id=worker_id, limit=10) == []
    assert all(runs.claim(world.db, one, worker_id=worker_id) is None for one in ids)
    assert runs.take_due(world.db, limit=10, rehint_after_s=0.0) == []
    runs.interrupt(world.db, second.key, reason="room")
    assert runs.claim(world.db, ids[5], worker_id=worker_id, due_only=False) is not None


def test_a_limit_holds_for_twenty_who_claim_at_once(committed: Any, fresh_database_url: str) -> None:
    ids = [committed.connection().connection_id for _ in range(20)]
    limits.set_vendor_limits(committed.db, {committed.vendor: 3})
    worker_id = committed.worker()
    with (
        psycopg.connect(fresh_database_url) as first,
        psycopg.connect(fresh_database_url, autocommit=True) as second,
        ThreadPoolExecutor(1) as thread,
    ):
        got = [runs.claim(first, one, worker_id=worker_id) is not None for one in ids[:3]]
        assert got == [True, True, True]
        assert runs.claim_due(second, worker_id=worker_id, limit=10) == []  # it does not wait: others are counting
        claimed = thread.submit(runs.claim, second, ids[5], worker_id=worker_id)
        wait_for_a_lock(first, second)  # until the count of the first is final
        first.commit()
        assert claimed.result(30) is None


def test_a_paused_vendor_is_not_claimed_until_the_pause_is_over(world: Any) -> None:
    connection = world.connection()
    worker_id = world.worker()
    limits.pause_vendor(world.db, world.vendor, 60.0)
    assert runs.take_due(world.db, limit=10) == []
    assert runs.claim_due(world.db, worker_id=worker_id, limit=10) == []
    assert runs.claim(world.db, connection.connection_id, worker_id=worker_id, due_only=False) is None
    limits.resume_vendor(world.db, world.vendor)
    assert runs.claim(world.db, connection.connection_id, worker_id=worker_id) is not None


def test_the_queue_in_numbers(world: Any) -> None:
    before = runs.queue_stats(world.db)
    world.set_sched(world.connection().connection_id, next_due_at="=now() - interval '100 s'")
    world.running()
    stats = runs.queue_stats(world.db)
    assert (stats.due - before.due, stats.running - before.running) == (1, 1)
    assert stats.oldest_due_s >= 100.0
    assert stats.workers - before.workers == 1
    assert runs.clock_s(world.db) > 1.7e9
