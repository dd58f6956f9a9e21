"""Organizations: your customers, each with connections of its own."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from models import audit, connections
from models.representations import organization_document
from web.api.answers import answer, empty, page
from web.api.authority import Admin, AtDesk, Reader
from web.problems import not_found

router = APIRouter(prefix="/provisioning/organizations", tags=["organizations"])


class NewOrganization(BaseModel):
    """A customer to be."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200, examples=["Acme"])]


@router.post("", summary="Create an organization", status_code=201)
def create(body: NewOrganization, principal: Admin, desk: AtDesk) -> Response:
    """Create an organization. Needs a key of the whole account, of scope admin."""
    if principal.organization_id is not None:
        raise not_found("organization")
    with desk.database.transaction() as db:
        made = connections.create_organization(db, body.name)
        audit.write_entry(
            db,
            principal.actor,
            "organization.created",
            organization_id=made.organization_id,
            changes={"name": made.name},
        )
    return answer(organization_document(made), status=201)


@router.get("", summary="List organizations")
def list_all(
    principal: Reader,
    desk: AtDesk,
    cursor: Annotated[UUID | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> Response:
    """List organizations, the oldest first: all of the account, or the key's own."""
    with desk.database.connection() as db:
        if principal.organization_id is not None:
            own = connections.get_organization(db, principal.organization_id)
            return answer(page([organization_document(own)] if own else [], next_cursor=None))
        found = connections.list_organizations(db, after=cursor, limit=limit)
    return answer(page([organization_document(each) for each in found.items], next_cursor=found.after))


@router.get("/{organization_id}", summary="Get an organization")
def get(organization_id: UUID, principal: Reader, desk: AtDesk) -> Response:
    """Return one organization."""
    principal.check_organization(organization_id)
    with desk.database.connection() as db:
        found = connections.get_organization(db, organization_id)
    if found is None:
        raise not_found("organization")
    return answer(organization_document(found))


@router.delete("/{organization_id}", summary="Delete an organization", status_code=204)
def delete(organization_id: UUID, principal: Admin, desk: AtDesk) -> Response:
    """Delete an organization and its connections: their runs end, their credentials are destroyed; history stays."""
    principal.check_organization(organization_id)
    with desk.database.transaction() as db:
        if not connections.delete_organization(db, organization_id):
            raise not_found("organization")
        audit.write_entry(db, principal.actor, "organization.deleted", organization_id=organization_id)
    return empty()
