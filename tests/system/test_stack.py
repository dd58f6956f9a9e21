"""The whole, by the commands that an operator gives: celery's worker and beat, and a vendor to read."""

import signal
from collections.abc import Iterator

import pytest

from classifier.vocabulary import HealthName
from models.vocabulary import RunState, Trigger
from simulator.server import Simulator
from tests.system.stack import ROOT, Installation


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


def test_a_connection_is_run_when_it_is_due_and_when_it_is_asked_for(
    installation: Installation, simulator: Simulator
) -> None:
    settings = {"vendors_dir": ROOT / "simulator" / "definitions"}
    worker, beat = installation.start_worker(**settings), installation.start_beat(**settings)
    connection_id = installation.connect(
        "plain", {"token": "a-token-of-the-tests"}, {"port": simulator.port, "records": 250}
    )

    first = installation.run_after(connection_id, 0)
    second = installation.run_now(connection_id)

    assert (first.trigger, first.state, first.name) == (Trigger.CREDENTIALS, RunState.SUCCEEDED, HealthName.HEALTHY)
    assert (second.trigger, second.name, second.records_new) == (Trigger.MANUAL, HealthName.HEALTHY, 0)
    assert worker.stop() == 0
    assert beat.stop() == 0
    assert "Traceback" not in worker.log + beat.log


def test_a_worker_that_is_killed_leaves_the_work_to_the_next(installation: Installation, simulator: Simulator) -> None:
    settings = {"vendors_dir": ROOT / "simulator" / "definitions"}
    installation.start_worker(**settings).kill()
    connection_id = installation.connect(
        "plain", {"token": "a-token-of-the-tests"}, {"port": simulator.port, "records": 10}
    )
    installation.start_worker(**settings)

    assert installation.run_after(connection_id, 0).name is HealthName.HEALTHY
    assert [program.is_alive for program in installation.programs] == [False, True]
    installation.programs[1].signal(signal.SIGTERM)
