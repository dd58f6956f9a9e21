"""Each rung of the deadline ladder, with code on it that the rung before cannot end (docs/decisions/0006)."""

from collections.abc import Callable
from uuid import UUID

import pytest

from classifier.vocabulary import HealthName
from models.history import RunView
from models.vocabulary import RunState
from tests.faults.conftest import Drill
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


def _stuck(drill: Drill, how: str, *, budget_s: int = BUDGET_S) -> UUID:
    connection_id = drill.connect(how, vendor="gripped", options={"how": how}, timeout_secs=budget_s)
    drill.turnstile.wait_for(how)
    return connection_id


def _overrun_s(run: RunView) -> float:
    assert run.finished_at is not None
    return (run.finished_at - run.started_at).total_seconds() - BUDGET_S
