"""Invitations: a token with which a customer creates one connection, or mends one, without any key of ours.

The token is a JWT (RFC 7519), whose payload a form may read in the browser; what it allows stands in its row, which is
used once, expires, and can be revoked. It is signed by a key derived from the vault's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import jwt
from psycopg import Connection
from psycopg import errors as refusals

from models.connections import new_id
from models.database import Statement, affected, row, rows
from models.documents import clean_text, stored
from models.errors import InvalidValueError, InviteRefusedError, NotFoundError
from models.vault import Keyring

EXPIRY_SECS: Final = 1800
LONGEST_EXPIRY_SECS: Final = 30 * 86_400
_ISSUER: Final = "connection-health"
_ALGORITHM: Final = "HS256"
_FIRST_ID: Final = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """What a token allows. vendor None and connection_id None: a connection of any vendor."""

    invite_id: UUID
    organization_id: UUID
    vendor: str | None
    connection_id: UUID | None
    identifier: str | None
    options: dict[str, Any] = field(repr=False)
    created_at: datetime
    created_by: str
    expires_at: datetime
    used_at: datetime | None
    used_for: UUID | None
    revoked_at: datetime | None


_COLUMNS: Final = """i.invite_id, i.organization_id, i.vendor, i.connection_id, i.identifier, i.options, i.created_at,
       i.created_by, i.expires_at, i.used_at, i.used_for, i.revoked_at"""

_CREATE: Final = Statement(f"""
INSERT INTO invite AS i (invite_id, organization_id, vendor, connection_id, identifier, options, created_by, expires_at)
SELECT %(invite_id)s, o.organization_id, %(vendor)s, %(connection_id)s, %(identifier)s, %(options)s::jsonb,
       %(created_by)s, now() + make_interval(secs => %(expiry_secs)s)
  FROM organization o
 WHERE o.organization_id = %(organization_id)s AND o.deleted_at IS NULL
   AND (%(connection_id)s::uuid IS NULL OR EXISTS (
         SELECT 1 FROM connection c WHERE c.connection_id = %(connection_id)s
            AND c.organization_id = o.organization_id AND c.state <> 'DELETED'))
   FOR KEY SHARE OF o
RETURNING {_COLUMNS}""")  # noqa: S608 - put together from this module's constants


def create_invite(
    db: Connection[Any],
    *,
    organization_id: UUID,
    created_by: str,
    vendor: str | None = None,
    connection_id: UUID | None = None,
    identifier: str | None = None,
    options: Mapping[str, object] | None = None,
    expiry_secs: int = EXPIRY_SECS,
) -> Invite:
    """Make an invitation: to create a connection (of a vendor, or any), or to mend the one of connection_id.

    Raises NotFoundError for an organization that is not there or a connection that is not its own; InvalidValueError.
    """
    if vendor is not None and connection_id is not None:
        raise InvalidValueError("invite", "an invitation is for a vendor or for a connection, not for both")
    if not 1 <= expiry_secs <= LONGEST_EXPIRY_SECS:
        raise InvalidValueError("expiry_secs", f"an invitation lasts 1 to {LONGEST_EXPIRY_SECS} s, not {expiry_secs}")
    params = {
        "invite_id": new_id(),
        "organization_id": organization_id,
        "vendor": vendor,
        "connection_id": connection_id,
        "identifier": None if identifier is None else clean_text(identifier),
        "options": stored(dict(options or {})),
        "created_by": created_by,
        "expiry_secs": expiry_secs,
    }
    try:
        found = row(db, _CREATE, params)
    except refusals.CheckViolation as error:
        constraint = error.diag.constraint_name or ""
        raise InvalidValueError(constraint, "an identifier has 1 to 500 characters") from error
    if found is None:
        what = ("organization", organization_id) if connection_id is None else ("connection", connection_id)
        raise NotFoundError(what[0], str(what[1]))
    return _invite_of(found)


def token_of(keyring: Keyring, invite: Invite) -> str:
    """Return the token of an invitation. The same invitation has the same token, as long as the vault's key stays."""
    payload = {
        "iss": _ISSUER,
        "jti": str(invite.invite_id),
        "iat": int(invite.created_at.timestamp()),
        "exp": int(invite.expires_at.timestamp()),
        "organization_id": str(invite.organization_id),
        "vendors": [] if invite.vendor is None else [invite.vendor],
        "connection_id": None if invite.connection_id is None else str(invite.connection_id),
    }
    key = keyring.newest
    return jwt.encode(payload, key.derived(b"invite"), algorithm=_ALGORITHM, headers={"kid": key.key_id})


