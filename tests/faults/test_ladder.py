"""Each rung of the deadline ladder, with code on it that the rung before cannot end (docs/decisions/0006)."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from classifier.vocabulary import HealthName
from models.history import RunView
from models.vocabulary import RunState
from tests.faults.conftest import Drill, tell
from tests.faults.turnstile import Reply
from tests.system.stack import Program, until

BUDGET_S = 2
Worker = Callable[..., Program]


@pytest.fixture
def worker(drill: Drill, _plugin: None) -> Worker:
    return drill.worker


def test_a_drip_is_ended_at_the_budget(drill: Drill, worker: Worker) -> None:
    process = worker()
    drill.turnstile.answer = lambda _call: Reply(drip_s=0.3, body=b'{"items": []}' + b" " * 1000)

    run = drill.installation.run_after(drill.connect("north", timeout_secs=BUDGET_S), 0)

    assert (run.name, run.reason) == (HealthName.EXECUTION_TIMEOUT, "budget_spent")
    assert _overrun_s(run) < 2
    assert process.is_alive


def test_code_that_swallows_exceptions_is_ended_from_outside(drill: Drill, worker: Worker) -> None:
    process = worker(hard_after_s=30)
    connection_id = _stuck(drill, "swallow_exceptions")

    run = drill.installation.run_after(connection_id, 0)

    assert (run.name, run.reason) == (HealthName.EXECUTION_TIMEOUT, "budget_spent")
    assert "run.interrupted_at_deadline" in process.log
    assert process.is_alive


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("swallow_everything", id="code that swallows everything"),
        pytest.param("wait_in_c", id="code that waits in C"),
    ],
)
def test_a_run_that_cannot_be_ended_costs_its_process_but_no_neighbour(drill: Drill, worker: Worker, how: str) -> None:
    process = worker()
    neighbour = drill.connect_and_run("neighbour")
    drill.run_in_its_middle("neighbour", neighbour)
    connection_id = _stuck(drill, how)

    run = drill.installation.run_after(connection_id, 0)
    interrupted = drill.ended(neighbour, RunState.INTERRUPTED)
    until(lambda: not process.is_alive, "the process ends")
    drill.turnstile.let_through("neighbour")
    worker()

    assert (run.name, run.reason) == (HealthName.EXECUTION_TIMEOUT, "budget_spent")
    assert interrupted.reason == "neighbour_stuck"
    assert "run.stuck" in process.log
    assert drill.installation.run_after(neighbour, interrupted.run_seq).state is RunState.SUCCEEDED


def test_code_that_never_lets_the_interpreter_go_is_ended_by_the_kernel(drill: Drill, worker: Worker) -> None:
    process = worker(dead_man_s=4)
    neighbour = drill.connect_and_run("neighbour")
    connection_id = _stuck(drill, "hold_the_interpreter", budget_s=60)
    with drill.installation.database.transaction() as db:  # its fourth time: the next worker need not die of it too
        db.execute(b"UPDATE connection_sched SET crash_streak = 3 WHERE connection_id = %s", (connection_id,))

    until(lambda: not process.is_alive, "the process ends", more=lambda: process.log[-2000:])
    drill.installation.request_run(neighbour)
    worker()
    lost = drill.ended(connection_id, RunState.LOST)

    assert (lost.name, lost.reason) == (HealthName.INTERNAL_ERROR, "worker_lost")
    assert drill.installation.run_after(neighbour, 1).state is RunState.SUCCEEDED


def test_code_that_leaves_costs_its_process_and_is_told(drill: Drill, worker: Worker) -> None:
    """`os._exit`, as a crash in C: no handler runs, no lease is given back."""
    process = worker()
    neighbour = drill.connect_and_run("neighbour")
    drill.run_in_its_middle("neighbour", neighbour)
    connection_id = _stuck(drill, "leave", budget_s=60)
    with drill.installation.database.transaction() as db:  # its fourth time: the next worker need not die of it too
        db.execute(b"UPDATE connection_sched SET crash_streak = 3 WHERE connection_id = %s", (connection_id,))
    until(lambda: not process.is_alive, "the process ends")
    drill.turnstile.let_through("neighbour")
    worker()

    lost = drill.ended(connection_id, RunState.LOST)
    assert (lost.name, lost.reason) == (HealthName.INTERNAL_ERROR, "worker_lost")
    assert drill.installation.run_after(neighbour, 2).state is RunState.SUCCEEDED


@pytest.mark.parametrize(
    ("how", "end"),
    [
        pytest.param("fork", signal.SIGTERM, id="that stays, worker told to end", marks=pytest.mark.soak),
        pytest.param("fork", signal.SIGKILL, id="that stays, worker killed"),
        pytest.param("fork_and_come_back", signal.SIGTERM, id="that comes back into the run"),
        pytest.param("fork_and_exit", signal.SIGTERM, id="that ends in the middle of the run", marks=pytest.mark.soak),
    ],
)
def test_a_forked_process_neither_speaks_for_its_worker_nor_outlives_it(
    drill: Drill, worker: Worker, how: str, end: int
) -> None:
    process = worker()
    neighbour = drill.connect_and_run("neighbour")
    connection_id = _stuck(drill, how, budget_s=60)
    run = drill.installation.run_after(connection_id, 0)
    process.wait_for_log("forked ")
    forked = int(process.log.partition("forked ")[2].split()[0])
    again = [drill.installation.run_now(neighbour).state for _ in range(10)]  # over what is not spoilt

    process.signal(end)
    until(lambda: not process.is_alive, "the worker ends")
    until(lambda: not _is_running(forked), "the forked process ends, too", within_s=20)
    until(lambda: not _connections_left(drill), "PostgreSQL has no client of theirs", within_s=20)

    assert run.state is RunState.SUCCEEDED
    assert drill.states(connection_id) == [RunState.SUCCEEDED]
    assert set(again) == {RunState.SUCCEEDED}
    assert "Traceback" not in process.log.replace("fork_and_exit", "")


def test_code_that_closes_our_database_connections_hurts_nobody_for_long(drill: Drill, worker: Worker) -> None:
    process = worker()
    neighbour = drill.connect_and_run("neighbour")
    drill.run_in_its_middle("neighbour", neighbour)
    connection_id = _stuck(drill, "close_the_database", budget_s=60)
    process.wait_for_log("closed ")
    drill.turnstile.let_through("neighbour")

    drill.installation.run_after(connection_id, 0)
    assert drill.installation.run_after(neighbour, 1).name in {HealthName.HEALTHY, None}
    assert drill.installation.run_now(neighbour).state is RunState.SUCCEEDED
    assert RunState.LOST not in drill.states(connection_id) + drill.states(neighbour)
    assert process.is_alive


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_ladder_holds_its_times_with_the_settings_of_a_real_worker(drill: Drill, worker: Worker) -> None:
    """Soft: what a vendor or Python code holds. Hard: what waits in C; fifteen seconds later, as ever."""
    dripping = Reply(drip_s=0.2, body=b" " * 10_000)
    drill.turnstile.answer = lambda call: dripping if call.vendor == "turnstile" else None
    process = worker(hard_after_s=15, lease_s=20)
    soft = [drill.connect(f"drip-{n}", timeout_secs=BUDGET_S) for n in range(15)]
    soft_s = sorted(_overrun_s(drill.installation.run_after(connection_id, 0)) for connection_id in soft)
    stuck = _stuck(drill, "wait_in_c", budget_s=10)  # time enough to get there
    hard = [drill.installation.run_after(stuck, 0)]
    for _ in range(2):  # each costs the worker
        until(lambda process=process: not process.is_alive, "the process ends")  # type: ignore[misc]
        process = worker(hard_after_s=15, lease_s=20)
        hard.append(drill.installation.run_now(stuck))
    hard_s = [_overrun_s(run, 10) for run in hard]

    pressed = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    tell(
        f"overrun of the deadline: soft {soft_s[-1]:.2f} s at most of {len(soft_s)}, hard {max(hard_s):.1f} s of"
        f" {len(hard_s)}; {pressed:.0f} processes wanted each processor"
    )
    assert {run.name for run in hard} == {HealthName.EXECUTION_TIMEOUT}
    assert soft_s[-1] <= 1.0 * pressed
    assert min(hard_s) > 14
    assert max(hard_s) <= 15 + 1.0 * pressed  # the watchdog's own step


def _is_running(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def _connections_left(drill: Drill) -> int:
    """Count what workers still have open at PostgreSQL."""
    with drill.installation.database.transaction() as db:
        found = db.execute(
            b"SELECT count(*) FROM pg_stat_activity"
            b" WHERE application_name LIKE 'connection-health%' AND datname = current_database()"
        ).fetchone()
    return int(found[0]) if found else 0


def _stuck(drill: Drill, how: str, *, budget_s: int = BUDGET_S) -> UUID:
    connection_id = drill.connect(how, vendor="gripped", options={"how": how}, timeout_secs=budget_s)
    drill.turnstile.wait_for(how)
    return connection_id


def _overrun_s(run: RunView, budget_s: int = BUDGET_S) -> float:
    assert run.finished_at is not None
    return (run.finished_at - run.started_at).total_seconds() - budget_s
