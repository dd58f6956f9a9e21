"""Requests that may be sent twice and are carried out once (the Idempotency-Key header field, IETF draft).

The first one leaves a row before it begins, and finishes it in the transaction of what it makes: so an unfinished row
means that nothing was made (yet). A row whose process died is taken over after a while; one that was only slow finds at
its end that it is no longer the first, and makes nothing.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import NAMESPACE_OID, UUID, uuid5

from psycopg import Connection

from models import vault
from models.database import Statement, affected, row, rows
from models.errors import RepeatedDifferentlyError, RepeatedTooSoonError, TakenOverError

KEPT_HOURS: Final = 24
TAKEN_OVER_AFTER_S: Final = 120
_KIND: Final = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRequest:
    """What the first one needs to finish. began_at: tells it from one that took over."""

    actor: str
    idempotency_key: str
    began_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerAnswer:
    """What was answered the first time. body: a JSON object."""

    status: int
    body: dict[str, Any] = field(repr=False)


_BEGIN: Final = Statement(f"""
INSERT INTO repeatable_request AS r (actor, idempotency_key, fingerprint)
VALUES (%(actor)s, %(idempotency_key)s, %(fingerprint)s)
ON CONFLICT (actor, idempotency_key) DO UPDATE SET fingerprint = excluded.fingerprint, created_at = clock_timestamp(),
       finished_at = NULL, subject_id = NULL, status = NULL, key_id = NULL, sealed = NULL
 WHERE (r.finished_at IS NULL AND r.fingerprint = excluded.fingerprint
        AND r.created_at < now() - interval '{TAKEN_OVER_AFTER_S} seconds')
    OR r.created_at < now() - interval '{KEPT_HOURS} hours'
RETURNING r.created_at""")  # noqa: S608 - put together from this module's constants

_FORMER: Final = Statement("""
SELECT fingerprint, status, key_id, sealed FROM repeatable_request
 WHERE actor = %(actor)s AND idempotency_key = %(idempotency_key)s""")


def begin(
    db: Connection[Any], keyring: vault.Keyring, *, actor: str, idempotency_key: str, request: bytes
) -> FirstRequest | FormerAnswer:
    """Leave a mark for a request, in a transaction of its own; or return the answer that it had before.

    actor: whose key it came with; request: method, path and body, of which a digest is kept. Raises
    RepeatedDifferentlyError where the key came with another request before, RepeatedTooSoonError while the first one is
    still on.
    """
    named = {"actor": actor, "idempotency_key": idempotency_key}
    fingerprint = hashlib.sha256(request).digest()
    begun = row(db, _BEGIN, {**named, "fingerprint": fingerprint})
    if begun is not None:
        return FirstRequest(**named, began_at=begun[0])
    former = row(db, _FORMER, named)
    if former is None:  # it failed at this very moment
        raise RepeatedTooSoonError(idempotency_key)
    if bytes(former[0]) != fingerprint:
        raise RepeatedDifferentlyError(idempotency_key)
    if former[1] is None:
        raise RepeatedTooSoonError(idempotency_key)
    body = vault.unseal(keyring, _binding(actor, idempotency_key), _KIND, former[2], bytes(former[3]))
    return FormerAnswer(status=former[1], body=body)


_FINISH: Final = Statement("""
UPDATE repeatable_request
   SET finished_at = now(), subject_id = %(subject_id)s, status = %(status)s, key_id = %(key_id)s, sealed = %(sealed)s
 WHERE actor = %(actor)s AND idempotency_key = %(idempotency_key)s AND created_at = %(began_at)s
   AND finished_at IS NULL""")


def finish(
    db: Connection[Any],
    keyring: vault.Keyring,
    first: FirstRequest,
    *,
    status: int,
    body: dict[str, Any],
    subject_id: UUID | None = None,
) -> None:
    """Keep the answer, sealed, in the transaction of what was made. Raises TakenOverError: make nothing then."""
    key_id, sealed = vault.seal(keyring, _binding(first.actor, first.idempotency_key), _KIND, body)
    params = {
        "actor": first.actor,
        "idempotency_key": first.idempotency_key,
        "began_at": first.began_at,
        "subject_id": subject_id,
        "status": status,
        "key_id": key_id,
        "sealed": sealed,
    }
    if not affected(db, _FINISH, params):
        raise TakenOverError(first.idempotency_key)


_OF_OLDER_KEY: Final = Statement(f"""
SELECT actor, idempotency_key, key_id, sealed FROM repeatable_request
 WHERE sealed IS NOT NULL AND key_id <> %(key_id)s AND created_at > now() - interval '{KEPT_HOURS} hours'
   AND (actor, idempotency_key) > (%(after_actor)s, %(after_key)s)
 ORDER BY actor, idempotency_key LIMIT %(limit)s FOR UPDATE SKIP LOCKED""")  # noqa: S608 - put together from this module's constants
_RESEAL: Final = b"UPDATE repeatable_request SET key_id = %s, sealed = %s WHERE actor = %s AND idempotency_key = %s"


def reseal(
    db: Connection[Any], keyring: vault.Keyring, after: tuple[str, str] | None = None, limit: int = 200
) -> tuple[int, tuple[str, str] | None]:
    """Seal answers anew where an older key sealed them. For a transaction.

    Returns how many were, and where to go on; None at the end. What cannot be opened stays: it is over within a day.
    """
    after_actor, after_key = after or ("", "")
    params = {"key_id": keyring.newest.key_id, "after_actor": after_actor, "after_key": after_key, "limit": limit}
    found = rows(db, _OF_OLDER_KEY, params)
    done = 0
    for actor, idempotency_key, key_id, sealed in found:
        anew = vault.sealed_anew(keyring, _binding(actor, idempotency_key), _KIND, key_id, bytes(sealed))
        done += 0 if anew is None else affected(db, _RESEAL, (*anew, actor, idempotency_key))
    return done, (found[-1][0], found[-1][1]) if found else None


_COUNT_OF_OLDER_KEY: Final = Statement(f"""
SELECT count(*) FROM repeatable_request
 WHERE sealed IS NOT NULL AND key_id <> %(key_id)s AND created_at > now() - interval '{KEPT_HOURS} hours'""")  # noqa: S608 - put together from this module's constants


def of_older_keys(db: Connection[Any], keyring: vault.Keyring) -> int:
    """Return how many answers an older key sealed."""
    found = row(db, _COUNT_OF_OLDER_KEY, {"key_id": keyring.newest.key_id})
    return int(found[0]) if found else 0


def abandon(db: Connection[Any], first: FirstRequest) -> None:
    """Forget a request that made nothing, so that the same key may be used once what was wrong is mended."""
    affected(
        db,
        b"DELETE FROM repeatable_request WHERE actor = %s AND idempotency_key = %s AND created_at = %s "
        b"AND finished_at IS NULL",
        (first.actor, first.idempotency_key, first.began_at),
    )


def _binding(actor: str, idempotency_key: str) -> UUID:
    # The vault binds what it seals to an id: an answer moved to another row does not open there.
    return uuid5(NAMESPACE_OID, f"{actor}\n{idempotency_key}")
