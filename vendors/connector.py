"""The one connector that reads any vendor: a definition, a connection's credentials, and pages come out.

Everything that a data type needs is compiled once when the connector is opened; a page is parsed once; nothing grows
with the number of records. The cursor of a page covers what was handed over with it and before it, never more.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Protocol, cast

from classifier.vocabulary import Phase
from vendors.auth import authenticator_of
from vendors.bodies import is_html, json_document, parse_json, refuse_error_words, refuse_reported_error
from vendors.calls import Caller, Passed
from vendors.decoders import UnpackLimits, decode, unpack, xml_document
from vendors.definition import (
    AuthType,
    DataType,
    Definition,
    ErrorRule,
    PaginationType,
    RequestSpec,
    Response,
    ShapeKind,
)
from vendors.errors import (
    AnswerReportsError,
    DefinitionError,
    Finding,
    MalformedBodyError,
    MissingApplicationError,
    MissingCredentialError,
    MissingReferenceError,
    UnexpectedShapeError,
)
from vendors.expressions import ACCOUNT_ROOTS, OMIT, compile_value
from vendors.incremental import SETTLED_AFTER, CursorBook, Interval, Progress, TimeReader, Unbounded, put_bounds
from vendors.jobs import JobReader
from vendors.page import Connector, CursorState, Page
from vendors.pagination import Pager, PageSeen, PageSizes
from vendors.parents import Keys, Level, ParentSource, Part, is_parted, levels_of, members_at, parts_of, reading_order
from vendors.policy import policy_of
from vendors.records_shape import Row, Rows, compile_ids, compile_rows, records_of
from vendors.requests_made import Draft, RequestMaker, Scope, base_url_of, text_of
from vendors.timeformats import parse_moment
from vendors.token_endpoint import AuthContext
from vendors.wire import Answer, Session, TokenKeeper

ENTRY_POINTS: Final = "connection_health.connectors"
"""The group of entry points in which code connectors are found, by their name or by `module:Class`."""

_PAGE_LIMITS: Final = UnpackLimits(most_bytes=256 * 2**20)
_ROOT_IS_DATA: Final = frozenset({ShapeKind.SINGLE, ShapeKind.OBJECT_VALUES})


class ConnectorFactory(Protocol):
    """What an entry point names: a class of a code connector, or a function that returns one."""

    def __call__(  # noqa: D102 - the class says it
        self,
        definition: Definition,
        *,
        credentials: Mapping[str, object],
        settings: Mapping[str, object],
        tokens: TokenKeeper,
        now: datetime,
    ) -> Connector: ...


def open_connector(
    definition: Definition,
    *,
    credentials: Mapping[str, object],
    settings: Mapping[str, object],
    tokens: TokenKeeper,
    now: datetime,
    parents: ParentSource | None = None,
    app: Mapping[str, object] | None = None,
) -> Connector:
    """Return the connector of one connection for one run. Sends nothing.

    credentials, settings: checked and normalised by the definition's schemas; now: aware, UTC, the run's own time;
    parents: who holds parent records that the run has stored, else they are read from the vendor once more;
    app: client_id and client_secret of the operator's OAuth application, where the definition asks for one.
    Raises MissingCredentialError, MissingApplicationError, UnusableValueError, or DefinitionError for a component that
    is not installed.
    """
    if definition.component is not None:
        factory = _component(definition, definition.component)
        return factory(definition, credentials=credentials, settings=settings, tokens=tokens, now=now)
    scope: Scope = {"credentials": dict(credentials), "settings": dict(settings), "app": app or {}, "now": now}
    clock = _clock_from(now)
    with _naming(definition):
        base_url = base_url_of(definition, scope)
        context = AuthContext(base_url=base_url, scope=scope, tokens=tokens, clock=clock)
        caller = Caller(
            authenticator_of(definition.auth, context), base_url=base_url, allowed_hosts=definition.allowed_hosts
        )
        shared = _Shared(definition=definition, scope=scope, base_url=base_url, caller=caller, clock=clock, now=now)
        readers: dict[str, _Reader] = {}
        for name in reading_order(definition):
            data_type = definition.data_types[name]
            if data_type.component is not None:
                factory = _component(definition, data_type.component)
                made = factory(definition, credentials=credentials, settings=settings, tokens=tokens, now=now)
                readers[name] = _ComponentReader(made, name)
            else:
                readers[name] = _DataTypeReader(shared, data_type, readers, parents)
    return _DefinedConnector(shared, readers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What all data types of a connection have in common."""

    definition: Definition
    scope: Scope = field(repr=False)
    base_url: str
    caller: Caller
    clock: Callable[[], datetime]
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Purpose:
    """For whom pages are read: a data type (another one reads its parents for itself), or a check."""

    data_type: str | None
    phase: Phase = Phase.DATA


