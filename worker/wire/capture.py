"""What happened on the wire during a run, redacted, in bounded memory.

Every exchange is counted: each attempt, each hop of a redirect, each call for a token. Details are kept of the first,
the last and the failing ones; a body is kept of a failing one, and of the last one of each data type.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Final

from classifier.exceptions import chain
from classifier.outcome import ExceptionLink, Exchange
from classifier.vocabulary import Phase
from worker.wire.links import linked
from worker.wire.redactor import Redactor

SAMPLE_BYTES: Final = 64 * 1024
CUT_SAMPLE_BYTES: Final = 16 * 1024
"""Of a success whose body is larger than SAMPLE_BYTES: it is data, and too long to be read as one document anyway."""
EVIDENCE_BYTES: Final = 8 * 1024
_LONGEST_ERROR: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedExchange:
    """One exchange, without secrets. started_ms: since the run's capture began; waited_ms: for this attempt, before it.

    attempt: from 1, of the same request; decision: what was made of it (`accept`, `retry` …), empty until decided;
    is_clipped: the body went on beyond what is kept here;
    without_credentials: a redirect led to another origin, so that they stayed behind;
    bytes_received: of the body, on the wire; headers: the answer's, names in lower case.
    """

    n: int
    data_type: str | None
    phase: Phase
    method: str
    url: str
    endpoint: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_clipped: bool = False
    bytes_received: int = 0
    started_ms: int = 0
    elapsed_ms: int = 0
    attempt: int = 1
    waited_ms: int = 0
    exception: tuple[ExceptionLink, ...] = ()
    without_credentials: bool = False
    decision: str = ""

    @property
    def is_failing(self) -> bool:
        """Whether no answer came, or one that is neither success nor redirect."""
        return self.status is None or self.status >= 400 or bool(self.exception)

    def as_exchange(self) -> Exchange:
        """Return what the classifier reads."""
        return Exchange(
            method=self.method,
            url=self.url,
            phase=self.phase,
            status=self.status,
            headers=self.headers,
            body=self.body,
            clipped=self.is_clipped,
            exception=self.exception,
            without_credentials=self.without_credentials,
        )


class Capture:
    """Keeps one run's exchanges. Written by the run's thread; may be read by another."""

    def __init__(
        self, redactor: Redactor, *, keep_first: int = 50, keep_last: int = 50, keep_failing: int = 100
    ) -> None:
        self._redactor = redactor
        self._started = monotonic()
        self._keep_first, self._keep_failing = keep_first, keep_failing
        self._first: list[CapturedExchange] = []
        self._failing: list[CapturedExchange] = []
        self._latest: deque[CapturedExchange] = deque(maxlen=keep_last)
        self._last: dict[str | None, CapturedExchange] = {}
        self.requests = 0
        """How many exchanges began, with those that a guard refused."""
        self.bytes_received = 0

    def begin(self) -> int:
        """Count an exchange that begins. Returns its number, from 1."""
        self.requests += 1
        return self.requests

    def now_ms(self) -> int:
        """Return the milliseconds since the capture began."""
        return int((monotonic() - self._started) * 1000)

    def record(
        self,
        *,
        n: int,
        started_ms: int,
        method: str,
        url: str,
        endpoint: str,
        data_type: str | None,
        phase: Phase,
        attempt: int = 1,
        waited_ms: int = 0,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        is_whole: bool = True,
        bytes_received: int = 0,
        error: BaseException | None = None,
        without_credentials: bool = False,
    ) -> CapturedExchange:
        """Keep an exchange that ended. headers: names in lower case; body: its beginning, unpacked, as it came.

        is_whole: there was no more of the body. Redacts before anything is kept.
        """
        redactor = self._redactor
        is_success = status is not None and status < 400 and error is None
        is_clipped = not is_whole or len(body) > SAMPLE_BYTES
        most = CUT_SAMPLE_BYTES if is_success and is_clipped else SAMPLE_BYTES
        sample = body if len(body) <= most else body[: most + redactor.longest_bytes]
        if sample:
            sample = redactor.data(sample)[:most]
        exchange = CapturedExchange(
            n=n,
            data_type=data_type,
            phase=phase,
            method=method,
            url=redactor.text(url),
            endpoint=endpoint,
            status=status,
            headers=redactor.headers(headers) if headers else {},
            body=sample,
            is_clipped=is_clipped,
            bytes_received=bytes_received,
            started_ms=started_ms,
            elapsed_ms=self.now_ms() - started_ms,
            attempt=attempt,
            waited_ms=waited_ms,
            exception=exception_links(error, redactor) if error is not None else (),
            without_credentials=without_credentials,
        )
        self.bytes_received += bytes_received
        self._keep(exchange)
        return exchange

    def decided(self, exchange: CapturedExchange, decision: str) -> None:
        """Note what was made of an exchange."""
        noted = replace(exchange, decision=decision)
        for kept in (self._first, self._failing, self._latest):
            for at in range(len(kept) - 1, -1, -1):
                if kept[at].n <= exchange.n:
                    if kept[at].n == exchange.n:
                        kept[at] = replace(kept[at], decision=decision)
                    break
        last = self._last.get(exchange.data_type)
        if last is not None and last.n == exchange.n:
            self._last[exchange.data_type] = noted

    def last(self, data_type: str | None) -> Exchange | None:
        """Return the newest exchange made for a data type (None: for none, such as calls for a token), redacted."""
        kept = self._last.get(data_type)
        return None if kept is None else kept.as_exchange()

    def deciding(self, data_type: str) -> Exchange | None:
        """Return the newest exchange that says how a data type fared: its own, or a call for a token made after it."""
        own, shared = self._last.get(data_type), self._last.get(None)
        newest = own if shared is None or (own is not None and own.n > shared.n) else shared
        return None if newest is None else newest.as_exchange()

    def newest(self) -> CapturedExchange | None:
        """Return the newest exchange of all."""
        return max(self._last.values(), key=lambda exchange: exchange.n, default=None)

    def kept(self) -> list[CapturedExchange]:
        """Return the exchanges whose details were kept, in order, without bodies where they are healthy."""
        found = {
            exchange.n: exchange for kept in (self._first, self._failing, self._latest) for exchange in tuple(kept)
        }
        return [found[n] for n in sorted(found)]

    def summary(self) -> list[dict[str, object]]:
        """Return the kept exchanges, ready for JSON. Gaps in n are exchanges that were counted and not kept."""
        return [_summarized(exchange) for exchange in self.kept()]

    def evidence(self, exchange: Exchange, *, body_bytes: int = EVIDENCE_BYTES) -> dict[str, object]:
        """Return what a person needs to see of an exchange, ready for JSON; of the body, so many bytes as text."""
        text = exchange.body[:body_bytes].decode("utf-8", "replace").replace("\x00", "\ufffd")
        told: dict[str, object] = {"without_credentials": True} if exchange.without_credentials else {}
        return told | {
            "method": exchange.method,
            "url": exchange.url,
            "phase": exchange.phase.value,
            "status": exchange.status,
            "headers": dict(exchange.headers),
            "body": text,
            "body_is_cut": exchange.clipped or len(exchange.body) > body_bytes,
            "exception": [
                {"module": link.module, "name": link.name, "message": link.message, "errno": link.errno}
                for link in exchange.exception
            ],
        }

    def _keep(self, exchange: CapturedExchange) -> None:
        self._last[exchange.data_type] = exchange
        brief = exchange
        if exchange.is_failing:
            if len(exchange.body) > EVIDENCE_BYTES:
                brief = replace(exchange, body=exchange.body[:EVIDENCE_BYTES], is_clipped=True)
            if len(self._failing) < self._keep_failing:
                self._failing.append(brief)
        elif exchange.body:
            brief = replace(exchange, body=b"")
        if len(self._first) < self._keep_first:
            self._first.append(brief)
        else:
            self._latest.append(brief)


def exception_links(error: BaseException, redactor: Redactor) -> tuple[ExceptionLink, ...]:
    """Return an exception and its causes as data, outermost first, without secrets."""
    return tuple(replace(link, message=redactor.text(link.message)) for link in chain(error))


def scrub(error: BaseException, redactor: Redactor) -> None:
    """Take secrets out of an exception and its causes, in place, so that whoever prints it further up shows none."""
    for link in linked(error):
        link.args = tuple(redactor.text(arg) if isinstance(arg, str) else arg for arg in link.args)
        for name in ("request", "response"):  # requests' exceptions carry the headers that were sent
            if getattr(link, name, None) is not None:
                setattr(link, name, None)
        if isinstance(getattr(link, "url", None), str):
            link.url = redactor.text(link.url)  # type: ignore[attr-defined]


def _summarized(exchange: CapturedExchange) -> dict[str, object]:
    error: str | None = None
    if exchange.exception:
        first = exchange.exception[0]
        error = f"{first.name}: {first.message}"[:_LONGEST_ERROR]
    return {
        "n": exchange.n,
        "data_type": exchange.data_type,
        "phase": exchange.phase.value,
        "method": exchange.method,
        "url": exchange.url,
        "endpoint": exchange.endpoint,
        "status": exchange.status,
        "started_ms": exchange.started_ms,
        "elapsed_ms": exchange.elapsed_ms,
        "bytes": exchange.bytes_received,
        "attempt": exchange.attempt,
        "waited_ms": exchange.waited_ms,
        "decision": exchange.decision,
        "error": error,
    }
