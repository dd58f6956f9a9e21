"""How requests prove who they are: keys, tokens that are fetched, kept and renewed, and who may see them.

A token's document in the keeper: `{"for": fingerprint, "access_token", "obtained_at", "expires_at",
"refresh_token"}`, times in seconds since 1970. A document made with other credentials than today's has another
fingerprint and is not used.
"""

import base64
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Protocol
from urllib.parse import parse_qsl, quote

import orjson

from classifier.vocabulary import Phase
from vendors.definition import Auth, AuthType, Place, RequestSpec, Target
from vendors.errors import (
    AnswerRefusedError,
    AnswerReportsError,
    MalformedBodyError,
    MissingReferenceError,
    UnexpectedShapeError,
    UnusableValueError,
)
from vendors.expressions import ACCOUNT_ROOTS, OMIT, Value, compile_value
from vendors.paths import MISSING, compile_path
from vendors.requests_made import Draft, RequestMaker, Scope, plain, text_of
from vendors.timeformats import parse_time
from vendors.wire import Action, Answer, Decision, Request, Session, TokenKeeper, TokenLock

RENEW_EARLY_S: Final = 60.0
"""A token is renewed this long before its end, or after nine tenths of a short life."""

_CLOCK_SLIP_S: Final = 300.0
_ABSOLUTE_SINCE_S: Final = 1_000_000_000
_LONGEST_ERROR_CODE: Final = 64
_AUTHORIZATION: Final = Target(place=Place.HEADER, name="Authorization")

DEFINITE_CODES: Final = frozenset(
    {
        "invalid_grant",
        "invalid_client",
        "unauthorized_client",
        "invalid_scope",
        "unsupported_grant_type",
        "invalid_request",
        "access_denied",
        "interaction_required",
        "consent_required",
    }
)
"""OAuth error codes that the same request will meet again (RFC 6749, section 5.2)."""

PASSING_CODES: Final = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
"""OAuth error codes that ask to come again, whatever the status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """What goes with a request. token: the renewable secret in it, if any."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    token: str | None = field(default=None, repr=False)


