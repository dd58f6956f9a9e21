"""Lists of connections: filtered, in an order, a page at a time. Each page is a short walk along one index.

So its cost depends neither on where it lies nor on how many connections there are; only an offset is walked over.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import Connection

from classifier.vocabulary import DESCRIPTION, OWNER, HealthName, HealthStatus, ResolutionOwner, status_of
from models.connections import VIEW, ConnectionView, its, view_of
from models.database import Statement, rows
from models.errors import InvalidValueError
from models.history import HEALTH_COLUMNS
from models.representations import detail_document
from models.vocabulary import NEVER_RUN, ConnectionState

LONGEST_PAGE: Final = 1000
_ACTIVE: Final = ConnectionState.ACTIVE.value
DEEPEST_OFFSET: Final = 10_000
_FIRST_ID: Final = UUID(int=0)
_LAST_ID: Final = UUID(int=2**128 - 1)
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_END: Final = datetime.max.replace(tzinfo=UTC)


class Order(StrEnum):
    """The order of a list. By `since`, only connections that have a health are shown."""

    OLDEST = "created_at"
    NEWEST = "-created_at"
    LONGEST = "since"
    LATEST = "-since"

    @property
    def is_by_since(self) -> bool:
        """Whether it is by the time at which the present health began."""
        return self in (Order.LONGEST, Order.LATEST)

    @property
    def is_backwards(self) -> bool:
        """Whether it goes from high to low."""
        return self.value.startswith("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a page ended: its last connection, and in an order by `since` that one's."""

    connection_id: UUID
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPage:
    """A part of a list. after: hand it in to get the next part; None at the end."""

    items: list[ConnectionView]
    after: Place | None


class ListedConnection(NamedTuple):
    """A connection of a list as JSON shows it: a shortcut to `models.representations.connection_document`.

    health: that of the document. options: JSON as it is stored, `{}` where it was not asked for; it and cred_version
    are for whoever adds a link to authorize it.
    """

    document: dict[str, Any]
    health: dict[str, Any] | None
    options: str
    cred_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentPage:
    """A part of a list, as documents. after: as in ConnectionPage."""

    items: list[ListedConnection]
    after: Place | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFilter:
    """What a list shows; every field that is given must hold.

    never_run: only connections without a finished run; they have neither health, status, owner nor reason.
    state None: all but DELETED. since: those whose present health began then or later.
    """

    health: HealthName | None = None
    status: HealthStatus | None = None
    owner: ResolutionOwner | None = None
    vendor: str | None = None
    organization_id: UUID | None = None
    state: ConnectionState | None = None
    identifier: str | None = None
    reason: str | None = None
    never_run: bool = False
    since: datetime | None = None

    def listed_as(self) -> list[str]:
        """Return the names that health, status and owner leave: status and owner follow from the name."""
        if self.never_run:
            return [] if self._asks_for_health() else [NEVER_RUN]
        names = [
            name.value
            for name in HealthName
            if self.health in (None, name)
            and self.status in (None, status_of(name))
            and self.owner in (None, OWNER[name])
        ]
        return names if self._asks_for_health() else [*names, NEVER_RUN]

    def states(self) -> list[str]:
        """Return the states that are shown."""
        if self.state is not None:
            return [self.state.value]
        return [state.value for state in ConnectionState if state is not ConnectionState.DELETED]

    def _asks_for_health(self) -> bool:
        return any(asked is not None for asked in (self.health, self.status, self.owner, self.reason, self.since))


def _key(order: Order) -> tuple[str, ...]:
    return ("since", "connection_id") if order.is_by_since else ("connection_id",)


def _walk(
    table: str,
    columns: tuple[str, ...],
    values: tuple[str, ...],
    order: Order,
    *,
    besides: str = "TRUE",
    scope: tuple[str, ...] = (),
    until: str = "%(last_{part})s",
) -> str:
    """Return the first ids after a place, from one place of one index.

    The place is a range of whole rows, not `column = value`: with an equality the planner knows that the order is that
    of the ids alone, and for a value it has no statistics of (a generic plan) it walks the primary key and filters,
    which takes a second where few rows match. No other index has this order, so it cannot go astray.
    scope: columns before those, which are equal to the parameters of their names. They tell the index from others that
    begin alike, and leave the order as it is. until: the last row that is of any interest, column by column.
    """
    key = _key(order)
    after, last = (tuple(text.format(part=part) for part in key) for text in ("%(after_{part})s", until))
    beyond, within, direction = ("<", ">=", " DESC") if order.is_backwards else (">", "<=", "")
    listed = (*columns, *key)
    return f"""
      SELECT {", ".join(key)} FROM {table}
       WHERE ({", ".join(listed)}) {beyond} ({", ".join((*values, *after))})
         AND ({", ".join(listed)}) {within} ({", ".join((*values, *last))})
         AND {" AND ".join((*(f"{column} = %({column})s" for column in scope), besides))}
       ORDER BY {", ".join(each + direction for each in listed)} LIMIT %(reach)s"""  # noqa: S608 - constants


