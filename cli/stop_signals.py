"""SIGINT and SIGTERM as an exception, so that every `with` on the way out is left in order."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Stopped(BaseException):
    """Somebody wants us to end. No Exception, so that nothing on the way swallows it."""


def _stop(_number: int, _frame: object) -> None:
    # A second signal finds the default at work, for whoever cannot wait: our children notice our death by themselves.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    raise Stopped


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise Stopped in the main thread at the first SIGINT or SIGTERM, and let the block end by it without an error."""
    before = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except Stopped:
        return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
