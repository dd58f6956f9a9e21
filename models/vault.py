"""The vault: credentials and tokens, sealed so that a copy of the database reveals nothing.

AES-256-GCM with a random 96-bit nonce. What is sealed is bound to its connection, its kind and its key's id, so a
sealed row that is moved elsewhere does not open there. `sealed` is laid out as

    version (1 byte, 1) | key check (8) | binding (16) | nonce (12) | ciphertext and tag

key check and binding are keyed hashes by the same master key: they decide nothing, but tell a wrong key from a moved
row from a changed one, so that the error says what to do (docs/decisions/0003).
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg import Connection

from models.database import Database, Statement, affected, row, rows
from models.errors import (
    KeyringError,
    NotFoundError,
    UnknownKeyError,
    VaultKeyError,
    VaultSwappedError,
    VaultTamperedError,
)

Kind = Literal["credentials", "token", "answer", "verifier"]
"""The first two are kept in the vault's table; the others beside what they belong to."""

_KEY_BYTES: Final = 32
_VERSION: Final = b"\x01"
_CHECK_BYTES: Final = 8
_BINDING_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_IN_CLEAR: Final = ("expires_at", "refresh_expires_at", "lapses_at")
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One master key. key_id: stands in every row that it sealed."""

    key_id: str
    secret: bytes = field(repr=False)

    def derived(self, use: bytes, *parts: bytes) -> bytes:
        """Return a keyed hash for a use of its own, so that no use tells anything of another."""
        message = b"".join(len(part).to_bytes(4, "big") + part for part in (b"connection-health vault", use, *parts))
        return hmac.digest(self.secret, message, "sha256")


@dataclass(frozen=True, slots=True)
class Keyring:
    """The vault's keys, newest first: the first one seals, every one opens."""

    keys: tuple[Key, ...] = field(repr=False)

    @property
    def newest(self) -> Key:
        """The key that seals."""
        return self.keys[0]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one key per line, newest first: `key-id:base64` or plain base64 of 32 bytes.

        A plain key's id is derived from the key. Empty lines and lines that begin with # are passed over.
        Raises KeyringError with the line and what is wrong with it, never with the line's text.
        """
        keys: dict[str, Key] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            key = _key(number, line.strip())
            if key.key_id in keys:
                raise KeyringError(number, f"the key id {key.key_id!r} stands there twice: give each key its own id")
            keys[key.key_id] = key
        if not keys:
            raise KeyringError(
                0, "there is none. Make one with `connection-health vault generate-key` and keep it in a safe place"
            )
        return cls(tuple(keys.values()))

    def find(self, key_id: str) -> Key | None:
        """Return the key of an id, or None."""
        return next((key for key in self.keys if key.key_id == key_id), None)


def generate_key() -> str:
    """Return a new line for a keyring: `key-id:base64` of 256 random bits."""
    secret = secrets.token_bytes(_KEY_BYTES)
    return f"{_derived_id(secret)}:{base64.b64encode(secret).decode()}"


def _key(number: int, line: str) -> Key:
    key_id, colon, encoded = line.rpartition(":")
    try:
        secret = base64.b64decode(encoded, altchars=b"-_" if set(encoded) & set("-_") else None, validate=True)
    except (binascii.Error, ValueError):
        raise KeyringError(
            number, "the key is not base64. Make one with `connection-health vault generate-key`"
        ) from None
    if len(secret) != _KEY_BYTES:
        raise KeyringError(number, f"the key has {len(secret)} bytes where {_KEY_BYTES} are needed (AES-256)")
    if len(set(secret)) == 1:
        raise KeyringError(number, "the key is one byte repeated. Make one with `connection-health vault generate-key`")
    if colon and not _KEY_ID.fullmatch(key_id):
        raise KeyringError(number, "a key's id is 1 to 64 letters, digits, dots, dashes and underscores")
    return Key(key_id=key_id or _derived_id(secret), secret=secret)


def _derived_id(secret: bytes) -> str:
    return "k" + hashlib.sha256(b"connection-health vault key id" + secret).hexdigest()[:12]


def _binding(connection_id: UUID, kind: str) -> bytes:
    return connection_id.bytes + b"\x00" + kind.encode()


def seal(keyring: Keyring, connection_id: UUID, kind: str, document: Mapping[str, object]) -> tuple[str, bytes]:
    """Return the key's id and the sealed bytes of a JSON document."""
    return _sealed(keyring.newest, connection_id, kind, orjson.dumps(dict(document)))


def _sealed(key: Key, connection_id: UUID, kind: str, plain: bytes) -> tuple[str, bytes]:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    bound = _binding(connection_id, kind)
    ciphertext = AESGCM(key.derived(b"seal")).encrypt(nonce, plain, _VERSION + bound + b"\x00" + key.key_id.encode())
    binding = key.derived(b"binding", bound)[:_BINDING_BYTES]
    return key.key_id, _VERSION + key.derived(b"check")[:_CHECK_BYTES] + binding + nonce + ciphertext


