"""COPY in PostgreSQL's binary format, put together by hand.

A call of psycopg's write_row for each of a page's records would cost as much as parsing them did; and as text, both
sides would have to look at each character for what must be escaped.
Source: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
"""

from collections.abc import Iterable
from typing import Any, Final

from psycopg import Connection

_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"


def row_begin(fields: int) -> bytes:
    """Return how a row of so many fields begins."""
    return fields.to_bytes(2, "big")


def raw(value: bytes) -> bytes:
    """Return a field as it stands in a row: text, bytea and uuid are their own bytes."""
    return len(value).to_bytes(4, "big") + value


def bigint(value: int) -> bytes:
    """Return a field of type bigint, or of timestamptz: microseconds since the year 2000."""
    return raw(value.to_bytes(8, "big", signed=True))


def jsonb(document: bytes) -> bytes:
    """Return a field of type jsonb. document: JSON in UTF-8."""
    return (len(document) + 1).to_bytes(4, "big") + b"\1" + document


def send(db: Connection[Any], statement: bytes, rows: Iterable[bytes]) -> None:
    """Run a `COPY ... FROM STDIN (FORMAT binary)` with these rows, each its beginning and its fields."""
    with db.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(b"".join((_HEAD, *rows, _END)))
