"""PostgreSQL crashes and comes back while runs are on."""

import time
from typing import Any, LiteralString

import psycopg

from classifier.vocabulary import HealthName
from models.vocabulary import RunState, Trigger
from tests.faults.conftest import LEASE_S, Drill, tell
from tests.system.stack import until


def test_runs_outlive_a_crash_of_postgresql(drill: Drill) -> None:
    workers, beat = [drill.worker(lease_s=20), drill.worker(lease_s=20)], drill.installation.start_beat()
    accounts = {f"account-{n}": drill.connect_and_run(f"account-{n}") for n in range(6)}
    for account, connection_id in accounts.items():
        drill.run_in_its_middle(account, connection_id)
    _wait_for_the_disk()

    drill.postgres.restart(immediate=True)
    for account in accounts:
        drill.turnstile.let_through(account)
    for connection_id in accounts.values():
        drill.wait_for_runs(connection_id, 2)
    told = {account: [state.value for state in drill.states(c)] for account, c in accounts.items()}
    tell(f"PostgreSQL crashed in mid-run: {told}")
    for connection_id in accounts.values():
        assert drill.installation.run_now(connection_id).state is RunState.SUCCEEDED
        assert RunState.LOST not in drill.states(connection_id)
        assert RunState.FAILED not in drill.states(connection_id)
        assert drill.installation.health(connection_id).name is HealthName.HEALTHY

    assert all(program.is_alive for program in (*workers, beat))
    assert "Traceback" not in "".join(worker.log for worker in workers)


def test_a_run_whose_page_finds_no_database_is_interrupted_and_made_again(drill: Drill) -> None:
    worker = drill.worker(lease_s=30)
    connection_id = drill.connect_and_run("north")
    drill.run_in_its_middle("north", connection_id)
    _wait_for_the_disk()

    drill.postgres.stop(immediate=True)
    drill.turnstile.let_through("north")
    worker.wait_for_log("run.stopped")
    drill.postgres.start()
    interrupted = drill.ended(connection_id, RunState.INTERRUPTED)
    again = drill.installation.run_after(connection_id, interrupted.run_seq)

    assert interrupted.reason == "database_away"
    assert (again.trigger, again.state) == (Trigger.RECOVERY, RunState.SUCCEEDED)
    assert worker.is_alive


def test_after_a_long_absence_of_postgresql_living_workers_are_not_taken_for_dead(drill: Drill) -> None:
    worker = drill.worker()
    connection_id = drill.connect_and_run("north")
    drill.run_in_its_middle("north", connection_id)
    _wait_for_the_disk()

    drill.postgres.stop(immediate=True)
    time.sleep(LEASE_S * 2)  # the fault itself: for longer than a lease there is nobody to renew it with
    drill.postgres.start()
    ended = until(lambda: drill.states(connection_id)[1:] or None, "the run ends", more=drill.installation.logs)
    drill.turnstile.let_through("north")

    assert ended == [RunState.INTERRUPTED]
    assert drill.installation.health(connection_id).name is HealthName.HEALTHY
    assert drill.ended(connection_id, RunState.SUCCEEDED, after=2).run_seq > 2
    assert worker.is_alive


def test_a_commit_whose_answer_was_lost_is_asked_after(drill: Drill) -> None:
    """The server commits, waits for a standby that does not exist, and crashes before it can say so."""
    drill.turnstile.pages = 1
    worker = drill.worker(lease_s=60)
    connection_id = drill.connect_and_run("north")
    drill.run_in_its_middle("north", connection_id)
    _wait_for_the_disk()
    _set_up(drill, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    try:
        drill.turnstile.let_through("north")
        with psycopg.connect(drill.installation.database_url, autocommit=True) as db:
            until(lambda: _is_a_run_being_ended(db), "the run is being ended", more=drill.installation.logs)
        drill.postgres.restart(immediate=True)
    finally:
        _set_up(drill, "ALTER SYSTEM RESET synchronous_standby_names")
    worker.wait_for_log("run_seq=2")

    ended = drill.installation.run_after(connection_id, 1)
    assert (ended.run_seq, ended.state, ended.late_result) == (2, RunState.SUCCEEDED, None)
    assert "run.fenced" not in worker.log
    assert drill.turnstile.executions("north") == 2


def _set_up(drill: Drill, statement: LiteralString) -> None:
    with psycopg.connect(drill.installation.database_url, autocommit=True) as db:
        db.execute(statement)
        db.execute("SELECT pg_reload_conf()")


def _is_a_run_being_ended(db: psycopg.Connection[Any]) -> bool:
    found = db.execute("SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%DELETE FROM run r%'")
    return found.rowcount > 0


def _wait_for_the_disk() -> None:
    """A claim is written to the disk a moment after its commit; a crash before that would make it undone."""
    time.sleep(1.0)
