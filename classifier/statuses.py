"""What an HTTP status means where nothing else in the answer says more (RFC 9110, RFC 6585, and what servers do)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

REASON_OF_STATUS: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "bad_request",
        401: "unauthorized",
        402: "payment_required",
        403: "forbidden",
        404: "not_found",
        405: "unsupported",
        406: "unsupported",
        407: "proxy",
        408: "client_error",
        409: "conflict",
        410: "gone",
        411: "bad_request",
        412: "conflict",
        413: "too_large",
        414: "too_large",
        415: "unsupported",
        416: "invalid_parameter",
        420: "rate_limit",  # Twitter's "Enhance your calm"
        421: "wrong_client",
        422: "invalid_parameter",
        426: "wrong_client",
        429: "rate_limit",
        431: "too_large",
        440: "token_expired",  # IIS: login time-out
        451: "client_error",  # RFC 7725: withheld by law, whatever the words
        494: "too_large",  # nginx: request header too large
        495: "credentials_invalid",  # nginx: the client's certificate is not valid
        496: "credentials_missing",  # nginx: no client certificate was sent
        497: "wrong_client",  # nginx: HTTP where HTTPS was due
        498: "token_invalid",  # ArcGIS: invalid token
        500: "server_error",
        501: "server_error",
        502: "gateway",
        503: "unavailable",
        504: "vendor_timeout",
        507: "server_error",
        509: "rate_limit",  # Apache and cPanel: bandwidth limit exceeded
        511: "egress",  # RFC 6585: a captive portal, so it is our own network that wants a login
        520: "gateway",
        521: "gateway",
        522: "gateway",
        523: "gateway",
        524: "vendor_timeout",
        525: "tls",
        526: "tls",
        527: "gateway",
        529: "overloaded",
        530: "gateway",
        561: "unauthorized",  # AWS load balancer: the identity provider refused
        598: "vendor_timeout",
        599: "vendor_timeout",
    }
)


def reason_of_status(status: int) -> str:
    """Return the reason for a status of 300 or more."""
    known = REASON_OF_STATUS.get(status)
    if known is not None:
        return known
    if status >= 500:
        return "server_error"
    return "client_error" if status >= 400 else "redirected"
