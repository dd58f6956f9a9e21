"""Workers that are told to end: a deploy, Ctrl-C, a service manager that signals the whole group."""

import signal
import time
from collections.abc import Callable

import pytest

from models.vocabulary import RunState, Trigger
from tests.faults.conftest import Drill, signal_group, tell
from tests.system.stack import Program, until


def _once(worker: Program) -> None:
    worker.signal(signal.SIGTERM)


def _twice(worker: Program) -> None:
    worker.signal(signal.SIGTERM)
    worker.wait_for_log("worker.draining")
    worker.signal(signal.SIGTERM)


def _group(worker: Program) -> None:
    signal_group(worker, signal.SIGTERM)


def _group_twice(worker: Program) -> None:
    signal_group(worker, signal.SIGTERM)
    worker.wait_for_log("worker.draining")
    signal_group(worker, signal.SIGTERM)


@pytest.mark.parametrize(
    "tell_to_end",
    [
        pytest.param(_once, id="the worker alone"),
        pytest.param(_twice, id="the worker alone, twice", marks=pytest.mark.soak),
        pytest.param(_group, id="the whole process group"),
        pytest.param(_group_twice, id="the whole process group, twice", marks=pytest.mark.soak),
    ],
)
def test_a_drain_ends_runs_at_once_and_the_next_worker_takes_them_up_at_once(
    drill: Drill, tell_to_end: Callable[[Program], None]
) -> None:
    worker = drill.worker()
    accounts = {f"account-{n}": drill.connect_and_run(f"account-{n}") for n in range(10)}
    for account, connection_id in accounts.items():
        drill.run_in_its_middle(account, connection_id)

    told_at = time.time()
    tell_to_end(worker)
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


@pytest.mark.soak
def test_a_supervisor_that_does_not_wait_for_the_drain_costs_a_lease(drill: Drill) -> None:
    """SIGTERM, and SIGKILL ten seconds later, where the drain may take longer: a wrong setting, and a common one."""
    worker, other = drill.worker(drain_s=60), drill.worker()
    accounts = {f"account-{n}": drill.connect_and_run(f"account-{n}") for n in range(8)}
    for account, connection_id in accounts.items():
        drill.run_in_its_middle(account, connection_id)
    with drill.installation.database.transaction() as db:
        mine = db.execute(
            b"SELECT count(*) FROM run r JOIN worker w USING (worker_id) WHERE w.pid = %s", (worker.pid,)
        ).fetchone()
    assert mine is not None

    worker.signal(signal.SIGTERM)
    worker.wait_for_log("worker.draining")
    time.sleep(10)
    assert worker.is_alive or not mine[0]
    worker.kill()
    killed_at = time.time()
    for account in accounts:
        drill.turnstile.let_through(account)
    for connection_id in accounts.values():
        until(
            lambda connection_id=connection_id: (
                drill.states(connection_id)[-1] is RunState.SUCCEEDED  # type: ignore[misc]
                and len(drill.states(connection_id)) > 1
            ),
            "each is run to its end",
        )
    lost = [state for connection_id in accounts.values() for state in drill.states(connection_id)].count(RunState.LOST)
    extra = sum(drill.turnstile.executions(account) for account in accounts) - 2 * len(accounts)
    tell(
        f"SIGTERM, then SIGKILL after 10 s: {lost} of {mine[0]} runs LOST, all made again"
        f" {time.time() - killed_at:.1f} s later; {extra} executions more at the vendor"
    )
    assert lost == mine[0] == extra
    assert other.stop() == 0


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
