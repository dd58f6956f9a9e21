"""Keeps all our workers together within what a vendor allows. The counting is done in one shared store.

A token is taken before each request, and again once there is a connection where making one took long: a token is good
for a short hold only, counted from when it was granted at the earliest, so that a process that was held up (frozen, or
by a slow handshake) does not spend in one window what was counted in another. The store counts in windows that are
longer by that hold and half as much (`models.limits`): by the one for tokens that are spent late, by the other for the
way to the vendor.

Where a vendor allows many in a second, several are taken at once: for the runs of this process that wait for one, and
some to spare. What is not spent within the hold, or dies with its process, is lost: under-use, never over-use. So one
takes to spare what it may spend, by what it spent of the last, but a small part of what is left, which the store alone
knows, and nothing where tokens were scarce of late; and one thread of a process asks for all of its runs.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final, NamedTuple, Protocol

from classifier.retry_time import retry_at
from models.limits import LATE_SHARE
from vendors.definition import Limits, Rate
from worker.wire.budget import Budget
from worker.wire.errors import RateLimitedLocallyError

LONGEST_WAIT_S: Final = 30.0
_HOLD_SHARE: Final = LATE_SHARE * 2 / 3  # of the shortest window
_LONGEST_HOLD_S: Final = 1.0
_SHORTEST_HOLD_S: Final = 0.02  # less would be over before the store has answered
_LONGEST_PAUSE_S: Final = 86_400.0
_FOR_EVER: Final = float("inf")
_MANY_SCOPES: Final = 1024


class Reservation(Protocol):
    """What a store granted. granted: tokens, 0 to want and spare; wait_s: until asking for the rest makes sense."""

    @property
    def granted(self) -> int:
        """How many requests may go now."""

    @property
    def wait_s(self) -> float:
        """How long until the next one may."""

    @property
    def held_up_s(self) -> float:
        """How long after it was asked the store granted, at the least, by its own clock."""


class LimitStore(Protocol):
    """Counts over all workers. scope_key names whom the vendor counts: one connection's account, or all our calls."""

    def reserve(self, scope_key: str, rates: Sequence[tuple[int, float]], want: int = 1, spare: int = 0) -> Reservation:
        """Take up to want tokens, and to spare where plenty is left. rates: (limit, per_s), all of which hold."""

    def pause(self, scope_key: str, for_s: float) -> None:
        """Let nobody pass for so long."""


class _Held(NamedTuple):
    tokens: int
    until: float


class _Scope:
    """What a process knows of one scope.

    waiting: runs that want a token now; asking: held by the one that asks; taken: tokens that the last grant brought.
    """

    __slots__ = ("asking", "dry_until", "held", "paused_until", "scarce_until", "taken", "waiting")

    def __init__(self) -> None:
        self.asking = threading.Lock()
        self.held = _Held(0, 0.0)
        self.waiting = self.taken = 0
        self.paused_until = self.dry_until = self.scarce_until = 0.0

    def is_idle(self, now: float) -> bool:
        """Say whether forgetting it would change nothing."""
        known_until = max(self.paused_until, self.dry_until, self.scarce_until, self.held.until)
        return not self.waiting and known_until <= now


