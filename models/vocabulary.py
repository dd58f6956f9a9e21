"""The words and bounds that the tables know; their constraints say the same.

They do not stand in models/tables.py, for that brings SQLAlchemy along, and whoever only reads them can do without.
"""

from enum import StrEnum
from typing import Final

NEVER_RUN: Final = "NEVER_RUN"
"""Stands in `health.listed_as` for a connection without a finished run, so that an index can find those too."""

SHORTEST_INTERVAL_SECS: Final = 10
LONGEST_INTERVAL_SECS: Final = 31_536_000
SHORTEST_TIMEOUT_SECS: Final = 1
LONGEST_TIMEOUT_SECS: Final = 86_400


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
