"""Sends a definition's requests: with authorization where it may be seen, renewed once where it is refused."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, cast

from vendors.auth import Authenticator, Authorization
from vendors.errors import AnswerRefusedError, AnswerReportsError, UnusableValueError
from vendors.page import Skip
from vendors.requests_made import host_is_allowed, origin_of
from vendors.wire import Action, Answer, Request, Session, StreamedAnswer

UNAUTHORIZED: Final = 401
_ERROR_BODY_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """An error that a rule of the definition lets pass. ends_part: skip_part, else the answer counts as empty."""

    skip: Skip
    ends_part: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAnswer:
    """The beginning of a streamed answer that is no success, read so that rules can look at it."""

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes


class Caller:
    """Sends one connection's requests."""

    def __init__(self, authenticator: Authenticator, *, base_url: str, allowed_hosts: tuple[str, ...] = ()) -> None:
        self._authenticator = authenticator
        self._origin, self._allowed_hosts = origin_of(base_url), allowed_hosts

    def is_home(self, url: str) -> bool:
        """Whether a URL has the base URL's scheme, host and port: a vendor's next page may not lead elsewhere."""
        try:
            return origin_of(url) == self._origin
        except ValueError:
            return False

    def may_see_credentials(self, url: str) -> bool:
        """Whether credentials may go to a URL: home, or by TLS to a host that the definition lists."""
        if self.is_home(url):
            return True
        try:
            scheme, _, rest = origin_of(url).partition("://")
        except ValueError:
            return False
        host, _, port = rest.rpartition(":")
        return scheme == "https" and port == "443" and host_is_allowed(host, self._allowed_hosts)

    def send(self, session: Session, request: Request, *, auth: bool = True, lenient: bool = True) -> Answer | Passed:
        """Return a success answer, or what a rule lets pass.

        lenient: whether rules may let errors pass at all. Raises AnswerRefusedError for every other answer.
        """
        authorization = self._authorization(session, request, auth=auth)
        answer = session.send(_authorized(request, authorization))
        decision = session.decide(request, answer)
        if auth and _is_refused(answer.status, decision.action):
            other = self._authenticator.renew(session, authorization, request.data_type)
            if other is not None:
                answer = session.send(_authorized(request, other))
                decision = session.decide(request, answer)
        if decision.action is Action.ACCEPT and _is_success(answer.status):
            return answer
        return _passed(request, answer.status, decision.action, decision.rule, lenient=lenient)

    @contextmanager
    def stream(self, session: Session, request: Request, *, auth: bool = True) -> Iterator[StreamedAnswer | Passed]:
        """Open a success answer to be read piece by piece. Like `send` in everything else."""
        authorization = self._authorization(session, request, auth=auth)
        for has_renewed in (False, True):
            with session.stream(_authorized(request, authorization)) as streamed:
                if _is_success(streamed.status):
                    yield streamed
                    return
                answer = _read_answer(streamed, request)
            decision = session.decide(request, answer)
            if auth and not has_renewed and _is_refused(answer.status, decision.action):
                other = self._authenticator.renew(session, authorization, request.data_type)
                if other is not None:
                    authorization = other
                    continue
            yield _passed(request, answer.status, decision.action, decision.rule, lenient=True)
            return

    def _authorization(self, session: Session, request: Request, *, auth: bool) -> Authorization:
        if not auth:
            return Authorization()
        if not self.may_see_credentials(request.url):
            raise UnusableValueError(
                request.endpoint,
                "leads to another host than base_url, where no credentials may go; list the host in allowed_hosts, "
                "or say `auth: none`",
            )
        return self._authenticator.authorize(session, request.data_type)


def _authorized(request: Request, authorization: Authorization) -> Request:
    if not authorization.headers and not authorization.query:
        return request
    names = {name for name, _ in authorization.query}
    return replace(
        request,
        # A next URL may repeat the key that the vendor was asked with: it is sent once, and where it is masked.
        query=tuple(pair for pair in request.query if pair[0] not in names) if names else request.query,
        auth_headers=authorization.headers,
        auth_query=authorization.query,
    )


def _is_success(status: int) -> bool:
    return 200 <= status < 300


def _is_refused(status: int, action: Action) -> bool:
    return status == UNAUTHORIZED or action is Action.REAUTHENTICATE


def _passed(request: Request, status: int, action: Action, rule: str, *, lenient: bool) -> Passed:
    if lenient and action in (Action.SKIP_PART, Action.EMPTY) and status != UNAUTHORIZED:
        skip = Skip(endpoint=request.endpoint, status=status, rule=rule)
        return Passed(skip=skip, ends_part=action is Action.SKIP_PART)
    said = f" ({rule})" if rule else ""
    if _is_success(status):
        raise AnswerReportsError(request.endpoint, f"status {status}, but the body reports an error{said}")
    raise AnswerRefusedError(request.endpoint, f"status {status}{said}")


def _read_answer(streamed: StreamedAnswer, request: Request) -> Answer:
    if hasattr(streamed, "body"):  # a session may hand out what is no success as a whole, with its decision
        return cast("Answer", streamed)
    return ReadAnswer(status=streamed.status, url=request.url, headers=streamed.headers, body=_beginning(streamed))


def _beginning(streamed: StreamedAnswer) -> bytes:
    held = bytearray()
    for chunk in streamed.chunks():
        held += chunk
        if len(held) >= _ERROR_BODY_BYTES:
            break
    return bytes(held[:_ERROR_BODY_BYTES])
