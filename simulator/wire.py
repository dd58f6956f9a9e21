"""Just enough of HTTP/1.1 (RFC 9112) for vendors that misbehave: requests, and answers with a manner of delivery."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote

LONGEST_HEAD_BYTES = 64 * 1024
PHRASES: Mapping[int, str] = {int(each): each.phrase for each in HTTPStatus}
LONGEST_BODY_BYTES = 8 * 1024 * 1024


class Delivery(StrEnum):
    """How an answer reaches the client, or fails to."""

    WHOLE = "whole"
    CLOSED = "closed"
    """The connection is closed in good order before a byte of the answer."""
    RESET = "reset"
    """The connection is reset (RST) before a byte of the answer."""
    TRUNCATED = "truncated"
    """Half of the body that Content-Length promises, then the end."""
    DRIP = "drip"
    """Head at once, then a byte of body every `gap_s`, for ever: the promised length is never reached in time."""
    HANG = "hang"
    """Nothing at all, until the client gives up or the server stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. path: decoded, without the query; query, headers: last one wins; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def bearer(self) -> str:
        """The bearer token, empty where there is none."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    def form(self) -> dict[str, str]:
        """Return the body read as a form."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; an empty body is an empty one. Raises ValueError for anything else."""
        document = json.loads(self.body or b"{}")
        if not isinstance(document, dict):
            message = "the body must be a JSON object"
            raise ValueError(message)  # noqa: TRY004 - the caller answers 400 for one kind of error
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer. gap_s: between two bytes of a DRIP; delay_s: before the first byte of any."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    delivery: Delivery = Delivery.WHOLE
    gap_s: float = 0.25
    delay_s: float = 0.0

    def head(self, *, keep_alive: bool) -> bytes:
        """Return status line and headers, Content-Length as promised, with the empty line."""
        phrase = PHRASES.get(self.status, "Answer")
        length = len(self.body) + 1_000_000 if self.delivery is Delivery.DRIP else len(self.body)
        lines = [f"HTTP/1.1 {self.status} {phrase}", *(f"{name}: {value}" for name, value in self.headers)]
        lines += [f"Content-Length: {length}", f"Connection: {'keep-alive' if keep_alive else 'close'}", "", ""]
        return "\r\n".join(lines).encode("latin-1")


def json_answer(document: object, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """Return an answer of the media type application/json."""
    body = json.dumps(document, separators=(",", ":")).encode()
    return Answer(status=status, headers=(("Content-Type", "application/json"), *headers), body=body)


def html_answer(title: str, text: str, *, status: int, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """Return a page such as load balancers show."""
    body = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1><p>{text}</p></body></html>"
    return Answer(status=status, headers=(("Content-Type", "text/html; charset=utf-8"), *headers), body=body.encode())


class MalformedRequestError(ValueError):
    """The bytes are no request that this server reads."""


def parse_head(head: bytes) -> tuple[Request, int, bool]:
    """Return the request without its body, the body's length in bytes, and whether the connection may be kept.

    head: request line and headers, without the empty line. Raises MalformedRequestError.
    """
    first, *lines = head.split(b"\r\n")
    try:
        method, target, version = first.decode("ascii").split(" ")
        headers = {}
        for line in lines:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
    except ValueError as error:
        raise MalformedRequestError(first[:80]) from error
    if not 0 <= length <= LONGEST_BODY_BYTES or "transfer-encoding" in headers:
        raise MalformedRequestError(b"a body must come with a Content-Length of at most 8 MiB")
    path, _, query = target.partition("?")
    kept = headers.get("connection", "").lower() != "close" and version == "HTTP/1.1"
    fields = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
    return Request(method=method, path=unquote(path), query=fields, headers=headers), length, kept
