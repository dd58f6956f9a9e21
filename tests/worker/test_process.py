import threading
import time
from contextlib import ExitStack
from uuid import UUID

import pytest

from models import history, runs
from models.errors import DatabaseUnreachableError
from models.vocabulary import RunState
from tests.worker.conftest import claimed, connect
from worker import process
from worker.in_flight import RunInFlight, StopReason
from worker.process import Keeper
from worker.station import Station


@pytest.fixture
def exits() -> list[int]:
    return []


@pytest.fixture
def keeper(station: Station, exits: list[int], monkeypatch: pytest.MonkeyPatch) -> Keeper:
    monkeypatch.setattr(process, "GRACE_S", 0.2)
    made = Keeper(station, exit_process=exits.append)
    monkeypatch.setattr(made._watchdog, "stop", lambda: None)  # it would disarm the tests' own timer
    return made


def test_an_end_waits_for_the_drain_so_that_no_run_is_taken_for_lost(
    station: Station, keeper: Keeper, exits: list[int]
) -> None:
    connection_id = connect(station, "plain", {"token": "a-token-of-a-test"}, {"port": 1})
    with station.database.transaction() as db:
        run = runs.claim(db, connection_id, worker_id=station.lease.worker_id)
    assert run is not None
    with station.in_flight.entered(run, deadline=time.monotonic() + 60) as entry:  # it does not hear of the drain
        keeper.drain()
        keeper.stop()
        assert entry.stop is StopReason.DRAINING

    with station.database.transaction() as db:
        found = history.get_run(db, connection_id, 1)
        assert runs.reap(db) == []
    assert found is not None
    assert (found.state, found.reason) == (RunState.INTERRUPTED, "draining")
    assert exits == [0]
    assert not station.lease.is_held


def test_a_drain_of_runs_that_end_leaves_the_process_to_its_own_end(
    station: Station, keeper: Keeper, exits: list[int]
) -> None:
    is_in = threading.Event()

    def run() -> None:
        with station.in_flight.entered(claimed(), deadline=time.monotonic() + 60) as entry:
            is_in.set()
            while entry.stop is None:
                time.sleep(0.001)

    thread = threading.Thread(target=run)
    thread.start()
    assert is_in.wait(10)
    keeper.drain()
    thread.join(10)
    keeper.stop()

    assert exits == []