_OPEN: Final = Statement(f"""
SELECT {_COLUMNS} FROM invite i JOIN organization o ON o.organization_id = i.organization_id
 WHERE i.invite_id = %(invite_id)s AND i.used_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > now()
   AND o.deleted_at IS NULL""")  # noqa: S608 - constants


def open_invite(db: Connection[Any], keyring: Keyring, token: str) -> Invite:
    """Return what a token still allows. Raises InviteRefusedError, without saying why to whoever guesses."""
    try:
        key_id = jwt.get_unverified_header(token).get("kid")
        key = next((key for key in keyring.keys if key.key_id == key_id), None)
        if key is None:
            raise InviteRefusedError
        claims = jwt.decode(
            token,
            key.derived(b"invite"),
            algorithms=[_ALGORITHM],
            issuer=_ISSUER,
            options={"require": ["jti", "exp"], "verify_exp": False, "verify_iat": False},  # the database's clock rules
        )
        invite_id = UUID(claims["jti"])
    except (jwt.InvalidTokenError, ValueError, TypeError) as error:
        raise InviteRefusedError from error
    found = row(db, _OPEN, {"invite_id": invite_id})
    if found is None:
        raise InviteRefusedError
    return _invite_of(found)


def use_invite(db: Connection[Any], invite_id: UUID, connection_id: UUID) -> None:
    """Use an invitation up, in the transaction of what it was for. Raises InviteRefusedError: make nothing then."""
    used = affected(
        db,
        b"UPDATE invite SET used_at = now(), used_for = %s WHERE invite_id = %s AND used_at IS NULL "
        b"AND revoked_at IS NULL AND expires_at > now()",
        (connection_id, invite_id),
    )
    if not used:
        raise InviteRefusedError


def revoke_invite(db: Connection[Any], organization_id: UUID, invite_id: UUID) -> bool:
    """Let an invitation open nothing from now on. False: there is none, or it was used or revoked before."""
    return (
        affected(
            db,
            b"UPDATE invite SET revoked_at = now() WHERE invite_id = %s AND organization_id = %s "
            b"AND used_at IS NULL AND revoked_at IS NULL",
            (invite_id, organization_id),
        )
        > 0
    )


_LIST: Final = Statement(f"""
SELECT {_COLUMNS} FROM invite i WHERE i.organization_id = %(organization_id)s AND i.invite_id > %(after)s
 ORDER BY i.invite_id LIMIT %(limit)s""")  # noqa: S608 - constants


def list_invites(
    db: Connection[Any], organization_id: UUID, *, after: UUID | None = None, limit: int = 50
) -> list[Invite]:
    """Return an organization's invitations in the order of their age."""
    params = {"organization_id": organization_id, "after": after or _FIRST_ID, "limit": limit}
    return [_invite_of(found) for found in rows(db, _LIST, params)]


def _invite_of(found: tuple[Any, ...]) -> Invite:
    return Invite(
        invite_id=found[0],
        organization_id=found[1],
        vendor=found[2],
        connection_id=found[3],
        identifier=found[4],
        options=found[5],
        created_at=found[6],
        created_by=found[7],
        expires_at=found[8],
        used_at=found[9],
        used_for=found[10],
        revoked_at=found[11],
    )
