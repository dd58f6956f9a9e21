"""Workers that are told to end: a deploy, Ctrl-C, a service manager that signals the whole group."""

import signal
import time

import pytest

from models.vocabulary import RunState, Trigger
from tests.faults.conftest import Drill, signal_group, tell
from tests.system.stack import until


@pytest.mark.parametrize(
    "to_group", [pytest.param(False, id="the worker alone"), pytest.param(True, id="the whole process group")]
)
def test_a_drain_ends_runs_at_once_and_the_next_worker_takes_them_up_at_once(drill: Drill, to_group: bool) -> None:
    worker = drill.worker()
    accounts = {f"account-{n}": drill.connect_and_run(f"account-{n}") for n in range(10)}
    for account, connection_id in accounts.items():
        drill.run_in_its_middle(account, connection_id)

    told_at = time.time()
    if to_group:
        signal_group(worker, signal.SIGTERM)
    else:
        worker.signal(signal.SIGTERM)
    until(lambda: not worker.is_alive, "the worker ends")
    drained_s = time.time() - told_at
    for account in accounts:
        drill.turnstile.let_through(account)
    next_worker = drill.worker()
    ready_at = time.time()
    again = [drill.installation.run_after(connection_id, 2) for connection_id in accounts.values()]
    started_s = max(run.started_at.timestamp() for run in again) - ready_at
    tell(f"drained 10 runs in {drained_s:.1f} s; the next worker began the last {started_s:.1f} s after its start")

    for connection_id in accounts.values():
        assert drill.states(connection_id) == [RunState.SUCCEEDED, RunState.INTERRUPTED, RunState.SUCCEEDED]
    assert {run.trigger for run in again} == {Trigger.RECOVERY}
    assert worker.log.count("run.stopped") == len(accounts), "they were not told, but ended from outside"
    assert "Traceback" not in worker.log
    assert next_worker.stop() == 0


def test_a_drain_with_time_lets_runs_finish_and_begins_none(drill: Drill) -> None:
    worker = drill.worker(drain_s=60)
    connection_id, waiting = drill.connect_and_run("north"), drill.connect_and_run("south")
    drill.run_in_its_middle("north", connection_id)

    worker.signal(signal.SIGTERM)
    worker.wait_for_log("worker.draining")
    drill.installation.request_run(waiting)
    drill.turnstile.let_through("north")
    until(lambda: not worker.is_alive, "the worker ends", more=lambda: worker.log[-3000:])

    assert drill.states(connection_id) == [RunState.SUCCEEDED, RunState.SUCCEEDED]
    assert drill.states(waiting) == [RunState.SUCCEEDED]
    drill.worker()
    assert drill.installation.run_after(waiting, 1).state is RunState.SUCCEEDED


def test_hints_that_a_draining_worker_had_fetched_are_not_waited_for(drill: Drill) -> None:
    """With one slot, hints for others lie in the worker's hands; a lost hint would be given again after a minute."""
    worker = drill.worker("-c", "1")
    busy = drill.connect_and_run("busy")
    others = [drill.connect_and_run(f"other-{n}") for n in range(5)]
    drill.run_in_its_middle("busy", busy)
    for connection_id in others:
        drill.installation.request_run(connection_id)
    until(lambda: _hinted(drill) >= len(others), "all are hinted")

    worker.signal(signal.SIGTERM)
    until(lambda: not worker.is_alive, "the worker ends")
    drill.turnstile.let_through("busy")
    drill.worker()
    again = [drill.installation.run_after(connection_id, 1, within_s=45) for connection_id in others]

    assert all(run.state is RunState.SUCCEEDED for run in again)


@pytest.mark.usefixtures("_plugin")
def test_what_stops_at_nothing_costs_the_drain_seconds_and_no_run(drill: Drill) -> None:
    """Code that waits in C does not hear of a drain: its record is ended all the same, and the process with it."""
    worker = drill.worker()
    connection_id = drill.connect("stuck", vendor="gripped", options={"how": "wait_in_c"}, timeout_secs=600)
    worker.wait_for_log("gripped by wait_in_c")

    told_at = time.time()
    worker.signal(signal.SIGTERM)
    interrupted = drill.ended(connection_id, RunState.INTERRUPTED)
    until(lambda: not worker.is_alive, "the worker ends")
    tell(f"drained what cannot be told to stop in {time.time() - told_at:.1f} s")

    assert interrupted.reason == "draining"
    assert drill.installation.view(connection_id).health is None


def _hinted(drill: Drill) -> int:
    with drill.installation.database.transaction() as db:
        row = db.execute(b"SELECT count(*) FROM connection_sched WHERE hinted_at IS NOT NULL").fetchone()
    return int(row[0]) if row else 0
