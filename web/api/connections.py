"""Connections: list, count, create, get, change, delete."""

import inspect
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, cast
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.concurrency import run_in_threadpool

from classifier.vocabulary import OWNER, HealthName, HealthStatus, ResolutionOwner, status_of
from models import audit, connections, counts, invites, lists, revisions
from models.connections import UNSET, ConnectionView
from models.lists import ConnectionFilter, Order, Place
from models.revisions import Revision
from models.vocabulary import NEVER_RUN, ConnectionState
from vendors.credentials_schema import prepare
from web.api.answers import answer, empty, page
from web.api.authority import AtDesk, Principal, Reader, Writer, WriterOrInvited
from web.api.cursors import Cursor, Limit, cursor_of, place_of, refused
from web.api.documents import address_of, shown_connection, shown_listed
from web.api.outside import asks_outside
from web.api.repeats import Keep, Repeatable
from web.api.route import Route
from web.api.shapes import ConnectionChange, ConnectionShape, CountedPageShape, CountsShape, Moment, NewConnection
from web.desk import Desk
from web.problems import Fault, Problem, not_found, unacceptable
from worker import changes
from worker import credentials as live
from worker.changes import Change

router = APIRouter(prefix="/v1/provisioning", tags=["connections"], route_class=Route)

_OF_ORGANIZATION: Final = "/organizations/{organization_id}/connections"
AT_ONCE: Final = 100
"""Connections that are made into a list on the event loop: more would keep everybody waiting for milliseconds."""
_ONE: Final = _OF_ORGANIZATION + "/{connection_id}"
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", max_length=1000, description="The ETag of the connection that the change is meant for."),
]


class Asked:
    """What a list is asked for: filters, order, part."""

    def __init__(  # noqa: PLR0917 - FastAPI hands everything over by name
        self,
        health: Annotated[HealthName | None, Query(description="Only those with this health.")] = None,
        status: Annotated[HealthStatus | None, Query(description="Only those with this status.")] = None,
        resolution_owner: Annotated[
            ResolutionOwner | None, Query(description="Only those where this one must act, or would.")
        ] = None,
        reason: Annotated[
            str | None, Query(max_length=100, description="Only those with this reason.", examples=["token_expired"])
        ] = None,
        vendor: Annotated[str | None, Query(max_length=64, description="Only those of this vendor.")] = None,
        state: Annotated[
            ConnectionState | None, Query(description="Only those in this state; else all but DELETED.")
        ] = None,
        identifier: Annotated[
            str | None, Query(max_length=500, description="Only those with exactly this identifier.")
        ] = None,
        never_run: Annotated[  # noqa: FBT002 - a query parameter
            bool, Query(description="Only those that have not finished a run.")
        ] = False,
        since: Annotated[
            Moment | None,
            Query(description="Only those whose present health began then or later; they are in the order of since."),
        ] = None,
        sort: Annotated[Order | None, Query(description="A minus: the other way round.")] = None,
        cursor: Cursor = None,
        limit: Limit = 50,
        offset: Annotated[
            int | None,
            Query(
                ge=0,
                le=lists.DEEPEST_OFFSET,
                description="Leave so many out; the answer then has the total. Not together with a cursor.",
            ),
        ] = None,
    ) -> None:
        self.health, self.status, self.owner, self.reason = health, status, resolution_owner, reason
        self.vendor = None if vendor is None else vendor.lower()
        self.state, self.identifier, self.never_run = state, identifier, never_run
        self.since = None if since is None else _utc(since)
        self.order = sort or (Order.LONGEST if since is not None else Order.OLDEST)
        self.cursor, self.limit, self.offset = cursor, limit, offset

    def chosen(self, organization_id: UUID | None) -> ConnectionFilter:
        """Return the filter, within an organization or over all."""
        return ConnectionFilter(
            health=self.health,
            status=self.status,
            owner=self.owner,
            reason=self.reason,
            vendor=self.vendor,
            state=self.state,
            identifier=self.identifier,
            never_run=self.never_run,
            since=self.since,
            organization_id=organization_id,
        )


async def _asked(**given: Any) -> Asked:
    return Asked(**given)


_asked.__signature__ = inspect.signature(Asked)  # type: ignore[attr-defined]  # what FastAPI reads
AsAsked = Annotated[Asked, Depends(_asked)]