def unseal(keyring: Keyring, connection_id: UUID, kind: str, key_id: str, sealed: bytes) -> dict[str, Any]:
    """Return the document of a sealed row.

    Raises UnknownKeyError, VaultKeyError, VaultSwappedError, VaultTamperedError.
    """
    document: dict[str, Any] = orjson.loads(_opened(keyring, connection_id, kind, key_id, sealed))
    return document


def _opened(keyring: Keyring, connection_id: UUID, kind: str, key_id: str, sealed: bytes) -> bytes:
    key = keyring.find(key_id)
    if key is None:
        raise UnknownKeyError(connection_id, kind, key_id)
    head = 1 + _CHECK_BYTES + _BINDING_BYTES
    if sealed[:1] != _VERSION or len(sealed) < head + _NONCE_BYTES + _TAG_BYTES:
        raise VaultTamperedError(connection_id, kind)
    bound = _binding(connection_id, kind)
    aad = _VERSION + bound + b"\x00" + key_id.encode()
    try:
        plain = AESGCM(key.derived(b"seal")).decrypt(
            sealed[head : head + _NONCE_BYTES], sealed[head + _NONCE_BYTES :], aad
        )
    except InvalidTag:
        if not hmac.compare_digest(sealed[1 : 1 + _CHECK_BYTES], key.derived(b"check")[:_CHECK_BYTES]):
            raise VaultKeyError(connection_id, kind, key_id) from None
        if not hmac.compare_digest(sealed[1 + _CHECK_BYTES : head], key.derived(b"binding", bound)[:_BINDING_BYTES]):
            raise VaultSwappedError(connection_id, kind) from None
        raise VaultTamperedError(connection_id, kind) from None
    if sealed[1:head] != key.derived(b"check")[:_CHECK_BYTES] + key.derived(b"binding", bound)[:_BINDING_BYTES]:
        raise VaultTamperedError(connection_id, kind)
    return plain


_STORE: Final = Statement("""
INSERT INTO credential (connection_id, kind, key_id, sealed, expires_at, refresh_expires_at, lapses_at)
SELECT s.connection_id, %(kind)s, %(key_id)s, %(sealed)s, to_timestamp(%(expires_at)s::float8),
       to_timestamp(%(refresh_expires_at)s::float8), to_timestamp(%(lapses_at)s::float8)
  FROM connection_sched s JOIN connection c ON c.connection_id = s.connection_id
 WHERE s.connection_id = %(connection_id)s AND c.state <> 'DELETED'
   AND (%(cred_version)s::integer IS NULL OR s.cred_version = %(cred_version)s)
ON CONFLICT (connection_id, kind) DO UPDATE
  SET key_id = excluded.key_id, sealed = excluded.sealed, updated_at = now(), expires_at = excluded.expires_at,
      refresh_expires_at = excluded.refresh_expires_at, lapses_at = excluded.lapses_at""")

_LATEST_S: Final = 253_402_300_799  # the last second of the year 9999


def _moments(kind: str, document: Mapping[str, object]) -> dict[str, float | None]:
    """Return what of a token's document stands in clear: when it ends, in seconds since 1970."""
    found = {name: document.get(name) if kind == "token" else None for name in _IN_CLEAR}
    return {
        name: min(float(value), _LATEST_S)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        else None
        for name, value in found.items()
    }


def store(
    db: Connection[Any], keyring: Keyring, connection_id: UUID, kind: Kind, document: Mapping[str, object]
) -> None:
    """Seal a document and store it in the place of the one before. Raises NotFoundError."""
    if not _stored(db, keyring, connection_id, kind, document, cred_version=None):
        raise NotFoundError("connection", str(connection_id))


def store_token(
    db: Connection[Any],
    keyring: Keyring,
    connection_id: UUID,
    document: Mapping[str, object],
    *,
    cred_version: int,
) -> bool:
    """Seal a token that was got with the credentials of a version, and store it in the place of the one before.

    False, and nothing is stored, where the credentials were replaced meanwhile (or the connection deleted): the newer
    ones win. Inside lock_token's transaction they cannot be replaced in between.
    """
    return _stored(db, keyring, connection_id, "token", document, cred_version=cred_version)


def _stored(
    db: Connection[Any],
    keyring: Keyring,
    connection_id: UUID,
    kind: Kind,
    document: Mapping[str, object],
    *,
    cred_version: int | None,
) -> bool:
    key_id, sealed = seal(keyring, connection_id, kind, document)
    params = {
        "connection_id": connection_id,
        "kind": kind,
        "key_id": key_id,
        "sealed": sealed,
        "cred_version": cred_version,
        **_moments(kind, document),
    }
    return affected(db, _STORE, params) > 0


_LOAD: Final = b"SELECT key_id, sealed FROM credential WHERE connection_id = %s AND kind = %s"
_LOCK: Final = b"SELECT 1 FROM credential WHERE connection_id = %s ORDER BY kind FOR UPDATE"


