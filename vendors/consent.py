"""OAuth2 by authorization code (RFC 6749, section 4.1) with PKCE (RFC 7636): how a customer consents, what comes back.

Sends nothing but the exchange of the code. Who keeps state and verifier meanwhile, and what is done with the token, is
`worker.authorization`'s; how a token is renewed later, `vendors.auth`'s.
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from vendors.auth import chosen_way
from vendors.definition import Auth, AuthType, Definition, RequestSpec
from vendors.errors import MissingApplicationError, MissingReferenceError, UnusableValueError
from vendors.expressions import OMIT
from vendors.hosts import is_loopback
from vendors.requests_made import RequestMaker, Scope, text_of
from vendors.token_endpoint import AuthContext, TokenEndpoint, consent_fingerprint, with_lapse
from vendors.wire import Session

AUTHORIZE_PARAMETERS: Final = frozenset(
    {
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "state",
        "code_challenge",
        "code_challenge_method",
    }
)
"""What is ours to say at the consent page; a definition's `authorize_extra` may not."""

TOKEN_PARAMETERS: Final = frozenset(
    {"grant_type", "code", "redirect_uri", "code_verifier", "refresh_token", "client_id", "client_secret"}
)
"""What is ours to say to the token endpoint; a definition's `extra` may not."""

REDIRECT_URLS: Final = "oauth2_redirect_urls"
"""The option that says where a customer's browser goes afterwards: `{"success": URL, "error": URL}`."""

_LONGEST_URL: Final = 2000
NO_URL: Final = re.compile(r'[^!-~]|[\\"<>^`{|}]')


def new_verifier() -> str:
    """Return a PKCE verifier of 384 random bits."""
    return secrets.token_urlsafe(48)


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode("ascii")


def offers_consent(definition: Definition) -> bool:
    """Say whether a connection of this vendor can be authorized by consent, in one of the ways at least."""
    ways = (definition.auth, *definition.auth.options.values())
    return any(way.type is AuthType.OAUTH2_AUTHORIZATION_CODE for way in ways)


def consent_way(definition: Definition, scope: Scope) -> Auth | None:
    """Return how this connection is authorized by consent, or None where it is authorized in another way.

    scope: `credentials` and `settings`, prepared. Raises MissingReferenceError or UnusableValueError.
    """
    way = chosen_way(definition.auth, scope)
    return way if way.type is AuthType.OAUTH2_AUTHORIZATION_CODE else None


class Consent:
    """One connection's way to its vendor's consent page and back."""

    def __init__(self, vendor: str, auth: Auth, context: AuthContext) -> None:
        """Read the application. Raises MissingApplicationError where the operator's settings have none."""
        try:
            self._endpoint = TokenEndpoint(auth, context)
        except MissingReferenceError as error:
            if error.path.startswith("app."):
                raise MissingApplicationError(vendor, auth.app) from error
            raise
        if not self._endpoint.client_id:
            if auth.app:
                raise MissingApplicationError(vendor, auth.app)
            raise MissingReferenceError("auth.client_id")
        self._auth, self._context = auth, context

    def url(self, *, state: str, challenge: str, redirect_uri: str) -> str:
        """Return the URL of the consent page for one attempt."""
        auth, scope = self._auth, self._context.scope
        if auth.authorize_url is None:
            raise UnusableValueError("auth.authorize_url", "is not said")
        draft = RequestMaker(RequestSpec(path=auth.authorize_url), base_url=self._context.base_url).draft(scope)
        asked = {
            "response_type": "code",
            "client_id": self._endpoint.client_id,
            "redirect_uri": redirect_uri,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        if auth.scopes:
            asked["scope"] = auth.scope_separator.join(auth.scopes)
        for name, value in auth.authorize_extra.items():
            resolved = value.resolve(scope)
            if resolved is not OMIT and resolved is not None:
                asked.setdefault(name, text_of(resolved, name))
        return f"{draft.url}?{urlencode([*draft.query, *asked.items()], quote_via=quote)}"

    def issuer(self) -> str | None:
        """Return who is to answer, exactly as it names itself, or None where the definition does not say."""
        if self._auth.issuer is None:
            return None
        resolved = self._auth.issuer.resolve(self._context.scope)
        return None if resolved is OMIT or resolved is None else text_of(resolved, "auth.issuer")

    def exchange(self, session: Session, *, code: str, verifier: str, redirect_uri: str) -> Mapping[str, object]:
        """Return the token's document for the code that came back, not yet kept. Sent once: a code is good for once.

        Raises ApplicationRefusedError, AnswerRefusedError and other VendorErrors, and what the session raises.
        """
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        answer = self._endpoint.ask(session, fields, data_type=None, idempotent=False)
        document = with_lapse(self._endpoint.read(answer))
        for name in ("access_token", "refresh_token"):
            secret = document.get(name)
            if isinstance(secret, str):
                session.hide(secret)
        return {"for": consent_fingerprint(self._endpoint.client_id), **document}


def redirect_urls_problem(value: object) -> str | None:
    """Return what is wrong with the option `oauth2_redirect_urls`, or None.

    A customer's browser is sent there with our word, so only what the connection's owner wrote down beforehand will do:
    whole URLs, by TLS, or without it on the customer's own machine.
    """
    if not isinstance(value, Mapping) or not value or not set(value) <= {"success", "error"}:
        return "should be an object with success and error, each a URL"
    for name, url in value.items():
        problem = _redirect_url_problem(url)
        if problem is not None:
            return f"{name} {problem}"
    return None


def _redirect_url_problem(url: object) -> str | None:
    if not isinstance(url, str) or not 0 < len(url) <= _LONGEST_URL:
        return f"should be a URL of at most {_LONGEST_URL} characters"
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0 and "#" not in url
    except ValueError:
        is_whole = False
    wrong = (
        (NO_URL.search(url) is not None, "holds a character that no URL has"),
        (not is_whole, "should be a whole URL without a fragment"),
        (not url.startswith("https://") and not is_loopback(url), "should begin with https:// (http: for 127.0.0.1)"),
        ("@" in urlsplit(url).netloc if is_whole else False, "holds a user name"),
    )
    return next((problem for is_wrong, problem in wrong if is_wrong), None)
