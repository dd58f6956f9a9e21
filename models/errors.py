"""What can go wrong between us and the database.

ModelsError
├── DatabaseUnreachableError   no connection could be had (message of the driver, without the password)
├── ServerTooOldError          a PostgreSQL older than we need
├── SwallowedFailureError      a block passed over an error of the database and would have lost its work unseen
├── SchemaError
│   ├── SchemaMissingError     an empty database
│   ├── SchemaOutdatedError    migrations are still to be run
│   └── SchemaDriftError       the database differs from what the migrations leave behind
├── FencedError                the run is no longer the connection's current one: it may write nothing more
├── NotFoundError              no such organization or connection
├── InvalidValueError          a value that a constraint of the tables refuses (field, constraint, remedy)
├── InviteRefusedError         an invite token that opens nothing (any more)
├── AttemptOverError           an authorization that was not begun, is over, or was finished before
├── LinkRefusedError           a link that authorizes nothing (any more)
├── RepeatedDifferentlyError   an idempotency key that came with another request before
├── RepeatedTooSoonError       a request whose first sending is still being carried out
├── TakenOverError             a request that another process has taken over meanwhile
├── ChangedMeanwhileError      a connection that somebody changed since it was read
└── VaultError
    ├── KeyringError           the text of the keyring cannot be read
    ├── UnknownKeyError        a row was sealed with a key that the keyring does not hold
    ├── VaultKeyError          the keyring holds another key under the same id
    ├── VaultTamperedError     a row was changed outside the vault
    └── VaultSwappedError      a whole sealed row was moved from another connection or kind
"""

from collections.abc import Sequence
from uuid import UUID


class ModelsError(Exception):
    """The root of this package's errors."""


class DatabaseUnreachableError(ModelsError):
    """No connection to PostgreSQL could be had. target: host, port and database, never a password."""

    def __init__(self, target: str, cause: str) -> None:
        super().__init__(target, cause)
        self.target, self.cause = target, cause

    def __str__(self) -> str:
        return f"cannot reach PostgreSQL at {self.target}: {self.cause}. Is it running, and is the database URL right?"


class ServerTooOldError(ModelsError):
    """The server is older than what our statements need. Versions are major numbers."""

    def __init__(self, version: int, needed: int) -> None:
        super().__init__(version, needed)
        self.version, self.needed = version, needed

    def __str__(self) -> str:
        return f"PostgreSQL {self.version} is too old: {self.needed} or newer is needed"


class SwallowedFailureError(ModelsError):
    """A statement failed inside a transaction, and the block went on as if it had not."""

    def __str__(self) -> str:
        return "a statement of this transaction failed and the failure was passed over: nothing was stored"


class SchemaError(ModelsError):
    """The tables are not what this code needs."""


