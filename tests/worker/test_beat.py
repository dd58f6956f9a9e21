from types import SimpleNamespace
from typing import Any

import celery.beat
import pytest
import redis

from tests.worker.conftest import settings_of
from worker.app import make_app
from worker.beat import MOST_WAITING, StatelessScheduler
from worker.hints import BEAT_KEPT_S, BEAT_KEY, Hints


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ticks that were sent."""
    ticks: list[str] = []

    def apply_async(_self: object, entry: Any, **_: object) -> None:
        ticks.append(entry.task)

    monkeypatch.setattr(celery.beat.Scheduler, "apply_async", apply_async)
    return ticks


@pytest.fixture
def scheduler() -> StatelessScheduler:
    made = StatelessScheduler(app=make_app(settings_of()), lazy=True)
    made.setup_schedule()
    return made


def test_the_schedule_is_what_keeps_everything_going(scheduler: StatelessScheduler) -> None:
    assert {entry.task for entry in scheduler.schedule.values()} == {
        "worker.dispatch_due",
        "worker.reap",
        "worker.purge",
        "worker.fold_counts",
    }
    assert set(scheduler.app.tasks) >= {entry.task for entry in scheduler.schedule.values()}


@pytest.mark.parametrize(
    ("waiting", "is_sent"),
    [
        pytest.param(0, True, id="nothing waits"),
        pytest.param(MOST_WAITING, True, id="much waits"),
        pytest.param(MOST_WAITING + 1, False, id="too much waits: nobody is there to take it"),
        pytest.param(None, True, id="Redis is away: let the sending say so"),
    ],
)
def test_ticks_are_held_back_while_they_pile_up(
    scheduler: StatelessScheduler, sent: list[str], monkeypatch: pytest.MonkeyPatch, waiting: int | None, is_sent: bool
) -> None:
    def backlog(_self: Hints) -> int:
        if waiting is None:
            raise redis.ConnectionError
        return waiting

    monkeypatch.setattr(Hints, "backlog", backlog)
    monkeypatch.setattr(Hints, "mark_beat", lambda _self: None)
    entry = next(entry for entry in scheduler.schedule.values() if entry.task == "worker.dispatch_due")
    before = entry.total_run_count
    scheduler.apply_async(entry)

    assert sent == ([entry.task] if is_sent else [])
    if not is_sent:  # and the entry moves on, or it would be tried again at once, for ever
        assert scheduler.schedule[str(entry.name)].total_run_count == before + 1


def test_a_new_beat_does_everything_at_once(scheduler: StatelessScheduler) -> None:
    assert all(entry.is_due()[0] for entry in scheduler.schedule.values())


def test_a_busy_queue_does_not_keep_the_days_from_being_made(
    scheduler: StatelessScheduler, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hints, "backlog", lambda _self: MOST_WAITING + 1)
    monkeypatch.setattr(Hints, "mark_beat", lambda _self: None)
    for entry in list(scheduler.schedule.values()):
        scheduler.apply_async(entry)

    assert sent == ["worker.purge"]


def test_a_tick_leaves_a_mark_that_tells_when_it_was(sent: list[str], redis_url: str, redis_server: Any) -> None:
    made = StatelessScheduler(app=make_app(settings_of(redis_url=redis_url)), lazy=True)
    made.setup_schedule()
    made.apply_async(next(iter(made.schedule.values())))
    with redis.Redis.from_url(redis_url) as client:
        left_s: Any = client.ttl(BEAT_KEY)
    made._hints.close()

    assert BEAT_KEPT_S - 60 < left_s <= BEAT_KEPT_S
    assert sent


def test_a_tick_that_cannot_be_sent_is_one_line_and_the_next_is_tried(
    scheduler: StatelessScheduler, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def apply_async(_self: object, _entry: object, **_: object) -> None:
        raise celery.beat.SchedulingError("Couldn't apply: Error 111 connecting to redis.sock")

    monkeypatch.setattr(celery.beat.Scheduler, "apply_async", apply_async)
    monkeypatch.setattr(Hints, "backlog", lambda _self: 0)
    said: list[str] = []
    monkeypatch.setattr("worker.beat.log", SimpleNamespace(warning=lambda event, **_: said.append(event)))
    scheduler.apply_entry(next(iter(scheduler.schedule.values())))

    told = capsys.readouterr()
    assert said == ["beat.tick_not_sent"]
    assert "Traceback" not in told.out + told.err
