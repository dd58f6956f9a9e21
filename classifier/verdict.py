"""What an outcome means, who must act, and on which evidence that rests."""

from dataclasses import dataclass
from datetime import datetime

from classifier.outcome import Exchange
from classifier.vocabulary import DESCRIPTION, OWNER, HealthName, HealthStatus, ResolutionOwner, status_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one exchange (or one exception of ours) means.

    reason: finer than the name, stable (`token_expired`); rule: id of the rule that fired; sentence: for a person,
    built from the evidence; next_step: what its owner should do; retry_at: aware, UTC, where the vendor said when.
    """

    name: HealthName
    reason: str
    rule: str
    sentence: str
    next_step: str
    retry_at: datetime | None = None

    @property
    def owner(self) -> ResolutionOwner:
        """Who must act."""
        return OWNER[self.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTypeVerdict:
    """The judgement on one data type, with its endpoint and the exchange it rests on."""

    data_type: str
    endpoint: str | None
    judgement: Judgement
    evidence: Exchange | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One failing data type, as the wire's `health.details` lists it."""

    data_export_type: str
    endpoint: str | None
    name: HealthName
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceStep:
    """One rule that was asked, in order: what it read and whether it fired."""

    stage: str
    rule: str
    saw: str
    fired: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judgement on a whole run.

    evidence: the exchange that decided it, None where none did; details: every failing data type, empty when healthy;
    trace: the rules asked on the way, filled by `explain` only.
    """

    name: HealthName
    reason: str
    rule: str
    sentence: str
    next_step: str
    retry_at: datetime | None = None
    evidence: Exchange | None = None
    details: tuple[Detail, ...] = ()
    data_types: tuple[DataTypeVerdict, ...] = ()
    trace: tuple[TraceStep, ...] = ()

    @property
    def status(self) -> HealthStatus:
        """Whether the connection works."""
        return status_of(self.name)

    @property
    def resolution_owner(self) -> ResolutionOwner:
        """Who must act."""
        return OWNER[self.name]

    @property
    def description(self) -> str:
        """The wire's fixed text for the name."""
        return DESCRIPTION[self.name]