class Authenticator(Protocol):
    """Gives requests their authorization."""

    def authorize(self, session: Session, data_type: str | None) -> Authorization:
        """Return what to send now, after fetching or renewing it where needed. data_type: for whom, or None."""

    def renew(self, session: Session, spent: Authorization, data_type: str | None) -> Authorization | None:
        """Return another authorization instead of one that the vendor refused, or None where there is no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthContext:
    """What every way to authenticate needs. clock: aware, UTC, never backwards."""

    base_url: str
    scope: Scope = field(repr=False)
    tokens: TokenKeeper = field(repr=False)
    clock: Callable[[], datetime]


def authenticator_of(auth: Auth, context: AuthContext) -> Authenticator:
    """Return the way to authenticate that a definition describes, for these credentials.

    Raises MissingReferenceError or UnusableValueError where a credential is missing or of no use.
    """
    if auth.type is AuthType.CHOOSE:
        return authenticator_of(_chosen(auth, context.scope), context)
    grant = _GRANTS.get(auth.type)
    return _fixed(auth, context.scope) if grant is None else _Renewable(grant(auth, context), auth, context)


def _fixed(auth: Auth, scope: Scope) -> Authenticator:
    target = auth.target or _AUTHORIZATION
    if auth.type is AuthType.API_KEY:
        key = _text(auth.value, scope, "auth.value")
        return _Fixed(_placed(target, key), (key,))
    if auth.type is AuthType.BEARER:
        token = _text(auth.token, scope, "auth.token")
        return _Fixed(_placed(target, _prefixed(auth.prefix, token)), (token,))
    if auth.type is AuthType.BASIC:
        password = _text(auth.password, scope, "auth.password", empty="") if auth.password else ""
        encoded = _basic(_text(auth.username, scope, "auth.username"), password)
        return _Fixed(_placed(target, f"Basic {encoded}"), (encoded, password))
    return _Fixed(Authorization(), ())


class _Fixed:
    """Always the same."""

    def __init__(self, authorization: Authorization, secrets: tuple[str, ...]) -> None:
        self._authorization = authorization
        self._secrets = tuple(secret for secret in secrets if secret)
        self._told: Session | None = None

    def authorize(self, session: Session, data_type: str | None) -> Authorization:  # noqa: ARG002 - one shape for all
        if self._told is not session:
            for secret in self._secrets:
                session.hide(secret)
            self._told = session
        return self._authorization

    def renew(self, session: Session, spent: Authorization, data_type: str | None) -> Authorization | None:  # noqa: ARG002 - one shape for all
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    """A token in use. renew_at: on the monotonic clock, None where the vendor stated no lifetime."""

    access: str = field(repr=False)
    renew_at: float | None

    @property
    def is_fresh(self) -> bool:
        return self.renew_at is None or time.monotonic() < self.renew_at


class _Grant(Protocol):
    """One way to get a token."""

    fingerprint: str

    def fetch(self, session: Session, lock: TokenLock, data_type: str | None) -> dict[str, object]:
        """Return a new document, complete but for its fingerprint. Not yet saved."""


class _Renewable:
    """A token from a grant: kept in this run, in the keeper over runs, renewed by one at a time."""

    def __init__(self, grant: _Grant, auth: Auth, context: AuthContext) -> None:
        self._grant, self._context = grant, context
        self._target, self._prefix = auth.target or _AUTHORIZATION, auth.prefix
        self._token: _Token | None = None
        self._told: tuple[Session, str] | None = None

    def authorize(self, session: Session, data_type: str | None) -> Authorization:
        if self._token is None or not self._token.is_fresh:
            self._token = self._kept(self._context.tokens.load()) or self._renewed(session, None, data_type)
        return self._authorization(session, self._token)

    def renew(self, session: Session, spent: Authorization, data_type: str | None) -> Authorization | None:
        if self._token is not None and self._token.is_fresh and self._token.access != spent.token:
            return self._authorization(session, self._token)
        self._token = None  # whatever comes now, this one is spent
        self._token = self._renewed(session, spent.token, data_type)
        return self._authorization(session, self._token)

    def _authorization(self, session: Session, token: _Token) -> Authorization:
        if self._told != (session, token.access):
            session.hide(token.access)
            self._told = (session, token.access)
        placed = _placed(self._target, _prefixed(self._prefix, token.access))
        return Authorization(headers=placed.headers, query=placed.query, token=token.access)

    def _renewed(self, session: Session, spent: str | None, data_type: str | None) -> _Token:
        with self._context.tokens.exclusive() as lock:
            kept = self._kept(lock.load())  # another worker may have renewed it while we waited for the lock
            if kept is not None and kept.access != spent:
                return kept
            document = {"for": self._grant.fingerprint, **self._grant.fetch(session, lock, data_type)}
            for name in ("access_token", "refresh_token"):
                secret = document.get(name)
                if isinstance(secret, str):
                    session.hide(secret)
            if document != self._context.tokens.load():
                lock.save(document)  # before its first use: a pair that is used and lost cannot be had again
        token = _token_of(document, self._context.clock())
        if token is None:
            return _Token(access=str(document["access_token"]), renew_at=time.monotonic())  # given out already expired
        return token

    def _kept(self, document: Mapping[str, object] | None) -> _Token | None:
        if document is None or document.get("for") != self._grant.fingerprint:
            return None
        return _token_of(document, self._context.clock())


def _token_of(document: Mapping[str, object], now: datetime) -> _Token | None:
    """Return the document's access token, or None where it has none that is still fresh."""
    access, obtained, expires = (document.get(name) for name in ("access_token", "obtained_at", "expires_at"))
    if not isinstance(access, str) or not access:
        return None
    if not isinstance(expires, int | float):
        return _Token(access=access, renew_at=None)
    at = now.timestamp()
    if isinstance(obtained, int | float):
        if obtained > at + _CLOCK_SLIP_S:
            return None  # a clock ran backwards: the remaining life cannot be told
        early_s = min(RENEW_EARLY_S, (expires - obtained) / 10)
    else:
        early_s = RENEW_EARLY_S
    left_s = expires - at - early_s
    return _Token(access=access, renew_at=time.monotonic() + left_s) if left_s > 0 else None


