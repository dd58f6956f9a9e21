"""The token endpoint: what the grants that end there share, how its answers are read, and what of them is kept.

A token's document: `{"for": fingerprint, "access_token", "obtained_at", "expires_at", "refresh_token",
"refresh_expires_at", "lapses_at"}`, times in seconds since 1970. A document made with other credentials than today's
has another fingerprint and is not used.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl, quote

import orjson

from classifier.vocabulary import Phase
from vendors.definition import Auth, AuthType, RequestSpec
from vendors.errors import (
    AnswerRefusedError,
    AnswerReportsError,
    ApplicationRefusedError,
    MalformedBodyError,
    MissingReferenceError,
    UnexpectedShapeError,
    UnusableValueError,
)
from vendors.expressions import OMIT, Value
from vendors.paths import MISSING, compile_path
from vendors.requests_made import RequestMaker, Scope, plain, text_of
from vendors.timeformats import parse_time
from vendors.wire import Action, Answer, Decision, Request, Session, TokenKeeper

_ABSOLUTE_SINCE_S: Final = 1_000_000_000
_LONGEST_ERROR_CODE: Final = 64
_SECRET_FIELDS: Final = ("refresh_token", "code", "code_verifier")

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

APPLICATION_CODES: Final = frozenset({"invalid_client", "incorrect_client_credentials", "unauthorized_client"})
"""OAuth error codes that speak of the application, whoever the customer is (the second one is GitHub's)."""

_OF_THE_TENANT: Final = b"AADSTS700016"
"""Microsoft's unauthorized_client for an application that the customer's administrator has not installed, or took out
(https://learn.microsoft.com/entra/identity-platform/reference-error-codes)."""

PASSING_CODES: Final = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
"""OAuth error codes that ask to come again, whatever the status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthContext:
    """What every way to authenticate needs. clock: aware, UTC, never backwards."""

    base_url: str
    scope: Scope = field(repr=False)
    tokens: TokenKeeper = field(repr=False)
    clock: Callable[[], datetime]


class TokenEndpoint:
    """What the OAuth grants share: one form to the token URL, with the client's own authentication."""

    def __init__(self, auth: Auth, context: AuthContext) -> None:
        self.auth, self.context = auth, context
        self._is_operators_app = bool(auth.app)
        self.client_id = text_at(auth.client_id, context.scope, "auth.client_id", empty="")
        self.client_secret = text_at(auth.client_secret, context.scope, "auth.client_secret", empty="")
        if auth.token_url is None:
            raise UnusableValueError("auth.token_url", "is not said")
        spec = RequestSpec(path=auth.token_url, method="POST", auth=False)
        self.maker = RequestMaker(spec, base_url=context.base_url)
        self._reader = TokenReader(
            token=auth.access_token_path,
            expires=auth.expires_in_path,
            refresh=auth.refresh_token_path,
            refresh_expires=auth.refresh_expires_in_path,
        )

    def read(self, answer: Answer) -> dict[str, object]:
        """Return what is to be kept of an answer. Raises VendorError for one without a token."""
        now = self.context.clock()
        if self._is_operators_app and error_code(answer) in APPLICATION_CODES and _OF_THE_TENANT not in answer.body:
            raise ApplicationRefusedError(self.maker.endpoint, f"status {answer.status}, {error_code(answer)}")
        document = self._reader.document(answer, self.maker.endpoint, now)
        lifetime_s = self.auth.refresh_lifetime_s
        if lifetime_s is not None and "refresh_token" in document:
            document.setdefault("refresh_expires_at", now.timestamp() + lifetime_s)
        return document

    def ask(
        self,
        session: Session,
        fields: dict[str, str],
        *,
        data_type: str | None,
        idempotent: bool,
        scopes: tuple[str, ...] = (),
    ) -> Answer:
        """Send the form, with the client's proof. scopes: to be asked for with it."""
        draft = self.maker.draft(self.context.scope)
        draft.headers["Accept"] = "application/json"
        if scopes:
            fields["scope"] = " ".join(scopes)
        more = {name: value.resolve(self.context.scope) for name, value in self.auth.extra.items()}
        fields.update({name: text_of(value, name) for name, value in more.items() if value is not OMIT})
        basic = self._add_client(session, fields)
        if self.auth.client_auth == "json":
            draft.json = plain(fields)
        else:
            draft.form = list(fields.items())
        request = draft.request(data_type=data_type, phase=Phase.TOKEN, policy=token_policy, idempotent=idempotent)
        return session.send(_with_headers(request, basic))

    def _add_client(self, session: Session, fields: dict[str, str]) -> dict[str, str]:
        for secret in (self.client_secret, *(fields.get(name, "") for name in _SECRET_FIELDS)):
            if secret:
                session.hide(secret)
        if self.auth.client_auth == "basic" and self.client_secret:
            # RFC 6749, section 2.3.1 has both parts form-encoded first. Few servers decode them, so that is done only
            # where the plain form could not be read at all.
            client_id = quote(self.client_id, safe="") if ":" in self.client_id else self.client_id
            encoded = basic_pair(client_id, self.client_secret)
            session.hide(encoded)
            return {"Authorization": f"Basic {encoded}"}
        if self.client_id:
            fields["client_id"] = self.client_id
        if self.client_secret:
            fields["client_secret"] = self.client_secret
        return {}


class TokenReader:
    """Reads the answer of a token endpoint."""

    def __init__(
        self, *, token: str, expires: str | None, refresh: str | None = None, refresh_expires: str | None = None
    ) -> None:
        self._token_path = token
        self._token = _token_getter(token)
        self._expires = None if expires is None else compile_path(expires)
        self._refresh = None if refresh is None else compile_path(refresh)
        self._refresh_expires = None if refresh_expires is None else compile_path(refresh_expires)

    def document(self, answer: Answer, endpoint: str, now: datetime) -> dict[str, object]:
        """Return what is to be kept. now: aware. Raises VendorError for an answer without a token."""
        code = error_code(answer)
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
        if self._refresh_expires is not None:
            refresh_expires_at = _expiry(self._refresh_expires(body), now)
            if refresh_expires_at is not None:
                document["refresh_expires_at"] = refresh_expires_at
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


def error_code(answer: Answer) -> str:
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


def consent_fingerprint(client_id: str) -> str:
    """Return the fingerprint of what is granted to an application: it outlives a change of the application's secret."""
    return fingerprint_of(AuthType.OAUTH2_AUTHORIZATION_CODE.value, client_id)


def with_lapse(document: dict[str, object]) -> dict[str, object]:
    """Add `lapses_at`, when nothing but a person's consent helps any more, where that is known."""
    lapses_at = document.get("refresh_expires_at" if "refresh_token" in document else "expires_at")
    return document if lapses_at is None else {**document, "lapses_at": lapses_at}


def token_policy(answer: Answer) -> Decision | None:
    """Say of a token endpoint's answer whether to come again, as its OAuth error code says."""
    code = error_code(answer)
    if code in PASSING_CODES:
        return Decision(action=Action.RETRY, rule=f"oauth:{code}")
    if code in DEFINITE_CODES and not 200 <= answer.status < 300:
        return Decision(action=Action.FAIL, rule=f"oauth:{code}")
    return None


def text_at(value: Value | None, scope: Scope, name: str, *, empty: str | None = None) -> str:
    """Return the text of a credential. Raises MissingReferenceError where it is not there and empty is not given."""
    resolved = OMIT if value is None else value.resolve(scope)
    if resolved is OMIT or resolved is None:
        if empty is None:
            raise MissingReferenceError(min(value.references, default=name) if value is not None else name)
        return empty
    return text_of(resolved, name)


def basic_pair(username: str, password: str) -> str:
    """Return what stands after `Basic`."""
    return base64.b64encode(f"{username}:{password}".encode()).decode("ascii")


def fingerprint_of(*parts: str) -> str:
    """Return a digest that tells whether a document was made with the same credentials."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def _with_headers(request: Request, headers: Mapping[str, str]) -> Request:
    return request if not headers else replace(request, auth_headers=headers)