class _Reader(Protocol):
    """Reads one data type."""

    def pages(self, session: Session, cursor: CursorState | None, purpose: _Purpose) -> Iterator[Page]:
        """Yield its pages."""


class _DefinedConnector:
    """A connector made of a definition."""

    def __init__(self, shared: _Shared, readers: Mapping[str, _Reader]) -> None:
        self._shared, self._readers = shared, readers
        self._told: Session | None = None

    @property
    def data_types(self) -> tuple[str, ...]:
        """The data types, parents before their children."""
        return tuple(self._readers)

    def check(self, session: Session) -> None:
        """Make the definition's check, or read the first page of the first data type that stands alone."""
        self._hide_credentials(session)
        with _naming(self._shared.definition):
            spec = self._shared.definition.check
            if spec is not None:
                self._check(session, spec)
                return
            alone = (
                name for name, each in self._shared.definition.data_types.items() if not (each.parents or each.batch)
            )
            name = next(alone, next(iter(self._readers)))
            next(self._readers[name].pages(session, None, _Purpose(data_type=None, phase=Phase.TEST)), None)

    def pull(self, session: Session, data_type: str, cursor: CursorState | None) -> Iterator[Page]:
        """Yield pages from where the cursor stands to the end."""
        if data_type not in self._readers:
            raise ValueError(f"{self._shared.definition.vendor} has no data type {data_type!r}")
        self._hide_credentials(session)
        with _naming(self._shared.definition):
            yield from self._readers[data_type].pages(session, cursor, _Purpose(data_type=data_type))

    @property
    def checked_data_types(self) -> tuple[str, ...]:
        """The data types that have a check of their own."""
        return tuple(name for name in self._readers if self._shared.definition.data_types[name].check is not None)

    def check_data_type(self, session: Session, data_type: str) -> None:
        """Make the cheapest call that needs the right to a data type. Raises what a failing call raises."""
        found = self._shared.definition.data_types[data_type]
        if found.check is None:
            raise ValueError(f"{self._shared.definition.vendor}: {data_type} has no check")
        self._hide_credentials(session)
        with _naming(self._shared.definition):
            self._check(session, found.check, data_type=data_type, rules=found.errors)

    def _check(
        self,
        session: Session,
        spec: RequestSpec,
        *,
        data_type: str | None = None,
        rules: tuple[ErrorRule, ...] = (),
    ) -> None:
        shared = self._shared
        maker = RequestMaker(spec, base_url=shared.base_url)
        policy = policy_of((*rules, *shared.definition.errors), source=shared.definition.file_name, clock=shared.clock)
        request = maker.draft(shared.scope).request(data_type=data_type, phase=Phase.TEST, policy=policy)
        answer = shared.caller.send(session, request, auth=spec.auth, lenient=False)
        if isinstance(answer, Passed):  # not with lenient=False; said for the type's sake
            return
        if is_html(answer.body):
            raise MalformedBodyError(maker.endpoint, "a page in HTML where an API should answer")
        if "json" in answer.headers.get("content-type", "") or answer.body.lstrip()[:1] in (b"{", b"["):
            refuse_reported_error(json_document(answer, maker.endpoint), maker.endpoint)

    def _hide_credentials(self, session: Session) -> None:
        if self._told is session:
            return
        for kind, schema in (
            ("credentials", self._shared.definition.credentials),
            ("settings", self._shared.definition.settings),
        ):
            properties, values = schema.get("properties"), self._shared.scope[kind]
            if not isinstance(properties, Mapping) or not isinstance(values, Mapping):
                continue
            for name, value in values.items():
                described = properties.get(name)
                if (
                    isinstance(described, Mapping)
                    and described.get("secret") is True
                    and isinstance(value, str)
                    and value
                ):
                    session.hide(value)
        self._told = session


