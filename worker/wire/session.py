"""Talks to one connection's vendor during one run: guarded, limited, timed, captured, repeated where it makes sense.

    send ─► attempts (waits, budget) ─► hops of a redirect ─► one exchange: stop? time? allowed? token? ─► Transport
                                                                └─ captured here, whatever comes of it

Each exchange is captured below the loop that repeats it, so that no failure hides behind a later success. The calls of
`send` and `stream` go to the transport directly; `http` is the same way out as a `requests.Session`, for SDKs that take
one, and costs its price only where it is used.
"""

import contextlib
import functools
import importlib.metadata
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import requests
from requests.cookies import RequestsCookieJar, extract_cookies_to_jar, get_cookie_header

import classifier
from classifier.dialect import Dialect
from classifier.outcome import Exchange, OwnSide
from vendors.wire import Action, Answer, Decision, Request
from worker.wire.answers import WireAnswer, WireStream
from worker.wire.body import ACCEPT_ENCODING, Body, ReadLimits
from worker.wire.budget import Budget
from worker.wire.canary import Egress, EgressCanary
from worker.wire.capture import SAMPLE_BYTES, Capture, CapturedExchange, scrub
from worker.wire.cutter import Cut
from worker.wire.errors import DeadlineReached, HeadersTooLargeError, IncompleteBodyError, RunStopped, WireError
from worker.wire.guard import AddressGuard, Origin
from worker.wire.hops import Headers, Hop, first_hop, next_hop, prepared
from worker.wire.limiter import Limiter
from worker.wire.links import linked
from worker.wire.redactor import Redactor
from worker.wire.retries import RetryPlan, default_decision, is_passing, was_never_sent
from worker.wire.sdk import sdk_session
from worker.wire.transport import Transport

CONNECT_TIMEOUT_S: Final = 10.0
READ_TIMEOUT_S: Final = 60.0
_LIMITS: Final = ReadLimits()
_PLAN: Final = RetryPlan()
_STOP_EVERY_S: Final = 1.0
_NAP_S: Final = 0.25
_CLOCK_SLACK_S: Final = 0.05  # a socket's timeout may fire this much before the deadline that it was cut to


def _version() -> str:
    try:
        return importlib.metadata.version("connection-health")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return "dev"


USER_AGENT: Final = f"connection-health/{_version()}"


@dataclass(slots=True, kw_only=True)
class _Exchange:
    """One exchange under way: what is known of it so far."""

    n: int
    started_ms: int
    hop: Hop
    waited_s: float
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: Any = None
    body: Body | None = None
    cut: Cut | None = None


