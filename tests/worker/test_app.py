import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import structlog
from celery import Celery
from structlog.testing import capture_logs

from models import runs
from models.counts import health_counts
from models.vocabulary import RunState, Trigger
from simulator.server import Simulator
from tests.worker.conftest import connect, settings_of
from vendors.errors import UnknownVendorError
from worker.app import _WorkerLife, asks_for_prefork, make_app, use_prefork
from worker.dispatcher import Reaper
from worker.station import Station


@pytest.fixture
def app(station: Station, monkeypatch: pytest.MonkeyPatch) -> Celery:
    """The application over the test's station: its tasks are called as a pool would."""
    monkeypatch.setattr(Station, "of", lambda _settings: station)
    return make_app(station.settings)


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        structlog.configure(cache_logger_on_first_use=False)
        yield lines


def sync(app: Celery, *args: object, **kwargs: object) -> None:
    app.tasks["worker.sync_connection"](*args, **kwargs)


def run_states(station: Station) -> list[tuple[str, str]]:
    with station.database.transaction() as db:
        return db.execute(b"SELECT state, trigger FROM run_history ORDER BY run_seq").fetchall()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(UnknownVendorError("acme", ("plain",)), "acme", id="what is wrong with a file of the operator's"),
        pytest.param(FileNotFoundError(2, "No such file", "/etc/ca.pem"), "/etc/ca.pem", id="a file that is not there"),
    ],
)
def test_a_worker_that_cannot_load_what_every_run_needs_says_why_and_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, told: str
) -> None:
    """It would else begin runs, and fail each of them."""

    def refuse(_self: Station) -> None:
        raise error

    made = Station.of(settings_of())
    monkeypatch.setattr(made.control, "check", lambda: None)
    monkeypatch.setattr(Station, "warm_up", refuse)
    monkeypatch.setattr(Station, "of", lambda _settings: made)
    worker = _WorkerLife(make_app(made.settings), made, Reaper(made))
    with pytest.raises(SystemExit) as ended:
        worker._start(sender=SimpleNamespace(app=worker._app))
    assert ended.value.code == 1
    assert told in capsys.readouterr().err
    made.close()


@pytest.mark.parametrize(
    "named",
    [
        pytest.param("not a uuid", id="a word"),
        pytest.param("", id="nothing"),
        pytest.param(None, id="null"),
        pytest.param(7, id="a number"),
        pytest.param(["x"], id="a list"),
        pytest.param({"a": 1}, id="an object"),
        pytest.param("x" * 2_000_000, id="two megabytes"),
        pytest.param("\x00", id="a NUL"),
    ],
)
def test_a_message_that_names_no_connection_is_told_in_one_short_line(
    app: Celery, logged: list[Any], named: object
) -> None:
    sync(app, named)

    assert [line["event"] for line in logged] == ["sync.bad_message"]
    assert len(str(logged)) < 500


def test_a_message_without_a_name_is_celerys_own_error(app: Celery) -> None:
    with pytest.raises(TypeError, match="connection_id"):
        sync(app)


@pytest.mark.parametrize("due_only", [True, False], ids=["a hint", "a manual call"])
def test_a_connection_that_is_not_there_runs_nothing(
    app: Celery, station: Station, logged: list[Any], due_only: bool
) -> None:
    sync(app, str(uuid4()), due_only=due_only)

    assert run_states(station) == []
    assert [line["event"] for line in logged] == ([] if due_only else ["sync.no_such_connection"])


def test_a_hint_runs_what_is_due_once(app: Celery, station: Station, simulator: Simulator) -> None:
    connection_id = connect(station, "plain", {"token": "a-token-of-a-test"}, {"port": simulator.port})
    for _ in range(3):
        sync(app, str(connection_id), due_only=True)

    assert run_states(station) == [(RunState.SUCCEEDED, Trigger.CREDENTIALS)]


def test_a_manual_call_runs_what_is_not_due(app: Celery, station: Station, simulator: Simulator) -> None:
    connection_id = connect(station, "plain", {"token": "a-token-of-a-test"}, {"port": simulator.port})
    sync(app, str(connection_id), due_only=True)
    sync(app, str(connection_id))

    assert run_states(station)[1:] == [(RunState.SUCCEEDED, Trigger.MANUAL)]


