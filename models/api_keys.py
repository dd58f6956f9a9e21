"""Keys of the HTTP API: 256 random bits, shown once. Kept is their SHA-256, which needs no salt at that size."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg import Connection
from psycopg import errors as refusals

from models.connections import new_id
from models.database import Statement, affected, row, rows
from models.documents import clean_text
from models.errors import InvalidValueError, NotFoundError
from models.vocabulary import Scope

_PREFIX: Final = "chk_"
_SHAPE: Final = re.compile(r"chk_[0-9a-f]{64}")
_ENDING_LENGTH: Final = 4
_FIRST_ID: Final = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key, without the key itself.

    organization_id None: it may see every organization. ending: its last characters, to tell keys apart by.
    requests_per_minute None: the usual limit. last_used_at is right to the minute.
    """

    key_id: UUID
    organization_id: UUID | None
    name: str
    scope: Scope
    ending: str
    requests_per_minute: int | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


_COLUMNS: Final = """k.key_id, k.organization_id, k.name, k.scope, k.ending, k.requests_per_minute, k.created_at,
       k.created_by, k.expires_at, k.revoked_at, k.last_used_at"""

# The organization's row is locked: one that is being deleted gets no new key.
_CREATE: Final = Statement(f"""
INSERT INTO api_key AS k (key_id, organization_id, name, scope, digest, ending, requests_per_minute, created_by,
                          expires_at)
SELECT %(key_id)s, %(organization_id)s, %(name)s, %(scope)s, %(digest)s, %(ending)s, %(requests_per_minute)s,
       %(created_by)s, %(expires_at)s
 WHERE %(organization_id)s::uuid IS NULL
    OR EXISTS (SELECT 1 FROM organization WHERE organization_id = %(organization_id)s AND deleted_at IS NULL
                  FOR KEY SHARE)
RETURNING {_COLUMNS}""")  # noqa: S608 - put together from this module's constants


def create_key(
    db: Connection[Any],
    *,
    name: str,
    scope: Scope,
    organization_id: UUID | None,
    created_by: str,
    expires_at: datetime | None = None,
    requests_per_minute: int | None = None,
) -> tuple[ApiKey, str]:
    """Make a key and return it with its text, which is not kept anywhere.

    Raises NotFoundError for an organization that is not there, InvalidValueError for a name of no or over 200
    characters and for a limit below 1.
    """
    text = _PREFIX + secrets.token_hex(32)
    params = {
        "key_id": new_id(),
        "organization_id": organization_id,
        "name": clean_text(name),
        "scope": scope.value,
        "digest": _digest(text),
        "ending": text[-_ENDING_LENGTH:],
        "requests_per_minute": requests_per_minute,
        "created_by": created_by,
        "expires_at": expires_at,
    }
    try:
        found = row(db, _CREATE, params)
    except refusals.CheckViolation as error:
        constraint = error.diag.constraint_name or ""
        remedy = "a key's name has 1 to 200 characters" if "name" in constraint else "a limit is 1 request or more"
        raise InvalidValueError(constraint, remedy) from error
    if found is None:
        raise NotFoundError("organization", str(organization_id))
    return _key_of(found), text


# A key of a deleted organization opens nothing.
_FIND: Final = Statement(f"""
SELECT {_COLUMNS}, k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute'
  FROM api_key k LEFT JOIN organization o ON o.organization_id = k.organization_id
 WHERE k.digest = %(digest)s AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
   AND (k.organization_id IS NULL OR (o.organization_id IS NOT NULL AND o.deleted_at IS NULL))""")  # noqa: S608 - constants

_USED: Final = b"UPDATE api_key SET last_used_at = now() WHERE key_id = %s"


def find_key(db: Connection[Any], text: str) -> ApiKey | None:
    """Return the key of this text, and note that it was used; None where it opens nothing (any more)."""
    if _SHAPE.fullmatch(text) is None:
        return None
    found = row(db, _FIND, {"digest": _digest(text)})
    if found is None:
        return None
    key = _key_of(found)
    if found[-1]:
        affected(db, _USED, (key.key_id,))
    return key


_LIST: Final = Statement(f"""
SELECT {_COLUMNS} FROM api_key k
 WHERE k.key_id > %(after)s AND (%(organization_id)s::uuid IS NULL OR k.organization_id = %(organization_id)s)
 ORDER BY k.key_id LIMIT %(limit)s""")  # noqa: S608 - constants


def list_keys(
    db: Connection[Any], *, organization_id: UUID | None = None, after: UUID | None = None, limit: int = 50
) -> list[ApiKey]:
    """Return keys in the order of their age, those that open nothing any more too. organization_id None: all."""
    params = {"organization_id": organization_id, "after": after or _FIRST_ID, "limit": limit}
    return [_key_of(found) for found in rows(db, _LIST, params)]


_GET: Final = Statement(f"SELECT {_COLUMNS} FROM api_key k WHERE k.key_id = %(key_id)s")  # noqa: S608 - constants


def get_key(db: Connection[Any], key_id: UUID) -> ApiKey | None:
    """Return a key, or None."""
    found = row(db, _GET, {"key_id": key_id})
    return None if found is None else _key_of(found)


def revoke_key(db: Connection[Any], key_id: UUID) -> bool:
    """Let a key open nothing from now on. False: there is none, or it was revoked before."""
    return (
        affected(db, b"UPDATE api_key SET revoked_at = now() WHERE key_id = %s AND revoked_at IS NULL", (key_id,)) > 0
    )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _key_of(found: tuple[Any, ...]) -> ApiKey:
    return ApiKey(
        key_id=found[0],
        organization_id=found[1],
        name=found[2],
        scope=Scope(found[3]),
        ending=found[4],
        requests_per_minute=found[5],
        created_at=found[6],
        created_by=found[7],
        expires_at=found[8],
        revoked_at=found[9],
        last_used_at=found[10],
    )
