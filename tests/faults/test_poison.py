"""A connection whose code ends every process that runs it: it is put by, and the others hardly notice."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from models.vocabulary import RunState
from tests.faults.conftest import Drill, tell
from tests.faults.turnstile import Reply
from tests.system.stack import Program

WORKERS: Final = 3
OTHERS: Final = 30
PHASE_S: Final = 45.0
MOST_DEATHS: Final = 4
"""The first, and three retries: then it waits for minutes, though its interval is the shortest there is."""


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("_plugin")
def test_a_connection_that_kills_its_workers_costs_the_others_a_tenth_at_most(drill: Drill) -> None:
    """Measured in one run: the same connections for the same time, without and with it."""
    drill.turnstile.answer = lambda call: Reply(wait_s=0.2) if call.vendor == "turnstile" else None
    with _supervised(drill, [drill.worker() for _ in range(WORKERS)]) as workers:
        others = [drill.connect(f"account-{n}", refresh_interval_secs=10) for n in range(OTHERS)]
        for connection_id in others:
            drill.installation.run_after(connection_id, 0)
        without = _succeeded_in(drill, PHASE_S)
        poison = drill.connect("leave", vendor="gripped", options={"how": "leave"}, refresh_interval_secs=10)
        beside = _succeeded_in(drill, PHASE_S)
        deaths = sum(not program.is_alive for program in drill.installation.programs)
        view = drill.installation.view(poison)

    lost = [state for connection_id in others for state in drill.states(connection_id)].count(RunState.LOST)
    streaks = max(drill.installation.view(connection_id).crash_streak for connection_id in others)
    tell(
        f"poison: {deaths} processes died of it, {lost} runs of others were LOST with them and made again;"
        f" {beside} runs of others beside it, {without} without: {beside / without:.0%}"
    )
    assert deaths == MOST_DEATHS
    assert set(drill.states(poison)) == {RunState.LOST}
    assert len(drill.states(poison)) == MOST_DEATHS
    assert (view.next_due_at - drill.installation.health(poison).classified_at).total_seconds() > 60
    assert streaks < MOST_DEATHS, "an innocent was put by, too"
    assert beside >= 0.9 * without
    assert len(workers) == WORKERS


@contextmanager
def _supervised(drill: Drill, workers: list[Program]) -> Iterator[list[Program]]:
    """Start another worker in the place of each that ends, as whoever runs them does."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            for place, worker in enumerate(workers):
                if not worker.is_alive:
                    workers[place] = drill.installation._start("worker", "--without-mingle", "--without-gossip")

    supervisor = threading.Thread(target=look, daemon=True)
    supervisor.start()
    try:
        yield workers
    finally:
        over.set()
        supervisor.join()


def _succeeded_in(drill: Drill, seconds: float) -> int:
    """Return how many runs of the others ended well within so many seconds from now."""
    query = b"SELECT count(*) FROM run_history WHERE state = 'SUCCEEDED' AND vendor = 'turnstile'"
    with drill.installation.database.transaction() as db:
        before = db.execute(query).fetchone()
    time.sleep(seconds)
    with drill.installation.database.transaction() as db:
        after = db.execute(query).fetchone()
    assert before is not None
    assert after is not None
    return int(after[0] - before[0])