@pytest.mark.parametrize("why", ["draining", "no lease"])
def test_a_hint_that_cannot_be_used_is_given_back_at_once(app: Celery, station: Station, why: str) -> None:
    connection_id = connect(station, "plain", {"token": "a-token-of-a-test"}, {"port": 1})
    with station.database.transaction() as db:
        assert len(runs.take_due(db, limit=10)) == 1
    if why == "draining":
        station.draining.set()
    else:
        station.lease._trusted_until.value = 0.0

    sync(app, str(connection_id), due_only=True)

    with station.database.transaction() as db:
        assert len(runs.take_due(db, limit=10)) == 1, "a minute need not pass before it is hinted again"
    assert run_states(station) == []


@pytest.mark.parametrize(
    ("task", "event"),
    [
        pytest.param("worker.dispatch_due", "dispatch.failed", id="dispatch"),
        pytest.param("worker.reap", "reap.failed", id="reap"),
        pytest.param("worker.purge", "purge.failed", id="purge"),
        pytest.param("worker.fold_counts", "fold_counts.failed", id="fold counts"),
        pytest.param("worker.sync_connection", "sync.not_begun", id="sync"),
    ],
)
def test_with_everything_away_a_task_ends_with_one_line(
    offline: Station, monkeypatch: pytest.MonkeyPatch, logged: list[Any], task: str, event: str
) -> None:
    monkeypatch.setattr(Station, "of", lambda _settings: offline)
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    for name in ("database", "claims", "control"):
        getattr(offline, name)._pool.timeout = 0.2
    app = make_app(offline.settings)

    app.tasks[task](*([str(uuid4())] if task == "worker.sync_connection" else []))

    assert [line["event"] for line in logged] == [event]
    assert "\n" not in logged[0]["error"]


def test_purge_makes_partitions_and_dispatch_and_reap_find_nothing_to_do(app: Celery, station: Station) -> None:
    app.tasks["worker.purge"]()
    app.tasks["worker.reap"]()
    with station.database.transaction() as db:
        assert runs.queue_stats(db).running == 0


def test_counts_are_folded_to_the_last_change(app: Celery, station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.count_sums.FOLDED_AT_ONCE", 2)
    for _ in range(5):
        connect(station, "plain", {"token": "a-token-of-a-test"}, {"port": 1})
    app.tasks["worker.fold_counts"]()
    with station.database.transaction() as db:
        assert db.execute("SELECT count(*) FROM health_count_change").fetchone() == (0,)
        assert health_counts(db)[None] == 5


def test_messages_carry_nothing_that_redis_would_have_to_keep() -> None:
    conf = make_app(settings_of()).conf

    assert conf.accept_content == ["json"]
    assert conf.result_backend is None
    assert conf.task_ignore_result
    assert not conf.task_acks_late
    assert not conf.worker_enable_remote_control
    assert conf.broker_connection_max_retries is None


@pytest.mark.parametrize(
    ("line", "is_asked"),
    [
        pytest.param("-A worker worker", False, id="nothing said"),
        pytest.param("-A worker worker --pool prefork -c 2", True, id="two words"),
        pytest.param("-A worker worker --pool=prefork", True, id="one word"),
        pytest.param("-A worker worker -P prefork", True, id="the short form"),
        pytest.param("-A worker worker -Pprefork", True, id="the shortest form"),
        pytest.param("-A worker worker --pool threads", False, id="another pool"),
        pytest.param("-A worker worker -n prefork", False, id="another option"),
    ],
)
def test_who_asks_for_processes_gets_processes(line: str, is_asked: bool) -> None:
    assert asks_for_prefork(line.split()) is is_asked


def test_a_forked_child_that_nothing_else_ends_is_killed_once_no_run_may_last_so_long() -> None:
    settings = settings_of(hard_after_s=7.0, dead_man_s=11.0)
    app = make_app(settings)
    assert app.conf.task_time_limit is None  # threads: it would do nothing
    use_prefork(app, settings)
    assert app.conf.worker_pool == "prefork"
    assert app.conf.task_time_limit == 86_400 + 7.0 + 11.0
    assert app.conf.task_soft_time_limit is None
