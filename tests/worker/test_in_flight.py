import threading
import time
from collections.abc import Callable

import pytest

from models.runs import RunKey
from tests.worker.conftest import claimed
from worker.in_flight import DeadlineInterrupt, InFlight, RunInFlight, StopReason
from worker.wire.errors import DeadlineReached


def a_run_in_a_thread(body: Callable[[RunInFlight], None]) -> tuple[InFlight, list[BaseException], threading.Thread]:
    """Run the body in a thread of its own, as a run; what ends it is in the list."""
    registry, met, is_in = InFlight(), list[BaseException](), threading.Event()

    def run() -> None:
        with registry.entered(claimed(), deadline=0.0) as entry:
            is_in.set()
            try:
                body(entry)
            except BaseException as error:  # noqa: BLE001 - what it was is looked at
                met.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert is_in.wait(10)
    return registry, met, thread


def test_a_loop_that_swallows_every_exception_is_interrupted() -> None:
    def swallow(_entry: RunInFlight) -> None:
        while True:
            try:  # noqa: SIM105 - as such code is written
                sum(range(10))
            except Exception:  # noqa: BLE001, S110 - the fault under test
                pass

    registry, met, thread = a_run_in_a_thread(swallow)
    (entry,) = registry.all()

    assert entry.interrupt()
    thread.join(10)
    assert not thread.is_alive()
    assert [type(error) for error in met] == [DeadlineInterrupt]
    assert isinstance(met[0], DeadlineReached)
    assert not isinstance(met[0], Exception)
    assert str(met[0])


def test_a_run_is_interrupted_once() -> None:
    go_on = threading.Event()
    registry, met, thread = a_run_in_a_thread(lambda _entry: wait_in_python(go_on))
    (entry,) = registry.all()

    assert [entry.interrupt(), entry.interrupt()] == [True, False]
    thread.join(10)
    assert len(met) == 1


def wait_in_python(go_on: threading.Event) -> None:
    while not go_on.is_set():
        time.sleep(0.001)


def test_no_interrupt_is_raised_after_the_end_of_what_may_be_interrupted() -> None:
    """Races the two a thousand times: whichever comes first, what stands after `close` is never interrupted."""
    raised_after_close = 0
    for _ in range(1000):
        registry, go, is_in = InFlight(), threading.Event(), threading.Event()
        places: list[str] = []

        def run() -> None:
            with registry.entered(claimed(), deadline=0.0) as entry:  # noqa: B023 - ends within the loop's body
                is_in.set()  # noqa: B023
                try:
                    try:
                        go.wait(10)  # noqa: B023
                    finally:
                        entry.close()
                except DeadlineInterrupt:
                    places.append("while it might")  # noqa: B023
                try:
                    for _ in range(50):
                        pass
                except DeadlineInterrupt:
                    places.append("after")  # noqa: B023

        thread = threading.Thread(target=run)
        thread.start()
        assert is_in.wait(10)
        (entry,) = registry.all()
        go.set()
        entry.interrupt()
        thread.join(10)
        raised_after_close += "after" in places
    assert raised_after_close == 0


def test_a_run_is_told_to_stop_once_and_its_call_is_cut() -> None:
    registry, told = InFlight(), list[str]()
    with registry.entered(claimed(), deadline=0.0) as entry:
        entry.abort = told.append
        registry.stop_all(StopReason.DRAINING)
        registry.stop_all(StopReason.LEASE_LOST)
        assert entry.stop is StopReason.DRAINING
    assert told == [StopReason.DRAINING, StopReason.DRAINING]


def test_only_what_is_no_longer_ours_is_stopped() -> None:
    registry = InFlight()
    mine, taken = claimed(), claimed()
    with registry.entered(mine, deadline=0.0) as kept, registry.entered(taken, deadline=0.0) as lost:
        registry.stop_all_of_others(mine.key.worker_id)
        assert (kept.stop, lost.stop) == (None, StopReason.LEASE_LOST)


def test_a_key_that_comes_again_ends_the_run_that_has_it() -> None:
    registry, run = InFlight(), claimed()
    other = RunKey(connection_id=run.key.connection_id, run_seq=2, worker_id=run.key.worker_id)
    with registry.entered(run, deadline=0.0) as entry:
        assert not registry.supersede(other)
        assert entry.stop is None
        assert registry.supersede(run.key)
        assert entry.stop is StopReason.SUPERSEDED


@pytest.mark.parametrize(("by_s", "is_overdue"), [(5.0, True), (60.0, False)], ids=["past its budget", "within it"])
def test_a_run_is_overdue_by_the_monotonic_clock(by_s: float, is_overdue: bool) -> None:
    registry = InFlight()
    with registry.entered(claimed(), deadline=time.monotonic() - 30):
        assert bool(registry.overdue(by_s)) is is_overdue
