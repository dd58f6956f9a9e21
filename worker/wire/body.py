"""Reads an answer's body within limits, and notices when it is not whole.

Unpacks gzip and deflate itself: then the bytes on the wire and the bytes unpacked are both known, so a bomb is told
from a big page, and a stream that breaks off is told from one that ends (zlib knows; urllib3 does not ask).
"""

import http.client
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import requests
from urllib3.exceptions import HTTPError, IncompleteRead, ProtocolError, ReadTimeoutError, SSLError

from worker.wire.errors import BodyTooLargeError, IncompleteBodyError

ACCEPT_ENCODING: Final = "gzip, deflate"
_CHUNK_BYTES: Final = 64 * 1024
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """How much of an answer is read.

    body_bytes: of one whole answer, unpacked; stream_bytes: of a streamed one; error_bytes: of an answer that is no
    success, whose rest is left unread; ratio: unpacked to packed, once more than ratio_from_bytes came out;
    header_fields, header_bytes: of one answer; redirects: in a row;
    answer_s: how long one whole answer may take, so that a drip is not read until the run's end.
    """

    body_bytes: int = 64 * _MIB
    stream_bytes: int = 2048 * _MIB
    error_bytes: int = _MIB
    ratio: int = 200
    ratio_from_bytes: int = 10 * _MIB
    header_fields: int = 100
    header_bytes: int = 256 * 1024
    redirects: int = 5
    answer_s: float = 600.0


class Body:
    """The body of one answer.

    received_bytes: on the wire so far; unpacked_bytes: handed out so far; is_finished: it was read to its end.
    """

    __slots__ = (
        "_check",
        "_cuts_short",
        "_limit_bytes",
        "_limits",
        "_raw",
        "is_finished",
        "received_bytes",
        "unpacked_bytes",
    )

    def __init__(
        self, raw: Any, *, limits: ReadLimits, limit_bytes: int, check: Callable[[], None], cuts_short: bool = False
    ) -> None:
        self._raw, self._limits, self._limit_bytes, self._check = raw, limits, limit_bytes, check
        self._cuts_short = cuts_short
        self.received_bytes = 0
        self.unpacked_bytes = 0
        self.is_finished = False

    def close(self) -> None:
        """Leave what is unread: the connection is closed, so that it is not taken for the next answer."""
        self._raw.close()

    def chunks(self) -> Iterator[bytes]:
        """Yield the body, unpacked.

        check is asked between chunks and may raise. Past the limit: BodyTooLargeError, or the end where it was asked to
        cut short. Raises IncompleteBodyError and requests' exceptions for what breaks on the way.
        """
        try:
            unpacker = _unpacker(self._raw.headers.get("content-encoding", ""))
            for chunk in self._wire_chunks() if unpacker is None else self._unpacked(unpacker):
                self.unpacked_bytes += len(chunk)
                too_many = self.unpacked_bytes - self._limit_bytes
                if too_many > 0:
                    self.close()
                    self._refuse_unless_cut_short()
                    yield chunk[:-too_many]
                    return
                yield chunk
            self.is_finished = True
        except BaseException:
            self.close()
            raise

    def _refuse_unless_cut_short(self) -> None:
        if not self._cuts_short:
            raise BodyTooLargeError(self._limit_bytes, self.received_bytes, "the answer is too large")

    def _wire_chunks(self) -> Iterator[bytes]:
        raw = self._raw
        while True:
            try:
                chunk = raw.read(_CHUNK_BYTES, decode_content=False)
            except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
                self._check()  # whoever ended the exchange from outside speaks first
                raise _translated(error, self.received_bytes, raw) from error
            self._check()
            if not chunk:
                return
            self.received_bytes += len(chunk)
            yield chunk
            if raw.length_remaining == 0:
                return

    def _unpacked(self, unpacker: "_Unpacker") -> Iterator[bytes]:
        limits = self._limits
        for packed in self._wire_chunks():
            for chunk in unpacker.feed(packed):
                out_bytes = self.unpacked_bytes + len(chunk)
                if out_bytes > limits.ratio_from_bytes and out_bytes > limits.ratio * self.received_bytes:
                    raise BodyTooLargeError(
                        limits.ratio * self.received_bytes,
                        self.received_bytes,
                        f"it unpacks to {limits.ratio} times its size",
                    )
                self._check()
                yield chunk
        if self.received_bytes and not unpacker.is_finished:
            raise IncompleteBodyError(self.received_bytes, None, "the packed body breaks off")


class _Unpacker:
    """gzip (several members too), zlib, or bare deflate."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._z = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._head = b""
        self.is_finished = False

    def feed(self, packed: bytes) -> Iterator[bytes]:
        if self._coding == "deflate" and len(self._head) < 2:
            self._head += packed
            if len(self._head) < 2:
                return
            packed = self._head
            if packed[0] & 0x0F != 8 or int.from_bytes(packed[:2], "big") % 31:  # no zlib header: bare deflate
                self._z = zlib.decompressobj(-zlib.MAX_WBITS)
        while packed:
            if self._z.eof:
                if not packed.startswith(b"\x1f\x8b"):  # padding after the last member
                    return
                self._z = zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                chunk = self._z.decompress(packed, _CHUNK_BYTES * 4)
            except zlib.error as error:
                raise requests.exceptions.ContentDecodingError(
                    f"the body is not the {self._coding} it says it is: {error}"
                ) from error
            self.is_finished = self._z.eof
            packed = self._z.unused_data if self._z.eof else self._z.unconsumed_tail
            if chunk:
                yield chunk


def _unpacker(encoding: str) -> _Unpacker | None:
    """Return what unpacks a Content-Encoding, None for none. Raises ContentDecodingError for one we did not ask for."""
    if not encoding:
        return None
    codings = [
        coding for coding in (part.strip().lower() for part in encoding.split(",")) if coding not in {"", "identity"}
    ]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in {"gzip", "x-gzip", "deflate"}:
        raise requests.exceptions.ContentDecodingError(
            f"the body is coded as {encoding!r}; we accept {ACCEPT_ENCODING}"
        )
    return _Unpacker(codings[0])


def _translated(error: Exception, received_bytes: int, raw: Any) -> Exception:
    """Say in requests' words, or ours, what broke the reading of a body."""
    if isinstance(error, ReadTimeoutError):
        return requests.exceptions.ReadTimeout(error)
    if isinstance(error, SSLError):
        return requests.exceptions.SSLError(error)
    cause: object = error
    if isinstance(error, ProtocolError) and len(error.args) > 1:
        cause = error.args[1]
    if isinstance(cause, IncompleteRead | http.client.IncompleteRead):
        left = raw.length_remaining
        return IncompleteBodyError(received_bytes, None if left is None else received_bytes + left)
    if isinstance(cause, http.client.HTTPException | ValueError):
        return requests.exceptions.ChunkedEncodingError(error)
    return requests.exceptions.ConnectionError(error)
