"""What is sent in one exchange: a connector's request, or where a redirect leads, without credentials for strangers."""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import orjson
import requests
from requests.utils import check_header_validity

from vendors.wire import Request
from worker.wire.errors import BlockedAddressError, RedirectRefusedError, TooManyRedirectsError
from worker.wire.guard import AddressGuard, Origin
from worker.wire.redactor import Redactor, is_secret_header

Headers = dict[str, tuple[str, str]]
"""Name in lower case -> name as it was written, value."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD: Final = frozenset({307, 308})
_BODY_HEADERS: Final = ("content-type", "content-length", "content-encoding", "transfer-encoding")
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_PLAIN_URL: Final = re.compile(  # one that requests would leave as it is
    r"https?://[a-z0-9.-]+(?::[0-9]+)?/(?:[A-Za-z0-9_~!$&'()*+,;=:@/-]|\.(?!\.?(?:[/?]|\Z)))*"
    r"(?:\?(?:[A-Za-z0-9_~!$&'()*+,;=:@/?.-]|%[0-9A-F]{2})*)?"
)
_PLAIN_HEADER: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One exchange to be made. waited_s: before it; redirects: that led here.

    without_credentials: a redirect led to another origin, where the request's credentials may not go.
    """

    method: str
    url: str
    headers: Headers
    content: bytes | None
    request: Request
    attempt: int = 1
    waited_s: float = 0.0
    is_streamed: bool = False
    redirects: int = 0
    without_credentials: bool = False


def first_hop(request: Request, base: Headers, *, attempt: int, waited_s: float, is_streamed: bool) -> Hop:
    """Return the exchange that a request asks for. base: headers that are sent unless the request has its own."""
    headers = base.copy()
    for given in (request.headers, request.auth_headers):
        for name, value in given.items():
            headers[name.lower()] = (name, value)
    headers.pop("host", None)  # it follows from the URL, which the guard reads
    content = request.content
    if request.json is not None:
        content = orjson.dumps(request.json)
        headers.setdefault("content-type", ("Content-Type", "application/json"))
    elif request.form is not None:
        content = urlencode(request.form).encode("ascii")
        headers.setdefault("content-type", ("Content-Type", "application/x-www-form-urlencoded"))
    return Hop(
        method=request.method.upper(),
        url=_with_query(request.url, (*request.query, *request.auth_query)),
        headers=headers,
        content=content,
        request=request,
        attempt=attempt,
        waited_s=waited_s,
        is_streamed=is_streamed,
    )


def next_hop(
    hop: Hop,
    origin: Origin,
    status: int,
    headers: Mapping[str, str],
    *,
    guard: AddressGuard,
    redactor: Redactor,
    most_redirects: int,
) -> Hop | None:
    """Return where a redirect leads, None where the answer is none.

    headers: the answer's, names in lower case. Raises RedirectRefusedError or TooManyRedirectsError. Another origin
    gets neither credentials nor a body, and no URL that carries one of the run's secrets.
    """
    location = headers.get("location")
    if status not in _REDIRECTS or not location:
        return None
    target, to = _checked_target(hop, origin, status, location, guard=guard, redactor=redactor)
    shown = redactor.text(target)
    if hop.redirects >= most_redirects:
        raise TooManyRedirectsError(hop.redirects, shown)
    method, content, kept = hop.method, hop.content, hop.headers
    without_credentials = hop.without_credentials
    if status not in _KEEP_METHOD and method != "HEAD" and (status == 303 or method == "POST"):
        method, content = "GET", None
        kept = {name: header for name, header in kept.items() if name not in _BODY_HEADERS}
    if to == origin:
        target = _with_query(target, _missing_auth_query(hop.request, target))
    else:
        if content is not None:
            raise RedirectRefusedError(status, shown, "it would carry the request's body to another host")
        if redactor.holds_secret(target):
            raise RedirectRefusedError(status, shown, "its URL carries a credential to another host")
        if str(to) not in hop.request.send_auth_to:
            allowed = _without_credentials(hop.request, kept, redactor)
            without_credentials = without_credentials or len(allowed) < len(kept) or bool(hop.request.auth_query)
            kept = allowed
    return replace(
        hop,
        method=method,
        url=target,
        headers=kept,
        content=content,
        waited_s=0.0,
        redirects=hop.redirects + 1,
        without_credentials=without_credentials,
    )


def _checked_target(
    hop: Hop, origin: Origin, status: int, location: str, *, guard: AddressGuard, redactor: Redactor
) -> tuple[str, Origin]:
    with contextlib.suppress(UnicodeError):
        location = location.encode("latin-1").decode("utf-8")  # what http.client read as Latin-1 is UTF-8
    try:
        target = urljoin(hop.url, location).partition("#")[0]
        to = guard.check(target)
    except ValueError as error:  # `http://[::1`
        raise RedirectRefusedError(status, redactor.text(location), "no URL that can be read") from error
    except BlockedAddressError as error:
        raise RedirectRefusedError(status, redactor.text(location), error.problem) from error
    if origin.scheme == "https" and to.scheme != "https":
        raise RedirectRefusedError(status, redactor.text(target), "it leads from https to plain http")
    return target, to


def prepared(hop: Hop, guard: AddressGuard) -> tuple[requests.PreparedRequest, Origin]:
    """Return what the transport sends, and the origin it goes to.

    Raises BlockedAddressError, and requests' InvalidURL and InvalidHeader.
    """
    ready = requests.PreparedRequest()
    url = hop.url
    if not _PLAIN_URL.fullmatch(url):
        guard.check(url)  # as it was written: what is ambiguous is refused before anybody mends it
        ready.prepare_url(url, None)
        url = str(ready.url)
    origin = guard.check(url)
    headers = {name: value if value.isascii() else _as_latin_1(value) for name, value in hop.headers.values()}
    for header in headers.items():
        if not _PLAIN_HEADER.fullmatch(header[1]):
            check_header_validity(header)
    if hop.content is not None:
        headers["Content-Length"] = str(len(hop.content))
    elif hop.method in _WITH_BODY:
        headers["Content-Length"] = "0"
    ready.method, ready.url, ready.body = hop.method, url, hop.content
    # A plain dictionary is enough for urllib3, and requests' own is slow to copy.
    ready.headers = headers  # type: ignore[assignment]
    return ready, origin


def _without_credentials(request: Request, headers: Headers, redactor: Redactor) -> Headers:
    own = {name.lower() for name in request.auth_headers}
    return {
        name: header
        for name, header in headers.items()
        if name not in own and not is_secret_header(name) and not redactor.holds_secret(header[1])
    }


def _missing_auth_query(request: Request, target: str) -> tuple[tuple[str, str], ...]:
    if not request.auth_query:
        return ()
    present = {name for name, _ in parse_qsl(urlsplit(target).query, keep_blank_values=True)}
    return tuple((name, value) for name, value in request.auth_query if name not in present)


def _with_query(url: str, query: tuple[tuple[str, str], ...]) -> str:
    url = url.partition("#")[0]
    if not query:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"


def _as_latin_1(value: str) -> str:
    """Return a header's value so that its UTF-8 goes over the wire, as http.client writes Latin-1."""
    return value.encode("utf-8").decode("latin-1")
