"""What a customer typed, held against what a definition asks for: normalised, complete, and never echoed."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from vendors.consent import REDIRECT_URLS, offers_consent, redirect_urls_problem
from vendors.definition import Auth, AuthType, Definition
from vendors.errors import (
    FieldProblem,
    InvalidCredentialsError,
    MissingReferenceError,
    UnusableValueError,
)
from vendors.expressions import Value, did_you_mean
from vendors.hosts import HostReference, authority_references, clean_host
from vendors.requests_made import base_url_of

Fields = Mapping[str, Mapping[str, object]]

LONGEST_VALUE: Final = 64 * 1024
_INVISIBLE: Final = "\ufeff\u200b\u200c\u200d\u2060\u00a0"
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Credentials and settings as expressions read them. secrets: every string that may not be shown."""

    credentials: Mapping[str, object] = field(repr=False)
    settings: Mapping[str, object]
    secrets: tuple[str, ...] = field(repr=False)


def prepare(definition: Definition, credentials: Mapping[str, object], settings: Mapping[str, object]) -> Prepared:
    """Return what the connection brought, ready for use.

    Blanks and invisible characters around a value are cut off, prefix and suffix are put where they are missing, a host
    is lower-cased and freed of scheme and path, text becomes the type that its field has, defaults are filled in.
    Raises InvalidCredentialsError with every field that is missing, unknown or not of the right form.
    """
    reader = _Reader(definition)
    settings = reader.without_redirects(settings)
    given = {
        "credentials": reader.read("credentials", definition.credentials, credentials),
        "settings": reader.read("settings", definition.settings, settings),
    }
    if not reader.problems:
        reader.check_use(given)
    if reader.problems:
        raise InvalidCredentialsError(definition.vendor, tuple(reader.problems))
    secrets = sorted(reader.secrets, key=lambda secret: (-len(secret), secret))
    return Prepared(credentials=given["credentials"], settings=given["settings"], secrets=tuple(secrets))


def input_schema(definition: Definition) -> dict[str, object]:
    """Return JSON Schema 2020-12 for a form: credentials and settings, secrets marked writeOnly."""
    parts = {"credentials": definition.credentials, "settings": definition.settings}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {part: _object_schema(schema) for part, schema in parts.items() if schema.get("properties")},
        "required": [part for part, schema in parts.items() if schema.get("required")],
        "additionalProperties": False,
    }


def host_settings(definition: Definition) -> frozenset[str]:
    """Return the settings that decide to which host and port a connection's credentials are sent."""
    named = (reference.path.partition(".") for reference in _host_references(definition))
    return frozenset(name for part, _, name in named if part == "settings") | _choosing(definition)


def _choosing(definition: Definition) -> frozenset[str]:
    # A map of regions: the setting that chooses one is not part of the URL's text.
    urls = [definition.base_url.raw, *(auth.token_url.raw for auth in _ways(definition.auth) if auth.token_url)]
    texts = (str(url.get("choose", "")).strip() for url in urls if isinstance(url, Mapping))
    by = (text.removeprefix("${").removesuffix("}").partition(".") for text in texts)
    return frozenset(name.removesuffix("?") for part, _, name in by if part == "settings")


def _object_schema(schema: Mapping[str, object]) -> dict[str, object]:
    properties: dict[str, object] = {}
    for name, words in _fields(schema).items():
        shown = {"type": "string", **words}
        if shown.pop("secret", False):
            shown["writeOnly"] = True
        properties[name] = shown
    required = schema.get("required", [])
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


