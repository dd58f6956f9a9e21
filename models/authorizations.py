"""Authorizations by consent: a customer on the way to a vendor's consent page and back, and when what they gave ends.

An attempt is begun when a customer is sent to the consent page, and taken by whoever comes back with its state: once,
within EXPIRY_SECS, and only by the browser that it was begun in, where it was bound to one. Of the state, which passes
through browsers and histories, only a digest is kept; the PKCE verifier is sealed for its own attempt.

Taking comes before the code is exchanged, in a transaction of its own: a code that is sent twice makes a good vendor
revoke what it gave for it (RFC 6749, section 10.5), so of two callbacks one must lose before anything is sent. What the
exchange brings is stored in one transaction with the connection's way from PENDING to ACTIVE and the wish for a run. A
process that dies in between has spent the attempt and changed nothing else: the customer begins anew.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from psycopg import Connection

from models import vault
from models.connections import new_id, renew_credentials
from models.database import Statement, affected, atomic, row, rows
from models.errors import AttemptOverError, LinkRefusedError, NotFoundError
from models.vault import Keyring

EXPIRY_SECS: Final = 600
_KIND: Final = "verifier"
LINK_DAYS: Final = 7
_MOST_AT_ONCE: Final = 20
_STATE_BYTES: Final = 32
_MAC_BYTES: Final = 16
_LINK_BYTES: Final = 16 + 4 + 4 + _MAC_BYTES
_LONGEST_STATE: Final = 200
_DAY_S: Final = 86_400
_FIRST_ID: Final = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """An attempt that was begun. state: for the URL, kept nowhere else."""

    attempt_id: UUID
    state: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt that was taken. document: what was sealed when it began, the PKCE verifier among it."""

    attempt_id: UUID
    connection_id: UUID
    document: Mapping[str, Any] = field(repr=False)
    success_url: str | None
    error_url: str | None


def _digest(state: str, browser: str) -> bytes:
    return hashlib.sha256(f"{len(state)}:{state}{browser}".encode()).digest()


_BEGIN: Final = Statement("""
INSERT INTO authorization_attempt (attempt_id, connection_id, state_digest, key_id, sealed, success_url, error_url,
                                   expires_at)
SELECT %(attempt_id)s, connection_id, %(digest)s, %(key_id)s, %(sealed)s, %(success_url)s, %(error_url)s,
       now() + make_interval(secs => %(expiry_secs)s)
  FROM connection WHERE connection_id = %(connection_id)s AND state <> 'DELETED'
RETURNING expires_at""")

# What is over, and of what is not all but the newest ones: whoever calls a link a thousand times fills no table.
_CLEAR: Final = Statement("""
DELETE FROM authorization_attempt a
 WHERE a.connection_id = %(connection_id)s
   AND (a.expires_at < now() - interval '1 day'
        OR a.attempt_id < (SELECT b.attempt_id FROM authorization_attempt b
                            WHERE b.connection_id = %(connection_id)s
                            ORDER BY b.attempt_id DESC OFFSET %(most)s - 1 LIMIT 1))""")


def begin(
    db: Connection[Any],
    keyring: Keyring,
    connection_id: UUID,
    document: Mapping[str, object],
    *,
    success_url: str | None = None,
    error_url: str | None = None,
    browser: str = "",
    expiry_secs: int = EXPIRY_SECS,
) -> Begun:
    """Begin an attempt. Others of the same connection stay open until one of them is finished.

    document: sealed for this attempt alone; browser: a secret that the customer's browser alone has (a cookie), and
    must bring along again; empty: whoever comes back with the state may. Raises NotFoundError.
    """
    attempt_id, state = new_id(), secrets.token_urlsafe(_STATE_BYTES)
    key_id, sealed = vault.seal(keyring, attempt_id, _KIND, document)
    params = {
        "attempt_id": attempt_id,
        "connection_id": connection_id,
        "digest": _digest(state, browser),
        "key_id": key_id,
        "sealed": sealed,
        "success_url": success_url,
        "error_url": error_url,
        "expiry_secs": expiry_secs,
    }
    with atomic(db):
        affected(db, _CLEAR, {"connection_id": connection_id, "most": _MOST_AT_ONCE})
        found = row(db, _BEGIN, params)
    if found is None:
        raise NotFoundError("connection", str(connection_id))
    return Begun(attempt_id=attempt_id, state=state, expires_at=found[0])


_TAKE: Final = Statement("""
UPDATE authorization_attempt SET used_at = now()
 WHERE state_digest = ANY(%(digests)s) AND used_at IS NULL AND expires_at > now()
RETURNING attempt_id, connection_id, key_id, sealed, success_url, error_url""")