class _ComponentReader:
    """A data type that is read by code."""

    def __init__(self, connector: Connector, name: str) -> None:
        self._connector, self._name = connector, name

    def pages(self, session: Session, cursor: CursorState | None, purpose: _Purpose) -> Iterator[Page]:
        if purpose.phase is Phase.TEST:
            self._connector.check(session)
            return
        yield from self._connector.pull(session, self._name, cursor)


@dataclass(slots=True)
class _Pass:
    """What one reading of a data type has come to."""

    book: CursorBook
    session: Session
    purpose: _Purpose
    has_hole: bool = False
    is_full: bool = True
    """Whether all was read, without a lower bound: then what was not seen is gone."""
    is_whole: bool = True
    """Whether all parts came, and not only those that have changed."""
    is_closed: bool = False
    parents: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class _Batch:
    """Some records of one interval of one part. is_last: known to be its last ones."""

    rows: list[Row]
    ids: list[str]
    counts: dict[str, int]
    is_last: bool = False


class _DataTypeReader:
    """Reads one data type as its definition says."""

    def __init__(
        self, shared: _Shared, data_type: DataType, readers: Mapping[str, _Reader], source: ParentSource | None
    ) -> None:
        definition = shared.definition
        self._shared, self._data_type, self._readers, self._source = shared, data_type, readers, source
        rules = (*data_type.errors, *definition.errors)
        self._policy = policy_of(rules, source=definition.file_name, clock=shared.clock)
        self._levels = levels_of(definition, data_type)
        self._is_parted = is_parted(data_type)
        self._job: JobReader | None = None
        self._maker: RequestMaker | None = None
        if data_type.job is not None:
            job, response, records = data_type.job, data_type.response, data_type.records
            self._job = JobReader(job, response, records, shared.caller, self._policy, shared.base_url)
            self.endpoint = self._job.endpoint
        else:
            if data_type.request is None:
                raise _incomplete(definition, data_type.name, "has neither a request nor a job", "Say `request`")
            self._maker = RequestMaker(data_type.request, base_url=shared.base_url)
            self.endpoint = self._maker.endpoint
        self._rows_of = compile_rows(data_type.records, self.endpoint)
        self._ids_of = compile_ids(data_type, self.endpoint)
        self._times = self._time_reader()
        self._root_is_data = data_type.records.shape in _ROOT_IS_DATA and not data_type.records.path
        self._records_member = data_type.records.path.partition(".")[0]
        response = data_type.response
        is_plain_json = response.format == "json" and response.compression == "none"
        self._is_streamed = data_type.pagination.type is PaginationType.NONE and not is_plain_json

    def pages(self, session: Session, cursor: CursorState | None, purpose: _Purpose) -> Iterator[Page]:
        spec = self._data_type.incremental
        book = CursorBook(spec, cursor, is_parted=self._is_parted)
        run = _Pass(book, session, purpose)
        sizes = PageSizes()
        if not self._is_parted:
            yield from self._walk(run, "", lambda: self._parts(run), sizes, is_last=not self._levels)
        elif not self._levels:
            parts = list(self._parts(run))
            for index, part in enumerate(parts, 1):
                yield from self._walk(run, part.key, _only(part), sizes, is_last=index == len(parts))
        else:
            for part in self._parts(run):
                yield from self._walk(run, part.key, _only(part), sizes, is_last=False)
        if not run.is_closed:
            yield self._closed(run, _Batch([], [], {}))

    # ---- parts and intervals

    def _walk(
        self, run: _Pass, key: str, parts: Callable[[], Iterator[Part]], sizes: PageSizes, *, is_last: bool
    ) -> Iterator[Page]:
        """Read what goes by one cursor: interval by interval, each for all its parts (one, or the batches of ids)."""
        run.book.visit(key)
        progress = Unbounded() if self._times is None else Progress(self._times, run.book, key)
        is_single = self._data_type.batch is None
        for interval in progress.intervals():
            progress.begin(interval)
            run.is_full = run.is_full and not progress.has_lower_bound
            for part in parts():
                for batch in self._interval(run, part, interval, progress, sizes):
                    if isinstance(batch, Passed):
                        run.has_hole = True
                        progress.hold()
                        yield Page(skipped=(batch.skip,))
                        if batch.ends_part and is_single:
                            return
                        if batch.ends_part:
                            break
                        continue
                    if is_single:
                        progress.page_done()
                        if batch.is_last:
                            progress.end()
                    yield from self._handed_over(run, batch, is_last=batch.is_last and is_last and interval.is_last)
            progress.end()

    def _handed_over(self, run: _Pass, batch: _Batch, *, is_last: bool) -> Iterator[Page]:
        if is_last:
            yield self._closed(run, batch)
        elif batch.ids or batch.counts:
            yield _page(batch, run.book.due())

    def _closed(self, run: _Pass, batch: _Batch) -> Page:
        """Return the data type's last page."""
        run.is_closed = True
        if not run.has_hole:
            only_changed = any(level.parent.only_changed for level in self._levels)
            read_at = self._shared.now if only_changed else run.book.read_at
            run.book.finish(is_whole=run.is_whole, read_at=read_at, parents=run.parents if only_changed else None)
        is_full = run.is_full and run.is_whole and not run.has_hole
        return _page(batch, run.book.due(now_or_never=True), full_pass=is_full)

    def _parts(self, run: _Pass) -> Iterator[Part]:
        def supply(level: Level) -> Keys:
            return self._supply(run, level)

        return parts_of(self._data_type, self._levels, supply, self._shared.scope, self.endpoint)

    def _supply(self, run: _Pass, level: Level) -> Keys:
        """Yield the records of a parent: those that the run has stored, else the vendor's."""
        parent = level.parent
        since = run.book.read_at - SETTLED_AFTER if parent.only_changed and run.book.read_at is not None else None
        if self._source is not None:
            keys = self._source.keys(parent.data_type, level.fields, changed_since=since)
            if keys is not None:
                run.is_whole = run.is_whole and since is None
                return keys
        return self._pulled(run, level)

    def _pulled(self, run: _Pass, level: Level) -> Keys:
        parent = level.parent
        members = members_at(level.fields)
        held = run.book.parents if parent.only_changed else None
        cursor = None if held is None else held.get(parent.data_type)
        from_cursor = cast("CursorState", cursor) if isinstance(cursor, Mapping) else None
        was_full = False
        for page in self._readers[parent.data_type].pages(run.session, from_cursor, run.purpose):
            run.has_hole = run.has_hole or bool(page.skipped)
            was_full = page.full_pass
            for record in page.records:
                yield members(record.payload)
            if page.cursor is not None:
                run.parents[parent.data_type] = page.cursor
        run.is_whole = run.is_whole and from_cursor is None
        run.is_full = run.is_full and was_full

    # ---- pages of one interval of one part

    def _interval(
        self, run: _Pass, part: Part, interval: Interval, progress: Progress | Unbounded, sizes: PageSizes
    ) -> Iterator[_Batch | Passed]:
        scope: Scope = {**self._shared.scope, **part.scope, "window": interval.scope()}
        if self._job is not None or self._is_streamed:
            for found in self._streamed(run, scope, interval):
                batch = found if isinstance(found, Passed) else self._batch(found, part, progress)
                yield batch
                if isinstance(batch, _Batch) and batch.is_last:
                    return
            return
        pager = self._pager(sizes)
        while True:
            answer = self._send(run, scope, interval, pager.prepare)
            if isinstance(answer, Passed):
                yield answer
                return
            document, rows, ids = self._opened(answer, part)
            seen = PageSeen(answer=answer, document=document, outer=rows.outer, last=rows.last, ids=ids)
            has_more = pager.advance(seen)
            run.is_full = run.is_full and pager.is_certain
            page = self._batch(rows.rows, part, progress, ids, is_last=not has_more)
            yield page
            if page.is_last:
                return

    def _pager(self, sizes: PageSizes) -> Pager:
        is_home = self._shared.caller.is_home
        return Pager(self._data_type.pagination, endpoint=self.endpoint, is_home=is_home, sizes=sizes)

    def _draft(self, scope: Scope, interval: Interval) -> Draft:
        if self._maker is None:
            raise _incomplete(self._shared.definition, self._data_type.name, "has no request", "Say `request`")
        draft = self._maker.draft(scope)
        self._bind(draft, interval)
        return draft

    def _bind(self, draft: Draft, interval: Interval) -> None:
        if self._data_type.incremental is not None:
            put_bounds(draft, self._data_type.incremental, interval)

    def _send(self, run: _Pass, scope: Scope, interval: Interval, prepare: Callable[[Draft], None]) -> Answer | Passed:
        draft = self._draft(scope, interval)
        prepare(draft)
        request = draft.request(data_type=run.purpose.data_type, phase=run.purpose.phase, policy=self._policy)
        return self._shared.caller.send(run.session, request, auth=self._has_auth, lenient=self._is_lenient(run))

    def _streamed(self, run: _Pass, scope: Scope, interval: Interval) -> Iterator[list[Row] | Passed]:
        purpose = run.purpose
        if self._job is not None:
            yield from self._job.read(
                run.session,
                scope,
                purpose.data_type,
                bound=lambda draft: self._bind(draft, interval),
                phase=purpose.phase,
            )
            return
        draft = self._draft(scope, interval)
        request = draft.request(data_type=purpose.data_type, phase=purpose.phase, policy=self._policy)
        with self._shared.caller.stream(run.session, request, auth=self._has_auth) as streamed:
            if isinstance(streamed, Passed):
                yield streamed
            else:
                yield from decode(streamed.chunks(), self._data_type.response, self._data_type.records, self.endpoint)

    @property
    def _has_auth(self) -> bool:
        return self._data_type.request is None or self._data_type.request.auth

    @staticmethod
    def _is_lenient(run: _Pass) -> bool:
        return run.purpose.phase is not Phase.TEST

    def _opened(self, answer: Answer, part: Part) -> tuple[object, Rows, list[str]]:
        """Return a page's document, its rows and their ids. Raises VendorError for a body not as it should be."""
        response = self._data_type.response
        body = answer.body
        if response.compression != "none" and body:
            pieces = unpack(iter((body,)), response.compression, self.endpoint, limits=_PAGE_LIMITS)
            body = b"".join(itertools.chain.from_iterable(pieces))
        if response.format == "json":
            document = json_document(answer, self.endpoint) if body is answer.body else parse_json(body, self.endpoint)
            return self._read(document, part)
        batches = decode(iter((body,)), _uncompressed(response), self._data_type.records, self.endpoint)
        found = list(itertools.chain.from_iterable(batches))
        document = xml_document(body, self.endpoint) if response.format == "xml" else None
        rows = Rows(rows=found, outer=len(found), last=found[-1] if found else None)
        return document, rows, self._ids_of(found, part.scope)

    def _read(self, document: object, part: Part) -> tuple[object, Rows, list[str]]:
        if not self._root_is_data:
            refuse_reported_error(document, self.endpoint, but=self._records_member)
        try:
            rows = self._rows_of(document)
            return document, rows, self._ids_of(rows.rows, part.scope)
        except UnexpectedShapeError as error:
            try:
                refuse_error_words(document, self.endpoint)
            except AnswerReportsError as reported:
                raise reported from error
            raise

    def _batch(
        self,
        rows: list[Row],
        part: Part,
        progress: Progress | Unbounded,
        ids: list[str] | None = None,
        *,
        is_last: bool = False,
    ) -> _Batch:
        counts: dict[str, int] = {}
        if ids is None:
            ids = self._ids_of(rows, part.scope)
        sifted = progress.sift(rows)
        is_last = is_last or progress.has_passed_start(sifted)
        if sifted.without_time:
            counts["without_time"] = sifted.without_time
        if sifted.older:
            counts["older"] = sifted.older
            rows = sifted.rows
            ids = self._ids_of(rows, part.scope)
        if len(set(ids)) != len(ids):
            last = dict(zip(ids, rows, strict=True))
            counts["repeated"] = len(ids) - len(last)
            ids, rows = list(last), list(last.values())
        if part.given:
            for row in rows:
                row.update(part.given)
        return _Batch(rows, ids, counts, is_last=is_last)

    def _time_reader(self) -> TimeReader | None:
        spec = self._data_type.incremental
        if spec is None:
            return None
        bounds = {"default_start": spec.default_start, "oldest": spec.oldest}
        moments = {name: self._moment(name, text) for name, text in bounds.items()}
        return TimeReader(spec=spec, now=self._shared.now, endpoint=self.endpoint, **moments)

    def _moment(self, name: str, text: str | None) -> datetime | None:
        """Read `-P90D`, a date, or a setting that holds one of these."""
        if text is None:
            return None
        resolved = compile_value(text, roots=ACCOUNT_ROOTS).resolve(self._shared.scope)
        if resolved is OMIT or resolved is None or resolved == "":
            return None
        try:
            return parse_moment(text_of(resolved, name), now=self._shared.now)
        except ValueError as error:
            raise _incomplete(
                self._shared.definition, self._data_type.name, f"{name} {error}", "Write `-P90D` or a date"
            ) from error


