"""Keeps all our workers together within what a vendor allows. The counting is done in one shared store.

Tokens are taken before each request, one for each request. Where a vendor allows many in a second, several are taken at
once and spent within a short hold. A held token is spent later than it was counted, so the store is asked for windows
longer by that hold: what is granted within `per_s + hold_s` is spent within any `per_s`, by however many processes.
Tokens not spent within the hold are lost: under-use, never over-use.
"""

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final, NamedTuple, Protocol

from classifier.retry_time import retry_at
from vendors.definition import Limits, Rate
from worker.wire.budget import Budget
from worker.wire.errors import RateLimitedLocallyError

LONGEST_WAIT_S: Final = 30.0
_HOLD_SHARE: Final = 0.02  # of the shortest window: so much of the vendor's allowance goes unused
_LONGEST_HOLD_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 86_400.0


class Reservation(Protocol):
    """What a store granted. granted: tokens, 0 to want; wait_s: until asking again makes sense, where none were."""

    @property
    def granted(self) -> int:
        """How many requests may go now."""

    @property
    def wait_s(self) -> float:
        """How long until the next one may."""


class LimitStore(Protocol):
    """Counts over all workers. scope_key names whom the vendor counts: one connection's account, or all our calls."""

    def reserve(self, scope_key: str, rates: Sequence[tuple[int, float]], want: int = 1) -> Reservation:
        """Take up to want tokens. rates: (limit, per_s), all of which hold."""

    def pause(self, scope_key: str, for_s: float) -> None:
        """Let nobody pass for so long."""


class _Held(NamedTuple):
    tokens: int
    until: float


class TokenPurse:
    """Tokens that this process took and has not spent, shared by its runs. Also knows pauses, to spare the store."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._paused: dict[str, float] = {}

    def spend(self, scope_key: str) -> bool:
        """Spend a held token. False: there is none."""
        if scope_key not in self._held:
            return False
        with self._lock:
            held = self._held.get(scope_key)
            if held is None:
                return False
            if held.until <= monotonic() or held.tokens < 1:
                del self._held[scope_key]
                return False
            if held.tokens == 1:
                del self._held[scope_key]
            else:
                self._held[scope_key] = _Held(held.tokens - 1, held.until)
            return True

    def put(self, scope_key: str, tokens: int, hold_s: float) -> None:
        """Hold tokens for a while. What is held already is held no longer than before, so it is given up."""
        with self._lock:
            self._held[scope_key] = _Held(tokens, monotonic() + hold_s)

    def pause(self, scope_key: str, for_s: float) -> None:
        """Give up what is held, and remember the pause."""
        with self._lock:
            self._held.pop(scope_key, None)
            now = monotonic()
            self._paused = {key: until for key, until in self._paused.items() if until > now}
            self._paused[scope_key] = max(self._paused.get(scope_key, 0.0), now + for_s)

    def paused_for_s(self, scope_key: str) -> float:
        """Return how long the scope is still paused, as far as this process knows; 0 where it is not."""
        until = self._paused.get(scope_key)
        return 0.0 if until is None else max(0.0, until - monotonic())


class Limiter:
    """One run's way to the shared limit. longest_wait_s: a run that would have to wait longer ends, and comes back."""

    __slots__ = ("_asked", "_chunk", "_hold_s", "_limits", "_longest_wait_s", "_now", "_purse", "_store", "scope_key")

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
        self._asked = tuple((rate.limit, rate.per_s + self._hold_s) for rate in limits.rates)

    def take(self, budget: Budget, sleep: Callable[[float], None]) -> float:
        """Take one token, waiting for it as long as need be. Returns the seconds waited.

        Raises RateLimitedLocallyError where the wait is longer than a run may wait or than the budget.
        """
        waited_s = 0.0
        while True:
            wait_s = self._purse.paused_for_s(self.scope_key)
            if not wait_s:
                if not self._asked and self._limits.remaining_header is None:
                    return waited_s  # nothing to count and nobody to hear of pauses from
                if self._purse.spend(self.scope_key):
                    return waited_s
                reservation = self._store.reserve(self.scope_key, self._asked, self._chunk)
                if reservation.granted:
                    if reservation.granted > 1:
                        self._purse.put(self.scope_key, reservation.granted - 1, self._hold_s)
                    return waited_s
                wait_s = max(0.001, reservation.wait_s)
            if waited_s + wait_s > self._longest_wait_s or wait_s >= budget.remaining_s():
                raise RateLimitedLocallyError(self.scope_key, wait_s, self._now() + timedelta(seconds=wait_s))
            sleep(wait_s)
            waited_s += wait_s

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
    """Return how many tokens are taken at once, and for how long they may be held."""
    if not rates:
        return 1, 0.0
    hold_s = min(_LONGEST_HOLD_S, _HOLD_SHARE * min(rate.per_s for rate in rates))
    chunk = int(min(hold_s * rate.limit / rate.per_s for rate in rates))
    return (chunk, hold_s) if chunk > 1 else (1, 0.0)


def _number(text: str) -> float | None:
    try:
        number = float(re.split("[,;]", text, maxsplit=1)[0])
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
