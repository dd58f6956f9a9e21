"""What a connector asks of whoever talks HTTP for it and keeps its tokens. Protocols only: `worker` fills them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from classifier.vocabulary import Phase


class Action(StrEnum):
    """What to do with an answer, as a definition's `errors` or the default policy say."""

    ACCEPT = "accept"
    RETRY = "retry"
    RATE_LIMITED = "rate_limited"
    FAIL = "fail"
    REAUTHENTICATE = "reauthenticate"
    SKIP_PART = "skip_part"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An action and, for RETRY and RATE_LIMITED, the seconds that vendor or rule ask to wait (None: not said)."""

    action: Action
    wait_s: float | None = None
    rule: str = ""


class Answer(Protocol):
    """A whole answer within the limits on size. Header names are lower case."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def url(self) -> str:
        """The URL that answered, after redirects."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Header names in lower case."""

    @property
    def body(self) -> bytes:
        """The body, decoded from its content encoding."""


class StreamedAnswer(Protocol):
    """An answer whose body is read piece by piece."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Header names in lower case."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the body, decoded from its content encoding, within the budget and the limit on size."""


Policy = Callable[[Answer], Decision | None]
"""A definition's own error rules. None: they say nothing, so the default policy decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call to a vendor.

    url: absolute, without the query; query: in order, names may repeat; json/form/content: at most one of them;
    endpoint: method and path template, for people (`GET /sites/{site}/findings`);
    send_auth_to: origins besides the url's own that may see the headers named in `auth_headers` (usually none);
    idempotent: whether it may be sent again after its fate is unknown.
    """

    method: str
    url: str
    endpoint: str
    data_type: str | None = None
    phase: Phase = Phase.DATA
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    auth_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    auth_query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    send_auth_to: tuple[str, ...] = ()
    json: object = None
    form: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)
    content: bytes | None = field(default=None, repr=False)
    timeout_s: float | None = None
    idempotent: bool = True
    policy: Policy | None = field(default=None, repr=False)


class Session(Protocol):
    """Talks to one connection's vendor during one run; captures every exchange below its retry loop."""

    def send(self, request: Request) -> Answer:
        """Return the answer that stands after retries, whatever its status.

        Raises requests' own exceptions where no answer came, `worker.wire` errors where a guard refused the call,
        and a BaseException of ours when the run's budget is spent or it must stop.
        """

    def stream(self, request: Request) -> AbstractContextManager[StreamedAnswer]:
        """Open the answer and leave its body to be read by `chunks`. Retries end where the body begins."""

    def decide(self, request: Request, answer: Answer) -> Decision:
        """Say what the request's policy, or else the default policy, makes of an answer."""

    def sleep(self, seconds: float) -> None:
        """Wait within the run's budget; ends early where the run must stop."""

    def hide(self, secret: str) -> None:
        """Keep a secret that was learned during the run (an access token) out of all captures."""


class TokenLock(Protocol):
    """The exclusive right to renew one connection's token."""

    def load(self) -> Mapping[str, object] | None:
        """Return the stored token document as it is now, under the lock."""

    def save(self, document: Mapping[str, object]) -> None:
        """Store and commit the document before returning, so that a token is never used before it is kept."""


class TokenKeeper(Protocol):
    """Keeps what a token endpoint gave out, encrypted, over runs and workers."""

    def load(self) -> Mapping[str, object] | None:
        """Return the stored token document, or None."""

    def exclusive(self) -> AbstractContextManager[TokenLock]:
        """Hold the connection's token lock; others wait, within the run's budget."""
