"""The limiter: over all workers, however tokens are chunked and held, no window sees more than the vendor allows."""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.limits import LATE_SHARE, SPARE_SHARE
from tests.worker.wire.conftest import OpenRun
from tests.worker.wire.faults import FaultServer
from vendors.definition import Limits, Rate
from vendors.wire import Request
from worker.wire import limiter as limiter_module
from worker.wire.budget import Budget
from worker.wire.errors import RateLimitedLocallyError
from worker.wire.limiter import Limiter, TokenPurse

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Granted:
    granted: int
    wait_s: float
    held_up_s: float = 0.0


@dataclass(slots=True)
class Clock:
    """A clock that moves when somebody sleeps."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass(slots=True)
class WindowStore:
    """The strictest store there can be: it counts each grant in each window that holds it, longer by what ours adds."""

    clock: Clock
    grants: list[float] = field(default_factory=list)
    asked: list[tuple[Sequence[tuple[int, float]], int, int]] = field(default_factory=list)
    pauses: list[tuple[str, float]] = field(default_factory=list)
    paused_until: float = 0.0

    def reserve(self, scope_key: str, rates: Sequence[tuple[int, float]], want: int = 1, spare: int = 0) -> Granted:
        self.asked.append((rates, want, spare))
        if self.paused_until > self.clock.now_s:
            return Granted(0, self.paused_until - self.clock.now_s)
        free, wait_s = want + SPARE_SHARE * spare, 0.0
        for limit, per_s in rates:
            window_s = per_s * (1 + LATE_SHARE)
            recent = [at for at in self.grants if at > self.clock.now_s - window_s]
            free = min(free, limit - len(recent))
            if free < want:
                wait_s = max(wait_s, recent[-min(limit, len(recent))] + window_s - self.clock.now_s)
        if free <= 0:
            return Granted(0, wait_s + 1e-6)
        granted = min(free, want + min(spare, max(0, free - want) // SPARE_SHARE))
        self.grants += [self.clock.now_s] * granted
        return Granted(granted, wait_s + 1e-6 if granted < want else 0.0)

    def pause(self, scope_key: str, for_s: float) -> None:
        self.pauses.append((scope_key, for_s))
        self.paused_until = max(self.paused_until, self.clock.now_s + for_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(limiter_module, "monotonic", found)
    return found


def made(clock: Clock, limits: Limits, store: WindowStore | None = None, **kwargs: Any) -> tuple[Limiter, WindowStore]:
    store = store or WindowStore(clock)
    return Limiter(store, "vendor", limits, purse=TokenPurse(), now=lambda: NOON, **kwargs), store


def worst_window(times: Sequence[float], per_s: float) -> int:
    return max(sum(1 for at in times if start <= at < start + per_s) for start in times)


@settings(max_examples=25, deadline=None)
@given(
    rate=st.sampled_from([(10, 1.0), (100, 1.0), (600, 60.0), (50, 10.0), (3, 1.0), (1000, 60.0)]),
    processes=st.integers(1, 6),
    pauses=st.lists(st.floats(0, 0.4), min_size=20, max_size=60),
    data=st.data(),
)
def test_no_window_sees_more_than_allowed(
    rate: tuple[int, float], processes: int, pauses: list[float], data: st.DataObject
) -> None:
    clock = Clock()
    store = WindowStore(clock)
    limits = Limits(rates=(Rate(limit=rate[0], per_s=rate[1]),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limiter_module, "monotonic", clock)
        workers = [
            Limiter(store, "vendor", limits, purse=TokenPurse(), longest_wait_s=1e9, now=lambda: NOON)
            for _ in range(processes)
        ]
        sent: list[float] = []
        for pause_s, _ in itertools.product(pauses, range(8)):
            worker = data.draw(st.sampled_from(workers)) if processes > 1 else workers[0]
            worker.take(Budget(1e9, clock=clock), clock.sleep)
            sent.append(clock.now_s)
            clock.sleep(pause_s / 40)
    assert worst_window(sent, rate[1]) <= rate[0]


def test_most_of_what_is_allowed_is_used(clock: Clock) -> None:
    limiter, _ = made(clock, Limits(rates=(Rate(limit=100, per_s=1.0),)), longest_wait_s=1e9)
    started = clock.now_s
    for _ in range(2000):
        limiter.take(Budget(1e9, clock=clock), clock.sleep)
    assert 2000 / (clock.now_s - started + 1) >= 90


def test_fast_limits_are_taken_in_chunks_and_slow_ones_one_by_one(clock: Clock) -> None:
    fast, store = made(clock, Limits(rates=(Rate(limit=600, per_s=60.0),)))
    for _ in range(20):
        fast.take(Budget(60, clock=clock), clock.sleep)
    assert [(want, spare) for _, want, spare in store.asked] == [(1, 0), (1, 2), (1, 6), (1, 9)]
    assert store.asked[0][0] == ((600, 60.0),)
    slow, store = made(clock, Limits(rates=(Rate(limit=2, per_s=1.0),)))
    for _ in range(2):
        slow.take(Budget(60, clock=clock), clock.sleep)
    assert store.asked == [(((2, 1.0),), 1, 0)] * 2


def test_held_tokens_are_not_spent_late(clock: Clock) -> None:
    limiter, store = made(clock, Limits(rates=(Rate(limit=600, per_s=60.0),)))
    limiter.take(Budget(60, clock=clock), clock.sleep)
    clock.sleep(1.5)
    limiter.take(Budget(60, clock=clock), clock.sleep)
    assert len(store.asked) == 2


def test_a_token_that_grew_old_before_it_was_used_is_taken_anew(clock: Clock) -> None:
    """As by a slow handshake, or a process that was frozen: it would be spent in a window that counts it no longer."""
    limiter, store = made(clock, Limits(rates=(Rate(limit=2, per_s=1.0),)))
    budget = Budget(60, clock=clock)
    limiter.take(budget, clock.sleep)
    assert limiter.renew(budget, clock.sleep) == 0
    assert len(store.grants) == 1
    clock.sleep(0.5)
    limiter.renew(budget, clock.sleep)
    assert store.grants == [1000.0, 1000.5]


def test_a_store_that_answers_too_late_has_its_token_lost_and_is_asked_again(clock: Clock) -> None:
    answers_s = iter([0.5, 0.0])

    class SlowStore(WindowStore):
        def reserve(self, scope_key: str, rates: Sequence[tuple[int, float]], want: int = 1, spare: int = 0) -> Granted:
            granted = WindowStore.reserve(self, scope_key, rates, want, spare)
            clock.sleep(next(answers_s))
            return granted

    limiter, store = made(clock, Limits(rates=(Rate(limit=2, per_s=1.0),)), SlowStore(clock))
    limiter.take(Budget(60, clock=clock), clock.sleep)
    assert len(store.grants) == 2


def test_where_tokens_are_scarce_no_more_are_taken_than_runs_wait(clock: Clock) -> None:
    """What a process takes and does not spend is lost to all the others."""
    limiter, store = made(clock, Limits(rates=(Rate(limit=100, per_s=1.0),)))
    budget = Budget(600, clock=clock)
    for _ in range(4):
        limiter.take(budget, clock.sleep)
    store.grants = [clock.now_s - 1] * 100
    limiter.take(budget, clock.sleep)  # once the old ones count no longer
    limiter.take(budget, clock.sleep)
    assert [(want, spare) for _, want, spare in store.asked] == [(1, 0), (1, 2), (1, 3), (1, 0), (1, 0)]


def test_a_process_that_calls_now_and_then_loses_hardly_more_than_it_uses(clock: Clock) -> None:
    """However much the limit allows: those that each took a second's share would be refused by one they hardly use."""
    limiter, store = made(clock, Limits(rates=(Rate(limit=1_000_000, per_s=60.0),)))
    for _ in range(60):
        limiter.take(Budget(60, clock=clock), clock.sleep)
        clock.sleep(1.0)
    assert sum(want + spare for _, want, spare in store.asked) <= 3 * 60