@router.get(
    _OF_ORGANIZATION, summary="List an organization's connections", response_model=CountedPageShape[ConnectionShape]
)
async def list_connections(organization_id: UUID, principal: Reader, desk: AtDesk, asked: AsAsked) -> Response:
    """List connections with their health. Every filter that is given must hold; `offset` brings the total along."""
    principal.check_organization(organization_id)
    if not await desk.reading.rows(connections.ORGANIZATION_EXISTS, {"organization_id": organization_id}):
        raise not_found("organization")
    return await _listed(desk, asked, organization_id, with_links=principal.may_write)


@router.get(
    "/connections",
    summary="List the connections of all organizations",
    response_model=CountedPageShape[ConnectionShape],
)
async def list_all_connections(
    principal: Reader,
    desk: AtDesk,
    asked: AsAsked,
    organization_id: Annotated[UUID | None, Query(description="Only those of this organization.")] = None,
) -> Response:
    """List connections over all organizations; with a key of one organization, those of that one."""
    if principal.organization_id is not None:
        if organization_id not in (None, principal.organization_id):
            return answer({"items": [], "count": 0, "total": 0, "next_cursor": None})
        organization_id = principal.organization_id
    return await _listed(desk, asked, organization_id, with_links=principal.may_write)


@router.get("/connection-counts", summary="Count the connections of all organizations", response_model=CountsShape)
def count_all(principal: Reader, desk: AtDesk, vendor: Annotated[str | None, Query(max_length=64)] = None) -> Response:
    """Count connections by health, status and owner, exactly and at once."""
    return _counted(desk, principal.organization_id, vendor)