class _Reader:
    """Reads both parts and collects what is wrong with them."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.problems: list[FieldProblem] = []
        self.secrets: set[str] = set()
        self._hosts = {reference.path: reference for reference in _host_references(definition)}

    def read(self, part: str, schema: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
        fields = _fields(schema)
        required = schema.get("required", [])
        for name in given:
            if name not in fields:
                known = f"; known: {', '.join(fields)}" if fields else "; there are none"
                self._add(part, name[:60], f"is unknown{did_you_mean(name, fields) or known}")
        read: dict[str, object] = {}
        for name, words in fields.items():
            value = self._value(part, name, words, given.get(name))
            if value is not None:
                read[name] = value
            elif isinstance(required, list) and name in required and not self._complained(part, name):
                self._add(part, name, "is missing")
        return read

    def without_redirects(self, settings: Mapping[str, object]) -> Mapping[str, object]:
        """Return the settings that the definition knows; check the one that every vendor with a consent page has."""
        if REDIRECT_URLS not in settings or not offers_consent(self.definition):
            return settings
        problem = redirect_urls_problem(settings[REDIRECT_URLS])
        if problem is not None:
            self._add("settings", REDIRECT_URLS, problem)
        return {name: value for name, value in settings.items() if name != REDIRECT_URLS}

    def check_use(self, given: Mapping[str, Mapping[str, object]]) -> None:
        """Report what the chosen way to authenticate needs besides, and settings that lead to another host."""
        try:
            base_url_of(self.definition, given)
        except (MissingReferenceError, UnusableValueError) as problem:
            self._from_use(problem)
        for value in _values_of(self.definition.auth, given):
            try:
                value.resolve(given)
            except (MissingReferenceError, UnusableValueError) as problem:
                self._from_use(problem)

    def _from_use(self, problem: MissingReferenceError | UnusableValueError) -> None:
        path = problem.path if isinstance(problem, MissingReferenceError) else problem.expression
        part, _, name = path.removeprefix("${").removesuffix("}").partition(".")
        if part in ("credentials", "settings"):
            sentence = "is missing" if isinstance(problem, MissingReferenceError) else problem.problem
            if not self._complained(part, name):
                self._add(part, name, sentence)
        elif path == "base_url":  # it resolves, but to where nothing may be sent
            named = [name for name, host in self._hosts.items() if name.startswith("settings.") and not host.is_port]
            self._add("settings", named[0].partition(".")[2] if named else path, f"leads elsewhere: {problem}")

    def _value(self, part: str, name: str, words: Mapping[str, object], typed: object) -> object:
        if isinstance(typed, str):
            typed = typed.strip().strip(_INVISIBLE).strip()
        if typed is None or typed in ("", []):
            typed = words.get("default")
        if typed is None:
            return None
        try:
            value = _converted(str(words.get("type", "string")), typed)
            if isinstance(value, str):
                value = self._text(f"{part}.{name}", words, value)
            elif words.get("secret") is True:
                self.secrets |= {str(item) for item in (value if isinstance(value, list) else [value])}
            _check(words, value)
        except _UnfitError as problem:
            self._add(part, name, str(problem))
            return None
        return value

    def _text(self, path: str, words: Mapping[str, object], typed: str) -> str:
        if len(typed) > LONGEST_VALUE:
            raise _UnfitError(f"is longer than {LONGEST_VALUE} characters")
        if words.get("format") != "multiline" and re.search(r"[\x00-\x1f\x7f]", typed):
            raise _UnfitError("holds a line break or another control character")
        host = self._hosts.get(path)
        if host is not None and "enum" not in words:
            typed = _port(typed) if host.is_port else _host(typed, host.suffix)
        prefix, suffix = str(words.get("prefix", "")), str(words.get("suffix", ""))
        core = typed.removeprefix(prefix).removesuffix(suffix)
        if not core:
            raise _UnfitError("is empty but for its prefix or suffix")
        _check_text(words, core)
        whole = f"{prefix}{core}{suffix}"
        if words.get("secret") is True:
            self.secrets |= {whole, core}
        return whole

    def _complained(self, part: str, name: str) -> bool:
        return any(problem.part == part and problem.name == name for problem in self.problems)

    def _add(self, part: str, name: str, problem: str) -> None:
        self.problems.append(FieldProblem(part=part, name=name, problem=problem))


class _UnfitError(Exception):
    """A value does not fit; the sentence holds nothing of it."""


def _converted(kind: str, typed: object) -> object:
    """Return a value of the field's type. Raises _UnfitError."""
    match kind:
        case "integer" | "number":
            return _number(kind, typed)
        case "boolean":
            word = str(typed).lower()
            if word in _TRUE or word in _FALSE:
                return word in _TRUE
            raise _UnfitError("should be true or false")
        case "array":
            items = re.split(r"[,\n]", typed) if isinstance(typed, str) else typed
            if not isinstance(items, list | tuple) or any(isinstance(item, dict | list) for item in items):
                raise _UnfitError("should be a list")
            return [item.strip() if isinstance(item, str) else item for item in items if item not in ("", None)]
    if isinstance(typed, str):
        return typed
    if isinstance(typed, int | float) and not isinstance(typed, bool):
        return str(typed)
    raise _UnfitError("should be text")