def test_who_waits_for_nothing_is_not_refused_for_an_answer_that_came_late(clock: Clock) -> None:
    class SlowStore(WindowStore):
        def reserve(self, scope_key: str, rates: Sequence[tuple[int, float]], want: int = 1, spare: int = 0) -> Granted:
            granted = WindowStore.reserve(self, scope_key, rates, want, spare)
            clock.sleep(3.0)
            return granted

    limits = Limits(rates=(Rate(limit=2, per_s=1.0),))
    limiter, _ = made(clock, limits, SlowStore(clock), longest_wait_s=0.0)
    assert limiter.take(Budget(60, clock=clock), clock.sleep) == 0.0


def test_one_thread_of_a_process_asks_for_all_that_wait() -> None:
    """Else as many ask as wait, each in vain, and each for a handful that the next one's answer throws away."""
    asked, may_answer = threading.Event(), threading.Event()
    wants: list[int] = []

    class Store:
        def reserve(
            self, _scope_key: str, _rates: Sequence[tuple[int, float]], want: int = 1, spare: int = 0
        ) -> Granted:
            wants.append(want + spare)
            asked.set()
            assert may_answer.wait(30)
            return Granted(want + spare, 0.0)

        def pause(self, scope_key: str, for_s: float) -> None:
            """Nobody does."""

    purse = TokenPurse()
    limits = Limits(rates=(Rate(limit=100_000, per_s=1000.0),))

    def take() -> float:
        return Limiter(Store(), "vendor", limits, purse=purse).take(Budget(60), time.sleep)

    with ThreadPoolExecutor(8) as threads:
        taken = [threads.submit(take) for _ in range(8)]
        assert asked.wait(30)
        while purse.share("vendor", 8)[0] < 8:
            assert not taken[0].done()
        may_answer.set()
        assert [each.result(30) for each in taken] == [0.0] * 8
    assert len(wants) == 2