def _ordered(order: Order, of: str) -> str:
    direction = " DESC" if order.is_backwards else ""
    return "ORDER BY " + ", ".join(f"{of}.{part}{direction}" for part in _key(order))


# In a list the evidence, which may be 64 KiB, stays where it is.
_LISTED: Final = HEALTH_COLUMNS.replace("h.evidence", "NULL::jsonb")

# LIMIT 1 again: as EXISTS it may become a join, for which all of health is read.
_OF_IDENTIFIER: Final = """identifier IS NOT NULL AND (
           SELECT TRUE FROM health h WHERE h.connection_id = connection.connection_id
              AND h.listed_as = ANY(%(names)s) AND h.connection_state = ANY(%(states)s)
              AND (%(vendor)s::text IS NULL OR h.vendor = %(vendor)s)
              AND (%(organization_id)s::uuid IS NULL OR h.organization_id = %(organization_id)s)
              AND (%(reason)s::text IS NULL OR h.reason = %(reason)s) LIMIT 1)"""


def _by_health(scope: tuple[str, ...], order: Order) -> str:
    """Return the walk along health's indexes: a short one for each name and state, merged.

    The first one, of what most connections are in, goes before the others. Where it fills the page alone, the others
    stop at the last row that it found: of the two dozen walks of a list of everything, most read next to nothing.
    """
    columns, key = ("listed_as", "connection_state"), ", ".join(_key(order))
    name, state = "(%(names)s::text[])[1]", "(%(states)s::text[])[1]"
    first = _walk("health", columns, (name, state), order, scope=scope)
    until = "COALESCE((SELECT l.{part} FROM last l), %(last_{part})s)"
    other = _walk("health", columns, ("asked.name", "asked.state"), order, scope=scope, until=until)
    return f"""
    WITH first AS MATERIALIZED ({first}
    ), last AS MATERIALIZED (SELECT {key} FROM first OFFSET %(reach)s::bigint - 1 LIMIT 1)
    SELECT {key}
      FROM (SELECT {key} FROM first
             UNION ALL
            SELECT {", ".join(f"found.{part}" for part in _key(order))}
              FROM (SELECT * FROM unnest(%(names)s::text[]) n (name), unnest(%(states)s::text[]) s (state)
                     WHERE (name, state) <> ({name}, {state})) asked
             CROSS JOIN LATERAL ({other}) found) merged
     {_ordered(order, "merged")} LIMIT %(reach)s"""  # noqa: S608 - put together from this module's constants


_BY_HEALTH: Final = {
    "all": (),
    "organization": ("organization_id",),
    "vendor": ("vendor",),
    "organization, vendor": ("organization_id", "vendor"),
    "reason": ("reason",),
    "organization, reason": ("organization_id", "reason"),
    "vendor, reason": ("vendor", "reason"),
    "organization, vendor, reason": ("organization_id", "vendor", "reason"),
}
"""What each walk has equal in all its rows."""


def _page_of(walk: str, order: Order) -> str:
    """Return the ids of a page. walk: as `walk_for` names it."""
    if walk == "identifier":
        ids = _walk("connection", ("identifier",), ("%(identifier)s",), order, besides=_OF_IDENTIFIER)
    else:
        ids = _by_health(_BY_HEALTH[walk], order)
    return f"(SELECT * FROM ({ids}) walked {_ordered(order, 'walked')} LIMIT %(limit)s OFFSET %(offset)s) page"  # noqa: S608 - constants


@cache
def list_statement(walk: str, order: Order) -> Statement:
    """Return the statement of a list. walk: as `walk_for` names it."""
    return Statement(VIEW.format(health=_LISTED, source=_page_of(walk, order), order=_ordered(order, "page")))