@router.get(
    "/organizations/{organization_id}/connection-counts",
    summary="Count an organization's connections",
    response_model=CountsShape,
)
def count(
    organization_id: UUID,
    principal: Reader,
    desk: AtDesk,
    vendor: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Count an organization's connections by health, status and owner, exactly and at once."""
    principal.check_organization(organization_id)
    with desk.database.connection() as db:
        if connections.get_organization(db, organization_id) is None:
            raise not_found("organization")
    return _counted(desk, organization_id, vendor)


@router.post(_OF_ORGANIZATION, summary="Create a connection", response_model=ConnectionShape)
@asks_outside
def create(
    organization_id: UUID, body: NewConnection, principal: WriterOrInvited, desk: AtDesk, repeat: Repeatable
) -> Response:
    """Create a connection. Its credentials are tried at the vendor first; refused ones are not stored (422).

    Its first run starts at once. With an invite token in the place of a key, that token is used up.
    """
    principal.check_organization(organization_id)
    vendor, identifier, options = _as_invited(principal, body, desk)
    definition = desk.station.catalogue.get(vendor)
    credentials = body.credentials or {}
    prepare(definition, credentials, options)

    def make(keep: Keep) -> Response:
        made: dict[str, object] = {}
        tag = ""

        def along(db: Any, view: ConnectionView) -> None:
            nonlocal tag
            if principal.invite is not None:
                invites.use_invite(db, principal.invite.invite_id, view.connection_id)
            audit.write_entry(
                db,
                principal.actor,
                "connection.created",
                organization_id=organization_id,
                connection_id=view.connection_id,
                changes={"vendor": vendor, "identifier": identifier, "options": sorted(options)},
            )
            made.update(shown_connection(desk, view, with_link=True))
            tag = etag_of(view)
            keep(db, HTTPStatus.OK, made, view.connection_id)

        connection_id, _report = live.create(
            desk.station,
            organization_id=organization_id,
            vendor=vendor,
            credentials=credentials,
            options=options,
            identifier=identifier,
            refresh_interval_secs=body.refresh_interval_secs,
            timeout_secs=body.timeout_secs,
            along=along,
        )
        desk.wake(connection_id)
        return answer(made, headers={"etag": tag, "location": address_of(desk, organization_id, connection_id)})

    return repeat.once(principal, make)


@router.get(_ONE, summary="Get a connection", response_model=ConnectionShape)
def get(organization_id: UUID, connection_id: UUID, principal: Reader, desk: AtDesk) -> Response:
    """Return one connection with its health, which is null before its first finished run."""
    view = connection_of(principal, desk, organization_id, connection_id)
    return answer(shown_connection(desk, view, with_link=principal.may_write), headers={"etag": etag_of(view)})


@router.patch(_ONE, summary="Change a connection", response_model=ConnectionShape)
@asks_outside
def change(  # noqa: PLR0917 - FastAPI hands everything over by name
    organization_id: UUID,
    connection_id: UUID,
    body: ConnectionChange,
    principal: WriterOrInvited,
    desk: AtDesk,
    if_match: IfMatch = None,
) -> Response:
    """Change what is given and nothing else.

    New credentials are tried at the vendor: where it refuses them, the answer is a 422 that says what it said, nothing
    is stored, and the old ones stay in force. Where it takes them, they are stored and a run starts at once.
    """
    before = connection_of(principal, desk, organization_id, connection_id)
    _check_invited_change(principal, connection_id, body)
    wanted = Change(
        identifier=body.identifier if "identifier" in body.model_fields_set else UNSET,
        state=body.state,
        refresh_interval_secs=body.refresh_interval_secs,
        timeout_secs=body.timeout_secs,
        options=body.options,
        credentials=body.credentials,
        of=_meant(if_match, before),
    )

    def along(db: Any, view: ConnectionView) -> None:
        if principal.invite is not None:
            invites.use_invite(db, principal.invite.invite_id, connection_id)
        audit.write_entry(
            db,
            principal.actor,
            "credentials.replaced" if body.credentials is not None else "connection.changed",
            organization_id=organization_id,
            connection_id=connection_id,
            changes=_told(before, view, body),
        )

    view, _report = changes.change(desk.station, before, wanted, along=along)
    if body.credentials is not None or body.options is not None or view.state is not before.state:
        desk.wake(connection_id)
    return answer(shown_connection(desk, view, with_link=True), headers={"etag": etag_of(view)})


@router.delete(_ONE, summary="Delete a connection", status_code=204)
def delete(
    organization_id: UUID, connection_id: UUID, principal: Writer, desk: AtDesk, if_match: IfMatch = None
) -> Response:
    """Delete a connection: its run is cancelled, its credentials are destroyed; its history stays for a while."""
    before = connection_of(principal, desk, organization_id, connection_id)

    def along(db: Any, _view: ConnectionView) -> None:
        audit.write_entry(
            db,
            principal.actor,
            "connection.deleted",
            organization_id=organization_id,
            connection_id=connection_id,
            changes={"vendor": before.vendor, "identifier": before.identifier},
        )

    changes.delete(desk.station, connection_id, of=_meant(if_match, before), along=along)
    return empty()


def connection_of(principal: Principal, desk: Desk, organization_id: UUID, connection_id: UUID) -> ConnectionView:
    """Return a connection that is there, is the organization's, and may be seen. Raises Problem (404)."""
    principal.check_organization(organization_id)
    with desk.database.connection() as db:
        view = connections.get_connection(db, connection_id)
    if view is None or view.organization_id != organization_id or view.state is ConnectionState.DELETED:
        raise not_found("connection")
    return view


def etag_of(view: ConnectionView) -> str:
    """Return a tag of what a person can change; a run does not change it."""
    return f'"{revisions.revision_of(view)}"'


def _meant(if_match: str | None, before: ConnectionView) -> Revision | None:
    """Return the revision that a change is meant for, None for any. Raises Problem (412)."""
    if if_match is None or if_match.strip() == "*":
        return None
    if etag_of(before) not in [tag.strip() for tag in if_match.split(",")]:
        raise Problem(
            HTTPStatus.PRECONDITION_FAILED, "The connection was changed since it was read: read it again first."
        )
    return revisions.revision_of(before)


async def _listed(desk: Desk, asked: Asked, organization_id: UUID | None, *, with_links: bool) -> Response:
    if asked.cursor is not None and asked.offset is not None:
        fault = Fault(detail="does not go together with a cursor", parameter="offset")
        raise unacceptable(f"offset {fault.detail}.", fault)
    chosen = asked.chosen(organization_id)
    of = {"list": "connections", "order": asked.order, "filter": str(chosen)}
    after = None if asked.cursor is None else _place(place_of(asked.cursor, of))
    statement, params = lists.document_query(
        chosen,
        order=asked.order,
        after=after,
        offset=asked.offset or 0,
        limit=asked.limit,
        with_options=with_links,
    )
    found = await desk.reading.rows(statement, params)
    names = desk.known_names.known()
    new = lists.unnamed(found, names)
    if new:
        names.update(await desk.reading.rows(lists.NAMES, {"organization_ids": list(new)}))
    total = None if asked.offset is None else await run_in_threadpool(_total, desk, chosen, asked.order)

    def told() -> Response:
        part = lists.document_page(found, names, order=asked.order, limit=asked.limit)
        place = part.after
        following = None if place is None else cursor_of([place.connection_id, place.since], of)
        items = shown_listed(desk, part.items, with_links=with_links)
        return answer(page(items, next_cursor=following, total=total))

    return told() if len(found) <= AT_ONCE else await run_in_threadpool(told)


def _total(desk: Desk, chosen: ConnectionFilter, order: Order) -> int | None:
    with desk.database.connection() as db:
        return counts.total(db, chosen, order)


def _place(read: object) -> Place:
    try:
        connection_id, since = cast("list[Any]", read)
        return Place(
            connection_id=UUID(connection_id), since=None if since is None else _utc(datetime.fromisoformat(since))
        )
    except (TypeError, ValueError, AttributeError):
        raise refused() from None


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise unacceptable("since is beyond the years that can be told.") from None


def _counted(desk: Desk, organization_id: UUID | None, vendor: str | None) -> Response:
    with desk.database.connection() as db:
        found = counts.health_counts(
            db, organization_id=organization_id, vendor=None if vendor is None else vendor.lower()
        )
    by_status = dict.fromkeys(HealthStatus, 0)
    by_owner = dict.fromkeys(ResolutionOwner, 0)
    for name, number in found.items():
        if name is None:
            continue
        by_status[status_of(name)] += number
        if name is not HealthName.HEALTHY:
            by_owner[OWNER[name]] += number
    return answer(
        {
            "total": sum(found.values()),
            "by_health": {NEVER_RUN if name is None else name: number for name, number in found.items()},
            "by_status": by_status,
            "by_resolution_owner": by_owner,
            "never_run": found[None],
        }
    )


def _as_invited(principal: Principal, body: NewConnection, desk: Desk) -> tuple[str, str | None, dict[str, Any]]:
    """Return vendor, identifier and options of a connection to be: what an invitation says beats what was sent."""
    vendor = known_vendor(desk, body.vendor)
    options = dict(body.options or {})
    invite = principal.invite
    if invite is None:
        return vendor, body.identifier, options
    if invite.connection_id is not None:
        raise Problem(HTTPStatus.FORBIDDEN, "This invite token is for another connection's credentials.")
    if invite.vendor not in (None, vendor):
        raise Problem(HTTPStatus.FORBIDDEN, f"This invite token is for a connection to {invite.vendor}.")
    return vendor, invite.identifier or body.identifier, {**options, **invite.options}


def known_vendor(desk: Desk, name: str) -> str:
    """Return a vendor's name as the catalogue has it: the wire's names are in capitals. Raises UnknownVendorError."""
    return desk.station.catalogue.get(name if name in desk.station.catalogue else name.lower()).vendor


def _check_invited_change(principal: Principal, connection_id: UUID, body: ConnectionChange) -> None:
    invite = principal.invite
    if invite is None:
        return
    if invite.connection_id != connection_id:
        raise not_found("connection")
    if body.credentials is None or body.model_fields_set - {"credentials", "options"}:
        raise Problem(HTTPStatus.FORBIDDEN, "With an invite token the credentials are changed, and nothing else.")


def _told(before: ConnectionView, after: ConnectionView, body: ConnectionChange) -> Mapping[str, object]:
    """Say what was changed, without any secret: of options and credentials only the names."""
    told: dict[str, object] = {
        name: {"from": getattr(before, name), "to": getattr(after, name)}
        for name in ("identifier", "state", "refresh_interval_secs", "timeout_secs")
        if getattr(before, name) != getattr(after, name)
    }
    if body.options is not None:
        told["options"] = sorted(body.options)
    if body.credentials is not None:
        told["credentials"] = sorted(body.credentials)
    return told