class TokenPurse:
    """Tokens that this process took and has not spent, shared by its runs. Also knows what would be asked in vain."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scopes: dict[str, _Scope] = {}

    @contextmanager
    def waiting(self, scope_key: str) -> Iterator[None]:
        """Count the caller among those who want a token while the block runs."""
        with self._lock:
            scope = self._scope(scope_key)
            scope.waiting += 1
        try:
            yield
        finally:
            with self._lock:
                scope.waiting -= 1

    def _scope(self, scope_key: str) -> _Scope:
        scope = self._scopes.get(scope_key)
        if scope is None:
            if len(self._scopes) >= _MANY_SCOPES:  # one a connection: they must not pile up
                now = monotonic()
                self._scopes = {key: each for key, each in self._scopes.items() if not each.is_idle(now)}
            scope = self._scopes[scope_key] = _Scope()
        return scope

    def asking(self, scope_key: str) -> threading.Lock:
        """Return the lock of whoever asks the store. For a caller that is waiting."""
        return self._scopes[scope_key].asking

    def spend(self, scope_key: str) -> float | None:
        """Spend a held token; return until when it is good. None: there is none."""
        with self._lock:
            scope = self._scopes.get(scope_key)
            if scope is None or scope.held.tokens < 1 or scope.held.until <= monotonic():
                return None
            scope.held = _Held(scope.held.tokens - 1, scope.held.until)
            return scope.held.until

    def share(self, scope_key: str, most: int) -> tuple[int, int]:
        """Return how many tokens are wanted at this moment, and how many to spare: none where they are scarce.

        To spare are twice as many as were spent of the last grant while it was good or shortly after: a process that
        makes a call now and then loses hardly more than it uses, however much its limit allows.
        """
        with self._lock:
            scope, now = self._scopes[scope_key], monotonic()
            want = max(1, min(most, scope.waiting))
            if scope.scarce_until > now or now > scope.held.until + _LONGEST_HOLD_S:
                return want, 0
            return want, min(most - want, 2 * (scope.taken - scope.held.tokens))

    def put(self, scope_key: str, tokens: int, until: float) -> None:
        """Hold what a grant brought besides the one that is spent. What is held already is given up: it ends sooner."""
        with self._lock:
            scope = self._scope(scope_key)
            scope.held, scope.taken = _Held(tokens, until), tokens + 1

    def dry(self, scope_key: str, for_s: float, scarce_s: float) -> None:
        """Remember that the store has nothing left for so long, and that tokens are scarce for somewhat longer."""
        with self._lock:
            scope = self._scope(scope_key)
            scope.dry_until = max(scope.dry_until, monotonic() + for_s)
            scope.scarce_until = scope.dry_until + scarce_s

    def pause(self, scope_key: str, for_s: float) -> None:
        """Give up what is held, and remember the pause."""
        with self._lock:
            scope = self._scope(scope_key)
            scope.held = _Held(0, 0.0)
            scope.paused_until = max(scope.paused_until, monotonic() + for_s)

    def paused_for_s(self, scope_key: str) -> float:
        """Return how long the scope is still paused, as far as this process knows; 0 where it is not."""
        scope = self._scopes.get(scope_key)
        return 0.0 if scope is None else max(0.0, scope.paused_until - monotonic())

    def vain_for_s(self, scope_key: str) -> float:
        """Return how long it is still of no use to ask the store; 0 where it may be."""
        scope = self._scopes.get(scope_key)
        return 0.0 if scope is None else max(0.0, max(scope.paused_until, scope.dry_until) - monotonic())


class Limiter:
    """One run's way to the shared limit. longest_wait_s: a run that would have to wait longer ends, and comes back."""

    __slots__ = (
        "_asked",
        "_chunk",
        "_counts_nothing",
        "_good_until",
        "_hold_s",
        "_limits",
        "_longest_wait_s",
        "_now",
        "_purse",
        "_scarce_s",
        "_store",
        "scope_key",
    )

    def __init__(
        self,
        store: LimitStore,
        scope_key: str,
        limits: Limits,
        *,
        purse: TokenPurse,
        longest_wait_s: float = LONGEST_WAIT_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store, self.scope_key, self._limits, self._purse = store, scope_key, limits, purse
        self._longest_wait_s, self._now = longest_wait_s, now
        self._chunk, self._hold_s = _chunk_of(limits.rates)
        self._scarce_s = min((rate.per_s for rate in limits.rates), default=0.0)
        self._asked = tuple((rate.limit, rate.per_s) for rate in limits.rates)
        self._counts_nothing = not limits.rates and limits.remaining_header is None
        self._good_until = _FOR_EVER

    def take(self, budget: Budget, sleep: Callable[[float], None]) -> float:
        """Take one token, waiting for it as long as need be. Returns the seconds waited.

        Raises RateLimitedLocallyError where the wait is longer than a run may wait or than the budget.
        """
        if self._counts_nothing and not self._purse.paused_for_s(self.scope_key):
            return 0.0
        good_until = self._purse.spend(self.scope_key)
        if good_until is not None and not self._purse.paused_for_s(self.scope_key):
            self._good_until = good_until
            return 0.0
        with self._purse.waiting(self.scope_key):
            return self._wait_for_one(budget, sleep)

    def renew(self, budget: Budget, sleep: Callable[[float], None]) -> float:
        """Take another token where the one that was taken is good no longer. Returns and raises what `take` does."""
        waited_s = 0.0
        while monotonic() > self._good_until:
            waited_s += self.take(budget, sleep)
        return waited_s

    def _wait_for_one(self, budget: Budget, sleep: Callable[[float], None]) -> float:
        started, waited_s = monotonic(), 0.0
        while True:
            wait_s = self._purse.vain_for_s(self.scope_key)
            if not wait_s:
                wait_s = self._asked_for_one(budget)
                if not wait_s:
                    return waited_s
            over_s = max(waited_s, monotonic() - started) + wait_s
            if over_s > self._longest_wait_s or wait_s >= budget.remaining_s():
                raise RateLimitedLocallyError(self.scope_key, wait_s, self._now() + timedelta(seconds=wait_s))
            sleep(wait_s)
            waited_s += wait_s

    def _asked_for_one(self, budget: Budget) -> float:
        """Have a token (0), or return the seconds until asking again makes sense. One thread of a process asks."""
        if self._counts_nothing:  # a pause was all there was
            return 0.0
        lock = self._purse.asking(self.scope_key)
        if not lock.acquire(timeout=max(0.001, min(budget.remaining_s(), self._longest_wait_s))):
            return self._longest_wait_s  # the store does not answer
        try:
            good_until = self._purse.spend(self.scope_key)
            if good_until is not None:
                self._good_until = good_until
                return 0.0
            wait_s = self._purse.vain_for_s(self.scope_key)
            return wait_s or self._reserved()
        finally:
            lock.release()

    def _reserved(self) -> float:
        asked_at = monotonic()
        want, spare = self._purse.share(self.scope_key, self._chunk)
        reservation = self._store.reserve(self.scope_key, self._asked, want, spare)
        good_until = asked_at + reservation.held_up_s + self._hold_s if self._asked else _FOR_EVER
        if reservation.wait_s:
            self._purse.dry(self.scope_key, reservation.wait_s, self._scarce_s)
        if not reservation.granted:
            return max(0.001, reservation.wait_s)
        if monotonic() > good_until and self._longest_wait_s:  # who waits for nothing has no call to make that late
            return 0.001  # the answer came too late to be used: lost
        self._purse.put(self.scope_key, reservation.granted - 1, good_until)
        self._good_until = good_until
        return 0.0

    def observe(self, headers: Mapping[str, str]) -> None:
        """Read the headers that the definition names: nothing remaining pauses the scope until the reset."""
        remaining = headers.get((self._limits.remaining_header or "").lower())
        if remaining is None or _number(remaining) != 0:
            return
        reset = headers.get((self._limits.reset_header or "").lower(), "")
        now = self._now()
        # Whatever the vendor calls the header, its value is one of those that Retry-After comes with.
        moment = retry_at({"retry-after": reset, "date": headers.get("date", "")}, observed_at=now)
        if moment is not None and moment > now:
            self.pause((moment - now).total_seconds())

    def pause(self, for_s: float) -> None:
        """Let nobody in the scope pass for so long: the vendor said so."""
        for_s = min(for_s, _LONGEST_PAUSE_S)
        self._purse.pause(self.scope_key, for_s)
        self._store.pause(self.scope_key, for_s)


def _chunk_of(rates: Sequence[Rate]) -> tuple[int, float]:
    """Return how many tokens are taken at once at most, and for how long each is good."""
    if not rates:
        return 1, _FOR_EVER
    hold_s = min(_LONGEST_HOLD_S, max(_SHORTEST_HOLD_S, _HOLD_SHARE * min(rate.per_s for rate in rates)))
    return max(1, int(min(hold_s * rate.limit / rate.per_s for rate in rates))), hold_s


def _number(text: str) -> float | None:
    try:
        number = float(re.split("[,;]", text, maxsplit=1)[0])
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
