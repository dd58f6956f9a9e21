"""What is asked often and found out once in a while, by one at a time."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Lately(Generic[T]):
    """Something that holds for so many seconds once it was found out. now_s: a monotonic clock."""

    def __init__(self, find: Callable[[], T], for_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._find, self._for_s, self._now_s = find, for_s, now_s
        self._lock = threading.Lock()
        self._found: tuple[float, T] | None = None

    def get(self) -> T:
        """Return what was found out within the last for_s seconds, or find it out."""
        with self._lock:
            if self._found is None or self._now_s() - self._found[0] >= self._for_s:
                self._found = (self._now_s(), self._find())
            return self._found[1]
