"""Who changed what, written in the transaction of the change itself. Append-only, and without any secret."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg import Connection

from models.connections import new_id
from models.database import Statement, affected, rows
from models.documents import stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who makes a change. name: `key:<id>`, `invite:<id>`, `consent` (a customer at the vendor), or `command`."""

    name: str
    request_id: str | None = None
    remote_address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change. action: `connection.created`, `credentials.replaced`, `key.revoked` …; changes: by field."""

    entry_id: UUID
    happened_at: datetime
    actor: str
    action: str
    organization_id: UUID | None
    connection_id: UUID | None
    subject_id: UUID | None
    request_id: str | None
    remote_address: str | None
    changes: dict[str, Any]


_WRITE: Final = Statement("""
INSERT INTO audit_entry (entry_id, actor, action, organization_id, connection_id, subject_id, request_id,
                         remote_address, changes)
VALUES (%(entry_id)s, %(actor)s, %(action)s, %(organization_id)s, %(connection_id)s, %(subject_id)s, %(request_id)s,
        %(remote_address)s, %(changes)s::jsonb)""")


def write_entry(
    db: Connection[Any],
    actor: Actor,
    action: str,
    *,
    organization_id: UUID | None = None,
    connection_id: UUID | None = None,
    subject_id: UUID | None = None,
    changes: Mapping[str, object] | None = None,
) -> None:
    """Write down a change that this transaction makes. changes: of credentials the names at most, never a value."""
    params = {
        "entry_id": new_id(),
        "actor": actor.name,
        "action": action,
        "organization_id": organization_id,
        "connection_id": connection_id,
        "subject_id": subject_id,
        "request_id": actor.request_id,
        "remote_address": actor.remote_address,
        "changes": stored(dict(changes or {})),
    }
    affected(db, _WRITE, params)


_COLUMNS: Final = """entry_id, happened_at, actor, action, organization_id, connection_id, subject_id, request_id,
       remote_address, changes"""
_LAST_ID: Final = UUID(int=2**128 - 1)


def _list(where: str) -> Statement:
    return Statement(f"""
SELECT {_COLUMNS} FROM audit_entry WHERE {where} entry_id < %(before)s
 ORDER BY entry_id DESC LIMIT %(limit)s""")  # noqa: S608 - put together from this module's constants


_OF_ALL: Final = _list("")
_OF_ORGANIZATION: Final = _list("organization_id = %(organization_id)s AND")
_OF_CONNECTION: Final = _list("connection_id = %(connection_id)s AND")


def list_entries(
    db: Connection[Any],
    *,
    organization_id: UUID | None = None,
    connection_id: UUID | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[AuditEntry]:
    """Return changes, newest first: of a connection, else of an organization, else all. before: the last one shown."""
    statement = _OF_CONNECTION if connection_id else _OF_ORGANIZATION if organization_id else _OF_ALL
    params = {
        "organization_id": organization_id,
        "connection_id": connection_id,
        "before": before or _LAST_ID,
        "limit": limit,
    }
    return [
        AuditEntry(
            entry_id=found[0],
            happened_at=found[1],
            actor=found[2],
            action=found[3],
            organization_id=found[4],
            connection_id=found[5],
            subject_id=found[6],
            request_id=found[7],
            remote_address=found[8],
            changes=found[9],
        )
        for found in rows(db, statement, params)
    ]