_WHY_NOT: Final = Statement("""
SELECT used_at IS NOT NULL, error_url FROM authorization_attempt WHERE state_digest = ANY(%(digests)s)""")


def take(db: Connection[Any], keyring: Keyring, state: str, *, browser: str = "") -> Attempt:
    """Take the attempt of a state: from now on nobody else can. Commit before the code is sent anywhere.

    browser: what came with the request; an attempt that was bound to no browser is taken with any.
    Raises AttemptOverError for a state that was never given out, not to this browser, is over, or was taken before;
    the vault's errors.
    """
    if not 0 < len(state) <= _LONGEST_STATE or not state.isascii():
        raise AttemptOverError("was not begun here")
    digests = [_digest(state, known) for known in {browser, ""}]
    found = row(db, _TAKE, {"digests": digests})
    if found is None:
        known = row(db, _WHY_NOT, {"digests": digests})
        if known is None:
            raise AttemptOverError("was not begun here, or not in this browser")
        raise AttemptOverError("was finished before" if known[0] else "took too long", known[1])
    return Attempt(
        attempt_id=found[0],
        connection_id=found[1],
        document=vault.unseal(keyring, found[0], _KIND, found[2], bytes(found[3])),
        success_url=found[4],
        error_url=found[5],
    )


# Those that are over need no key any more.
_OF_OLDER_KEY: Final = Statement("""
SELECT attempt_id, key_id, sealed FROM authorization_attempt
 WHERE expires_at > now() AND used_at IS NULL AND key_id <> %(key_id)s AND attempt_id > %(after)s
 ORDER BY attempt_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED""")
_RESEAL: Final = b"UPDATE authorization_attempt SET key_id = %s, sealed = %s WHERE attempt_id = %s"


def reseal(
    db: Connection[Any], keyring: Keyring, after: UUID | None = None, limit: int = 200
) -> tuple[int, UUID | None]:
    """Seal attempts that are on anew where an older key sealed them. For a transaction.

    Returns how many were, and where to go on; None at the end. What cannot be opened stays: it is over within minutes.
    """
    params = {"key_id": keyring.newest.key_id, "after": after or _FIRST_ID, "limit": limit}
    found = rows(db, _OF_OLDER_KEY, params)
    done = 0
    for attempt_id, key_id, sealed in found:
        anew = vault.sealed_anew(keyring, attempt_id, _KIND, key_id, bytes(sealed))
        done += 0 if anew is None else affected(db, _RESEAL, (*anew, attempt_id))
    return done, found[-1][0] if found else None


def of_older_keys(db: Connection[Any], keyring: Keyring) -> int:
    """Return how many attempts that are on an older key sealed."""
    found = row(
        db,
        b"SELECT count(*) FROM authorization_attempt WHERE expires_at > now() AND used_at IS NULL AND key_id <> %s",
        (keyring.newest.key_id,),
    )
    return int(found[0]) if found else 0


_ACTIVATE: Final = Statement("""
UPDATE connection SET state = CASE state WHEN 'PENDING' THEN 'ACTIVE' ELSE state END, updated_at = now()
 WHERE connection_id = %(connection_id)s AND state <> 'DELETED'""")

_VOID_OTHERS: Final = b"""
UPDATE authorization_attempt SET used_at = now() WHERE connection_id = %s AND used_at IS NULL"""


def complete(db: Connection[Any], keyring: Keyring, connection_id: UUID, token: Mapping[str, object]) -> int:
    """Store what a customer's consent brought, make the connection ACTIVE where it was PENDING, and ask for a run.

    In one transaction, before anything uses the token. Other attempts that are on are void: they began before this one
    was finished, and would put an older consent in its place. Waits for a token that is just being renewed. Returns the
    new cred_version. Raises NotFoundError where the connection was deleted meanwhile.
    """
    with atomic(db):
        # The order of locks: credential, connection, schedule.
        rows(db, b"SELECT 1 FROM credential WHERE connection_id = %s ORDER BY kind FOR UPDATE", (connection_id,))
        if not affected(db, _ACTIVATE, {"connection_id": connection_id}):
            raise NotFoundError("connection", str(connection_id))
        vault.store(db, keyring, connection_id, "token", token)
        affected(db, _VOID_OTHERS, (connection_id,))
        return renew_credentials(db, connection_id)


# --- links ------------------------------------------------------------------------------------------------------------


def _mac(keyring_key: vault.Key, payload: bytes) -> bytes:
    return keyring_key.derived(b"authorize link", payload)[:_MAC_BYTES]