def _number(kind: str, typed: object) -> int | float:
    if isinstance(typed, bool) or not isinstance(typed, int | float | str):
        raise _UnfitError("should be a number")
    try:
        return int(typed) if kind == "integer" else float(typed)
    except (ValueError, OverflowError):
        raise _UnfitError("should be a whole number" if kind == "integer" else "should be a number") from None


def _check_text(words: Mapping[str, object], text: str) -> None:
    pattern, shortest, longest = words.get("pattern"), words.get("minLength"), words.get("maxLength")
    if isinstance(pattern, str) and re.search(pattern, text) is None:
        shown = words.get("examples")
        example = f", such as {shown[0]}" if isinstance(shown, list) and shown else f" ({pattern})"
        raise _UnfitError(f"does not have the right form{example}")
    if isinstance(shortest, int) and len(text) < shortest:
        raise _UnfitError(f"is shorter than {shortest} characters")
    if isinstance(longest, int) and len(text) > longest:
        raise _UnfitError(f"is longer than {longest} characters")


def _check(words: Mapping[str, object], value: object) -> None:
    allowed, least, most = words.get("enum"), words.get("minimum"), words.get("maximum")
    if isinstance(allowed, list) and value not in allowed:
        raise _UnfitError(f"should be one of {', '.join(str(item) for item in allowed)}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(least, int | float) and value < least:
            raise _UnfitError(f"should be at least {least}")
        if isinstance(most, int | float) and value > most:
            raise _UnfitError(f"should be at most {most}")
    items = words.get("items")
    if isinstance(value, list) and isinstance(items, Mapping):
        for item in value:
            converted = _converted(str(items.get("type", "string")), item)
            _check(items, converted)
            if isinstance(converted, str):
                _check_text(items, converted)


def _host(typed: str, literal_suffix: str) -> str:
    """Return the host, without what the base URL puts after it anyway. Raises _UnfitError."""
    host = clean_host(typed)
    host = clean_host(host.removesuffix(literal_suffix.lower())) if host is not None else None
    if host is None:
        raise _UnfitError("should be a host name without user, port and path")
    return host


def _port(typed: str) -> str:
    """Return the port. Raises _UnfitError."""
    if not (typed.isascii() and typed.isdecimal() and 0 < int(typed[:6]) < 65_536):
        raise _UnfitError("should be a port, a number from 1 to 65535")
    return typed


def _fields(schema: Mapping[str, object]) -> Fields:
    properties = schema.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _host_references(definition: Definition) -> Iterator[HostReference]:
    urls = [definition.base_url.raw]
    for way in _ways(definition.auth):
        urls.extend(url.raw for url in (way.token_url, way.authorize_url) if url is not None)
    for url in urls:
        texts = [url] if isinstance(url, str) else _choices(url)
        for text in texts:
            yield from authority_references(text)


def _choices(raw: object) -> list[str]:
    options = raw.get("map") if isinstance(raw, Mapping) else None
    return [text for text in options.values() if isinstance(text, str)] if isinstance(options, Mapping) else []


def _ways(auth: Auth) -> tuple[Auth, ...]:
    return tuple(auth.options.values()) if auth.type is AuthType.CHOOSE else (auth,)


def _values_of(auth: Auth, given: Mapping[str, Mapping[str, object]]) -> Iterator[Value]:
    """Yield the values that the chosen way to authenticate needs."""
    if auth.type is AuthType.CHOOSE:
        part, _, name = auth.by.partition(".")
        chosen = auth.options.get(str(given[part].get(name)))
        if chosen is None:
            raise MissingReferenceError(auth.by)
        auth = chosen
    for value in (auth.value, auth.token, auth.username, auth.password, auth.token_url, auth.client_id):
        if value is not None:
            yield value
    yield from (value for value in (auth.authorize_url, auth.issuer) if value is not None)
    for value in (auth.client_secret, auth.refresh_token, *auth.extra.values(), *auth.authorize_extra.values()):
        if value is not None:
            yield value
    if auth.request is not None:
        request = auth.request
        yield from (request.path, *request.query.values(), *request.headers.values())
        yield from (body for body in (request.json, request.graphql) if body is not None)
        yield from (request.form or {}).values()
