"""What a connector gets to read: a whole answer, or one whose body is read piece by piece."""

from collections.abc import Callable, Iterator, Mapping

from vendors.wire import Decision
from worker.wire.body import Body
from worker.wire.capture import CapturedExchange

Finish = Callable[[bytes, BaseException | None], BaseException | None]
"""Records a streamed exchange: its sample, and what ended it early. Returns what the error means, None for no error."""


class WireAnswer:
    """A whole answer. What `vendors.wire.Answer` asks for, what was captured of it, and what was decided about it."""

    __slots__ = ("body", "decision", "exchange", "headers", "status", "url")

    def __init__(
        self, *, status: int, url: str, headers: Mapping[str, str], body: bytes, exchange: CapturedExchange
    ) -> None:
        self.status, self.url, self.headers, self.body = status, url, headers, body
        self.exchange = exchange
        self.decision: Decision | None = None

    def __repr__(self) -> str:
        return f"<WireAnswer {self.status} {self.exchange.url} {len(self.body)} bytes>"

    def chunks(self) -> Iterator[bytes]:
        """Yield the body in one piece."""
        if self.body:
            yield self.body


class WireStream:
    """A success whose body is read piece by piece, once. Recorded when it ends, or when it is closed."""

    __slots__ = ("_body", "_finish", "_is_over", "_sample", "_sample_bytes", "headers", "status", "url")

    def __init__(
        self, *, status: int, url: str, headers: Mapping[str, str], body: Body, sample_bytes: int, finish: Finish
    ) -> None:
        self.status, self.url, self.headers = status, url, headers
        self._body, self._sample_bytes, self._finish = body, sample_bytes, finish
        self._sample = bytearray()
        self._is_over = False

    def __repr__(self) -> str:
        return f"<WireStream {self.status} {self._body.received_bytes} bytes so far>"

    def chunks(self) -> Iterator[bytes]:
        """Yield the body, unpacked, within the budget and the limit on size."""
        try:
            for chunk in self._body.chunks():
                if len(self._sample) < self._sample_bytes:
                    self._sample += chunk[: self._sample_bytes - len(self._sample)]
                yield chunk
        except GeneratorExit:  # the reader had enough, which is no failure
            raise
        except BaseException as error:
            spoken = self.close(error)
            if spoken is None or spoken is error:
                raise
            raise spoken from error
        self.close()

    @property
    def body(self) -> bytes:
        """The whole body, for rules that want to look into it. Reads it, so `chunks` has nothing left."""
        return b"".join(self.chunks())

    def close(self, error: BaseException | None = None) -> BaseException | None:
        """Record the exchange, once; what is unread stays unread. Returns what an error means, with time in mind."""
        if self._is_over:
            return None
        self._is_over = True
        return self._finish(bytes(self._sample), error)
