"""Answers as JSON bytes, made straight from what is shown: a list is not checked against a schema at each request."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import orjson
from fastapi import Response

_MEDIA_TYPE: Final = "application/json"
_OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS


def answer(document: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a document as an answer. Times are UTC with a Z; ids and enums are their text."""
    return Response(
        orjson.dumps(document, option=_OPTIONS), status_code=status, media_type=_MEDIA_TYPE, headers=dict(headers or {})
    )


def plain(document: Mapping[str, object]) -> dict[str, Any]:
    """Return a document as its JSON reads back: what is kept for a request that is sent again."""
    read: dict[str, Any] = orjson.loads(orjson.dumps(document, option=_OPTIONS))
    return read


def empty() -> Response:
    """Return an answer without a body."""
    return Response(status_code=204)


def page(items: list[dict[str, object]], *, next_cursor: UUID | str | None, **more: object) -> dict[str, object]:
    """Return a part of a list. more: `total`, where it was asked for."""
    cursor = None if next_cursor is None else str(next_cursor)
    return {"items": items, "count": len(items), "next_cursor": cursor, **more}