class _TokenEndpoint:
    """What the OAuth grants share: one form to the token URL, with the client's own authentication."""

    def __init__(self, auth: Auth, context: AuthContext) -> None:
        self.auth, self.context = auth, context
        self.client_id = _text(auth.client_id, context.scope, "auth.client_id", empty="")
        self.client_secret = _text(auth.client_secret, context.scope, "auth.client_secret", empty="")
        if auth.token_url is None:
            raise UnusableValueError("auth.token_url", "is not said")
        spec = RequestSpec(path=auth.token_url, method="POST", auth=False)
        self.maker = RequestMaker(spec, base_url=context.base_url)
        self.read = _TokenReader(
            token=auth.access_token_path, expires=auth.expires_in_path, refresh=auth.refresh_token_path
        )

    def ask(self, session: Session, fields: dict[str, str], *, data_type: str | None, idempotent: bool) -> Answer:
        draft = self.maker.draft(self.context.scope)
        draft.headers["Accept"] = "application/json"
        if self.auth.scopes:
            fields["scope"] = " ".join(self.auth.scopes)
        more = {name: value.resolve(self.context.scope) for name, value in self.auth.extra.items()}
        fields.update({name: text_of(value, name) for name, value in more.items() if value is not OMIT})
        basic = self._add_client(session, fields)
        if self.auth.client_auth == "json":
            draft.json = plain(fields)
        else:
            draft.form = list(fields.items())
        request = draft.request(data_type=data_type, phase=Phase.TOKEN, policy=_token_policy, idempotent=idempotent)
        return session.send(_with_headers(request, basic))

    def _add_client(self, session: Session, fields: dict[str, str]) -> dict[str, str]:
        for secret in (self.client_secret, fields.get("refresh_token", "")):
            if secret:
                session.hide(secret)
        if self.auth.client_auth == "basic" and self.client_secret:
            # RFC 6749, section 2.3.1 has both parts form-encoded first. Few servers decode them, so that is done only
            # where the plain form could not be read at all.
            client_id = quote(self.client_id, safe="") if ":" in self.client_id else self.client_id
            encoded = _basic(client_id, self.client_secret)
            session.hide(encoded)
            return {"Authorization": f"Basic {encoded}"}
        if self.client_id:
            fields["client_id"] = self.client_id
        if self.client_secret:
            fields["client_secret"] = self.client_secret
        return {}


class _ClientCredentials:
    """RFC 6749, section 4.4."""

    def __init__(self, auth: Auth, context: AuthContext) -> None:
        self._endpoint = _TokenEndpoint(auth, context)
        self._clock = context.clock
        url = self._endpoint.maker.draft(context.scope).url
        client = (self._endpoint.client_id, self._endpoint.client_secret)
        self.fingerprint = _fingerprint(auth.type.value, url, *client, " ".join(auth.scopes))

    def fetch(self, session: Session, lock: TokenLock, data_type: str | None) -> dict[str, object]:  # noqa: ARG002 - one shape for all grants
        endpoint = self._endpoint
        answer = endpoint.ask(session, {"grant_type": "client_credentials"}, data_type=data_type, idempotent=True)
        return endpoint.read.document(answer, endpoint.maker.endpoint, self._clock())


class _Refresh:
    """RFC 6749, section 6, for vendors that keep the refresh token and for those that give a new one each time."""

    def __init__(self, auth: Auth, context: AuthContext) -> None:
        self._endpoint = _TokenEndpoint(auth, context)
        self._clock, self._tokens = context.clock, context.tokens
        self._first = _text(auth.refresh_token, context.scope, "auth.refresh_token")
        # Not the client's secret: a customer who changes it alone must not lose the rotated token for the first one.
        self.fingerprint = _fingerprint(auth.type.value, self._endpoint.client_id, self._first)

    def fetch(self, session: Session, lock: TokenLock, data_type: str | None) -> dict[str, object]:
        endpoint = self._endpoint
        spent = self._refresh_token_of(lock.load()) or self._first
        fields = {"grant_type": "refresh_token", "refresh_token": spent}
        # Never sent twice: if its fate is unknown, the vendor may have taken the token and the answer is lost.
        answer = endpoint.ask(session, fields, data_type=data_type, idempotent=False)
        if _error_code(answer) == "invalid_grant":
            winner = self._tokens.load()
            if winner is not None and self._refresh_token_of(winner) not in (None, spent):
                return dict(winner)  # somebody renewed past our lock: the pair that is stored now is the good one
        document = endpoint.read.document(answer, endpoint.maker.endpoint, self._clock())
        document.setdefault("refresh_token", spent)
        return document

    def _refresh_token_of(self, document: Mapping[str, object] | None) -> str | None:
        if document is None or document.get("for") != self.fingerprint:
            return None
        token = document.get("refresh_token")
        return token if isinstance(token, str) and token else None


