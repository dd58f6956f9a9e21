"""What a connector hands over: records in pages, each with the cursor that may be stored together with them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from vendors.wire import Session

CursorState = Mapping[str, object]
"""JSON: what a data type's next run starts from. The connector alone knows what is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record. id: unique within connection and data type; payload: as the vendor sent it, and what parents gave."""

    id: str
    payload: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A part that a rule let pass unread. It is counted, shown, and holds the cursor."""

    endpoint: str
    status: int
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page. Records land and the cursor moves in one transaction.

    cursor: None leaves the stored cursor as it is (a hole lies before, or nothing may be promised yet);
    full_pass: True on the data type's last page when everything it holds was read once, without a hole and without
    a lower bound, so that records not seen are gone.
    """

    records: tuple[Record, ...] = ()
    cursor: CursorState | None = None
    skipped: tuple[Skip, ...] = ()
    full_pass: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)


class Connector(Protocol):
    """Reads one connection of one vendor. Code connectors are classes of this shape, found by entry point."""

    @property
    def data_types(self) -> tuple[str, ...]:
        """The data types in the order in which they are read: parents before their children."""

    def check(self, session: Session) -> None:
        """Make the cheapest call that needs the credentials. Raises what a failing call raises."""

    def pull(self, session: Session, data_type: str, cursor: CursorState | None) -> Iterator[Page]:
        """Yield pages from where the cursor stands to the end. Raises VendorError, or what the session raises."""


@runtime_checkable
class ChecksDataTypes(Protocol):
    """What a connector has besides that can tell for single data types whether the credentials may read them."""

    @property
    def checked_data_types(self) -> tuple[str, ...]:
        """The data types that have a check of their own."""

    def check_data_type(self, session: Session, data_type: str) -> None:
        """Make the cheapest call that needs the right to a data type. Raises what a failing call raises."""
