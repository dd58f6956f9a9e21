import threading
import time
from collections.abc import Sequence
from uuid import UUID

import pytest
import redis

from models import runs
from models.runs import ClaimedRun
from models.vocabulary import RunState
from tests.worker.conftest import connect, settings_of
from worker import dispatcher
from worker.dispatcher import Dispatcher, Reaper, dispatch_due
from worker.hints import Hints
from worker.station import Station


class Wire(Hints):
    """Hints that are written down, over a Redis that may be away. waiting: what is in the queue already."""

    def __init__(self, *, waiting: int = 0, away: bool = False, breaks: bool = False) -> None:
        self.sent: list[UUID] = []
        self.waiting, self.away, self.breaks, self.is_closed = waiting, away, breaks, False
        self.is_full = False

    def send(self, connection_ids: Sequence[UUID]) -> None:  # type: ignore[override]  # a list is all that it gets
        if self.away or self.breaks:
            raise redis.ConnectionError
        self.sent += connection_ids

    def backlog(self) -> int:
        if self.away:
            raise redis.ConnectionError
        return self.waiting

    def probe(self) -> None:
        if self.away or self.is_full:
            raise redis.exceptions.OutOfMemoryError

    def close(self) -> None:
        self.is_closed = True


def due(station: Station, count: int) -> list[UUID]:
    return [connect(station, "plain", {"token": f"token-{n:08d}"}, {"port": 1}) for n in range(count)]


def hinted(station: Station) -> int:
    with station.database.transaction() as db:
        row = db.execute(b"SELECT count(*) FROM connection_sched WHERE hinted_at IS NOT NULL").fetchone()
    assert row is not None
    return int(row[0])


def test_what_is_due_is_hinted_once(station: Station) -> None:
    ids, wire = due(station, 3), Wire()

    assert dispatch_due(station.control, wire, station.settings) == 3
    assert dispatch_due(station.control, wire, station.settings) == 0
    assert sorted(wire.sent) == sorted(ids)


@pytest.mark.parametrize(
    ("waiting", "sent"),
    [
        pytest.param(0, 4, id="an empty queue"),
        pytest.param(8, 2, id="room for two"),
        pytest.param(10, 0, id="a full queue"),
        pytest.param(99, 0, id="one that others filled"),
    ],
)
def test_no_more_is_hinted_than_the_queue_may_hold(station: Station, waiting: int, sent: int) -> None:
    due(station, 4)
    settings = station.settings.model_copy(update={"queue_limit": 10})

    assert dispatch_due(station.control, Wire(waiting=waiting), settings) == sent
    assert hinted(station) == sent


def test_hints_that_could_not_be_sent_count_as_not_given(station: Station) -> None:
    due(station, 3)

    with pytest.raises(redis.ConnectionError):
        dispatch_due(station.control, Wire(breaks=True), station.settings)

    assert hinted(station) == 0
    assert dispatch_due(station.control, Wire(), station.settings) == 3


def make(station: Station, wire: Wire) -> tuple[Dispatcher, list[ClaimedRun]]:
    executed: list[ClaimedRun] = []

    def execute(_station: Station, run: ClaimedRun) -> None:
        executed.append(run)

    return Dispatcher(station, wire, Reaper(station), execute=execute), executed


def tick(loop: Dispatcher) -> None:
    """Do once, in turn, what the two loops do."""
    loop.hint()
    loop.look_after()


def end(loop: Dispatcher) -> None:
    """Stop, and wait for the runs, which a worker's own end does not."""
    loop.stop()
    if loop._pool is not None:
        loop._pool.shutdown(wait=True)


def test_with_redis_away_for_long_runs_are_claimed_without_it_as_many_as_there_are_slots(station: Station) -> None:
    due(station, 5)
    station.settings = station.settings.model_copy(update={"concurrency": 3, "degraded_after_s": 0.0})
    wire = Wire(away=True)
    loop, executed = make(station, wire)

    tick(loop)
    end(loop)

    assert len(executed) == 3
    assert wire.is_closed