class _Login:
    """A request of the definition's own that answers with a token."""

    def __init__(self, auth: Auth, context: AuthContext) -> None:
        if auth.request is None or not auth.token_path:
            raise UnusableValueError("auth.request", "a login needs a request and the path of the token in its answer")
        self._auth, self._context = auth, context
        self._maker = RequestMaker(auth.request, base_url=context.base_url)
        self._read = _TokenReader(token=auth.token_path, expires=auth.expires_path, refresh=None)
        draft = self._maker.draft(context.scope)
        self.fingerprint = _fingerprint("login", _draft_text(draft))

    def fetch(self, session: Session, lock: TokenLock, data_type: str | None) -> dict[str, object]:  # noqa: ARG002 - one shape for all grants
        draft = self._maker.draft(self._context.scope)
        answer = session.send(draft.request(data_type=data_type, phase=Phase.TOKEN, policy=_token_policy))
        now = self._context.clock()
        document = self._read.document(answer, self._maker.endpoint, now)
        if self._auth.lifetime_s is not None and "expires_at" not in document:
            document["expires_at"] = now.timestamp() + self._auth.lifetime_s
        return document


class _TokenReader:
    """Reads the answer of a token endpoint."""

    def __init__(self, *, token: str, expires: str | None, refresh: str | None) -> None:
        self._token_path = token
        self._token = _token_getter(token)
        self._expires = None if expires is None else compile_path(expires)
        self._refresh = None if refresh is None else compile_path(refresh)

    def document(self, answer: Answer, endpoint: str, now: datetime) -> dict[str, object]:
        """Return what is to be kept. now: aware. Raises VendorError for an answer without a token."""
        code = _error_code(answer)
        if not 200 <= answer.status < 300:
            raise AnswerRefusedError(endpoint, f"status {answer.status}" + (f", {code}" if code else ""))
        body = _token_body(answer, endpoint)
        access = self._token(body, answer.headers)
        if not isinstance(access, str) or not access:
            if code or _says_no(body):
                raise AnswerReportsError(endpoint, f"a success status that reports {code or 'an error'}")
            raise UnexpectedShapeError(endpoint, f"no token at {self._token_path}")
        document: dict[str, object] = {"access_token": access, "obtained_at": now.timestamp()}
        if self._expires is not None:
            expires_at = _expiry(self._expires(body), now)
            if expires_at is not None:
                document["expires_at"] = expires_at
        refresh = MISSING if self._refresh is None else self._refresh(body)
        if isinstance(refresh, str) and refresh:
            document["refresh_token"] = refresh
        return document


def _token_getter(path: str) -> Callable[[object, Mapping[str, str]], object]:
    if path.startswith("header."):
        name = path.removeprefix("header.").lower()
        return lambda _, headers: headers.get(name, MISSING)
    get = compile_path(path)
    return lambda body, _: body.strip('" \r\n') if isinstance(body, str) and not path else get(body)


def _token_body(answer: Answer, endpoint: str) -> object:
    if "x-www-form-urlencoded" in answer.headers.get("content-type", ""):
        return dict(parse_qsl(answer.body.decode("utf-8", "replace")))
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError as error:
        text = answer.body.strip()
        if text and text[:1] not in b"<{[" and b"\n" not in text:
            return text.decode("utf-8", "replace")  # some logins answer with the bare token
        if not text:
            return {}  # the token may stand in a header
        raise MalformedBodyError(endpoint, "the token endpoint's answer is not JSON") from error


def _says_no(body: object) -> bool:
    return isinstance(body, dict) and (
        bool(body.get("error")) or bool(body.get("errors")) or body.get("ok") is False or body.get("success") is False
    )


