"""What a definition must not say of OAuth2 by authorization code, although its form is right."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from vendors.consent import AUTHORIZE_PARAMETERS, NO_URL, TOKEN_PARAMETERS
from vendors.definition import AuthType
from vendors.findings import Report
from vendors.hosts import is_loopback
from vendors.source import Where

CONSENT: Final = AuthType.OAUTH2_AUTHORIZATION_CODE.value
APP_MEMBERS: Final = ("client_id", "client_secret")
_REFERENCE: Final = re.compile(r"\$\{[^}]*\}")


def lint_consent(report: Report, where: Where, way: Mapping[str, object]) -> None:
    """Report parameters that are ours to say, and an application that is half the operator's, half the customer's."""
    if way.get("type") != CONSENT:
        return
    for word, ours in (("authorize_extra", AUTHORIZE_PARAMETERS), ("extra", TOKEN_PARAMETERS)):
        extra = way.get(word)
        for name in sorted(ours & set(extra if isinstance(extra, Mapping) else ())):
            problem = f"sets `{name}`, which the protocol fills in"
            report.add((*where, word, name), "oauth-parameter", problem, "Take it out; scopes stand under `scopes`")
    if "client_secret" in way and "client_id" not in way:
        problem = "has a client_secret of its own for the application of the operator"
        remedy = "Take it out, or write client_id too: `client_id: '${credentials.client_id}'`"
        report.add((*where, "client_secret"), "oauth-client", problem, remedy)
    if "app" in way and "client_id" in way:
        problem = "names an application of the operator beside a client_id"
        report.add((*where, "app"), "oauth-client", problem, "Keep one of the two")
    _lint_issuer(report, where, way)


def _lint_issuer(report: Report, where: Where, way: Mapping[str, object]) -> None:
    """Report an issuer that no server can give itself (RFC 8414, section 2), and one that is sent but not named."""
    issuer = way.get("issuer")
    for text in _choices(issuer):
        problem = _issuer_problem(text)
        if problem is not None:
            remedy = (
                "Copy `issuer` from the server's metadata (/.well-known/openid-configuration or "
                "oauth-authorization-server), as in `issuer: https://id.vendor.example/realms/one`"
            )
            report.add((*where, "issuer"), "oauth-issuer", f"`{text}` {problem}", remedy)
    if issuer is None and way.get("issuer_sent") is True:
        problem = "says that answers name their issuer, but not which it is"
        remedy = "Add `issuer: https://…`, as the server's metadata have it"
        report.add((*where, "issuer_sent"), "oauth-issuer", problem, remedy)


def _choices(issuer: object) -> list[str]:
    """Return the texts that an issuer may be: itself, or each of what a setting chooses from."""
    if isinstance(issuer, Mapping):
        choices = issuer.get("map")
        each = [*(choices.values() if isinstance(choices, Mapping) else ()), issuer.get("default")]
    else:
        each = [issuer]
    return [text for text in each if isinstance(text, str)]


def _issuer_problem(issuer: str) -> str | None:
    """Return what is wrong with an issuer as written, or None. A reference may stand for a part behind the scheme."""
    if not issuer.startswith("https://") and not is_loopback(issuer):
        return "does not begin with https:// (http:// is for 127.0.0.1 alone)"
    written = _REFERENCE.sub("1", issuer)
    if NO_URL.search(written):
        return "holds a character that no URL has"
    try:
        parts = urlsplit(written)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole:
        return "is not a whole URL"
    wrong = (("?" in written or "#" in written, "a query or a fragment"), ("@" in parts.netloc, "a user name"))
    return next((f"holds {what}, which no issuer has" for is_wrong, what in wrong if is_wrong), None)
