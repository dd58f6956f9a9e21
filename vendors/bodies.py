"""What a success answer's body says: parsed once, and whether it reports an error in place of data."""

from collections.abc import Mapping
from typing import Final

import orjson

from vendors.errors import AnswerReportsError, MalformedBodyError
from vendors.paths import MISSING
from vendors.wire import Answer

NO_CONTENT: Final = frozenset({204, 205})
MOST_VALUES: Final = 4_000_000
"""Of one document. Each costs up to a hundred bytes of memory, so that 60 MB of `{},{},` would take two gigabytes."""

_BOM: Final = b"\xef\xbb\xbf"
_COUNTED_FROM_BYTES: Final = 8 * 1024 * 1024
_FAILED_WORDS: Final = frozenset({"error", "errors", "fail", "failed", "failure"})


def json_document(answer: Answer, endpoint: str) -> object:
    """Return the body's document, or MISSING where the status says that there is none. Raises MalformedBodyError."""
    if answer.status in NO_CONTENT:
        return MISSING
    return parse_json(answer.body, endpoint)


def parse_json(body: bytes, endpoint: str) -> object:
    """Return the document. A byte order mark is let pass, as RFC 8259 allows. Raises MalformedBodyError."""
    if (
        len(body) > _COUNTED_FROM_BYTES and body.count(b",") > MOST_VALUES
    ):  # commas in texts count too: no page has so many
        raise MalformedBodyError(endpoint, f"the body holds more than {MOST_VALUES} values; ask for smaller pages")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if body.startswith(_BOM):
            return parse_json(body[len(_BOM) :], endpoint)
        if not body.strip():
            raise MalformedBodyError(endpoint, "an empty body where JSON was promised") from error
        if is_html(body):
            raise MalformedBodyError(endpoint, "a page in HTML where JSON was promised") from error
        raise MalformedBodyError(endpoint, f"the body is not JSON: {error.msg} at character {error.pos}") from error


def is_html(body: bytes) -> bool:
    """Whether a body is a page for people."""
    start = body[:512].lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script"))


def refuse_reported_error(document: object, endpoint: str, *, but: str = "") -> None:
    """Raise AnswerReportsError where a document's outermost members say that it is an error.

    but: a member that holds the records, so it is data whatever its name. Data rows are never read.
    """
    if isinstance(document, dict):
        said = _error_member(document, but)
        if said is not None:
            raise AnswerReportsError(endpoint, f"a success status, but the body's `{said}` reports an error")


def refuse_error_words(document: object, endpoint: str) -> None:
    """Raise AnswerReportsError where a document that lacks its records calls itself a failure.

    For documents that have not the shape they should have: only then may a bare `status` be read as more than data.
    """
    refuse_reported_error(document, endpoint)
    if isinstance(document, dict):
        for name in ("status", "result", "state", "type"):
            word = document.get(name)
            if isinstance(word, str) and word.lower() in _FAILED_WORDS:
                raise AnswerReportsError(endpoint, f"a success status, but the body's `{name}` says {word.lower()}")


def _error_member(document: Mapping[str, object], but: str) -> str | None:
    errors = document.get("errors")
    if errors and isinstance(errors, list | dict | str) and but != "errors":
        return "errors"
    if document.get("error") and but != "error":
        return "error"
    for name in ("ok", "success"):
        if name in document and but != name:
            value = document[name]
            if value is False or (isinstance(value, str) and value.lower() == "false"):
                return name
    return None