def test_with_redis_away_for_a_moment_nothing_is_claimed(station: Station) -> None:
    due(station, 2)
    loop, executed = make(station, Wire(away=True))

    tick(loop)
    end(loop)

    assert executed == []


def test_redis_that_came_back_starts_the_count_anew(station: Station) -> None:
    due(station, 2)
    wire = Wire(away=True)
    loop, executed = make(station, wire)
    tick(loop)
    wire.away = False
    tick(loop)
    station.settings = station.settings.model_copy(update={"degraded_after_s": 60.0})
    wire.away = True
    wire.sent.clear()
    tick(loop)
    assert executed == []
    assert loop._without_redis_since is not None
    loop._without_redis_since -= 61.0
    with station.database.transaction() as db:
        db.execute(b"UPDATE connection_sched SET next_due_at = now()")
    tick(loop)
    end(loop)
    assert len(executed) == 2


def test_redis_that_answers_and_takes_nothing_is_away_still(station: Station) -> None:
    """Full: what is waiting can be asked, and with nothing to send there is nothing that fails."""
    station.settings = station.settings.model_copy(update={"degraded_after_s": 0.0})
    wire = Wire(away=True)
    loop, executed = make(station, wire)
    tick(loop)
    wire.away, wire.is_full = False, True
    tick(loop)
    due(station, 2)
    tick(loop)
    end(loop)

    assert wire.sent == []
    assert len(executed) == 2


def test_whoever_waits_for_redis_does_not_keep_the_dead_from_being_noticed(station: Station) -> None:
    connection_id = a_dead_workers_run(station)
    asked, answer = threading.Event(), threading.Event()

    class Frozen(Wire):
        def backlog(self) -> int:
            asked.set()
            answer.wait(30)
            raise redis.TimeoutError

    station.settings = station.settings.model_copy(update={"dispatch_interval_s": 0.01})
    loop, _ = make(station, Frozen())
    loop.start()
    assert asked.wait(10)
    loop._reaper._held_until = 0.0  # a newcomer reaps nobody at first
    for _ in range(1000):
        with station.database.transaction() as db:
            row = db.execute(b"SELECT state FROM run_history WHERE connection_id = %s", (connection_id,)).fetchone()
        if row is not None:
            break
        time.sleep(0.01)
    assert not answer.is_set()
    answer.set()
    end(loop)

    assert row == (RunState.LOST.value,)


@pytest.mark.parametrize("why", ["draining", "no lease"])
def test_who_may_not_begin_anything_claims_nothing(station: Station, why: str) -> None:
    due(station, 2)
    station.settings = station.settings.model_copy(update={"degraded_after_s": 0.0})
    if why == "draining":
        station.draining.set()
    else:
        station.lease._trusted_until.value = 0.0
    loop, executed = make(station, Wire(away=True))

    tick(loop)
    end(loop)

    assert executed == []


