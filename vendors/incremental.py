"""What was read up to which time: cursors, windows, look-back. A cursor never stands beyond a record that was not read.

A data type's state: `{"v": 1, "field": "updated_at", "at": "2026-01-31T00:00:00+00:00"}`, with parts (a parent, a
value of a list) `"parts": {key: time}` in place of `at`. Beside it, where only changed parents are read, `"read_at"`
(the last pass without a hole) and `"parents"` (how far the parents were read then).

Times in the state are the vendor's own, taken from records: our clock decides only where a window has long passed.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson

from vendors.definition import Bound, Incremental
from vendors.errors import UnexpectedShapeError
from vendors.page import CursorState
from vendors.paths import MISSING, Getter, compile_path
from vendors.records_shape import Row
from vendors.requests_made import Draft
from vendors.timeformats import format_time, parse_time

VERSION: Final = 1

OVERLAP: Final = timedelta(seconds=1)
"""A start that comes from a cursor is sent this much earlier: some vendors mean "after" and would leave out records
of the cursor's own second that came later. Reading them twice does no harm."""

SETTLED_AFTER: Final = timedelta(minutes=10)
"""A window that ended longer ago than this is done even if it was empty. Clocks differ, and records come late."""

MOST_PARTS: Final = 10_000
"""So many parts have a cursor of their own. Those beyond are read from the default start each time: slow, but whole."""

