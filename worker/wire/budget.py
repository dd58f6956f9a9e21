"""How long a run may still take, by the monotonic clock: neither a jump of the wall clock nor a drip stretches it."""

import time
from collections.abc import Callable

from worker.wire.errors import DeadlineReached


class Budget:
    """A run's time, counted from its making."""

    __slots__ = ("_clock", "budget_s", "deadline")

    def __init__(self, budget_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.budget_s = budget_s
        self.deadline = clock() + budget_s

    def remaining_s(self) -> float:
        """Return the seconds left; negative where the deadline has passed."""
        return self.deadline - self._clock()

    def check(self, doing: str = "") -> float:
        """Return the seconds left, or raise DeadlineReached. doing: said in the error."""
        left_s = self.deadline - self._clock()
        if left_s <= 0:
            raise DeadlineReached(self.budget_s, doing)
        return left_s
