"""What one run has seen so far. It grows while the run goes on, so that a run that is cut still tells what it did."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from classifier.outcome import DataTypeOutcome, ExceptionLink, Exchange, Outcome, OwnSide
from models.records import Landed
from vendors.page import Skip
from worker.wire.capture import Capture, exception_links
from worker.wire.redactor import Redactor


@dataclass(slots=True, kw_only=True)
class Reading:
    """One data type's part: what was read and landed, and how it ended. ended: read to its end without a failure."""

    data_type: str
    endpoint: str | None = None
    attempted: bool = False
    ended: bool = False
    exception: tuple[ExceptionLink, ...] = ()
    exchange: Exchange | None = None
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    pages: int = 0
    met_unchanged: bool = False
    skipped: list[Skip] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Say whether the data type was read to its end without a hole."""
        return self.ended and not self.skipped

    @property
    def _last_was_an_error(self) -> bool:
        return self.exchange is not None and self.exchange.status is not None and self.exchange.status >= 400

    def add(self, landed: Landed) -> None:
        """Count a page that was stored."""
        self.new += landed.new
        self.changed += landed.changed
        self.unchanged += landed.unchanged
        self.pages += 1
        self.met_unchanged = landed.met_unchanged

    def as_outcome(self) -> DataTypeOutcome:
        """Return what the classifier reads."""
        return DataTypeOutcome(
            data_type=self.data_type,
            endpoint=self.endpoint,
            exchange=self.exchange,
            exception=self.exception,
            attempted=self.attempted,
            accepted=self.ended and self._last_was_an_error,
        )

    def as_document(self) -> Mapping[str, object]:
        """Return what is stored with the run."""
        return {
            "data_type": self.data_type,
            "endpoint": self.endpoint,
            "attempted": self.attempted,
            "ended": self.ended,
            "new": self.new,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "pages": self.pages,
            "skipped": [{"endpoint": s.endpoint, "status": s.status, "rule": s.rule} for s in self.skipped[:50]],
            "skipped_total": len(self.skipped),
        }


@dataclass(slots=True, kw_only=True)
class Observation:
    """A run's evidence. exception: a failure of ours outside any data type, outermost first."""

    vendor: str
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    """Aware, UTC. Of a run: the database's time, whatever the clock of this host says."""
    redactor: Redactor = field(default_factory=Redactor)
    capture: Capture = field(init=False)
    readings: list[Reading] = field(default_factory=list)
    own_side: set[OwnSide] = field(default_factory=set)
    exception: tuple[ExceptionLink, ...] = ()
    own_retry_at: datetime | None = None
    """Aware, UTC: when our own count of the vendor's limit lets the connection go on, where it held the run back."""

    def __post_init__(self) -> None:
        self.capture = Capture(self.redactor)

    def links(self, error: BaseException) -> tuple[ExceptionLink, ...]:
        """Return an exception and its causes as data, without secrets."""
        return exception_links(error, self.redactor)

    def as_outcome(self, *, observed_at: datetime) -> Outcome:
        """Return what the classifier reads. observed_at: aware, UTC."""
        return Outcome(
            vendor=self.vendor,
            observed_at=observed_at,
            data_types=tuple(reading.as_outcome() for reading in self.readings),
            own_side=frozenset(self.own_side),
            exception=self.exception,
        )

    @property
    def totals(self) -> Landed:
        """Return the records of all data types together."""
        return Landed(
            new=sum(r.new for r in self.readings),
            changed=sum(r.changed for r in self.readings),
            unchanged=sum(r.unchanged for r in self.readings),
        )

    @property
    def skipped(self) -> int:
        """Return how many parts a rule let pass unread."""
        return sum(len(r.skipped) for r in self.readings)
