"""From a request as a definition writes it to a request that can be sent: references filled, no secrets added."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

import orjson

from classifier.vocabulary import Phase
from vendors.definition import Definition, Place, RequestSpec, Target
from vendors.errors import UnexpectedShapeError, UnusableValueError
from vendors.expressions import OMIT, Value
from vendors.timeformats import format_time
from vendors.wire import Policy, Request

Scope = Mapping[str, object]

_WHOLE_URL: Final = re.compile(r"https?://", re.IGNORECASE)
_REFERENCE: Final = re.compile(r"\$\{\s*([^}]*?)\s*\}")
_PORTS: Final = {"http": 80, "https": 443}


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL in one form (`https://a.example:443`), so that two can be compared.

    Raises ValueError where the URL has none.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not parts.hostname:
        raise ValueError("not an http or https URL with a host")
    return f"{scheme}://{parts.hostname.lower().rstrip('.')}:{parts.port or _PORTS[scheme]}"


def base_url_of(definition: Definition, scope: Scope) -> str:
    """Return the vendor's base URL without a slash at its end.

    Raises UnusableValueError where what a customer typed leads to another host than the definition means, and
    MissingReferenceError where a setting is not there.
    """
    url = text_of(definition.base_url.resolve(scope), "base_url").strip()
    # A slash or an @ in a tenant's name moves the host; percent-encoded it stays where the definition put it.
    meant = None if _is_whole_reference(definition.base_url) else definition.base_url.resolve_path(scope)
    return _checked_base_url(url, meant, definition.allowed_hosts)


@lru_cache(maxsize=4096)  # asked three times a run, and most connections of a vendor have the same
def _checked_base_url(url: str, meant: str | None, allowed_hosts: tuple[str, ...]) -> str:
    parts = urlsplit(url)
    try:
        origin_of(url)
    except ValueError:
        raise UnusableValueError("base_url", "is not an http or https URL with a host") from None
    if "@" in parts.netloc or "\\" in url or parts.query or parts.fragment or any(char.isspace() for char in url):
        raise UnusableValueError("base_url", "may hold a scheme, a host, a port and a path, and nothing else")
    if meant is not None and unquote(urlsplit(meant).netloc).lower() != parts.netloc.lower():
        raise UnusableValueError("base_url", "a setting in it changes the host")
    if allowed_hosts and not host_is_allowed(parts.hostname or "", allowed_hosts):
        raise UnusableValueError("base_url", f"its host is none of {', '.join(allowed_hosts)}")
    return url.rstrip("/")


def host_is_allowed(host: str, allowed: tuple[str, ...]) -> bool:
    """Whether a host is one of the list. `.example.com` and `*.example.com` stand for every host below example.com."""
    host = host.lower().rstrip(".")
    for entry in allowed:
        name = entry.lower().removeprefix("*")
        if host == name or (name.startswith(".") and host.endswith(name) and len(host) > len(name)):
            return True
    return False


@dataclass(slots=True, kw_only=True)
class Draft:
    """A request that can still be changed: bounds, page tokens and sizes find their places in it."""

    method: str
    url: str
    endpoint: str
    query: list[tuple[str, str]] = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    json: object = field(default=None, repr=False)
    form: list[tuple[str, str]] | None = field(default=None, repr=False)
    timeout_s: float | None = None

    def put(self, target: Target, value: object) -> None:
        """Put a value in its place, instead of what stands there under that name. Raises UnexpectedShapeError."""
        match target.place:
            case Place.QUERY:
                self.query = _replaced(self.query, target.name, value)
            case Place.FORM:
                self.form = _replaced(self.form or [], target.name, value)
            case Place.HEADER:
                for name in [name for name in self.headers if name.lower() == target.name.lower()]:
                    del self.headers[name]
                self.headers[target.name] = text_of(value, target.name)
            case Place.JSON:
                self._put_json(target.name.split("."), value)
            case Place.URL:
                self.go_to(text_of(value, "url"))
            case Place.PATH:
                self.url = self.url.replace(f"{{{target.name}}}", quote(text_of(value, target.name), safe=""))

    def go_to(self, url: str) -> None:
        """Ask for this absolute URL, with its own query and nothing of the former one."""
        parts = urlsplit(url)
        self.url = urlunsplit((parts.scheme, parts.netloc, parts.path or "/", "", ""))
        self.query = parse_qsl(parts.query, keep_blank_values=True)

    def request(
        self, *, data_type: str | None, phase: Phase, policy: Policy | None, idempotent: bool = True
    ) -> Request:
        """Return the request as it stands, without any authorization."""
        return Request(
            method=self.method,
            url=self.url,
            endpoint=self.endpoint,
            data_type=data_type,
            phase=phase,
            query=tuple(self.query),
            headers=self.headers,
            json=self.json,
            form=None if self.form is None else tuple(self.form),
            timeout_s=self.timeout_s,
            idempotent=idempotent,
            policy=policy,
        )

    def _put_json(self, names: list[str], value: object) -> None:
        if self.json is None:
            self.json = {}
        held = self.json
        for name in names[:-1]:
            if not isinstance(held, dict):
                break
            held = held.setdefault(name, {})
        if not isinstance(held, dict):
            raise UnexpectedShapeError(self.endpoint, f"json.{'.'.join(names)} has no place in the request's body")
        held[names[-1]] = (
            value if isinstance(value, str | int | float | bool) or value is None else text_of(value, "json")
        )


class RequestMaker:
    """Makes drafts of one request of a definition."""

    def __init__(self, spec: RequestSpec, *, base_url: str) -> None:
        self.spec, self.base_url = spec, base_url
        self.endpoint = endpoint_of(spec)

    def draft(self, scope: Scope) -> Draft:
        """Return the request with references filled from scope. Raises MissingReferenceError or UnusableValueError."""
        spec = self.spec
        url, query = self._url(scope)
        query.extend(_pairs(spec.query, scope))
        headers: dict[str, str] = {}
        for name, value in spec.headers.items():
            resolved = value.resolve(scope)
            if resolved is not OMIT and resolved is not None:
                headers[name] = text_of(resolved, name)
        if not any(name.lower() == "accept" for name in headers):
            headers["Accept"] = "application/json, */*;q=0.5"
        return Draft(
            method=spec.method.upper(),
            url=url,
            endpoint=self.endpoint,
            query=query,
            headers=headers,
            json=self._json(scope),
            form=None if spec.form is None else _pairs(spec.form, scope),
            timeout_s=spec.timeout_s,
        )

    def _url(self, scope: Scope) -> tuple[str, list[tuple[str, str]]]:
        path = self.spec.path
        if _is_whole_reference(path):
            resolved = path.resolve(scope)
            if isinstance(resolved, str) and _WHOLE_URL.match(resolved):  # a URL that the vendor gave, as a job's
                return _split(resolved)
        written = path.resolve_path(scope)
        if _WHOLE_URL.match(written):
            return _split(written)
        return _split(f"{self.base_url}/{written.lstrip('/')}" if written.strip("/") else f"{self.base_url}{written}")

    def _json(self, scope: Scope) -> object:
        spec = self.spec
        if spec.graphql is not None:
            resolved = spec.graphql.resolve(scope)
            if isinstance(resolved, Mapping):
                return plain({"variables": {}, **resolved})
            return {"query": text_of(resolved, "graphql"), "variables": {}}
        if spec.json is None:
            return None
        resolved = spec.json.resolve(scope)
        return None if resolved is OMIT else plain(resolved)


def endpoint_of(spec: RequestSpec) -> str:
    """Return method and path template, for people: `GET /sites/{site.id}/findings`."""
    return _endpoint_of(spec.method.upper(), spec.path.raw if isinstance(spec.path.raw, str) else "(chosen)")


@lru_cache(maxsize=4096)  # asked at every run
def _endpoint_of(method: str, raw: str) -> str:
    template = _REFERENCE.sub(lambda found: f"{{{re.split(r'[?| ]', found[1].removeprefix('parent.'))[0]}}}", raw)
    template = template.split("?", 1)[0]
    if _WHOLE_URL.match(template):
        template = urlsplit(template).path or "/"
    return f"{method} {template if template.startswith(('/', '{', '(')) else '/' + template}"


def text_of(value: object, name: str) -> str:
    """Return a value as it stands in a URL or a header. Raises UnusableValueError for a list or an object."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case datetime():
            return str(format_time(value, "iso8601"))
    raise UnusableValueError(name, "is a list, an object or null where a text is needed")


def plain(value: object) -> object:
    """Return a structure of JSON types only, times in ISO 8601; new lists and dicts, free to be changed."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(format_time(value, "iso8601")) if isinstance(value, datetime) else value


def _is_whole_reference(value: Value) -> bool:
    return isinstance(value.raw, str) and _REFERENCE.fullmatch(value.raw) is not None


def _split(url: str) -> tuple[str, list[tuple[str, str]]]:
    parts = urlsplit(url)
    return (
        urlunsplit((parts.scheme, parts.netloc, parts.path or "/", "", "")),
        parse_qsl(parts.query, keep_blank_values=True),
    )


def _pairs(values: Mapping[str, Value], scope: Scope) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        resolved = value.resolve(scope)
        if resolved is OMIT or resolved is None:
            continue
        if isinstance(resolved, list | tuple):
            found.extend((name, text_of(item, name)) for item in resolved)
        elif isinstance(resolved, Mapping):
            found.append((name, orjson.dumps(plain(resolved)).decode()))
        else:
            found.append((name, text_of(resolved, name)))
    return found


def _replaced(pairs: list[tuple[str, str]], name: str, value: object) -> list[tuple[str, str]]:
    return [pair for pair in pairs if pair[0] != name] + [(name, text_of(value, name))]
