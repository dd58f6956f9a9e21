"""Connections: list, get, filter."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from classifier.vocabulary import HealthName, HealthStatus, ResolutionOwner
from models import connections
from models.connections import ConnectionView
from models.lists import ConnectionFilter, Place, list_connections
from models.representations import connection_document
from models.vocabulary import ConnectionState
from web.api.answers import answer, page
from web.api.authority import AtDesk, Principal, Reader
from web.desk import Desk
from web.problems import not_found

router = APIRouter(prefix="/provisioning", tags=["connections"])


@router.get("/organizations/{organization_id}/connections", summary="List an organization's connections")
def list_of_organization(  # noqa: PLR0917 - FastAPI hands everything over by name
    organization_id: UUID,
    principal: Reader,
    desk: AtDesk,
    health: Annotated[HealthName | None, Query(description="Only those with this health.")] = None,
    status: Annotated[HealthStatus | None, Query()] = None,
    resolution_owner: Annotated[ResolutionOwner | None, Query(description="Who must act.")] = None,
    reason: Annotated[str | None, Query(max_length=100)] = None,
    vendor: Annotated[str | None, Query(max_length=64)] = None,
    state: Annotated[ConnectionState | None, Query()] = None,
    identifier: Annotated[str | None, Query(max_length=500)] = None,
    cursor: Annotated[UUID | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> Response:
    """List an organization's connections, the oldest first. Every filter that is given must hold."""
    principal.check_organization(organization_id)
    chosen = ConnectionFilter(
        health=health,
        status=status,
        owner=resolution_owner,
        reason=reason,
        vendor=vendor,
        state=state,
        identifier=identifier,
        organization_id=organization_id,
    )
    with desk.database.connection() as db:
        if connections.get_organization(db, organization_id) is None:
            raise not_found("organization")
        after = None if cursor is None else Place(connection_id=cursor)
        found = list_connections(db, chosen, after=after, limit=limit)
    return answer(
        page(
            [connection_document(each) for each in found.items],
            next_cursor=None if found.after is None else found.after.connection_id,
        )
    )


@router.get("/organizations/{organization_id}/connections/{connection_id}", summary="Get a connection")
def get(organization_id: UUID, connection_id: UUID, principal: Reader, desk: AtDesk) -> Response:
    """Return one connection with its health, which is null before its first finished run."""
    view = connection_of(principal, desk, organization_id, connection_id)
    return answer(connection_document(view), headers={"etag": etag_of(view)})


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
    return f'"{int(view.updated_at.timestamp() * 1_000_000):x}-{view.cred_version:x}"'
