"""How requests prove who they are: keys, tokens that are fetched, kept and renewed, and who may see them.

How tokens are got, and what is kept of them, is in `vendors.token_endpoint`; how a customer consents, in
`vendors.consent`.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

import orjson

from classifier.vocabulary import Phase
from vendors.definition import Auth, AuthType, Place, Target
from vendors.errors import AuthorizationNeededError, MissingReferenceError, UnusableValueError
from vendors.expressions import ACCOUNT_ROOTS, compile_value
from vendors.requests_made import Draft, RequestMaker, Scope, text_of
from vendors.token_endpoint import (
    AuthContext,
    TokenEndpoint,
    TokenReader,
    basic_pair,
    consent_fingerprint,
    error_code,
    fingerprint_of,
    text_at,
    token_policy,
    with_lapse,
)
from vendors.wire import Session, TokenLock

RENEW_EARLY_S: Final = 60.0
"""A token is renewed this long before its end, or after nine tenths of a short life."""

_WHY_NEEDED: Final = (
    "nobody has authorized the connection yet, or the application that they authorized is no longer in use",
    "the access that was granted is over, and the vendor gave nothing to renew it with",
)
_CLOCK_SLIP_S: Final = 300.0
_AUTHORIZATION: Final = Target(place=Place.HEADER, name="Authorization")


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


def authenticator_of(auth: Auth, context: AuthContext) -> Authenticator:
    """Return the way to authenticate that a definition describes, for these credentials.

    Raises MissingReferenceError or UnusableValueError where a credential is missing or of no use.
    """
    if auth.type is AuthType.CHOOSE:
        return authenticator_of(chosen_way(auth, context.scope), context)
    grant = _GRANTS.get(auth.type)
    return _fixed(auth, context.scope) if grant is None else _Renewable(grant(auth, context), auth, context)


def _fixed(auth: Auth, scope: Scope) -> Authenticator:
    target = auth.target or _AUTHORIZATION
    if auth.type is AuthType.API_KEY:
        key = text_at(auth.value, scope, "auth.value")
        return _Fixed(_placed(target, key), (key,))
    if auth.type is AuthType.BEARER:
        token = text_at(auth.token, scope, "auth.token")
        return _Fixed(_placed(target, _prefixed(auth.prefix, token)), (token,))
    if auth.type is AuthType.BASIC:
        password = text_at(auth.password, scope, "auth.password", empty="") if auth.password else ""
        encoded = basic_pair(text_at(auth.username, scope, "auth.username"), password)
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
        try:
            self._token = self._renewed(session, spent.token, data_type)
        except AuthorizationNeededError:
            return None  # there is nothing to renew it with: the vendor's own refusal stands
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


class _ClientCredentials:
    """RFC 6749, section 4.4."""

    def __init__(self, auth: Auth, context: AuthContext) -> None:
        self._endpoint = TokenEndpoint(auth, context)
        url = self._endpoint.maker.draft(context.scope).url
        client = (self._endpoint.client_id, self._endpoint.client_secret)
        self.fingerprint = fingerprint_of(auth.type.value, url, *client, " ".join(auth.scopes))

    def fetch(self, session: Session, lock: TokenLock, data_type: str | None) -> dict[str, object]:  # noqa: ARG002 - one shape for all grants
        endpoint = self._endpoint
        fields = {"grant_type": "client_credentials"}
        answer = endpoint.ask(session, fields, data_type=data_type, idempotent=True, scopes=endpoint.auth.scopes)
        return endpoint.read(answer)


class _Refresh:
    """RFC 6749, section 6, for vendors that keep the refresh token and for those that give a new one each time.

    The first refresh token is the customer's, or came with a consent (`vendors.consent`) and is in the keeper alone.
    """

    def __init__(self, auth: Auth, context: AuthContext) -> None:
        self._endpoint = TokenEndpoint(auth, context)
        self._tokens = context.tokens
        self._first: str | None = None
        if auth.type is AuthType.OAUTH2_AUTHORIZATION_CODE:
            self._scopes: tuple[str, ...] = ()  # those that were granted
            self.fingerprint = consent_fingerprint(self._endpoint.client_id)
        else:
            self._scopes = auth.scopes
            self._first = text_at(auth.refresh_token, context.scope, "auth.refresh_token")
            # Not the client's secret: whoever changes it alone must not lose the rotated token for the first one.
            self.fingerprint = fingerprint_of(auth.type.value, self._endpoint.client_id, self._first)

    def fetch(self, session: Session, lock: TokenLock, data_type: str | None) -> dict[str, object]:
        endpoint = self._endpoint
        held = lock.load()
        spent = self._refresh_token_of(held) or self._first
        if spent is None:
            raise AuthorizationNeededError(_WHY_NEEDED[held is not None and held.get("for") == self.fingerprint])
        fields = {"grant_type": "refresh_token", "refresh_token": spent}
        # Never sent twice: if its fate is unknown, the vendor may have taken the token and the answer is lost.
        answer = endpoint.ask(session, fields, data_type=data_type, idempotent=False, scopes=self._scopes)
        if error_code(answer) == "invalid_grant":
            winner = self._tokens.load()
            if winner is not None and self._refresh_token_of(winner) not in (None, spent):
                return dict(winner)  # somebody renewed past our lock: the pair that is stored now is the good one
        document = endpoint.read(answer)
        if document.setdefault("refresh_token", spent) == spent and held is not None and "refresh_expires_at" in held:
            document.setdefault("refresh_expires_at", held["refresh_expires_at"])
        return with_lapse(document)

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
        self._read = TokenReader(token=auth.token_path, expires=auth.expires_path)
        draft = self._maker.draft(context.scope)
        self.fingerprint = fingerprint_of("login", _draft_text(draft))

    def fetch(self, session: Session, lock: TokenLock, data_type: str | None) -> dict[str, object]:  # noqa: ARG002 - one shape for all grants
        draft = self._maker.draft(self._context.scope)
        answer = session.send(draft.request(data_type=data_type, phase=Phase.TOKEN, policy=token_policy))
        now = self._context.clock()
        document = self._read.document(answer, self._maker.endpoint, now)
        if self._auth.lifetime_s is not None and "expires_at" not in document:
            document["expires_at"] = now.timestamp() + self._auth.lifetime_s
        return document


_GRANTS: Final[Mapping[AuthType, Callable[[Auth, AuthContext], _Grant]]] = {
    AuthType.OAUTH2_CLIENT_CREDENTIALS: _ClientCredentials,
    AuthType.OAUTH2_REFRESH: _Refresh,
    AuthType.OAUTH2_AUTHORIZATION_CODE: _Refresh,
    AuthType.LOGIN: _Login,
}


def chosen_way(auth: Auth, scope: Scope) -> Auth:
    """Return the way that the connection's settings choose. Raises MissingReferenceError or UnusableValueError."""
    if auth.type is not AuthType.CHOOSE:
        return auth
    found = compile_value(f"${{{auth.by}}}", roots=ACCOUNT_ROOTS).resolve(scope)
    option = auth.options.get(text_of(found, auth.by))
    if option is None:
        raise UnusableValueError(auth.by, f"is none of {', '.join(auth.options)}")
    return option


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


def _draft_text(draft: Draft) -> str:
    held = (draft.method, draft.url, draft.query, sorted(draft.headers.items()), draft.json, draft.form)
    return orjson.dumps(held, default=str).decode()


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
