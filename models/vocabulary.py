"""The states and triggers that the tables know. Their constraints list the same words."""

from enum import StrEnum


class ConnectionState(StrEnum):
    """PENDING waits for its authorization; PAUSED and DELETED are never run."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    DELETED = "DELETED"


class RunState(StrEnum):
    """INTERRUPTED: we stopped it, no verdict; LOST: its worker died; CANCELLED: a person stopped it."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    INTERRUPTED = "INTERRUPTED"
    LOST = "LOST"
    CANCELLED = "CANCELLED"


class Trigger(StrEnum):
    """Why a run happens."""

    SCHEDULED = "SCHEDULED"
    MANUAL = "MANUAL"
    CREDENTIALS = "CREDENTIALS"
    RECOVERY = "RECOVERY"


class Scope(StrEnum):
    """What a key may do; each includes those before it. admin: keys, and what belongs to the whole account."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
