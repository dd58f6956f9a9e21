"""Who changed what."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from models import audit, connections
from web.api.answers import answer, page
from web.api.authority import Admin, AtDesk
from web.api.cursors import Cursor, Limit, cut
from web.api.documents import audit_document
from web.api.invites import uuid_of
from web.api.route import Route
from web.api.shapes import AuditShape, PageShape

router = APIRouter(prefix="/v1/audit", tags=["audit"], route_class=Route)


@router.get("", summary="List changes", response_model=PageShape[AuditShape])
def list_changes(  # noqa: PLR0917 - FastAPI hands everything over by name
    principal: Admin,
    desk: AtDesk,
    organization_id: Annotated[UUID | None, Query(description="Only those of this organization.")] = None,
    connection_id: Annotated[UUID | None, Query(description="Only those of this connection.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List who changed what, the newest change first; with a key of one organization, those of that one."""
    own = principal.organization_id
    wanted = organization_id or own
    of = {"list": "audit", "organization": wanted, "connection": connection_id}
    before = uuid_of(cursor, of)
    nothing = answer(page([], next_cursor=None))
    if own is not None and wanted != own:
        return nothing
    with desk.database.connection() as db:
        if connection_id is not None and wanted is not None:
            view = connections.get_connection(db, connection_id)
            if view is None or view.organization_id != wanted:
                return nothing
        found = audit.list_entries(
            db, organization_id=wanted, connection_id=connection_id, before=before, limit=limit + 1
        )
    shown, following = cut(found, limit, of, lambda each: each.entry_id)
    return answer(page([audit_document(each) for each in shown], next_cursor=following))