def _page(batch: _Batch, cursor: CursorState | None, *, full_pass: bool = False) -> Page:
    return Page(records=records_of(batch.ids, batch.rows), cursor=cursor, full_pass=full_pass, counts=batch.counts)


def _only(part: Part) -> Callable[[], Iterator[Part]]:
    return lambda: iter((part,))


def _uncompressed(response: Response) -> Response:
    return response if response.compression == "none" else replace(response, compression="none")


def _clock_from(now: datetime) -> Callable[[], datetime]:
    """Return a clock that shows `now` at first and then goes on evenly, whatever is done to the machine's clock."""
    began, start = time.monotonic(), now.astimezone(UTC)
    return lambda: start + timedelta(seconds=time.monotonic() - began)


@contextmanager
def _naming(definition: Definition) -> Iterator[None]:
    """Say of a missing `${credentials.x}` or `${settings.x}` that the connection lacks it."""
    try:
        yield
    except MissingReferenceError as error:
        root, _, name = error.path.partition(".")
        if root in ACCOUNT_ROOTS and name:
            raise MissingCredentialError(definition.vendor, error.path) from error
        if root == "app":
            raise MissingApplicationError(definition.vendor, app_of(definition)) from error
        raise


def app_of(definition: Definition) -> str:
    """Return the name under which the operator's settings have this vendor's OAuth application; empty: it has none."""
    ways = (definition.auth, *definition.auth.options.values())
    found = (way.app for way in ways if way.type is AuthType.OAUTH2_AUTHORIZATION_CODE)
    return next(found, "")


def _component(definition: Definition, name: str) -> ConnectorFactory:
    """Return what an installed entry point names. Only what was installed is ever imported, whatever a file says."""
    for entry in entry_points(group=ENTRY_POINTS):
        if name in (entry.name, entry.value):
            return _loaded(entry)
    finding = Finding(
        file=definition.file,
        line=1,
        path="component",
        problem=f"no installed package offers {name!r} as an entry point of {ENTRY_POINTS}",
        remedy="Install the package that has it, or correct the name",
        code="component",
    )
    raise DefinitionError((finding,))


def _loaded(entry: EntryPoint) -> ConnectorFactory:
    return cast("ConnectorFactory", entry.load())


def _incomplete(definition: Definition, name: str, problem: str, remedy: str) -> DefinitionError:
    path = f"data_types.{name}"
    return DefinitionError((Finding(file=definition.file, line=1, path=path, problem=problem, remedy=remedy),))