class VendorSession:
    """One run's way to its vendor. Used by one thread; `abort` alone may be called from another.

    stop: asked before each call and while waiting and reading; raises RunStopped where the run must end;
    wait, draw: for tests; now: aware, UTC.
    """

    def __init__(
        self,
        *,
        budget: Budget,
        capture: Capture,
        redactor: Redactor,
        guard: AddressGuard,
        transport: Transport,
        limiter: Limiter | None = None,
        dialect: Dialect | None = None,
        stop: Callable[[], None] = lambda: None,
        limits: ReadLimits = _LIMITS,
        plan: RetryPlan = _PLAN,
        canary: EgressCanary | None = None,
        user_agent: str = USER_AGENT,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        wait: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._budget, self._capture, self._redactor, self._guard = budget, capture, redactor, guard
        self._transport, self._limiter, self._dialect, self._stop = transport, limiter, dialect, stop
        self._limits, self._plan, self._canary = limits, plan, canary
        self._now, self._wait, self._draw = now, wait, draw
        self._headers: Headers = {
            "user-agent": ("User-Agent", user_agent),
            "accept": ("Accept", "application/json, */*;q=0.5"),
            "accept-encoding": ("Accept-Encoding", ACCEPT_ENCODING),
        }
        self._jars: dict[Origin, RequestsCookieJar] = {}
        self._aborted: str | None = None
        self._cut: Cut | None = None
        self._stop_asked = 0.0
        self._is_egress_dead = False

    # --- what a connector uses ---------------------------------------------------------------------------------------

    def send(self, request: Request) -> WireAnswer:
        """Return the answer that stands after retries, whatever its status.

        Raises requests' exceptions where no answer came, WireError where a guard refused the call, and DeadlineReached
        or RunStopped where the run must end. None of them shows a secret.
        """
        answer = self._until_it_stands(request, is_streamed=False)
        assert isinstance(answer, WireAnswer)  # noqa: S101 - for the type checker
        return answer

    @contextlib.contextmanager
    def stream(self, request: Request) -> Iterator[WireAnswer | WireStream]:
        """Open the answer and leave its body to be read by `chunks`. An answer that is no success comes whole."""
        answer = self._until_it_stands(request, is_streamed=True)
        try:
            yield answer
        finally:
            if isinstance(answer, WireStream):
                answer.close()

    def decide(self, request: Request, answer: Answer) -> Decision:
        """Say what the request's policy, or else the default policy, makes of an answer."""
        known = answer.decision if isinstance(answer, WireAnswer) else None
        if known is not None:
            return known
        decision = request.policy(answer) if request.policy is not None else None
        if decision is None:
            decision = self._default(request, answer)
        if isinstance(answer, WireAnswer):
            answer.decision = decision
            if decision.action is not Action.ACCEPT:
                self._capture.decided(answer.exchange, decision.action.value)
        return decision

    def sleep(self, seconds: float) -> None:
        """Wait within the run's budget; ends early where the run must stop.

        Raises DeadlineReached at once where the wait would outlast the budget: a worker that sits it out helps nobody.
        """
        if seconds >= self._budget.check("waiting"):
            raise DeadlineReached(self._budget.budget_s, f"a wait of {seconds:.1f} s does not fit")
        while seconds > 0:
            self._check_stop()
            nap_s = min(seconds, _NAP_S)
            self._wait(nap_s)
            seconds -= nap_s
        self._check_stop()

    def hide(self, secret: str) -> None:
        """Keep a secret that was learned during the run (an access token) out of all captures."""
        self._redactor.hide(secret)

    # --- what the run uses -------------------------------------------------------------------------------------------

    def abort(self, reason: str) -> None:
        """End the run from another thread: the exchange under way is cut, and RunStopped raised in the run's thread."""
        self._aborted = reason
        cut = self._cut
        if cut is not None:
            cut.end(reason)

    def own_side(self) -> frozenset[OwnSide]:
        """Return what this run learned of our own side: the budget spent, the way out dead."""
        found: set[OwnSide] = set()
        if self._budget.remaining_s() <= 0:
            found.add(OwnSide.BUDGET_SPENT)
        if self._is_egress_dead:
            found.add(OwnSide.EGRESS_DEAD)
        return frozenset(found)

    @functools.cached_property
    def http(self) -> requests.Session:
        """The same way out as a `requests.Session`, for SDKs. Retries are the SDK's; bodies come whole."""
        return sdk_session(self.attempt_once, dict(self._headers.values()))

    def attempt_once(self, request: Request) -> WireAnswer:
        """Make one attempt, redirects followed, and judge nothing: for callers with a retry loop of their own."""
        self._hide_credentials(request)
        try:
            answer = self._attempt(request, 1, 0.0, is_streamed=False)
        except BaseException as error:
            self._ask_canary(error)
            scrub(error, self._redactor)
            raise
        assert isinstance(answer, WireAnswer)  # noqa: S101 - for the type checker
        return answer

    # --- the loop ----------------------------------------------------------------------------------------------------

    def _until_it_stands(self, request: Request, *, is_streamed: bool) -> WireAnswer | WireStream:
        attempt, waited_s = 1, 0.0
        self._hide_credentials(request)
        while True:
            try:
                answer = self._attempt(request, attempt, waited_s, is_streamed=is_streamed)
            except (requests.RequestException, WireError) as error:
                wait_s = self._wait_after_failure(request, error, attempt)
                if wait_s is None:
                    self._ask_canary(error)
                    scrub(error, self._redactor)
                    raise
            except BaseException as error:
                scrub(error, self._redactor)
                raise
            else:
                if isinstance(answer, WireStream):
                    return answer
                wait_s = self._wait_after_answer(request, answer, attempt)
                if wait_s is None:
                    return answer
            self.sleep(wait_s)
            waited_s = wait_s
            attempt += 1

    def _wait_after_failure(self, request: Request, error: BaseException, attempt: int) -> float | None:
        """Return how long to wait before the next attempt, None where there is none."""
        if attempt >= self._plan.attempts or not is_passing(error):
            return None
        if not request.idempotent and not was_never_sent(error):
            return None
        wait_s = self._plan.backoff_s(attempt, self._draw())
        return wait_s if wait_s < self._budget.remaining_s() else None

    def _wait_after_answer(self, request: Request, answer: WireAnswer, attempt: int) -> float | None:
        decision = self.decide(request, answer)
        if self._limiter is not None:
            self._limiter.observe(answer.headers)
        if decision.action not in {Action.RETRY, Action.RATE_LIMITED}:
            return None
        if decision.action is Action.RATE_LIMITED and decision.wait_s and self._limiter is not None:
            self._limiter.pause(decision.wait_s)
        was_refused = decision.action is Action.RATE_LIMITED or (answer.status == 503 and decision.wait_s is not None)
        if attempt >= self._plan.attempts or not (request.idempotent or was_refused):
            return None
        # What the vendor asked for is the least; a little more keeps those apart who wait for the same moment.
        backoff_s = self._plan.backoff_s(attempt, self._draw())
        wait_s = backoff_s if decision.wait_s is None else decision.wait_s + min(1.0, backoff_s)
        if (decision.wait_s or 0.0) > self._plan.longest_wait_s or wait_s >= self._budget.remaining_s():
            return None
        return wait_s

    def _default(self, request: Request, answer: Answer) -> Decision:
        if isinstance(answer, WireStream):
            return Decision(action=Action.ACCEPT)  # a success, and its body is for its reader
        if isinstance(answer, WireAnswer):
            exchange = answer.exchange.as_exchange()
        else:
            exchange = Exchange(
                method=request.method,
                url=self._redactor.text(answer.url),
                phase=request.phase,
                status=answer.status,
                headers=self._redactor.headers(answer.headers),
                body=self._redactor.data(answer.body[: SAMPLE_BYTES + self._redactor.longest_bytes])[:SAMPLE_BYTES],
                clipped=len(answer.body) > SAMPLE_BYTES,
            )
        now = self._now()
        return default_decision(exchange, classifier.judge(exchange, observed_at=now, dialect=self._dialect), now=now)

    def _attempt(
        self, request: Request, attempt: int, waited_s: float, *, is_streamed: bool
    ) -> WireAnswer | WireStream:
        hop = first_hop(request, self._headers, attempt=attempt, waited_s=waited_s, is_streamed=is_streamed)
        while True:
            answer, following = self._exchange(hop)
            if following is None:
                return answer
            hop = following

    # --- one exchange ------------------------------------------------------------------------------------------------

    def _exchange(self, hop: Hop) -> tuple[WireAnswer | WireStream, Hop | None]:
        """Make one exchange and record it, whatever comes of it."""
        self._check_stop()
        self._budget.check("before a call")
        under_way = _Exchange(
            n=self._capture.begin(), started_ms=self._capture.now_ms(), hop=hop, waited_s=hop.waited_s
        )
        chunks: list[bytes] = []
        try:
            raw, origin, cut = self._deliver(under_way)
            status, headers = under_way.status or 0, under_way.headers
            is_success = 200 <= status < 300
            following = None if is_success else self._following(hop, origin, status, headers)
            body = under_way.body = self._body(raw, cut, is_success=is_success, is_streamed=hop.is_streamed)
            if hop.is_streamed and is_success:
                cut.deadline = self._budget.deadline
                return self._opened(under_way, body), None
            cut.deadline = min(self._budget.deadline, time.monotonic() + self._limits.answer_s)
            chunks.extend(body.chunks())
        except BaseException as error:
            spoken = self._spoken(error, under_way.cut)
            self._release(under_way.cut)
            if under_way.raw is not None:
                under_way.raw.close()  # its rest is nobody's answer
            # Of what broke off, only its beginning is told: a body of the largest size is not put together for that.
            self._record(under_way, _beginning(chunks, SAMPLE_BYTES + self._redactor.longest_bytes), error=spoken)
            if spoken is error:
                raise
            raise spoken from error
        self._release(cut)
        content = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        exchange = self._record(under_way, content)
        return WireAnswer(status=status, url=hop.url, headers=headers, body=content, exchange=exchange), following

    def _deliver(self, under_way: _Exchange) -> tuple[Any, Origin, Cut]:
        """Send the request and return the answer, its header read and checked and its body not."""
        hop = under_way.hop
        request = hop.request
        ready, origin = prepared(hop, self._guard)
        if hop.redirects == 0 and (request.auth_headers or request.auth_query):
            self._guard.check_credentials(origin)
        jar = self._jars.get(origin)
        if jar is not None and "cookie" not in hop.headers:
            cookie = get_cookie_header(jar, ready)  # type: ignore[no-untyped-call]
            if cookie:
                ready.headers["Cookie"] = cookie
        if self._limiter is not None:
            under_way.waited_s += self._limiter.take(self._budget, self.sleep)
            under_way.started_ms = self._capture.now_ms()
        left_s = self._budget.check("before a call")
        connect_s = min(CONNECT_TIMEOUT_S, left_s)
        read_s = min(request.timeout_s or READ_TIMEOUT_S, left_s)
        cut = self._cut = under_way.cut = Cut(time.monotonic() + min(left_s, connect_s + read_s))
        if self._aborted is not None:
            cut.end(self._aborted)
        raw: Any = self._transport.deliver(
            ready,
            origin,
            policy=self._guard.policy,
            cut=cut,
            connect_timeout_s=connect_s,
            read_timeout_s=read_s,
            ready=None
            if self._limiter is None
            else functools.partial(self._renew_token, self._limiter, under_way, cut),
        )
        under_way.raw = raw
        under_way.status = int(raw.status)
        headers = under_way.headers = {name.lower(): value for name, value in raw.headers.items()}
        self._check_cut(cut)
        size = sum(map(len, headers)) + sum(map(len, headers.values()))
        if size > self._limits.header_bytes or len(headers) > self._limits.header_fields:
            raise HeadersTooLargeError(self._limits.header_bytes, self._limits.header_fields)
        if "set-cookie" in headers:
            self._take_cookies(ready, origin, raw)
        return raw, origin, cut

    def _renew_token(self, limiter: Limiter, under_way: _Exchange, cut: Cut) -> None:
        """Where the connection took longer than our token is good: take another, and give the answer its whole time."""
        waited_s = limiter.renew(self._budget, self.sleep)
        if waited_s:
            under_way.waited_s += waited_s
            cut.deadline = min(self._budget.deadline, cut.deadline + waited_s)

    def _following(self, hop: Hop, origin: Origin, status: int, headers: Mapping[str, str]) -> Hop | None:
        return next_hop(
            hop,
            origin,
            status,
            headers,
            guard=self._guard,
            redactor=self._redactor,
            most_redirects=self._limits.redirects,
        )

    def _body(self, raw: Any, cut: Cut, *, is_success: bool, is_streamed: bool) -> Body:
        limits = self._limits
        most = limits.stream_bytes if is_streamed else limits.body_bytes
        return Body(
            raw,
            limits=limits,
            limit_bytes=most if is_success else limits.error_bytes,
            check=functools.partial(self._check_reading, cut),
            cuts_short=not is_success,
        )

    def _opened(self, under_way: _Exchange, body: Body) -> WireStream:
        def finish(sample: bytes, error: BaseException | None) -> BaseException | None:
            spoken = None if error is None else self._spoken(error, under_way.cut)
            self._release(under_way.cut)
            if not body.is_finished:
                body.close()
            self._record(under_way, sample, error=spoken, is_whole=body.is_finished)
            if spoken is not None:
                scrub(spoken, self._redactor)
            return spoken

        return WireStream(
            status=under_way.status or 0,
            url=under_way.hop.url,
            headers=under_way.headers,
            body=body,
            sample_bytes=SAMPLE_BYTES + self._redactor.longest_bytes,
            finish=finish,
        )

    def _record(
        self, under_way: _Exchange, sample: bytes, *, error: BaseException | None = None, is_whole: bool = True
    ) -> CapturedExchange:
        hop, request = under_way.hop, under_way.hop.request
        return self._capture.record(
            n=under_way.n,
            started_ms=under_way.started_ms,
            method=hop.method,
            url=hop.url,
            endpoint=request.endpoint,
            data_type=request.data_type,
            phase=request.phase,
            attempt=hop.attempt,
            waited_ms=int(under_way.waited_s * 1000),
            status=under_way.status,
            headers=under_way.headers,
            body=sample,
            is_whole=is_whole,
            bytes_received=0 if under_way.body is None else under_way.body.received_bytes,
            error=error,
            without_credentials=hop.without_credentials,
        )

    def _take_cookies(self, ready: requests.PreparedRequest, origin: Origin, raw: Any) -> None:
        """Keep cookies for the origin that set them, and for no other, whatever domain they ask for."""
        jar = self._jars.setdefault(origin, RequestsCookieJar())
        extract_cookies_to_jar(jar, ready, raw)  # type: ignore[no-untyped-call]
        for cookie in jar:
            if cookie.value:
                self._redactor.hide(cookie.value)

    def _hide_credentials(self, request: Request) -> None:
        for value in request.auth_headers.values():
            self._redactor.hide(value.rpartition(" ")[2])
        for _, value in request.auth_query:
            self._redactor.hide(value)

    # --- time and stopping -------------------------------------------------------------------------------------------

    def _check_stop(self) -> None:
        if self._aborted is not None:
            raise RunStopped(self._aborted)
        self._stop_asked = time.monotonic()
        self._stop()

    def _check_reading(self, cut: Cut) -> None:
        if cut.is_cut:
            self._check_cut(cut)
        now = time.monotonic()
        if now >= cut.deadline:
            cut.end()
            self._check_cut(cut)
        if now - self._stop_asked >= _STOP_EVERY_S:
            self._check_stop()

    def _check_cut(self, cut: Cut) -> None:
        """Raise what it means that an exchange was ended from outside, where it was."""
        if not cut.is_cut:
            return
        if cut.reason:
            raise RunStopped(cut.reason)
        if self._budget.remaining_s() <= _CLOCK_SLACK_S:
            raise DeadlineReached(self._budget.budget_s, "an answer was not over in time")
        raise requests.exceptions.ReadTimeout("the answer took longer than one answer may")

    def _spoken(self, error: BaseException, cut: Cut | None) -> BaseException:
        """Return what an exception means where time or a stop lies behind it: a cut socket looks like a broken one."""
        if not isinstance(error, requests.RequestException | IncompleteBodyError | OSError):
            return error
        try:
            if cut is not None:
                self._check_cut(cut)
        except (DeadlineReached, RunStopped, requests.exceptions.ReadTimeout) as spoken:
            return spoken
        if self._budget.remaining_s() <= _CLOCK_SLACK_S and _is_for_want_of_time(error):
            return DeadlineReached(self._budget.budget_s, "an answer did not come in time")
        return error

    def _release(self, cut: Cut | None) -> None:
        self._cut = None
        if cut is not None:
            self._transport.cutter.release(cut)

    def _ask_canary(self, error: BaseException) -> None:
        is_network = isinstance(error, requests.exceptions.ConnectionError | requests.exceptions.Timeout)
        if self._canary is not None and is_network and self._canary.ask() is Egress.DEAD:
            self._is_egress_dead = True


def _is_for_want_of_time(error: BaseException) -> bool:
    """Say whether an exception came because a time limit of ours was over; a look-up that is given up is one too."""
    return isinstance(error, requests.exceptions.Timeout) or any(
        isinstance(link, socket.gaierror) and link.errno == socket.EAI_AGAIN for link in linked(error)
    )


def _beginning(chunks: list[bytes], most_bytes: int) -> bytes:
    found = b""
    for chunk in chunks:
        found += chunk[: most_bytes - len(found)]
        if len(found) >= most_bytes:
            break
    return found