def load(db: Connection[Any], keyring: Keyring, connection_id: UUID, kind: Kind) -> dict[str, Any] | None:
    """Return the document that is stored, or None. Raises what unseal raises."""
    found = row(db, _LOAD, (connection_id, kind))
    return None if found is None else unseal(keyring, connection_id, kind, found[0], bytes(found[1]))


def lock_token(db: Connection[Any], keyring: Keyring, connection_id: UUID) -> dict[str, Any] | None:
    """Wait until nobody else renews this connection's token, and return the token as it is then, or None.

    The lock lasts to the end of the transaction and is on the credentials too, so it holds where there is no token yet,
    and new credentials wait for it. Whoever gets the lock looks first whether the token was renewed meanwhile.
    """
    rows(db, _LOCK, (connection_id,))
    # Read by a statement that begins after the wait: the one that waited does not see a row that was added meanwhile.
    return load(db, keyring, connection_id, "token")


def drop_token(db: Connection[Any], connection_id: UUID) -> bool:
    """Forget the token, so that the next run gets a new one."""
    return affected(db, b"DELETE FROM credential WHERE connection_id = %s AND kind = 'token'", (connection_id,)) > 0


def sealed_anew(keyring: Keyring, binding: UUID, kind: str, key_id: str, sealed: bytes) -> tuple[str, bytes] | None:
    """Seal with the newest key what an older one sealed; None where it cannot be opened."""
    try:
        plain = _opened(keyring, binding, kind, key_id, sealed)
    except (UnknownKeyError, VaultKeyError, VaultTamperedError):
        return None
    return _sealed(keyring.newest, binding, kind, plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationProgress:
    """How far a rotation is.

    done: rows sealed anew by this call; left: rows still under an older key; failed: those of them that could not be
    opened, a sentence each (at most 100).
    """

    done: int
    left: int
    failed: tuple[str, ...] = ()


_NEXT_BATCH: Final = Statement("""
SELECT connection_id, kind, key_id, sealed FROM credential
 WHERE key_id <> %(key_id)s AND (connection_id, kind) > (%(after_id)s, %(after_kind)s)
 ORDER BY connection_id, kind LIMIT %(batch)s FOR UPDATE SKIP LOCKED""")

_LEFT: Final = b"SELECT count(*) FROM credential WHERE key_id <> %s"

_RESEAL: Final = Statement("""
UPDATE credential c SET key_id = n.key_id, sealed = n.sealed
  FROM (SELECT unnest(%(ids)s::uuid[]) AS connection_id, unnest(%(kinds)s::text[]) AS kind,
               unnest(%(key_ids)s::text[]) AS key_id, unnest(%(sealed)s::bytea[]) AS sealed) n
 WHERE c.connection_id = n.connection_id AND c.kind = n.kind""")

_MOST_REASONS: Final = 100
_PASSES: Final = 3


def rotate(database: Database, keyring: Keyring, *, batch: int = 200) -> Iterator[RotationProgress]:
    """Seal every row anew that an older key sealed, a batch per transaction, and tell after each how far it is.

    Works beside running workers: rows that are locked are passed over and tried again. May be stopped anywhere and
    begun again. Rows that cannot be opened stay as they are and are told of; once left is 0, the older keys may go.
    """
    done = 0
    failed: dict[tuple[UUID, str], str] = {}
    for _ in range(_PASSES):
        after: tuple[UUID, str] = (UUID(int=0), "")
        while True:
            with database.transaction() as db:
                found = rows(
                    db,
                    _NEXT_BATCH,
                    {"key_id": keyring.newest.key_id, "after_id": after[0], "after_kind": after[1], "batch": batch},
                )
                if found:
                    done += _reseal(db, keyring, found, failed)
                    after = (found[-1][0], found[-1][1])
                left = _left(db, keyring)
            yield RotationProgress(done=done, left=left, failed=tuple(failed.values())[:_MOST_REASONS])
            if not found:
                break
        if left <= len(failed):
            break


def _left(db: Connection[Any], keyring: Keyring) -> int:
    found = row(db, _LEFT, (keyring.newest.key_id,))
    return int(found[0]) if found else 0


def _reseal(
    db: Connection[Any], keyring: Keyring, found: list[tuple[Any, ...]], failed: dict[tuple[UUID, str], str]
) -> int:
    anew: list[tuple[UUID, str, str, bytes]] = []
    for connection_id, kind, key_id, sealed in found:
        try:
            plain = _opened(keyring, connection_id, kind, key_id, bytes(sealed))
        except (UnknownKeyError, VaultKeyError, VaultTamperedError) as error:
            failed[connection_id, kind] = str(error)
            continue
        failed.pop((connection_id, kind), None)
        anew.append((connection_id, kind, *_sealed(keyring.newest, connection_id, kind, plain)))
    if not anew:
        return 0
    ids, kinds, key_ids, sealed_anew = zip(*anew, strict=True)
    params = {"ids": list(ids), "kinds": list(kinds), "key_ids": list(key_ids), "sealed": list(sealed_anew)}
    return affected(db, _RESEAL, params)
