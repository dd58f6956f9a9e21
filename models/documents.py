"""JSON as PostgreSQL's jsonb takes it. What it refuses is replaced, so that one odd character never fails a run.

| in the document | stored as |
| --- | --- |
| NUL (U+0000), which jsonb refuses | U+FFFD |
| a lone surrogate, which UTF-8 cannot carry | U+FFFD |
| NaN, Infinity, -Infinity, which JSON does not know | null |
| an integer beyond 64 bits | the same integer |
| an integer of more than 100,000 digits, which jsonb refuses | its digits' count as text |
| what is nested deeper than 254 levels | the text `too deeply nested` |
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

DEEPEST: Final = 254
LONGEST_INT_BITS: Final = 330_000
_LONE: Final = re.compile("[\x00\ud800-\udfff]")


def canonical(document: object) -> bytes:
    """Return the document as JSON with sorted keys, UTF-8, fit for jsonb: equal documents give equal bytes.

    document: what a JSON parser gives, besides dates, UUIDs, enums and dataclasses. Raises TypeError for other objects.
    """
    try:
        text = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return _careful(document)
    # One character is found faster than six. A harmless u0000 behind a backslash is found too: the careful way tells.
    if b"\\" in text and b"\\u0000" in text:
        return _careful(document)
    return text


def stored(document: object | None) -> str | None:
    """Return the document as text for a jsonb parameter; None stays NULL."""
    return None if document is None else canonical(document).decode()


def clean_text(text: str) -> str:
    """Return the text without what PostgreSQL's text type refuses."""
    return _LONE.sub("\ufffd", text)


def _careful(document: object) -> bytes:
    return json.dumps(
        _clean(document, 0), sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    ).encode()


def _clean(value: object, depth: int) -> object:  # noqa: PLR0911 - one line for each kind of value
    if depth > DEEPEST:
        return "too deeply nested"
    if isinstance(value, str):
        return clean_text(str(value))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= LONGEST_INT_BITS else f"an integer of {value.bit_length()} bits"
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {clean_text(_key(key)): _clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_clean(item, depth + 1) for item in value]
    known: Any = orjson.loads(orjson.dumps(value))  # dates, UUIDs, enums, dataclasses; TypeError for the rest
    return _clean(known, depth + 1)


def _key(key: object) -> str:
    return (
        key
        if isinstance(key, str)
        else str(orjson.loads(orjson.dumps({key: 0}, option=orjson.OPT_NON_STR_KEYS)).popitem()[0])
    )