class SchemaMissingError(SchemaError):
    """The database holds none of our tables."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.target = target

    def __str__(self) -> str:
        return f"the database at {self.target} is empty: run `connection-health db migrate`"


class SchemaOutdatedError(SchemaError):
    """The database stands at an older revision than this code needs."""

    def __init__(self, found: str, needed: str) -> None:
        super().__init__(found, needed)
        self.found, self.needed = found, needed

    def __str__(self) -> str:
        return (
            f"the database stands at revision {self.found}, this version needs {self.needed}: "
            "run `connection-health db migrate`"
        )


class SchemaDriftError(SchemaError):
    """The database was changed by something other than the migrations. differences: one sentence each."""

    def __init__(self, differences: Sequence[str]) -> None:
        super().__init__(differences)
        self.differences = tuple(differences)

    def __str__(self) -> str:
        return f"the database differs from its migrations in {len(self.differences)} places: " + "; ".join(
            self.differences
        )


class FencedError(ModelsError):
    """The run was ended by somebody else (reaper, cancel, deletion), so nothing of it may be written."""

    def __init__(self, connection_id: UUID, run_seq: int) -> None:
        super().__init__(connection_id, run_seq)
        self.connection_id, self.run_seq = connection_id, run_seq

    def __str__(self) -> str:
        return f"run {self.run_seq} of connection {self.connection_id} is no longer current: nothing was written"


class NotFoundError(ModelsError):
    """No such row. what: `connection`, `organization`, `run`."""

    def __init__(self, what: str, key: str) -> None:
        super().__init__(what, key)
        self.what, self.key = what, key

    def __str__(self) -> str:
        return f"no {self.what} {self.key}"


class InvalidValueError(ModelsError):
    """A value that the tables refuse. constraint: the name of the constraint that refused it."""

    def __init__(self, constraint: str, remedy: str) -> None:
        super().__init__(constraint, remedy)
        self.constraint, self.remedy = constraint, remedy

    def __str__(self) -> str:
        return f"{self.remedy} ({self.constraint})"


class InviteRefusedError(ModelsError):
    """An invite token is none of ours, or was used, revoked or left to expire. Which of them is not told."""

    def __str__(self) -> str:
        return "Invalid or expired connection invite token"


class AttemptOverError(ModelsError):
    """What a vendor's consent page sent back belongs to no authorization that is on.

    error_url: where the customer's browser was to go in such a case, if the attempt is known.
    """

    def __init__(self, problem: str, error_url: str | None = None) -> None:
        super().__init__(problem, error_url)
        self.problem, self.error_url = problem, error_url

    def __str__(self) -> str:
        return f"this authorization {self.problem}: begin it anew"


class LinkRefusedError(ModelsError):
    """A link that authorizes nothing (any more)."""

    def __str__(self) -> str:
        return "this link authorizes nothing: it is not whole, too old, or was used before; ask for a new one"


class RepeatedDifferentlyError(ModelsError):
    """An idempotency key came with another request before."""

    def __init__(self, idempotency_key: str) -> None:
        super().__init__(idempotency_key)
        self.idempotency_key = idempotency_key

    def __str__(self) -> str:
        return "this Idempotency-Key was sent before with another request: use a new key for a new request"


class RepeatedTooSoonError(ModelsError):
    """The first sending of a request is still being carried out."""

    def __init__(self, idempotency_key: str) -> None:
        super().__init__(idempotency_key)
        self.idempotency_key = idempotency_key

    def __str__(self) -> str:
        return "the first request with this Idempotency-Key is still being carried out: send it again in a moment"


class TakenOverError(ModelsError):
    """A request took so long that another sending of it was begun in its place; it made nothing."""

    def __init__(self, idempotency_key: str) -> None:
        super().__init__(idempotency_key)
        self.idempotency_key = idempotency_key

    def __str__(self) -> str:
        return "this request took too long and was begun anew by another sending: this one made nothing"


class ChangedMeanwhileError(ModelsError):
    """A change was meant for a revision of a connection that is no longer the newest; it was not made."""

    def __init__(self, connection_id: UUID) -> None:
        super().__init__(connection_id)
        self.connection_id = connection_id

    def __str__(self) -> str:
        return f"connection {self.connection_id} was changed since it was read: read it again, then change it"


class VaultError(ModelsError):
    """A credential cannot be sealed or opened."""


class KeyringError(VaultError):
    """The text of the keyring cannot be read. The text itself is never repeated."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(line, problem)
        self.line, self.problem = line, problem

    def __str__(self) -> str:
        where = f"line {self.line} of the vault's keys" if self.line else "the vault's keys"
        return f"{where}: {self.problem}"


class UnknownKeyError(VaultError):
    """The row names a key that the keyring does not hold."""

    def __init__(self, connection_id: UUID, kind: str, key_id: str) -> None:
        super().__init__(connection_id, kind, key_id)
        self.connection_id, self.kind, self.key_id = connection_id, kind, key_id

    def __str__(self) -> str:
        return (
            f"the {self.kind} of connection {self.connection_id} are sealed with key {self.key_id!r}, "
            "which is not among the vault's keys: add that key, or store the credentials anew"
        )


class VaultKeyError(VaultError):
    """The key of this id is not the one that sealed the row."""

    def __init__(self, connection_id: UUID, kind: str, key_id: str) -> None:
        super().__init__(connection_id, kind, key_id)
        self.connection_id, self.kind, self.key_id = connection_id, kind, key_id

    def __str__(self) -> str:
        return (
            f"the {self.kind} of connection {self.connection_id} were sealed with another key of the id "
            f"{self.key_id!r}: put the former key back under that id, or store the credentials anew"
        )


class VaultTamperedError(VaultError):
    """The sealed bytes are not those that the vault wrote."""

    def __init__(self, connection_id: UUID, kind: str) -> None:
        super().__init__(connection_id, kind)
        self.connection_id, self.kind = connection_id, kind

    def __str__(self) -> str:
        return (
            f"the {self.kind} of connection {self.connection_id} were changed outside the vault and cannot be opened: "
            "restore the row from a backup, or store the credentials anew"
        )


class VaultSwappedError(VaultTamperedError):
    """The sealed row belongs to another connection or to another kind."""

    def __str__(self) -> str:
        return (
            f"the sealed {self.kind} of connection {self.connection_id} belong to another connection or kind: "
            "somebody moved rows of the vault; restore them from a backup, or store the credentials anew"
        )
