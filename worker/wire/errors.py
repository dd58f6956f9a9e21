"""What can go wrong on the wire that `requests` has no word for.

WireStop(BaseException)             ends the run; derives from BaseException, so that no `except Exception` swallows it
├── DeadlineReached                 the run's time budget is spent
└── RunStopped                      the run must end: superseded, cancelled, or the worker drains
WireError(Exception)                a guard of ours, or a promise that an answer broke
├── BlockedAddressError             a host, port, scheme or address that no vendor call may go to
├── CredentialScopeError            credentials would have gone to a host that may not see them
├── RedirectRefusedError            a redirect that may not be followed
├── TooManyRedirectsError           redirects without an end
├── BodyTooLargeError               more bytes than the limit, on the wire or unpacked
├── HeadersTooLargeError            more header fields, or larger ones, than the limit
├── IncompleteBodyError             fewer bytes than the answer promised
└── RateLimitedLocallyError         our own share of the vendor's limit is spent for longer than a run may wait
"""

from datetime import datetime


class WireStop(BaseException):
    """The root of what ends a run at once."""


class DeadlineReached(WireStop):
    """The run's time budget is spent, or a wait would outlast it."""

    def __init__(self, budget_s: float, doing: str = "") -> None:
        super().__init__(budget_s, doing)
        self.budget_s, self.doing = budget_s, doing

    def __str__(self) -> str:
        return f"the run's budget of {self.budget_s:g} s is spent" + (f" ({self.doing})" if self.doing else "")


class RunStopped(WireStop):
    """The run must end without a verdict. reason: `superseded`, `cancelled`, `drain`, `lease_lost`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the run must stop: {self.reason}"


class WireError(Exception):
    """The root of this package's errors."""


class BlockedAddressError(WireError):
    """A target that no vendor call may go to. problem: what is wrong with it; target: host, address or URL part."""

    def __init__(self, target: str, problem: str) -> None:
        super().__init__(target, problem)
        self.target, self.problem = target, problem

    def __str__(self) -> str:
        return f"refused to call {self.target}: {self.problem}"


class CredentialScopeError(WireError):
    """Credentials would have gone to a host that is not among those that may see them."""

    def __init__(self, host: str, allowed: tuple[str, ...]) -> None:
        super().__init__(host, allowed)
        self.host, self.allowed = host, allowed

    def __str__(self) -> str:
        return f"refused to send credentials to {self.host}; they may go to {', '.join(self.allowed) or 'no host'} only"


class RedirectRefusedError(WireError):
    """A redirect that may not be followed. location: where to, redacted."""

    def __init__(self, status: int, location: str, problem: str) -> None:
        super().__init__(status, location, problem)
        self.status, self.location, self.problem = status, location, problem

    def __str__(self) -> str:
        return f"refused to follow redirect {self.status} to {self.location}: {self.problem}"


class TooManyRedirectsError(WireError):
    """Redirects without an end: the vendor's doing, and no guard's."""

    def __init__(self, redirects: int, location: str) -> None:
        super().__init__(redirects, location)
        self.redirects, self.location = redirects, location

    def __str__(self) -> str:
        return f"gave up after {self.redirects} redirects, the next to {self.location}"


class BodyTooLargeError(WireError):
    """More bytes than the limit. problem: which limit."""

    def __init__(self, limit_bytes: int, received_bytes: int, problem: str) -> None:
        super().__init__(limit_bytes, received_bytes, problem)
        self.limit_bytes, self.received_bytes, self.problem = limit_bytes, received_bytes, problem

    def __str__(self) -> str:
        return f"{self.problem}: stopped after {self.received_bytes} bytes received, limit {self.limit_bytes} bytes"


class HeadersTooLargeError(WireError):
    """More header fields, or larger ones, than the limit."""

    def __init__(self, limit_bytes: int, limit_fields: int) -> None:
        super().__init__(limit_bytes, limit_fields)
        self.limit_bytes, self.limit_fields = limit_bytes, limit_fields

    def __str__(self) -> str:
        return (
            f"the answer's header is larger than {self.limit_bytes} bytes or has more than {self.limit_fields} fields"
        )


class IncompleteBodyError(WireError):
    """The connection ended before the body did. promised_bytes: None where the answer did not say (chunked, packed)."""

    def __init__(self, received_bytes: int, promised_bytes: int | None, problem: str = "") -> None:
        super().__init__(received_bytes, promised_bytes, problem)
        self.received_bytes, self.promised_bytes, self.problem = received_bytes, promised_bytes, problem

    def __str__(self) -> str:
        of = f" of {self.promised_bytes} promised" if self.promised_bytes is not None else ""
        return f"incomplete body: {self.received_bytes} bytes{of}" + (f" ({self.problem})" if self.problem else "")


class RateLimitedLocallyError(WireError):
    """Our own share of the vendor's limit is spent for longer than a run may wait. retry_at: aware, UTC."""

    def __init__(self, scope_key: str, wait_s: float, retry_at: datetime) -> None:
        super().__init__(scope_key, wait_s, retry_at)
        self.scope_key, self.wait_s, self.retry_at = scope_key, wait_s, retry_at

    def __str__(self) -> str:
        return f"own limit for {self.scope_key}: the next request may go in {self.wait_s:.0f} s"
