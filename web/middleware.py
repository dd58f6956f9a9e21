"""What holds for every request, whatever its handler: an id, a log line, headers, and bounds on its body."""

import asyncio
import re
import time
from http import HTTPStatus
from typing import Final
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.metrics import Metrics
from web.problems import Problem, response_of, unforeseen

log = structlog.get_logger()

REQUEST_ID: Final = "x-request-id"
_ID_SHAPE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
_SECURE: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "strict-transport-security": "max-age=31536000",
    "cache-control": "no-store",
}
"""Set where a handler does not set them itself."""


class RequestMiddleware:
    """Gives each request its id, bounds its body in size and in time, and writes one log line for it.

    largest_body: bytes; slowest_body_s: how long a client may take to send it, from the first byte to the last.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, largest_body: int, slowest_body_s: float) -> None:
        self._app, self._metrics = app, metrics
        self._largest_body, self._slowest_body_s = largest_body, slowest_body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if _ID_SHAPE.fullmatch(given) else str(uuid4())
        is_head = scope["method"] == "HEAD"
        # A HEAD is a GET whose body stays here, so that every address that can be got can be asked for its head.
        asked = {**scope, "method": "GET" if is_head else scope["method"], "request_id": request_id}
        began_s = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = request_id
                for name, value in _SECURE.items():
                    headers.setdefault(name, value)
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id), self._metrics.in_flight():
            try:
                body = await self._body(scope, receive)
                await self._app(asked, _replayed(body, receive), answer)
            except Problem as problem:
                await response_of(problem, request_id)(asked, receive, answer)
            except Exception as error:
                if status:  # the answer has begun: all that is left is to hang up
                    raise
                await unforeseen(error, request_id)(asked, receive, answer)
            finally:
                took_s = time.perf_counter() - began_s
                path = getattr(asked.get("route"), "path", "(none)")
                self._metrics.observe(_counted_method(scope["method"]), path, status, took_s)
                log.info(
                    "request.answered",
                    method=scope["method"],
                    path=path,
                    status=status,
                    took_ms=round(took_s * 1000, 1),
                    actor=asked.get("actor"),
                )

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """Read the whole body, within its bounds, before any thread is held up by it."""
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced) > self._largest_body:
            raise self._too_large()
        parts = bytearray()
        try:
            async with asyncio.timeout(self._slowest_body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Problem(HTTPStatus.BAD_REQUEST, "The request ended before its body did.")
                    parts += message.get("body", b"")
                    if len(parts) > self._largest_body:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return bytes(parts)
        except TimeoutError:
            raise Problem(
                HTTPStatus.REQUEST_TIMEOUT,
                f"The body was not sent within {self._slowest_body_s:g} s.",
                headers={"connection": "close"},
            ) from None

    def _too_large(self) -> Problem:
        return Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"A body has at most {self._largest_body} bytes.",
            headers={"connection": "close"},
        )


def _counted_method(method: str) -> str:
    # A client may send any word at all; each new one would be a counter more.
    return method if method in _METHODS else "other"


def _replayed(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