def _expiry(value: object, now: datetime) -> float | None:
    """Return when a token ends, in seconds since 1970: the vendor tells a lifetime in seconds, or a point in time."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            moment = parse_time(value, ("iso8601", "rfc1123"))
            return None if moment is None else moment.timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e15:
        return None
    if value > _ABSOLUTE_SINCE_S * 1000:
        value /= 1000
    return float(value) if value > _ABSOLUTE_SINCE_S else now.timestamp() + value


def _error_code(answer: Answer) -> str:
    """Return the OAuth error code of an answer (`error`, or `error.code` of those who nest it), or an empty text."""
    try:
        body = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return ""
    code = body.get("error") if isinstance(body, dict) else None
    if isinstance(code, dict):
        code = code.get("code")
    readable = isinstance(code, str) and len(code) <= _LONGEST_ERROR_CODE and code.replace("_", "").isalnum()
    return str(code) if readable else ""


def _token_policy(answer: Answer) -> Decision | None:
    code = _error_code(answer)
    if code in PASSING_CODES:
        return Decision(action=Action.RETRY, rule=f"oauth:{code}")
    if code in DEFINITE_CODES and not 200 <= answer.status < 300:
        return Decision(action=Action.FAIL, rule=f"oauth:{code}")
    return None


_GRANTS: Final[Mapping[AuthType, Callable[[Auth, AuthContext], _Grant]]] = {
    AuthType.OAUTH2_CLIENT_CREDENTIALS: _ClientCredentials,
    AuthType.OAUTH2_REFRESH: _Refresh,
    AuthType.LOGIN: _Login,
}


def _chosen(auth: Auth, scope: Scope) -> Auth:
    found = compile_value(f"${{{auth.by}}}", roots=ACCOUNT_ROOTS).resolve(scope)
    option = auth.options.get(text_of(found, auth.by))
    if option is None:
        raise UnusableValueError(auth.by, f"is none of {', '.join(auth.options)}")
    return option


def _text(value: Value | None, scope: Scope, name: str, *, empty: str | None = None) -> str:
    resolved = OMIT if value is None else value.resolve(scope)
    if resolved is OMIT or resolved is None:
        if empty is None:
            raise MissingReferenceError(min(value.references, default=name) if value is not None else name)
        return empty
    return text_of(resolved, name)


def _prefixed(prefix: str, token: str) -> str:
    """`Bearer x`, but `session=x`: a prefix that ends in a sign takes no blank."""
    if not prefix:
        return token
    return f"{prefix}{token}" if prefix[-1] in "=: " else f"{prefix} {token}"


def _placed(target: Target, value: str) -> Authorization:
    if "\r" in value or "\n" in value:
        raise UnusableValueError("auth", "has a line break in it")
    if target.place is Place.QUERY:
        return Authorization(query=((target.name, value),))
    return Authorization(headers={target.name: value})


def _basic(username: str, password: str) -> str:
    return base64.b64encode(f"{username}:{password}".encode()).decode("ascii")


def _fingerprint(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def _draft_text(draft: Draft) -> str:
    held = (draft.method, draft.url, draft.query, sorted(draft.headers.items()), draft.json, draft.form)
    return orjson.dumps(held, default=str).decode()


def _with_headers(request: Request, headers: Mapping[str, str]) -> Request:
    return request if not headers else replace(request, auth_headers=headers)


def token_urls(auth: Auth, scope: Scope) -> tuple[str, ...]:
    """Return the whole URLs from which tokens are got, where they are not below the base URL: their ports must be open.

    Of an auth that leaves a choice, of every way. What cannot be resolved with this scope is left out: the way that it
    belongs to was not chosen, or its use will say what is missing.
    """
    ways = auth.options.values() if auth.type is AuthType.CHOOSE else (auth,)
    paths = [way.token_url for way in ways] + [way.request.path for way in ways if way.request is not None]
    found = []
    for path in paths:
        if path is None:
            continue
        try:
            url = path.resolve(scope)
        except MissingReferenceError:
            continue
        if isinstance(url, str) and url.lower().startswith(("http://", "https://")):
            found.append(url)
    return tuple(found)
