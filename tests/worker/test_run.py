import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
import pytest

from classifier.vocabulary import HealthName
from models import history, records, runs
from models.errors import DatabaseUnreachableError
from models.history import RunView
from models.runs import ClaimedRun
from models.vocabulary import RunState, Trigger
from simulator.server import Simulator
from tests.worker.conftest import connect
from worker import run as running
from worker.errors import is_database_away
from worker.in_flight import StopReason
from worker.run import execute
from worker.station import Station
from worker.wire.errors import DeadlineReached, RunStopped

AWAY = [
    pytest.param(psycopg.OperationalError("server closed the connection unexpectedly"), id="the connection broke"),
    pytest.param(DatabaseUnreachableError("h:1/d", "refused"), id="none could be had"),
]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_FINISH_PAUSES_S", (0.0, 0.0))


@pytest.fixture
def run(station: Station, simulator: Simulator) -> ClaimedRun:
    return claim(station, connect(station, "plain", {"token": "a-token-of-a-test"}, {"port": simulator.port}))


def claim(station: Station, connection_id: UUID) -> ClaimedRun:
    with station.database.transaction() as db:
        found = runs.claim(db, connection_id, worker_id=station.lease.worker_id)
    assert found is not None
    return found


def ended(station: Station, run: ClaimedRun) -> RunView | None:
    with station.database.transaction() as db:
        found = history.get_run(db, run.key.connection_id, run.key.run_seq)
    return None if found is None or found.finished_at is None else found


def failing(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception, *, times: int, after: bool = False) -> None:
    """Let a statement of models.runs fail, before it was carried out or (`after`) when its answer was on the way."""
    real: Callable[..., Any] = getattr(runs, name)
    left = [times]

    def statement(*args: Any, **kwargs: Any) -> Any:
        if left[0]:
            left[0] -= 1
            if after:
                real(*args, **kwargs)
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(runs, name, statement)


def test_a_run_ends_in_a_record(station: Station, run: ClaimedRun) -> None:
    execute(station, run)

    found = ended(station, run)
    assert found is not None
    assert (found.state, found.name) == (RunState.SUCCEEDED, HealthName.HEALTHY)
    assert len(station.in_flight) == 0


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """What was logged: printed, or by the standard library where a test before this one has set that up."""
    return lambda: capsys.readouterr().out + caplog.text


