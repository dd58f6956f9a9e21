"""What can go wrong around a run, on our side of the wire.

WorkerError
├── VaultNotConfiguredError    no key of the vault was given
├── CredentialsRefusedError    new credentials did not pass the live test; nothing was stored
└── AuthorizationError         a customer's consent that did not come to its end
    ├── AuthorizationNotOfferedError  the connection is authorized in another way
    ├── AuthorizationNotSetUpError    the operator's settings lack what it takes
    ├── AuthorizationLinkError        a link that authorizes nothing (any more)
    ├── AttemptRefusedError           what came back belongs to no attempt that is on
    ├── ConsentDeniedError            the consent page sent back a no
    └── CodeRefusedError              the vendor gave no token for the code
"""

from collections.abc import Mapping
from typing import ClassVar, Final
from uuid import UUID

import psycopg

from classifier.verdict import Verdict
from classifier.vocabulary import HealthName, ResolutionOwner
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
    """New credentials did not pass the live test. Nothing was stored; the old ones are still in force.

    lost: data types that the old ones opened and these do not, each with what the vendor said.
    """

    def __init__(
        self, vendor: str, message: str, name: HealthName, reason: str, lost: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(vendor, message, name, reason, lost)
        self.vendor, self.message, self.name, self.reason, self.lost = vendor, message, name, reason, lost

    @property
    def is_refusal(self) -> bool:
        """Whether the vendor said no; else nobody knows yet whether the credentials are good."""
        return self.name is HealthName.UNAUTHORIZED

    def __str__(self) -> str:
        if self.is_refusal:
            return f"{self.vendor} refused the credentials: {self.message}"
        return f"the credentials could not be tested at {self.vendor}, so they were not taken: {self.message}"


class AuthorizationError(WorkerError):
    """A customer's consent that did not come to its end. Nothing was stored; what was in force still is.

    code: a word for programs and URLs; owner: who must act; redirect_url: where the customer's browser goes with it,
    None where nobody said.
    """

    code: ClassVar[str]
    owner: ResolutionOwner = ResolutionOwner.CUSTOMER
    redirect_url: str | None = None


class AuthorizationNotOfferedError(AuthorizationError):
    """The connection's vendor, or the way that its settings choose, has no consent page."""

    code = "not_offered"

    def __init__(self, vendor: str) -> None:
        super().__init__(vendor)
        self.vendor = vendor

    def __str__(self) -> str:
        return f"{self.vendor} is not authorized by consent as this connection is set up: enter its credentials"


class AuthorizationNotSetUpError(AuthorizationError):
    """The operator's settings lack what it takes: our own public URL, or the application at the vendor."""

    code = "not_set_up"
    owner = ResolutionOwner.LEEN

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return self.problem


class AuthorizationLinkError(AuthorizationError):
    """A link that authorizes nothing (any more)."""

    code = "link_refused"

    def __str__(self) -> str:
        return "this link authorizes nothing: it is not whole, too old, or was used before; ask for a new one"


class AttemptRefusedError(AuthorizationError):
    """What came back from the consent page belongs to no attempt that is on."""

    code = "attempt_refused"

    def __init__(self, problem: str, redirect_url: str | None = None) -> None:
        super().__init__(problem, redirect_url)
        self.problem, self.redirect_url = problem, redirect_url

    def __str__(self) -> str:
        return f"this authorization {self.problem}: begin it anew"


class ConsentDeniedError(AuthorizationError):
    """The consent page sent back a no, or an error of its own. said: its OAuth error code."""

    code = "consent_denied"

    def __init__(
        self, connection_id: UUID, said: str, message: str, owner: ResolutionOwner, redirect_url: str | None = None
    ) -> None:
        super().__init__(connection_id, said, message, owner, redirect_url)
        self.connection_id, self.said, self.message = connection_id, said, message
        self.owner, self.redirect_url = owner, redirect_url

    def __str__(self) -> str:
        return self.message


class CodeRefusedError(AuthorizationError):
    """The vendor gave no token for the code that its consent page sent back, or could not be asked."""

    code = "code_refused"

    def __init__(
        self,
        connection_id: UUID,
        verdict: Verdict,
        exchanges: tuple[Mapping[str, object], ...] = (),
        redirect_url: str | None = None,
    ) -> None:
        super().__init__(connection_id, verdict, exchanges, redirect_url)
        self.connection_id, self.verdict, self.exchanges = connection_id, verdict, exchanges
        self.owner, self.redirect_url = verdict.resolution_owner, redirect_url

    def __str__(self) -> str:
        return self.verdict.sentence


def is_database_away(error: BaseException) -> bool:
    """Say whether the database itself went away, rather than refusing what one statement asked of it."""
    if not isinstance(error, DATABASE_TROUBLE):
        return False
    return isinstance(error, DatabaseUnreachableError) or error.sqlstate is None or error.sqlstate.startswith(_GONE)


def is_day_just_made(error: BaseException) -> bool:
    """Say whether a row went to the default partition while a partition of its own was made for its day.

    Nothing of its statement was stored, and told once more it goes where it belongs. No constraint of ours is named.
    """
    return isinstance(error, psycopg.errors.CheckViolation) and error.diag.constraint_name is None


def first_line(error: BaseException) -> str:
    """Return what a log line says of an error: the first line of its text, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
