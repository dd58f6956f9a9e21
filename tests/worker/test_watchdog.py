import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from classifier.vocabulary import HealthName
from models import history, runs
from models.errors import DatabaseUnreachableError
from models.vocabulary import RunState, Trigger
from tests.worker.conftest import claimed, connect
from worker import watchdog
from worker.in_flight import StopReason
from worker.station import Station
from worker.watchdog import EXIT_STUCK, SOFT_AFTER_S, Watchdog


@pytest.fixture
def exits() -> list[int]:
    return []


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The dead-man's timer, written down: the test's own process must outlive it."""
    pushed: list[float] = []
    monkeypatch.setattr(signal, "setitimer", lambda _which, seconds: pushed.append(seconds))
    return iter([pushed]).__next__()  # type: ignore[return-value]  # a fixture that returns is one that yields once


def test_a_run_within_its_budget_is_left_alone(offline: Station, exits: list[int]) -> None:
    with offline.in_flight.entered(claimed(), deadline=time.monotonic() + 60) as entry:
        Watchdog(offline, exit_process=exits.append).look()
        assert not entry._was_interrupted
    assert exits == []


def test_a_run_past_its_budget_is_interrupted_before_anything_harder(offline: Station, exits: list[int]) -> None:
    is_in = threading.Event()
    ended: list[BaseException] = []

    def run() -> None:
        try:
            with offline.in_flight.entered(claimed(), deadline=time.monotonic() - SOFT_AFTER_S - 0.1):
                is_in.set()
                while True:
                    time.sleep(0.001)
        except BaseException as error:  # noqa: BLE001 - looked at below
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert is_in.wait(10)
    Watchdog(offline, exit_process=exits.append).look()
    thread.join(10)

    assert [type(error).__name__ for error in ended] == ["DeadlineInterrupt"]
    assert exits == []


def test_a_stuck_run_is_recorded_its_neighbours_are_due_at_once_and_the_process_exits(
    station: Station, exits: list[int]
) -> None:
    entries = []
    for name in ("stuck", "neighbour"):
        connection_id = connect(station, "plain", {"token": f"token-of-{name}"}, {"port": 1})
        with station.database.transaction() as db:
            run = runs.claim(db, connection_id, worker_id=station.lease.worker_id)
        assert run is not None
        entries.append(run)
    stuck, neighbour = entries
    long_ago = time.monotonic() - station.settings.hard_after_s - 1
    with (
        station.in_flight.entered(stuck, deadline=long_ago) as entry,
        station.in_flight.entered(neighbour, deadline=time.monotonic() + 60),
    ):
        entry._was_interrupted = True  # as code in C: it does not see the interrupt
        Watchdog(station, exit_process=exits.append).look()

    with station.database.transaction() as db:
        ended = history.get_run(db, stuck.key.connection_id, 1)
        beside = history.get_run(db, neighbour.key.connection_id, 1)
        again = runs.claim(db, neighbour.key.connection_id, worker_id=station.lease.worker_id)
    assert ended is not None
    assert beside is not None
    assert again is not None
    assert (ended.state, ended.name) == (RunState.FAILED, HealthName.EXECUTION_TIMEOUT)
    assert (beside.state, beside.reason, again.trigger) == (RunState.INTERRUPTED, "neighbour_stuck", Trigger.RECOVERY)
    assert exits == [EXIT_STUCK]


def test_nothing_begins_or_goes_on_beside_a_stuck_run_before_its_neighbours_are_recorded_as_ended(
    offline: Station, exits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is recorded as ended is begun elsewhere: a neighbour that still called its vendor would be the second."""
    told: list[tuple[StopReason | None, bool]] = []
    offline.lease._trust_from(time.monotonic())
    assert offline.lease.is_held

    def begin() -> Any:
        told.append((neighbour.stop, offline.lease.is_held))
        raise DatabaseUnreachableError("h:1/d", "refused")

    monkeypatch.setattr(offline.control, "transaction", begin)
    with (
        offline.in_flight.entered(claimed(), deadline=time.monotonic() - 10_000) as entry,
        offline.in_flight.entered(claimed(), deadline=time.monotonic() + 60) as neighbour,
    ):
        entry._was_interrupted = True
        Watchdog(offline, exit_process=exits.append).look()
    assert told == [(StopReason.NEIGHBOUR_STUCK, False)]
    assert exits == [EXIT_STUCK]


@pytest.mark.parametrize(
    ("closed_for_s", "codes"),
    [
        pytest.param(0.0, [], id="it has just come back"),
        pytest.param(10_000.0, [EXIT_STUCK], id="its end cannot be stored for hours"),
    ],
)
def test_a_run_that_writes_its_end_down_is_not_stuck_in_its_code(
    offline: Station, exits: list[int], monkeypatch: pytest.MonkeyPatch, closed_for_s: float, codes: list[int]
) -> None:
    monkeypatch.setattr(offline.control, "transaction", _away)
    with offline.in_flight.entered(claimed(), deadline=time.monotonic() - 20_000) as entry:
        entry.close()
        assert entry.closed_at is not None
        entry.closed_at -= closed_for_s
        Watchdog(offline, exit_process=exits.append).look()
    assert exits == codes


def _away() -> Any:
    raise DatabaseUnreachableError("h:1/d", "refused")


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(psycopg.OperationalError("gone"), id="the connection broke"),
        pytest.param(DatabaseUnreachableError("h:1/d", "refused"), id="none could be had"),
        pytest.param(RuntimeError("a bug"), id="a bug of ours"),
    ],
)
def test_the_process_exits_though_nothing_can_be_recorded(
    offline: Station, exits: list[int], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise error

    monkeypatch.setattr(offline.control, "transaction", fail)
    with offline.in_flight.entered(claimed(), deadline=time.monotonic() - 10_000) as entry:
        entry._was_interrupted = True
        Watchdog(offline, exit_process=exits.append).look()
    assert exits == [EXIT_STUCK]


def test_the_watchdog_outlives_what_goes_wrong_in_a_look_and_keeps_pushing_the_timer_back(
    offline: Station, monkeypatch: pytest.MonkeyPatch, timer: list[float]
) -> None:
    looks = threading.Semaphore(0)

    def broken(_by_s: float) -> Any:
        looks.release()
        raise RuntimeError

    monkeypatch.setattr(watchdog, "_TICK_S", 0.01)
    monkeypatch.setattr(offline.in_flight, "overdue", broken)
    dog = Watchdog(offline, exit_process=lambda code: None)
    dog.start()
    for _ in range(3):
        assert looks.acquire(timeout=10)
    dog.stop()

    assert timer.count(offline.settings.dead_man_s) >= 3
    assert timer[-1] == 0, "a stopped watchdog leaves the timer armed"


def test_the_timer_is_armed_before_anything_can_run(
    offline: Station, monkeypatch: pytest.MonkeyPatch, timer: list[float]
) -> None:
    """Code that holds the interpreter within the first second would keep the watchdog from ever arming it."""
    dog = Watchdog(offline)
    monkeypatch.setattr(dog._thread, "start", lambda: None)
    dog.start()
    assert timer == [offline.settings.dead_man_s]