@pytest.mark.parametrize("error", AWAY)
def test_an_end_is_repeated_while_the_database_is_away(
    station: Station, run: ClaimedRun, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failing(monkeypatch, "finish", error, times=2)
    execute(station, run)

    found = ended(station, run)
    assert found is not None
    assert found.state is RunState.SUCCEEDED


@pytest.mark.parametrize("error", AWAY)
def test_a_database_that_stays_away_is_told_and_the_run_left_to_the_reaper(
    station: Station,
    run: ClaimedRun,
    monkeypatch: pytest.MonkeyPatch,
    logged: Callable[[], str],
    error: Exception,
) -> None:
    failing(monkeypatch, "finish", error, times=99)
    execute(station, run)

    assert ended(station, run) is None
    told = logged()
    assert "run.unrecorded" in told
    assert "Traceback" not in told


def test_an_end_is_not_repeated_under_a_lease_that_has_ended(
    station: Station, run: ClaimedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def finish(*_: object) -> bool:
        tries.append(1)
        station.lease._trusted_until.value = 0.0
        raise psycopg.OperationalError

    monkeypatch.setattr(runs, "finish", finish)
    execute(station, run)
    assert len(tries) == 1


def test_a_commit_whose_answer_was_lost_is_no_fence(
    station: Station, run: ClaimedRun, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    failing(monkeypatch, "finish", psycopg.OperationalError("the answer was lost"), times=1, after=True)
    execute(station, run)

    told = logged()
    assert "run.finished" in told
    assert "run.fenced" not in told
    found = ended(station, run)
    assert found is not None
    assert found.late_result is None


def test_a_run_that_was_taken_from_us_changes_nothing(
    station: Station, run: ClaimedRun, logged: Callable[[], str]
) -> None:
    with station.database.transaction() as db:
        assert runs.interrupt(db, run.key, reason="somebody else")
    execute(station, run)

    found = ended(station, run)
    assert found is not None
    assert (found.state, found.name) == (RunState.INTERRUPTED, None)
    assert "run.finished" not in logged()


def test_what_cannot_be_stored_of_a_run_does_not_leave_it_without_an_end(
    station: Station, run: ClaimedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "finish", psycopg.DataError("invalid byte sequence"), times=1)
    execute(station, run)

    found = ended(station, run)
    assert found is not None
    assert (found.state, found.name) == (RunState.FAILED, HealthName.INTERNAL_ERROR)


def observed(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def observe(*_: object) -> None:
        raise error

    monkeypatch.setattr(running, "observe", observe)


@pytest.mark.parametrize(
    ("error", "state", "name"),
    [
        pytest.param(ValueError("a bug"), RunState.FAILED, HealthName.INTERNAL_ERROR, id="a bug of ours"),
        pytest.param(DeadlineReached(1.0), RunState.FAILED, HealthName.EXECUTION_TIMEOUT, id="the budget"),
        pytest.param(RunStopped(StopReason.DRAINING), RunState.INTERRUPTED, None, id="a drain"),
        pytest.param(RunStopped(StopReason.LEASE_LOST), RunState.INTERRUPTED, None, id="a lost lease, not yet reaped"),
        pytest.param(RunStopped(StopReason.DATABASE_AWAY), RunState.INTERRUPTED, None, id="no database"),
    ],
)
def test_whatever_ends_a_run_it_ends_in_a_record(  # noqa: PLR0917 - a table
    station: Station,
    run: ClaimedRun,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    state: RunState,
    name: HealthName | None,
) -> None:
    observed(monkeypatch, error)
    execute(station, run)

    found = ended(station, run)
    assert found is not None
    assert (found.state, found.name) == (state, name)


def test_a_superseded_run_writes_nothing(station: Station, run: ClaimedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    observed(monkeypatch, RunStopped(StopReason.SUPERSEDED))
    execute(station, run)
    assert ended(station, run) is None


def test_a_child_that_is_told_to_end_gives_its_run_back(
    station: Station, run: ClaimedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed(monkeypatch, SystemExit(-241))
    with pytest.raises(SystemExit):
        execute(station, run)

    found = ended(station, run)
    assert found is not None
    assert found.state is RunState.INTERRUPTED


def test_a_claim_that_came_again_under_its_number_begins_no_second_run(station: Station, run: ClaimedRun) -> None:
    """The database lost the first claim in a crash, and gave its number to the same worker again."""
    with station.in_flight.entered(run, deadline=time.monotonic() + 60) as first:
        execute(station, run)
        assert first.stop is StopReason.SUPERSEDED

    found = ended(station, run)
    assert found is not None
    assert found.state is RunState.INTERRUPTED
    with station.database.transaction() as db:
        again = runs.claim(db, run.key.connection_id, worker_id=station.lease.worker_id)
    assert again is not None
    assert again.key.run_seq == 2


@pytest.mark.parametrize(
    ("error", "is_away"),
    [
        pytest.param(DatabaseUnreachableError("h", "c"), True, id="no connection"),
        pytest.param(psycopg.OperationalError("server closed the connection"), True, id="a broken connection"),
        pytest.param(psycopg.errors.AdminShutdown(), True, id="stopped"),
        pytest.param(psycopg.errors.CrashShutdown(), True, id="crashed"),
        pytest.param(psycopg.errors.CannotConnectNow(), True, id="starting"),
        pytest.param(psycopg.errors.QueryCanceled(), False, id="a statement that took too long"),
        pytest.param(psycopg.errors.DeadlockDetected(), False, id="a deadlock"),
        pytest.param(psycopg.errors.DiskFull(), False, id="a full disk"),
        pytest.param(psycopg.errors.UniqueViolation(), False, id="a constraint"),
        pytest.param(ValueError(), False, id="anything else"),
    ],
)
def test_what_counts_as_a_database_that_is_away(error: Exception, is_away: bool) -> None:
    """The rest is this run's own trouble: interrupted, it would be made again at once, for ever."""
    assert is_database_away(error) is is_away


@pytest.mark.parametrize("error", AWAY)
def test_a_page_that_finds_no_database_ends_the_run_without_a_verdict(
    station: Station, run: ClaimedRun, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def land(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(records, "land", land)
    execute(station, run)

    found = ended(station, run)
    assert found is not None
    assert (found.state, found.reason) == (RunState.INTERRUPTED, "database_away")


def test_a_run_that_finds_all_as_it_was_asks_the_database_for_no_page(
    station: Station, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several pages none is taken for the whole pass of the run before, though it may be equal to that."""
    options: dict[str, object] = {"port": simulator.port, "records": 3}
    connection_id = connect(station, "plain", {"token": "a-token-of-a-test"}, options)
    real, landed = records.land, []

    def land(*args: Any, **kwargs: Any) -> Any:
        landed.append(kwargs["full_pass"])
        return real(*args, **kwargs)

    monkeypatch.setattr(records, "land", land)
    execute(station, claim(station, connection_id))
    execute(station, _again(station, connection_id))
    assert landed == [True]
    with station.database.transaction() as db:
        found = records.count_records(db, connection_id)[0]
        assert (found.living, found.last_pass_at is not None) == (3, True)
        db.execute("""UPDATE connection SET options = options || '{"page_size": 1}'""")
    execute(station, _again(station, connection_id))
    assert landed[1:] == [False, False, True]
    assert _again(station, connection_id).passes == {}


def test_the_last_page_of_several_is_not_taken_for_the_pass_before(
    station: Station, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, object] = {"port": simulator.port, "records": 2, "page_size": 1}
    connection_id = connect(station, "plain", {"token": "a-token-of-a-test"}, options)
    execute(station, claim(station, connection_id))
    monkeypatch.setattr(records.Page, "whole", bytes(32))
    run = replace(_again(station, connection_id), passes={"items": bytes(32)})
    execute(station, run)
    found = ended(station, run)
    assert found is not None
    assert found.records_unchanged == 2
    with station.database.transaction() as db:
        assert db.execute("SELECT FROM sighting").fetchone() is None  # the pass was ended


def _again(station: Station, connection_id: UUID) -> ClaimedRun:
    with station.database.transaction() as db:
        assert runs.trigger(db, connection_id, Trigger.MANUAL)
    return claim(station, connection_id)
