"""Organizations: your customers, each with connections of its own."""

from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter, Response

from models import audit, connections
from models.representations import organization_document
from web.api.answers import answer, empty, page
from web.api.authority import Admin, AtDesk, Reader
from web.api.cursors import Cursor, Limit, cursor_of
from web.api.documents import ORGANIZATIONS
from web.api.invites import uuid_of
from web.api.repeats import Keep, Repeatable
from web.api.route import Route
from web.api.shapes import NewOrganization, OrganizationShape, PageShape
from web.problems import Problem, not_found

router = APIRouter(prefix="/v1/provisioning/organizations", tags=["organizations"], route_class=Route)


@router.post("", summary="Create an organization", status_code=201, response_model=OrganizationShape)
def create(body: NewOrganization, principal: Admin, desk: AtDesk, repeat: Repeatable) -> Response:
    """Create an organization. Needs a key of the whole account, of scope admin."""
    if principal.organization_id is not None:
        raise Problem(HTTPStatus.FORBIDDEN, "This needs a key of the whole account.")

    def make(keep: Keep) -> Response:
        with desk.database.transaction() as db:
            made = connections.create_organization(db, body.name)
            document = organization_document(made)
            audit.write_entry(
                db,
                principal.actor,
                "organization.created",
                organization_id=made.organization_id,
                changes={"name": made.name},
            )
            keep(db, HTTPStatus.CREATED, document, made.organization_id)
        address = f"{desk.settings.public_url or ''}{ORGANIZATIONS}/{made.organization_id}"
        return answer(document, status=HTTPStatus.CREATED, headers={"location": address})

    return repeat.once(principal, make)


@router.get("", summary="List organizations", response_model=PageShape[OrganizationShape])
def list_all(principal: Reader, desk: AtDesk, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List organizations, the oldest first: all of the account, or the key's own."""
    of = {"list": "organizations"}
    after = uuid_of(cursor, of)
    with desk.database.connection() as db:
        if principal.organization_id is not None:
            own = connections.get_organization(db, principal.organization_id)
            return answer(page([organization_document(own)] if own else [], next_cursor=None))
        found = connections.list_organizations(db, after=after, limit=limit)
    following = None if found.after is None else cursor_of(found.after, of)
    return answer(page([organization_document(each) for each in found.items], next_cursor=following))


@router.get("/{organization_id}", summary="Get an organization", response_model=OrganizationShape)
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
    desk.known_keys.forget()
    return empty()