_PARTS_PER_WRITE: Final = 100
_ISO: Final = (("iso8601",), ("iso8601_ms",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What is asked for at a time: records that changed from start to end (aware, UTC; None: no bound)."""

    start: datetime | None = None
    end: datetime | None = None
    is_last: bool = True

    def scope(self) -> dict[str, object]:
        """Return what `${window.…}` stands for."""
        return {name: moment for name, moment in (("start", self.start), ("end", self.end)) if moment is not None}


@dataclass(slots=True)
class Sifted:
    """What is left of a page's rows, and what was seen on the way. has_older: a record lay before the start."""

    rows: list[Row]
    has_older: bool = False
    older: int = 0
    without_time: int = 0


class CursorBook:
    """The cursors of one data type: what was stored, what may be stored now."""

    def __init__(self, spec: Incremental | None, stored: CursorState | None, *, is_parted: bool) -> None:
        self._field = None if spec is None else spec.field
        self._is_parted = is_parted
        stored = stored if stored is not None and stored.get("v") == VERSION else {}
        # A definition that now goes by another member must not go on from the times of the old one.
        is_same = stored.get("field") == self._field
        self._at = _moment(stored.get("at")) if is_same else None
        parts = stored.get("parts") if is_same else None
        self._parts: dict[str, str] = dict(parts) if isinstance(parts, Mapping) else {}
        self.read_at = _moment(stored.get("read_at"))
        parents = stored.get("parents")
        self.parents: CursorState | None = parents if isinstance(parents, Mapping) else None
        self._visited: set[str] = set()
        self._changes = 0
        self._written = self.document()

    def start(self, key: str) -> datetime | None:
        """Return up to when a part was read, or None where it never was."""
        return _moment(self._parts.get(key)) if self._is_parted else self._at

    def move(self, key: str, moment: datetime | None) -> None:
        """Set up to when a part was read. None: never."""
        if not self._is_parted:
            self._at = moment
        elif moment is None:
            self._parts.pop(key, None)
        elif key in self._parts or len(self._parts) < MOST_PARTS:
            self._parts[key] = moment.isoformat()
        self._changes += 1

    def visit(self, key: str) -> None:
        """Take note that a part is there."""
        if self._is_parted and self._field is not None and len(self._visited) < MOST_PARTS:
            self._visited.add(key)

    def finish(self, *, is_whole: bool, read_at: datetime | None, parents: CursorState | None) -> None:
        """End a pass without a hole. is_whole: all parts came, so those that did not are gone and forgotten."""
        if is_whole and self._field is not None and len(self._visited) < MOST_PARTS:
            self._parts = {key: at for key, at in self._parts.items() if key in self._visited}
        self.read_at = read_at
        self.parents = parents if parents is not None else self.parents

    def document(self) -> dict[str, object]:
        """Return the state as it may be stored now."""
        held: dict[str, object] = {"v": VERSION, "field": self._field}
        if self._is_parted and self._parts:
            held["parts"] = dict(self._parts)
        if not self._is_parted and self._at is not None:
            held["at"] = self._at.isoformat()
        if self.read_at is not None:
            held["read_at"] = self.read_at.isoformat()
        if self.parents is not None:
            held["parents"] = dict(self.parents)
        return held

    def due(self, *, now_or_never: bool = False) -> dict[str, object] | None:
        """Return the state where it has changed and is worth writing: the more parts, the less often."""
        if not self._changes and not now_or_never:
            return None
        if not now_or_never and self._changes < len(self._parts) // _PARTS_PER_WRITE:
            return None
        document = self.document()
        self._changes = 0
        if document == self._written:
            return None
        self._written = document
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeReader:
    """What a data type's incremental reading needs, compiled. default_start, oldest: aware, UTC."""

    spec: Incremental
    now: datetime
    endpoint: str
    default_start: datetime | None = None
    oldest: datetime | None = None
    get: Getter = field(init=False)
    parse: Callable[[object], datetime | None] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "get", compile_path(self.spec.field))
        object.__setattr__(self, "parse", _parser(self.spec.formats))

    def time_of(self, row: Row) -> datetime | None:
        """Return when a record changed, or None where it does not say. Raises UnexpectedShapeError."""
        value = self.get(row)
        if value is None or value is MISSING or value == "":
            return None
        moment = self.parse(value)
        if moment is None:
            formats = ", ".join(self.spec.formats)
            raise UnexpectedShapeError(self.endpoint, f"a record's {self.spec.field} is no time in {formats}")
        return moment


class Unbounded:
    """In place of Progress where a data type is read whole each time."""

    has_lower_bound = False

    def intervals(self) -> Iterator[Interval]:
        """Yield the only one, without bounds."""
        yield Interval()

    def begin(self, interval: Interval) -> None:
        """Nothing to note."""

    def sift(self, rows: list[Row]) -> Sifted:
        """Keep all."""
        return Sifted(rows)

    def has_passed_start(self, sifted: Sifted) -> bool:  # noqa: ARG002 - one shape with Progress
        """There is no start."""
        return False

    def page_done(self) -> None:
        """No cursor to move."""

    def end(self) -> None:
        """No cursor to move."""

    def hold(self) -> None:
        """No cursor to hold."""


class Progress:
    """How far one part is being read. For each interval: `begin`, for each page `sift` and `page_done`, then `end`."""

    def __init__(self, reader: TimeReader, book: CursorBook, key: str) -> None:
        self._reader, self._book, self._key = reader, book, key
        self._spec = reader.spec
        self._interval = Interval()
        self._anchor: datetime | None = None
        self._latest: datetime | None = None
        self._previous: datetime | None = None
        self._is_ordered = self._spec.order in ("asc", "desc")
        self._is_filtering = self._is_held = False
        self.has_lower_bound = False
        """Whether reading started somewhere, so that records not seen may still be there."""

    def intervals(self) -> Iterator[Interval]:
        """Yield what is to be asked for, oldest first."""
        spec, now = self._spec, self._reader.now
        stored = self._book.start(self._key)
        if stored is not None and stored > now:
            # However it came there, from such a cursor nothing would be read until its time comes.
            stored = now
            self._book.move(self._key, stored)
        start = (
            self._reader.default_start
            if stored is None
            else _less(stored, timedelta(seconds=spec.lookback_s) + OVERLAP)
        )
        if self._reader.oldest is not None:
            start = self._reader.oldest if start is None else max(start, self._reader.oldest)
        self.has_lower_bound = start is not None
        if start is None or spec.window_s is None or spec.filter == "client":
            yield Interval(start=start, end=now)
            return
        length = timedelta(seconds=spec.window_s)
        begin, end = start, min(start + length, now)
        while True:
            is_last = end >= now
            yield Interval(start=begin, end=end, is_last=is_last)
            if is_last:
                return
            # Each window reaches back over its border, for vendors that leave out both the end and the start.
            begin, end = end - OVERLAP, min(end + length, now)

    def begin(self, interval: Interval) -> None:
        """Start an interval."""
        self._interval = interval
        self._anchor = self._book.start(self._key)
        self._latest = self._previous = None
        self._is_ordered = self._spec.order in ("asc", "desc")
        self._is_filtering = self._spec.filter == "client" and interval.start is not None

    def sift(self, rows: list[Row]) -> Sifted:
        """Note the times of a page's rows and drop those that the client is to filter out."""
        sifted = Sifted(rows)
        if not self._is_filtering and self._spec.order is None and self._note_latest(rows):
            return sifted
        start = self._interval.start
        kept: list[Row] = []
        time_of, now = self._reader.time_of, self._reader.now
        latest, previous = self._latest, self._previous
        descends = self._spec.order == "desc"
        for row in rows:
            moment = time_of(row)
            if moment is None:
                sifted.without_time += 1
                kept.append(row)
                continue
            if previous is not None and (moment > previous if descends else moment < previous):
                self._is_ordered = False
            previous = moment
            if self._is_filtering and start is not None and moment < start:
                sifted.older += 1
                continue
            kept.append(row)
            # A time that has not come yet (a typing error, a wrong clock) must not carry the cursor past what comes.
            if moment <= now and (latest is None or moment > latest):
                latest = moment
        self._latest, self._previous = latest, previous
        sifted.has_older = sifted.older > 0
        if sifted.older:
            sifted.rows = kept
        return sifted

    def _note_latest(self, rows: list[Row]) -> bool:
        """Take the latest time of a page at once, where that can be told from the texts. Else say that it cannot.

        Texts of one length in UTC sort as their times do, so that one of a thousand is parsed.
        """
        get = self._reader.get
        values = [get(row) for row in rows]
        first = values[0] if values else None
        if not isinstance(first, str) or self._reader.spec.formats[:1] not in _ISO or first[4:5] != "-":
            return False
        length = len(first)
        for value in values:
            if value.__class__ is not str or len(value) != length or value[-1] != "Z":
                return False
        latest = self._reader.parse(max(value for value in values if isinstance(value, str)))
        if latest is None or latest > self._reader.now:
            return False
        self._latest = latest if self._latest is None else max(self._latest, latest)
        return True

    def has_passed_start(self, sifted: Sifted) -> bool:
        """Whether reading may stop: newest come first, this page reached back before the start, and the order held."""
        return self._spec.order == "desc" and self._is_ordered and self._is_filtering and sifted.has_older

    def page_done(self) -> None:
        """Move the cursor over a page that is handed over, where the order allows it."""
        if self._spec.order != "asc" or self._is_held:
            return
        if not self._is_ordered:
            # What was promised rested on an order that does not hold: back to where the interval began.
            if self._book.start(self._key) != self._anchor:
                self._book.move(self._key, self._anchor)
            return
        self._move_to(self._latest)

    def hold(self) -> None:
        """Leave the cursor where it is from now on: something was not read, and a later interval may not pass it."""
        self._is_held = True

    def end(self) -> None:
        """Move the cursor over an interval that was read to its end. May be called twice."""
        if self._is_held:
            return
        done = self._latest
        if self._spec.window_s is not None and self._interval.end is not None and self._interval.start is not None:
            settled = min(self._interval.end, _less(self._reader.now, SETTLED_AFTER))
            if settled > self._interval.start:
                done = settled if done is None else max(done, settled)
        self._move_to(done)

    def _move_to(self, moment: datetime | None) -> None:
        held = self._book.start(self._key)
        if moment is not None and (held is None or moment > held):
            self._book.move(self._key, moment)


def put_bounds(draft: Draft, spec: Incremental, interval: Interval) -> None:
    """Put an interval's ends where the definition says that they go."""
    for bound, moment in ((spec.start, interval.start), (spec.end, interval.end)):
        if bound is not None and bound.target is not None and moment is not None:
            draft.put(bound.target, _written(bound, moment))


def part_key(values: object) -> str:
    """Return a short name for what a part was read for, the same in every run."""
    written = orjson.dumps(values, option=orjson.OPT_SORT_KEYS, default=str)
    return hashlib.blake2b(written, digest_size=9).hexdigest()


def _written(bound: Bound, moment: datetime) -> str | int:
    return format_time(moment, bound.format)


def _less(moment: datetime, length: timedelta) -> datetime:
    try:
        return moment - length
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _parser(formats: tuple[str, ...]) -> Callable[[object], datetime | None]:
    """Return a parser that tries the usual form first: one call for each of a million records."""
    if not formats or formats[:1] not in _ISO:
        return lambda value: parse_time(value, formats)
    from_iso = datetime.fromisoformat

    def parse(value: object) -> datetime | None:
        if value.__class__ is str and value[4:5] == "-" and value[-1:] == "Z":
            try:
                return from_iso(value)
            except ValueError:
                pass
        return parse_time(value, formats)

    return parse
