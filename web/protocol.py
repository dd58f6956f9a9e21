"""HTTP/1.1 as uvicorn speaks it, for clients that mean ill: no head may come slowly, and none may be large."""

import asyncio
import socket
from http import HTTPStatus
from typing import Any, Final

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from web.problems import MEDIA_TYPE

LARGEST_HEAD: Final = 65_536
"""Bytes of a request's line and headers together."""
AGAIN_AFTER_S: Final = 5
DEAF_AFTER_S: Final = 60
"""Who takes in nothing of an answer for so long is hung up on by the kernel (Linux)."""


class AnsweredError(Exception):
    """Ends the parsing of a request whose answer was written already."""


class WaryProtocol(HttpToolsProtocol):
    """One connection. slowest_head_s: from its opening, or a request's first byte, to the end of the head.

    most_connections: with more than that, each is answered 503 and closed.
    """

    slowest_head_s: float = 10.0
    most_connections: int = 2000

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin; the first byte, too, is waited for only so long."""
        super().connection_made(transport)
        self._await_head()
        opened = transport.get_extra_info("socket")
        if opened is not None and hasattr(socket, "TCP_USER_TIMEOUT") and opened.family != socket.AF_UNIX:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAF_AFTER_S * 1000)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._head_is_there()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Wait for the head of a request that has begun."""
        self._head_bytes = 0
        if self._head_timer is None:
            self._await_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""
        self._weigh(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._weigh(len(name) + len(value) + len(": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._head_is_there()
        if max(len(self.connections), len(self.tasks)) > self.most_connections:
            # Not by the server's own limit, whose answer is plain text that says neither what nor when.
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections are open just now.", retry_after_s=AGAIN_AFTER_S
            )
            raise AnsweredError
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed, unless it was answered before."""
        if not self.transport.is_closing():
            self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _weigh(self, size_bytes: int) -> None:
        self._head_bytes += size_bytes
        if self._head_bytes > LARGEST_HEAD:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"A request's head has at most {LARGEST_HEAD} bytes."
            )
            raise AnsweredError

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.slowest_head_s, self._head_is_late)

    def _head_is_there(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.scope is None:  # not one byte came: there is nobody to tell
            self.transport.abort()
        elif not self.transport.is_closing():
            self._refuse(
                HTTPStatus.REQUEST_TIMEOUT, f"The request's head was not sent within {self.slowest_head_s:g} s."
            )

    def _refuse(self, status: HTTPStatus, detail: str, *, retry_after_s: int | None = None) -> None:
        self._head_is_there()
        again = "" if retry_after_s is None else f"retry-after: {retry_after_s}\r\n"
        body = orjson.dumps({"type": "about:blank", "title": status.phrase, "status": status, "detail": detail})
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\n{again}connection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()