def test_a_drain_without_a_database_ends_the_process_all_the_same(
    offline: Station, exits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE_S", 0.1)
    offline.control._pool.timeout = 0.1
    keeper = Keeper(offline, exit_process=exits.append)
    with offline.in_flight.entered(claimed(), deadline=time.monotonic() + 60):
        keeper.drain()
        keeper._draining.join(30)

    assert exits == [0]


def test_a_lease_that_was_lost_stops_the_runs_under_it(station: Station, keeper: Keeper) -> None:
    lost = claimed(
        key=runs.RunKey(connection_id=claimed().key.connection_id, run_seq=1, worker_id=station.lease.worker_id)
    )
    station.lease.lease_s = 0.2
    with station.database.transaction() as db:
        db.execute(b"UPDATE worker SET lease_until = now()")
    with station.in_flight.entered(lost, deadline=time.monotonic() + 60) as entry:
        keeper._renewing.start()
        for _ in range(1000):
            if entry.stop is not None:
                break
            time.sleep(0.01)
        assert entry.stop is StopReason.LEASE_LOST
    keeper._stopping.set()
    keeper._renewing.join(10)


def test_a_process_that_began_without_a_database_takes_its_lease_when_it_is_back(
    station: Station, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    station.lease.give_back(station.control)
    station.lease.lease_s = 0.4
    monkeypatch.setattr(keeper._watchdog, "start", lambda: None)
    with monkeypatch.context() as away:

        def is_away(*_: object, **__: object) -> None:
            raise DatabaseUnreachableError("a test", "it is away")

        away.setattr(runs, "register_worker", is_away)
        keeper.start()
        assert not station.lease.is_held
    for _ in range(1000):
        if station.lease.is_held:
            break
        time.sleep(0.01)
    assert station.lease.is_held
    keeper._stopping.set()
    keeper._renewing.join(10)


def test_a_run_that_the_database_no_longer_knows_is_stopped(station: Station, keeper: Keeper) -> None:
    """Cancelled, reaped, or begun by a claim that a crash of the server took back."""
    unknown = claimed(
        key=runs.RunKey(connection_id=claimed().key.connection_id, run_seq=1, worker_id=station.lease.worker_id)
    )
    station.lease.lease_s = 0.4
    with station.in_flight.entered(unknown, deadline=time.monotonic() + 60) as entry:
        keeper._renewing.start()
        for _ in range(1000):
            if entry.stop is not None:
                break
            time.sleep(0.01)
        assert entry.stop is not None
    keeper._stopping.set()
    keeper._renewing.join(10)


def test_a_run_that_begins_while_its_worker_asks_what_it_still_holds_goes_on(
    station: Station, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim is not in an answer that was under way already; it was taken for one that somebody else had taken."""
    begun = claimed()
    with ExitStack() as stack:

        def asked(*_: object) -> frozenset[runs.RunKey]:
            entries.append(stack.enter_context(station.in_flight.entered(begun, deadline=time.monotonic() + 60)))
            return frozenset()

        entries: list[RunInFlight] = []
        monkeypatch.setattr(runs, "running_of", asked)
        keeper._agree_on_runs()
        assert entries[0].stop is None
        monkeypatch.setattr(runs, "running_of", lambda *_: frozenset())
        keeper._agree_on_runs()
        assert entries[0].stop is StopReason.SUPERSEDED


def test_a_run_that_is_ours_and_that_nobody_is_on_is_given_back(station: Station, keeper: Keeper) -> None:
    """As after a claim whose answer was lost. Whoever is still at it, or begins meanwhile, is left alone."""
    lost, attended = (connect(station, "plain", {"token": f"a-token-{n}"}, {"port": 1}) for n in range(2))
    for connection_id in (lost, attended):
        with station.database.transaction() as db:
            assert runs.claim(db, connection_id, worker_id=station.lease.worker_id)

    with station.attendance.attending(None):
        keeper._agree_on_runs()
        assert _running(station) == {lost, attended}, "somebody is claiming, and which one is not known yet"
    with station.attendance.attending(attended):
        keeper._agree_on_runs()
        assert _running(station) == {attended}
    with station.database.transaction() as db:
        found = history.get_run(db, lost, 1)
    assert found is not None
    assert (found.state, found.reason) == (RunState.INTERRUPTED, StopReason.UNATTENDED)


def test_a_run_that_broke_its_own_record_is_left_to_the_reaper(station: Station, keeper: Keeper) -> None:
    connection_id = connect(station, "plain", {"token": "a-token-of-a-test"}, {"port": 1})
    with station.database.transaction() as db:
        run = runs.claim(db, connection_id, worker_id=station.lease.worker_id)
    assert run is not None

    station.attendance.leave_to_the_reaper(run.key)
    keeper._agree_on_runs()
    assert _running(station) == {connection_id}
    with station.database.transaction() as db:
        runs.interrupt(db, run.key, reason="a test")
    keeper._agree_on_runs()
    assert not station.attendance._left, "it grew for ever"


@pytest.mark.parametrize("refused", [False, True])
def test_a_run_whose_end_the_database_refuses_waits_for_its_regular_slot(
    station: Station, keeper: Keeper, refused: bool
) -> None:
    connection_id = connect(station, "plain", {"token": "a-token-of-a-test"}, {"port": 1})
    with station.database.transaction() as db:
        run = runs.claim(db, connection_id, worker_id=station.lease.worker_id)
    assert run is not None
    if refused:
        station.attendance.note_refused(run.key)

    keeper._agree_on_runs()

    assert _running(station) == set()
    with station.database.transaction() as db:
        assert len(runs.take_due(db, limit=10)) == (not refused)


def test_hints_that_were_used_up_in_vain_are_given_again(station: Station, keeper: Keeper) -> None:
    connection_id = connect(station, "plain", {"token": "a-token-of-a-test"}, {"port": 1})
    with station.database.transaction() as db:
        assert len(runs.take_due(db, limit=10)) == 1
        assert not runs.take_due(db, limit=10)

    station.attendance.note_unanswered(connection_id)
    keeper._hint_again()

    with station.database.transaction() as db:
        assert [row.connection_id for row in runs.take_due(db, limit=10)] == [connection_id]


def test_hints_that_cannot_be_given_again_yet_are_not_forgotten(offline: Station) -> None:
    offline.control._pool.timeout = 0.1
    connection_id = claimed().key.connection_id
    offline.attendance.note_unanswered(connection_id)
    with pytest.raises(DatabaseUnreachableError):
        Keeper(offline)._hint_again()
    assert offline.attendance.take_unanswered() == [connection_id]


def _running(station: Station) -> set[UUID]:
    with station.database.transaction() as db:
        return {key.connection_id for key in runs.running_of(db, station.lease.worker_id)}
