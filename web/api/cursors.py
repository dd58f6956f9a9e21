"""Cursors: where a page ended, as text that a client hands back and does not look into.

A cursor belongs to its list: handed in with other filters or another order it would leave things out unseen, so it
carries a digest of what was asked, and is refused with anything else.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final, TypeVar

import orjson
from fastapi import Query

from web.problems import Fault, Problem, unacceptable

_DIGEST_BYTES: Final = 6
Row = TypeVar("Row")
Cursor = Annotated[
    str | None, Query(max_length=2000, description="`next_cursor` of the page before; with the same filters and order.")
]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]


def cursor_of(place: object, asked: Mapping[str, object]) -> str:
    """Return a cursor. place: JSON, with UUIDs and times as their text; asked: what the list is of."""
    packed = orjson.dumps(place)
    return base64.urlsafe_b64encode(_digest(asked) + packed).rstrip(b"=").decode()


def cut(
    found: Sequence[Row], limit: int, asked: Mapping[str, object], place: Callable[[Row], object]
) -> tuple[Sequence[Row], str | None]:
    """Return the page out of what was found, and the cursor of the next one. found: one more than limit, if there are.

    place: where a row lies in the list.
    """
    shown = found[:limit]
    return shown, cursor_of(place(shown[-1]), asked) if len(found) > limit else None


def place_of(cursor: str, asked: Mapping[str, object]) -> object:
    """Return what a cursor holds. Raises Problem where it is none of ours, or of another list."""
    try:
        raw = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        place: object = orjson.loads(raw[_DIGEST_BYTES:])
    except (UnicodeEncodeError, binascii.Error, ValueError):
        raise refused() from None
    if raw[:_DIGEST_BYTES] != _digest(asked):
        raise refused("belongs to a list with other filters or another order")
    return place


def refused(why: str = "is none that was given out here") -> Problem:
    """Say that a cursor cannot be gone on from."""
    return unacceptable(f"This cursor {why}: begin again without one.", Fault(detail=why, parameter="cursor"))


def _digest(asked: Mapping[str, object]) -> bytes:
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)).digest()[
        :_DIGEST_BYTES
    ]
