"""What holds for every request, whatever its handler: an id, a log line, headers, and bounds on its body."""

import asyncio
import re
import time
from http import HTTPStatus
from typing import Final
from uuid import uuid4

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.metrics import Metrics
from web.problems import Problem, response_of, unforeseen

log = structlog.get_logger()

REQUEST_ID: Final = "x-request-id"
_REQUEST_ID: Final = REQUEST_ID.encode("ascii")
_ID_SHAPE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
_SECURE: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"strict-transport-security", b"max-age=31536000"),
    (b"cache-control", b"no-store"),
)
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
        head = dict(scope["headers"])
        given = head.get(_REQUEST_ID, b"").decode("latin-1")
        request_id = given if _ID_SHAPE.fullmatch(given) else str(uuid4())
        is_head = scope["method"] == "HEAD"
        # A HEAD is a GET whose body stays here, so that every address that can be got can be asked for its head.
        asked = {**scope, "method": "GET" if is_head else scope["method"], "request_id": request_id}
        began_s = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                headers = message["headers"]
                there = {name for name, _ in headers}
                message = {
                    **message,
                    "headers": [
                        *headers,
                        (_REQUEST_ID, request_id.encode("ascii")),
                        *asked.get("quota", ()),
                        *(each for each in _SECURE if each[0] not in there),
                    ],
                }
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id), self._metrics.in_flight():
            try:
                has_body = b"content-length" in head or b"transfer-encoding" in head
                body = await self._body(head.get(b"content-length", b"0"), receive) if has_body else b""
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

    async def _body(self, announced: bytes, receive: Receive) -> bytes:
        """Read the whole body, within its bounds, before any thread is held up by it. announced: its length."""
        if announced.isdigit() and int(announced) > self._largest_body:
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