def test_a_database_that_is_away_does_not_end_the_loop(offline: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: list[float] = []

    def hint() -> None:
        ticks.append(time.monotonic())
        if len(ticks) == 1:
            raise RuntimeError
        if len(ticks) < 4:
            offline.control.check()  # raises DatabaseUnreachableError
        loop._stopping.set()

    loop, _ = make(offline, Wire())
    offline.settings = settings_of(dispatch_interval_s=0.1)
    monkeypatch.setattr(Reaper, "reap", lambda _self: 0)
    threading.Thread(target=loop._loop, args=(hint,)).start()
    assert loop._stopping.wait(30)

    assert len(ticks) == 4
    assert loop._reaper._held_until > time.monotonic()


def a_dead_workers_run(station: Station) -> UUID:
    (connection_id,) = due(station, 1)
    dead = Station.of(station.settings)
    dead.lease.acquire(station.control)
    with station.database.transaction() as db:
        assert runs.claim(db, connection_id, worker_id=dead.lease.worker_id)
        db.execute(b"UPDATE worker SET lease_until = now() WHERE worker_id = %s", (dead.lease.worker_id,))
    return connection_id


def test_a_dead_workers_run_is_put_back(station: Station) -> None:
    connection_id = a_dead_workers_run(station)

    assert Reaper(station).reap() == 1
    with station.database.transaction() as db:
        row = db.execute(b"SELECT state FROM run_history WHERE connection_id = %s", (connection_id,)).fetchone()
    assert row == (RunState.LOST.value,)


def test_a_clock_that_jumps_reaps_nobody_for_one_lease(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    reaper = Reaper(station)
    assert reaper.reap() == 0
    a_dead_workers_run(station)
    real, ahead_s = runs.clock_s, dispatcher.CLOCK_JUMP_S + 1
    monkeypatch.setattr(runs, "clock_s", lambda db: real(db) + ahead_s)

    assert reaper.reap() == 0
    assert reaper._held_until - time.monotonic() == pytest.approx(station.settings.lease_s, abs=5)
    reaper._held_until = 0.0
    assert reaper.reap() == 1, "the jumped clock is the clock from now on"


def test_a_newcomer_reaps_nobody_at_first(station: Station) -> None:
    """It may have come in the moment that the database was back, when leases of the living had ended meanwhile."""
    a_dead_workers_run(station)
    reaper = Reaper(station)
    loop = Dispatcher(station, Wire(), reaper, execute=lambda _station, _run: None)
    loop.start()
    loop.stop()
    assert reaper._held_until - time.monotonic() == pytest.approx(station.settings.lease_s / 2, abs=5)
    assert reaper.reap() == 0
    reaper._held_until = 0.0
    assert reaper.reap() == 1


def test_a_clock_that_drifts_reaps_as_ever(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    reaper = Reaper(station)
    reaper.reap()
    a_dead_workers_run(station)
    real = runs.clock_s
    monkeypatch.setattr(runs, "clock_s", lambda db: real(db) + dispatcher.CLOCK_JUMP_S / 2)

    assert reaper.reap() == 1


@pytest.mark.parametrize("left_s", [-1.0, 1.0])
def test_whoever_could_not_renew_its_own_lease_of_late_reaps_nobody(station: Station, left_s: float) -> None:
    """The server was frozen, or its clock jumped, between what the reaper asks and what it does."""
    reaper = Reaper(station)
    reaper.reap()
    a_dead_workers_run(station)
    with station.database.transaction() as db:
        db.execute(
            b"UPDATE worker SET lease_until = now() + make_interval(secs => %s) WHERE worker_id = %s",
            (left_s, station.lease.worker_id),
        )
    assert station.lease.is_held
    assert reaper.reap() == 0

    station.lease._take_identity(UUID(int=1))
    station.lease.acquire(station.control)
    assert reaper.reap() == 0
    reaper._held_until = 0.0
    assert reaper.reap() == 1


def test_a_clock_that_was_put_back_does_not_lengthen_the_lease_of_the_dead(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    reaper = Reaper(station)
    reaper.reap()
    a_dead_workers_run(station)
    with station.database.transaction() as db:  # as it looks once the clock is five minutes back
        db.execute(b"UPDATE worker SET lease_until = lease_until + interval '300 s'")
    real = runs.clock_s
    monkeypatch.setattr(runs, "clock_s", lambda db: real(db) - 300)
    reaper.reap()

    with station.database.transaction() as db:
        row = db.execute(b"SELECT extract(epoch FROM max(lease_until) - now())::float8 FROM worker").fetchone()
    assert row is not None
    assert row[0] <= station.settings.lease_s


@pytest.mark.parametrize("why", ["the database was away", "our own lease had ended"])
def test_nobody_is_reaped_while_living_workers_could_not_renew(station: Station, why: str) -> None:
    reaper = Reaper(station)
    reaper.reap()
    a_dead_workers_run(station)
    if why == "the database was away":
        reaper.hold_back()
    else:
        station.lease._trusted_until.value = 0.0
        station.lease._take_identity(UUID(int=1))
        station.lease.acquire(station.control)

    assert reaper.reap() == 0
    reaper._held_until = 0.0
    assert reaper.reap() == 1
