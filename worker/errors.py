"""What can go wrong around a run, on our side of the wire.

WorkerError
├── VaultNotConfiguredError    no key of the vault was given
└── CredentialsRefusedError    new credentials did not pass the live test; nothing was stored
"""

from typing import Final

import psycopg

from models.errors import DatabaseUnreachableError

DATABASE_TROUBLE: Final = (psycopg.OperationalError, DatabaseUnreachableError)
"""What a statement raises where the database could not carry it out: it may be repeated, or left to a later round."""

_GONE: Final = ("08", "57P")
"""SQLSTATE classes: the connection broke; the server was stopped, crashed, or is still starting."""


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

    def __init__(self, vendor: str, message: str) -> None:
        super().__init__(vendor, message)
        self.vendor, self.message = vendor, message

    def __str__(self) -> str:
        return f"{self.vendor} refused the credentials: {self.message}"


def is_database_away(error: BaseException) -> bool:
    """Say whether the database itself went away, rather than refusing what one statement asked of it."""
    if isinstance(error, DatabaseUnreachableError):
        return True
    return isinstance(error, psycopg.OperationalError) and (error.sqlstate is None or error.sqlstate.startswith(_GONE))


def first_line(error: BaseException) -> str:
    """Return what a log line says of an error: the first line of its text, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
