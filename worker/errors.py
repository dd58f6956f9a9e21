"""What can go wrong around a run, on our side of the wire.

WorkerError
├── VaultNotConfiguredError    no key of the vault was given
└── CredentialsRefusedError    new credentials did not pass the live test; nothing was stored
"""

from typing import Final

import psycopg

from classifier.vocabulary import HealthName
from models.errors import DatabaseUnreachableError

DATABASE_TROUBLE: Final = (
    psycopg.OperationalError,
    DatabaseUnreachableError,
    psycopg.errors.ReadOnlySqlTransaction,  # a standby that is not promoted yet
    psycopg.errors.IdleInTransactionSessionTimeout,  # we were frozen inside a transaction
)
"""What a statement raises where the database could not carry it out: it may be repeated, or left to a later round."""

_GONE: Final = ("08", "57P", "25006", "25P03")
"""SQLSTATEs, and beginnings of them: the connection broke; the server was stopped, crashed, or is still starting; it is
a standby; it gave us up while we were frozen."""

CONFLICT: Final = (
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.LockNotAvailable,
)
"""What a statement raises that stood in another's way. Nothing of its transaction was stored: it may be repeated."""


class WorkerError(Exception):
    """The root of this package's own errors (those of `worker.wire` have a tree of their own)."""


class VaultNotConfiguredError(WorkerError):
    """No key of the vault was given, so no credentials can be read or stored."""

    def __str__(self) -> str:
        return (
            "no vault key: set CONNECTION_HEALTH_VAULT_KEYS_FILE to a file with a key "
            "(`connection-health vault generate-key` makes one)"
        )


class CredentialsRefusedError(WorkerError):
    """New credentials did not pass the live test. Nothing was stored; the old ones are still in force."""

    def __init__(self, vendor: str, message: str, name: HealthName, reason: str) -> None:
        super().__init__(vendor, message, name, reason)
        self.vendor, self.message, self.name, self.reason = vendor, message, name, reason

    @property
    def is_refusal(self) -> bool:
        """Whether the vendor said no; else nobody knows yet whether the credentials are good."""
        return self.name is HealthName.UNAUTHORIZED

    def __str__(self) -> str:
        if self.is_refusal:
            return f"{self.vendor} refused the credentials: {self.message}"
        return f"the credentials could not be tested at {self.vendor}, so they were not taken: {self.message}"


def is_database_away(error: BaseException) -> bool:
    """Say whether the database itself went away, rather than refusing what one statement asked of it."""
    if not isinstance(error, DATABASE_TROUBLE):
        return False
    return isinstance(error, DatabaseUnreachableError) or error.sqlstate is None or error.sqlstate.startswith(_GONE)


def first_line(error: BaseException) -> str:
    """Return what a log line says of an error: the first line of its text, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
