"""The time as the database has it, on a host whose own clock may be an hour off or jump."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta


def clock_from(moment: datetime) -> Callable[[], datetime]:
    """Return a clock that goes on from a moment that the database has just told. moment: aware, UTC."""
    told_at = time.monotonic()
    return lambda: moment + timedelta(seconds=time.monotonic() - told_at)