# Ids as text, and of the rest only what a document shows: what is not fetched is neither looked up, written nor read.
# Which run is on the schedule says, status and owner follow from the name, and who asks knows the organizations' names.
_DOCUMENTS: Final = f"""
SELECT page.connection_id::text, h.organization_id::text, h.vendor, c.identifier, h.connection_state,
       s.refresh_interval_secs, s.timeout_secs, c.created_at, c.updated_at, s.next_due_at, s.active_seq, s.run_seq,
       {{options}}, s.cred_version,
       h.name, nullif(h.details, '[]'::jsonb)::text, h.reason, h.rule, h.sentence, h.next_step, h.retry_at, h.since,
       h.run_seq, h.consecutive_failures, h.cred_version < s.cred_version, h.last_success_at, h.last_failure_at
  FROM {{source}}
 CROSS JOIN {its("health", "h", "connection_id", "page")}
 CROSS JOIN {its("connection", "c", "connection_id", "page")}
 CROSS JOIN {its("connection_sched", "s", "connection_id", "page")}
 {{order}}"""  # noqa: S608 - put together from constants

NAMES: Final = Statement("""
SELECT organization_id::text, name FROM organization WHERE organization_id = ANY(%(organization_ids)s::uuid[])""")
"""The names of organizations, which documents of lists come without. A name is given once and does not change."""


@cache
def document_statement(walk: str, order: Order, with_options: bool) -> Statement:  # noqa: FBT001 - part of a cache's key
    """Return the statement of a list of documents. walk: as `walk_for` names it; with_options: else they are `{}`."""
    options = "c.options::text" if with_options else "'{}'::text"
    return Statement(_DOCUMENTS.format(source=_page_of(walk, order), order=_ordered(order, "page"), options=options))


def list_connections(
    db: Connection[Any],
    chosen: ConnectionFilter | None = None,
    *,
    order: Order = Order.OLDEST,
    after: Place | None = None,
    offset: int = 0,
    limit: int = 50,
) -> ConnectionPage:
    """Return a page of connections. after: `after` of the page before, in the same order.

    Raises InvalidValueError for a page of other than 1 to LONGEST_PAGE connections, for an offset beyond
    DEEPEST_OFFSET, and for an order that the filter has no index for: with `since` by since, with an identifier or a
    reason by created_at.
    """
    chosen = chosen or ConnectionFilter()
    _check(chosen, order, offset, limit)
    params = list_params(chosen, order, after, offset=offset, limit=limit)
    found = rows(db, list_statement(walk_for(chosen), order), params)
    items = [view_of(one) for one in found[:limit]]
    return ConnectionPage(items=items, after=_place_of(items[-1], order) if len(found) > limit else None)


def document_query(
    chosen: ConnectionFilter,
    *,
    order: Order,
    after: Place | None = None,
    offset: int = 0,
    limit: int = 50,
    with_options: bool = True,
) -> tuple[Statement, dict[str, object]]:
    """Return the statement of a page of documents, and its parameters. Arguments and errors: as of list_connections.

    with_options: for whoever adds links.
    """
    _check(chosen, order, offset, limit)
    statement = document_statement(walk_for(chosen), order, with_options)
    return statement, list_params(chosen, order, after, offset=offset, limit=limit)


def unnamed(found: Sequence[tuple[Any, ...]], names: Mapping[str, str]) -> set[str]:
    """Return the organizations of a page whose names are not known yet. found: the rows of the page's statement."""
    return {one[_ORGANIZATION] for one in found} - names.keys()


def document_page(
    found: Sequence[tuple[Any, ...]], names: Mapping[str, str], *, order: Order, limit: int = 50
) -> DocumentPage:
    """Return the page out of the rows that its statement found. names: of the organizations, by their ids.

    At a third of what it takes to make views of them first: the documents are the same.
    """
    items = [_listed_of(one, names) for one in found[:limit]]
    place = None
    if len(found) > limit:
        last = items[-1]
        since = last.health["since"] if order.is_by_since and last.health is not None else None
        place = Place(connection_id=UUID(last.document["id"]), since=since)
    return DocumentPage(items=items, after=place)


_ORGANIZATION: Final = 1
_WORDS: Final = {name.value: (status_of(name).value, DESCRIPTION[name], OWNER[name].value) for name in HealthName}


