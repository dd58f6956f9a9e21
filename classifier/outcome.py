"""What a run saw at the wire and in itself, as plain data: the only thing a verdict may rest on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from classifier.vocabulary import Phase


class OwnSide(StrEnum):
    """What our own side says of a run, beside what came over the wire."""

    BUDGET_SPENT = "budget_spent"
    """The whole run used up its time budget."""
    EGRESS_DEAD = "egress_dead"
    """A canary found our own way out broken, so a network failure is ours."""
    WORKER_LOST = "worker_lost"
    """The worker died or lost its lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExceptionLink:
    """One exception of a cause chain.

    module, name: of its class (`requests.exceptions`, `ConnectTimeout`); errno: of an OSError.
    """

    module: str
    name: str
    message: str = ""
    errno: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and what came of it.

    status: None where no answer came; headers: names in lower case; body: as received and decoded from its
    content encoding, at most 64 KiB of it; exception: outermost first, then its causes; empty where an answer came
    whole.
    clipped: True where the body went on beyond what is kept here, so that its end says nothing.
    without_credentials: True where a redirect led to another origin, so that our credentials stayed behind.
    """

    method: str
    url: str
    phase: Phase = Phase.DATA
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    exception: tuple[ExceptionLink, ...] = ()
    clipped: bool = False
    without_credentials: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTypeOutcome:
    """How one data type's part of the run ended.

    endpoint: method and path template (`GET /v1/alerts`); exchange: the one that decided, None where nothing was sent;
    exception: what our code raised, outermost first; empty where the data type was read to its end.
    attempted: False where the run stopped before its turn came.
    accepted: True where the definition lets the exchange's error pass (a 404 that means no data), so it is no failure.
    """

    data_type: str
    endpoint: str | None = None
    exchange: Exchange | None = None
    exception: tuple[ExceptionLink, ...] = ()
    attempted: bool = True
    accepted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run saw.

    vendor: the definition's name; observed_at: aware, UTC, the moment that relative waits count from;
    exception: a failure of ours outside any data type (the vault, the database), outermost first.
    """

    vendor: str
    observed_at: datetime
    data_types: tuple[DataTypeOutcome, ...] = ()
    own_side: frozenset[OwnSide] = frozenset()
    exception: tuple[ExceptionLink, ...] = ()