def link_ticket(keyring: Keyring, connection_id: UUID, cred_version: int, *, now: datetime) -> str:
    """Return what stands in a link by which a customer authorizes a connection, without any key of ours.

    It is good for LINK_DAYS to LINK_DAYS + 1 days, the same for a day, and opens nothing once the connection got other
    credentials or was authorized: its version is in it. now: aware.
    """
    until_day = int(now.timestamp() // _DAY_S) + LINK_DAYS + 1
    payload = connection_id.bytes + until_day.to_bytes(4, "big") + (cred_version & 0xFFFFFFFF).to_bytes(4, "big")
    return base64.urlsafe_b64encode(payload + _mac(keyring.newest, payload)).rstrip(b"=").decode("ascii")


_OPEN: Final = Statement("""
SELECT 1 FROM connection c JOIN connection_sched s ON s.connection_id = c.connection_id
 WHERE c.connection_id = %(connection_id)s AND c.state <> 'DELETED' AND s.cred_version = %(cred_version)s
   AND now() < to_timestamp(%(until_s)s::float8)""")


def open_link(db: Connection[Any], keyring: Keyring, ticket: str) -> UUID:
    """Return the connection that a link authorizes. Raises LinkRefusedError, without saying why to whoever guesses."""
    try:
        raw = base64.b64decode(f"{ticket}{'=' * (-len(ticket) % 4)}", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise LinkRefusedError from None
    if len(raw) != _LINK_BYTES:
        raise LinkRefusedError
    payload, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    if not any(hmac.compare_digest(_mac(key, payload), mac) for key in keyring.keys):
        raise LinkRefusedError
    connection_id = UUID(bytes=payload[:16])
    params = {
        "connection_id": connection_id,
        "until_s": int.from_bytes(payload[16:20], "big") * _DAY_S,
        "cred_version": int.from_bytes(payload[20:24], "big"),
    }
    if row(db, _OPEN, params) is None:
        raise LinkRefusedError
    return connection_id


# --- when it ends -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOutlook:
    """When what a connection holds ends. None: the vendor did not say, or never.

    lapses_at: from when on nothing but a person's consent helps; the rest is renewed without anybody.
    """

    access_token_expires_at: datetime | None
    refresh_token_expires_at: datetime | None
    lapses_at: datetime | None
    obtained_at: datetime


_OUTLOOK: Final = b"""
SELECT expires_at, refresh_expires_at, lapses_at, updated_at FROM credential
 WHERE connection_id = %s AND kind = 'token'"""


def outlook(db: Connection[Any], connection_id: UUID) -> TokenOutlook | None:
    """Return when the connection's token ends, or None where it has none."""
    found = row(db, _OUTLOOK, (connection_id,))
    if found is None:
        return None
    return TokenOutlook(
        access_token_expires_at=found[0],
        refresh_token_expires_at=found[1],
        lapses_at=found[2],
        obtained_at=found[3],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lapsing:
    """A connection whose access will end, or has ended, unless a person consents again."""

    connection_id: UUID
    organization_id: UUID
    vendor: str
    identifier: str | None
    lapses_at: datetime


_LAPSING: Final = Statement("""
SELECT t.connection_id, c.organization_id, c.vendor, c.identifier, t.lapses_at
  FROM credential t CROSS JOIN LATERAL (
       SELECT * FROM connection x WHERE x.connection_id = t.connection_id AND x.state IN ('ACTIVE', 'PAUSED')
          AND (%(organization_id)s::uuid IS NULL OR x.organization_id = %(organization_id)s) LIMIT 1) c
 WHERE t.lapses_at IS NOT NULL AND t.lapses_at <= now() + make_interval(secs => %(within_s)s)
   AND (t.lapses_at, t.connection_id) > (%(after_at)s, %(after_id)s)
 ORDER BY t.lapses_at, t.connection_id LIMIT %(limit)s""")


def list_lapsing(
    db: Connection[Any],
    *,
    within: timedelta,
    organization_id: UUID | None = None,
    after: Lapsing | None = None,
    limit: int = 50,
    is_ahead: bool = False,
) -> list[Lapsing]:
    """Return connections whose access ends within so long, or has ended, the soonest first.

    after: the last one of the page before; is_ahead: begin with what has not ended yet, where no page is before.
    """
    begin = "now" if is_ahead else "-infinity"  # words of PostgreSQL's own, so that the walk begins there in the index
    params = {
        "within_s": within.total_seconds(),
        "organization_id": organization_id,
        "after_at": begin if after is None else after.lapses_at,
        "after_id": _FIRST_ID if after is None else after.connection_id,
        "limit": limit,
    }
    return [
        Lapsing(
            connection_id=found[0],
            organization_id=found[1],
            vendor=found[2],
            identifier=found[3],
            lapses_at=found[4],
        )
        for found in rows(db, _LAPSING, params)
    ]