def test_a_wait_longer_than_a_run_may_wait_ends_it_with_a_time(clock: Clock) -> None:
    limiter, _ = made(clock, Limits(rates=(Rate(limit=1, per_s=3600.0),)))
    limiter.take(Budget(7200, clock=clock), clock.sleep)
    with pytest.raises(RateLimitedLocallyError) as caught:
        limiter.take(Budget(7200, clock=clock), clock.sleep)
    in_a_window = timedelta(hours=1 + LATE_SHARE)
    assert caught.value.retry_at - NOON == pytest.approx(in_a_window, abs=timedelta(seconds=1))
    assert clock.now_s == 1000.0


def test_a_wait_longer_than_the_budget_ends_it_too(clock: Clock) -> None:
    limiter, _ = made(clock, Limits(rates=(Rate(limit=1, per_s=10.0),)))
    limiter.take(Budget(5, clock=clock), clock.sleep)
    with pytest.raises(RateLimitedLocallyError):
        limiter.take(Budget(5, clock=clock), clock.sleep)


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        pytest.param({"x-left": "0", "x-reset": "12"}, 12, id="seconds"),
        pytest.param({"x-left": "0", "x-reset": str(int(NOON.timestamp()) + 30)}, 30, id="epoch"),
        pytest.param({"x-left": "0", "x-reset": str((int(NOON.timestamp()) + 30) * 1000)}, 30, id="epoch in ms"),
        pytest.param({"x-left": "0", "x-reset": "2026-01-01T12:00:45Z"}, 45, id="ISO"),
        pytest.param({"x-left": "0", "x-reset": "Thu, 01 Jan 2026 12:01:00 GMT"}, 60, id="HTTP date"),
        pytest.param({"x-left": "0, 10", "x-reset": "5"}, 5, id="a list"),
        pytest.param({"x-left": "0", "x-reset": "999999999"}, 86_400, id="at most a day"),
        pytest.param({"x-left": "1", "x-reset": "12"}, None, id="something left"),
        pytest.param({"x-left": "0"}, None, id="no reset"),
        pytest.param({"x-left": "0", "x-reset": "soon"}, None, id="a word"),
        pytest.param({"x-left": "none", "x-reset": "12"}, None, id="a word for the rest"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_the_vendor_s_own_count_is_heeded(clock: Clock, headers: dict[str, str], pause_s: float | None) -> None:
    limiter, store = made(clock, Limits(remaining_header="X-Left", reset_header="X-Reset"))
    limiter.observe(headers)
    assert [for_s for _, for_s in store.pauses] == ([] if pause_s is None else [pytest.approx(pause_s)])


def test_a_pause_holds_for_everybody(clock: Clock) -> None:
    limits = Limits(rates=(Rate(limit=600, per_s=60.0),))
    first, store = made(clock, limits)
    second, _ = made(clock, limits, store)
    first.take(Budget(60, clock=clock), clock.sleep)
    first.pause(7)
    for limiter in (first, second):
        before = clock.now_s
        limiter.take(Budget(60, clock=clock), clock.sleep)
        assert clock.now_s - before == pytest.approx(7 if limiter is first else 0, abs=0.01)


def test_without_limits_nothing_is_asked_and_a_pause_still_holds(clock: Clock) -> None:
    limiter, store = made(clock, Limits())
    limiter.take(Budget(60, clock=clock), clock.sleep)
    assert store.asked == []
    limiter.pause(3)
    limiter.take(Budget(60, clock=clock), clock.sleep)
    assert clock.now_s == pytest.approx(1003)


def test_a_session_takes_a_token_for_every_exchange_and_pauses_all_on_429(
    server: FaultServer, open_run: OpenRun
) -> None:
    store = WindowStore(Clock())
    limits = Limits(rates=(Rate(limit=5, per_s=1.0),))
    run = open_run(server, limiter=Limiter(store, "vendor", limits, purse=TokenPurse()))
    url = server.in_turn(
        "/a", lambda peer: peer.answer(302, Location="/b"), lambda peer: peer.answer(429, Retry_After="40")
    )
    for _ in range(2):
        run.session.send(Request(method="GET", url=url, endpoint="GET /a"))
    assert len(store.grants) == len(server.seen) == 3
    [(scope_key, for_s)] = store.pauses
    assert (scope_key, round(for_s / 10)) == ("vendor", 4)
    with pytest.raises(RateLimitedLocallyError):
        run.session.send(Request(method="GET", url=url, endpoint="GET /a"))
    assert len(server.seen) == 3


def test_the_connection_comes_before_the_token(server: FaultServer, open_run: OpenRun) -> None:
    """A token that waits for a handshake is spent later than those that come after it."""
    url = server.on("/a", lambda peer: peer.answer())
    connected: list[int] = []

    class Watching(Limiter):
        def renew(self, budget: Budget, sleep: Callable[[float], None]) -> float:
            assert server.accepted.wait(10)
            connected.append(server.connections)
            assert len(server.seen) == len(connected) - 1  # and nothing was sent yet
            return super().renew(budget, sleep)

    limits = Limits(rates=(Rate(limit=9, per_s=1.0),))
    run = open_run(server, limiter=Watching(WindowStore(Clock()), "vendor", limits, purse=TokenPurse()))
    for _ in range(2):
        run.session.send(Request(method="GET", url=url, endpoint="GET /a"))
    assert connected == [1, 1]
