"""What a definition must not say of OAuth2 by authorization code, although its form is right."""

from collections.abc import Mapping
from typing import Final

from vendors.consent import AUTHORIZE_PARAMETERS, TOKEN_PARAMETERS
from vendors.definition import AuthType
from vendors.findings import Report
from vendors.source import Where

CONSENT: Final = AuthType.OAUTH2_AUTHORIZATION_CODE.value
APP_MEMBERS: Final = ("client_id", "client_secret")


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
