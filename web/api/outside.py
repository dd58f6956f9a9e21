"""Handlers that ask a vendor: they may wait for a minute, so they have threads of their own.

The threads that all other handlers share would soon all be waiting, and a list would wait with them.
"""

import functools
import inspect
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, TypeVar, cast

import anyio
from anyio import to_thread
from anyio.lowlevel import RunVar
from fastapi import Response

from web.problems import Problem

AT_A_TIME: Final = 32
WAITING_AT_MOST: Final = 64
AGAIN_AFTER_S: Final = 10

F = TypeVar("F", bound=Callable[..., Response])
_LIMITER: Final[RunVar[anyio.CapacityLimiter]] = RunVar("calls to vendors")


def _limiter() -> anyio.CapacityLimiter:
    try:
        return _LIMITER.get()
    except LookupError:
        made = anyio.CapacityLimiter(AT_A_TIME)
        _LIMITER.set(made)
        return made


def asks_outside(handler: F) -> F:
    """Let a handler run in the threads for calls to vendors. Where too many wait for one, it is not begun (503)."""

    @functools.wraps(handler)
    async def answered(**given: Any) -> Response:
        limiter = _limiter()
        if limiter.statistics().tasks_waiting >= WAITING_AT_MOST:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Too many credentials are being tested just now.",
                headers={"retry-after": str(AGAIN_AFTER_S)},
            )
        return await to_thread.run_sync(functools.partial(handler, **given), limiter=limiter)

    answered.__signature__ = inspect.signature(handler)  # type: ignore[attr-defined]  # what FastAPI reads
    return cast("F", answered)
