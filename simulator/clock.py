"""The vendors' own clock: it runs with the machine's and can be put forward, so that tokens expire at once."""

import time
from threading import Lock


class Clock:
    """Seconds since the start, never going back."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self._ahead_s = 0.0
        self._lock = Lock()

    def now_s(self) -> float:
        """Return the vendors' time in seconds since their start."""
        return time.monotonic() - self._start_s + self._ahead_s

    def advance(self, seconds: float) -> float:
        """Put the clock forward and return the new time. Raises ValueError for a negative number."""
        if not 0 <= seconds <= 10 * 365 * 86400:
            message = f"advance_s must lie within 0 and ten years, not {seconds}"
            raise ValueError(message)
        with self._lock:
            self._ahead_s += seconds
        return self.now_s()