def _listed_of(found: tuple[Any, ...], names: Mapping[str, str]) -> ListedConnection:
    """Read the columns of _DOCUMENTS."""
    (
        connection_id, organization_id, vendor, identifier, state, interval, timeout, created_at, updated_at,
        next_due_at, running, begun, options, cred_version, name, details, reason, rule, sentence, next_step, retry_at,
        since, run_seq, streak, superseded, last_success_at, last_failure_at,
    ) = found  # fmt: skip
    health = None
    if name is not None:
        status, description, owner = _WORDS[name]
        health = {
            "name": name,
            "status": status,
            "description": description,
            "resolution_owner": owner,
            "details": None if details is None else [detail_document(each) for each in json.loads(details)],
            "reason": reason,
            "rule": rule,
            "sentence": sentence,
            "next_step": next_step,
            "retry_at": retry_at,
            "since": since,
            "run_seq": run_seq,
            "consecutive_failures": streak,
            "superseded": superseded,
            "last_success_at": last_success_at,
            "last_failure_at": last_failure_at,
        }
    document = {
        "id": connection_id,
        "organization_id": organization_id,
        "organization_name": names[organization_id],
        "vendor": vendor,
        "identifier": identifier,
        "state": state,
        "is_active": state == _ACTIVE,
        "refresh_interval_secs": interval,
        "timeout_secs": timeout,
        "created_at": created_at,
        "updated_at": updated_at,
        "next_due_at": next_due_at,
        "running_run_seq": running,
        "run_seq": begun,
        "health": health,
    }
    return ListedConnection(document, health, options, cred_version)


# What connections are in most often. A matter of cost alone: with any order a page is the same.
_USUAL: Final = {
    word: rank
    for rank, word in enumerate((HealthName.HEALTHY, HealthName.UNAUTHORIZED, HealthName.VENDOR_SERVER_ERROR, _ACTIVE))
}


def _rank(word: str) -> int:
    return _USUAL.get(word, len(_USUAL))


def list_params(
    chosen: ConnectionFilter, order: Order, after: Place | None, *, offset: int = 0, limit: int = 50
) -> dict[str, object]:
    """Return the parameters of a list's statement."""
    first_since, first_id = chosen.since or _BEGINNING, _FIRST_ID
    start, end = (
        ((_END, _LAST_ID), (first_since, first_id))
        if order.is_backwards
        else (
            (first_since, first_id),
            (_END, _LAST_ID),
        )
    )
    if after is not None:
        start = (after.since or start[0], after.connection_id)
    return {
        "names": sorted(chosen.listed_as(), key=_rank),
        "states": sorted(chosen.states(), key=_rank),
        "vendor": chosen.vendor,
        "organization_id": chosen.organization_id,
        "identifier": chosen.identifier,
        "reason": chosen.reason,
        "after_since": start[0],
        "after_connection_id": start[1],
        "last_since": end[0],
        "last_connection_id": end[1],
        "limit": limit + 1,
        "offset": offset,
        "reach": offset + limit + 1,
    }


def walk_for(chosen: ConnectionFilter) -> str:
    """Return the name of the index walk that finds what is chosen."""
    if chosen.identifier is not None:
        return "identifier"
    scope = {"organization": chosen.organization_id, "vendor": chosen.vendor, "reason": chosen.reason}
    return ", ".join(name for name, value in scope.items() if value is not None) or "all"


def _check(chosen: ConnectionFilter, order: Order, offset: int, limit: int) -> None:
    if not 1 <= limit <= LONGEST_PAGE:
        raise InvalidValueError("limit", f"a page has 1 to {LONGEST_PAGE} connections, not {limit}")
    if not 0 <= offset <= DEEPEST_OFFSET:
        raise InvalidValueError(
            "offset", f"an offset is 0 to {DEEPEST_OFFSET}, not {offset}: go on from page to page by the cursor"
        )
    if chosen.since is not None and not order.is_by_since:
        raise InvalidValueError("order", "with `since` a list is in the order of since or -since")
    if order.is_by_since and (chosen.identifier is not None or chosen.reason is not None):
        raise InvalidValueError("order", "with an identifier or a reason a list is in the order of created_at")


def _place_of(view: ConnectionView, order: Order) -> Place:
    by_since = order.is_by_since and view.health is not None
    return Place(connection_id=view.connection_id, since=view.health.since if by_since and view.health else None)
