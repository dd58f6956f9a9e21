"""Paths into a body or a record: dotted (`result.items`), `*` walks a list, and jmespath where a path needs more.

A segment that holds a dot stands in double quotes (`meta."odata.next"`); a dotted path that leads nowhere is also tried
as one name, so that `@odata.nextLink` needs none. A number picks from a list.
"""

import re
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Final

import jmespath
import jmespath.exceptions


class Missing(Enum):
    """The type of MISSING."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""What a path yields that leads nowhere; a null that is there is None."""

Getter = Callable[[object], object]

_SEGMENT: Final = re.compile(
    r"""(?:"(?P<quoted>[^"]+)"|(?P<plain>[^.\[\]{}()|&?!<>=,"'`*\\]+)|(?P<star>\*))(?:\.(?!$)|$)"""
)
_INDEX_DIGITS: Final = 9


@lru_cache(maxsize=4096)  # the same few at every run; what it returns keeps nothing
def compile_path(path: str, *, lenient: bool = False) -> Getter:
    """Return a function from a document to what the path leads to, or to MISSING. An empty path is the whole document.

    A path with `*` yields one list: what each element leads to, lists among it laid out flat. lenient: elements that
    lead nowhere are left out; else one of them makes the whole MISSING. Raises ValueError for an unreadable path.
    """
    if not path:
        return _whole
    segments = _segments(path)
    if segments is None:
        return _by_jmespath(path)
    if None in segments:
        return _wild(segments, lenient=lenient)
    keys = tuple(segment for segment in segments if segment is not None)
    if len(keys) == 1:
        return _member(keys[0])
    return _walk(keys, path if '"' not in path else None)


def _whole(document: object) -> object:
    return document


def _segments(path: str) -> list[str | None] | None:
    """Return the names of a plain path (None for `*`), or None where only jmespath reads it."""
    found: list[str | None] = []
    at = 0
    while at < len(path):
        match = _SEGMENT.match(path, at)
        if match is None or match.group("plain") == "@":
            return None
        found.append(None if match.group("star") else match.group("quoted") or match.group("plain"))
        at = match.end()
    return found


def _step(document: object, key: str) -> object:
    if isinstance(document, dict):
        return document.get(key, MISSING)
    if isinstance(document, list) and key.isdecimal() and len(key) <= _INDEX_DIGITS:
        return document[int(key)] if int(key) < len(document) else MISSING
    return MISSING


def _member(key: str) -> Getter:
    def get(document: object) -> object:
        return _step(document, key)

    return get


def _walk(keys: tuple[str, ...], literal: str | None) -> Getter:
    def get(document: object) -> object:
        found = document
        for key in keys:
            found = _step(found, key)
            if found is MISSING:
                return MISSING if literal is None else _step(document, literal)
        return found

    return get


def _wild(segments: list[str | None], *, lenient: bool) -> Getter:
    star = segments.index(None)
    before = _walk(tuple(segment for segment in segments[:star] if segment is not None), None)
    rest = segments[star + 1 :]
    after: Getter
    if None in rest:
        after = _wild(rest, lenient=lenient)
    else:
        after = _walk(tuple(segment for segment in rest if segment is not None), None)

    def get(document: object) -> object:
        outer = before(document)
        if isinstance(outer, dict):
            outer = list(outer.values())
        if not isinstance(outer, list):
            return MISSING
        found: list[object] = []
        for element in outer:
            inner = after(element)
            if inner is MISSING:
                if not lenient:
                    return MISSING
            elif isinstance(inner, list):
                found.extend(inner)
            else:
                found.append(inner)
        return found

    return get


def _by_jmespath(path: str) -> Getter:
    try:
        compiled = jmespath.compile(path)
    except jmespath.exceptions.JMESPathError as error:
        raise ValueError(f"{path!r} is neither a dotted path nor a jmespath expression") from error

    def get(document: object) -> object:
        try:
            found = compiled.search(document)
        except jmespath.exceptions.JMESPathError:
            return MISSING  # a function met a type that it does not take: what the path wants is not there
        return MISSING if found is None else found

    return get
