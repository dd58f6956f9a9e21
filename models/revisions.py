"""What a person last changed of a connection: so that a change made for an older one can be told (RFC 9110, 13.1.1)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Connection

from models.connections import ConnectionView
from models.database import row, rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A connection as far as people change it; a run changes nothing of it."""

    updated_at: datetime
    cred_version: int

    def __str__(self) -> str:
        return f"{int(self.updated_at.timestamp() * 1_000_000):x}-{self.cred_version:x}"


def revision_of(view: ConnectionView) -> Revision:
    """Return the revision that a view shows."""
    return Revision(updated_at=view.updated_at, cred_version=view.cred_version)


def locked_revision(db: Connection[Any], connection_id: UUID, *, with_credentials: bool = False) -> Revision | None:
    """Return the revision of a connection, which nobody else changes before the transaction ends; None: none there.

    with_credentials: they come first in the order of locks, and whoever goes on to touch them says so here.
    """
    if with_credentials:
        rows(db, b"SELECT 1 FROM credential WHERE connection_id = %s ORDER BY kind FOR UPDATE", (connection_id,))
    found = row(
        db,
        b"SELECT c.updated_at, s.cred_version FROM connection c JOIN connection_sched s USING (connection_id) "
        b"WHERE c.connection_id = %s AND c.state <> 'DELETED' FOR NO KEY UPDATE OF c",
        (connection_id,),
    )
    return None if found is None else Revision(updated_at=found[0], cred_version=found[1])
