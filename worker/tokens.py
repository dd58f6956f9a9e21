"""Keeps what token endpoints gave out in the vault, over runs and workers; one renewal at a time per connection."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from uuid import UUID

import psycopg

from models import vault
from models.database import Database
from models.errors import NotFoundError
from models.vault import Keyring


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultTokens:
    """One connection's token, as `vendors.wire.TokenKeeper`.

    cred_version: of the credentials that this run opened. A token that was got with older credentials than those
    now in force is never stored over what the newer ones brought; one that renews what is stored now, as a run does
    that began before the customer consented anew, is: else the pair that the vendor still takes would be lost.
    """

    connection_id: UUID
    cred_version: int
    database: Database
    token_locks: Database
    keyring: Keyring = field(repr=False)

    def load(self) -> Mapping[str, object] | None:
        """Return the stored token document, or None."""
        with self.database.connection() as db:
            return vault.load(db, self.keyring, self.connection_id, "token")

    @contextmanager
    def exclusive(self) -> Iterator["VaultTokenLock"]:
        """Hold the row lock of the connection's token; others wait."""
        with self.token_locks.transaction() as db:
            document = vault.lock_token(db, self.keyring, self.connection_id)
            yield VaultTokenLock(keeper=self, db=db, document=document)


@dataclass(slots=True, kw_only=True)
class VaultTokenLock:
    """The right to renew, as `vendors.wire.TokenLock`. It ends with the first save."""

    keeper: VaultTokens
    db: "psycopg.Connection[object]"
    document: Mapping[str, object] | None = field(repr=False)

    def load(self) -> Mapping[str, object] | None:
        """Return the token document as it is under the lock."""
        return self.document

    def save(self, document: Mapping[str, object]) -> None:
        """Store and commit before returning: a single-use token that was renewed and not kept would be lost."""
        keeper = self.keeper
        was_stored = vault.store_token(
            self.db, keeper.keyring, keeper.connection_id, document, cred_version=keeper.cred_version
        )
        grant = document.get("for")
        if not was_stored and grant is not None and self.document is not None and self.document.get("for") == grant:
            with suppress(NotFoundError):  # deleted meanwhile: there is nothing left to keep it for
                vault.store(self.db, keeper.keyring, keeper.connection_id, "token", document)
        self.db.commit()
        self.document = document


@dataclass(slots=True)
class MemoryTokens:
    """Tokens of a live test, before anything is stored. Afterwards `document` is what must be kept, or None."""

    document: Mapping[str, object] | None = field(default=None, repr=False)

    def load(self) -> Mapping[str, object] | None:
        """Return what was saved, or None."""
        return self.document

    @contextmanager
    def exclusive(self) -> Iterator["MemoryTokens"]:
        """Nobody else is here."""
        yield self

    def save(self, document: Mapping[str, object]) -> None:
        """Keep in memory."""
        self.document = document
