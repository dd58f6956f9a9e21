"""What was synced."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from models import records
from web.api.answers import answer, page
from web.api.authority import AtDesk, Reader
from web.api.connections import connection_of
from web.api.cursors import Cursor, Limit, cut, place_of, refused
from web.api.documents import data_type_document, record_document
from web.api.route import Route
from web.api.shapes import DataTypeShape, PageShape, RecordShape

router = APIRouter(
    prefix="/v1/provisioning/organizations/{organization_id}/connections/{connection_id}",
    tags=["records"],
    route_class=Route,
)


@router.get("/records", summary="List what was synced", response_model=PageShape[RecordShape])
def list_records(  # noqa: PLR0917 - FastAPI hands everything over by name
    organization_id: UUID,
    connection_id: UUID,
    principal: Reader,
    desk: AtDesk,
    data_export_type: Annotated[
        str, Query(min_length=1, max_length=200, description="Which data type.", examples=["users"])
    ],
    cursor: Cursor = None,
    limit: Limit = 100,
    include_gone: Annotated[  # noqa: FBT002 - a query parameter
        bool, Query(description="Also those that the vendor no longer has.")
    ] = False,
) -> Response:
    """List records of one data type in the order of their ids, as the vendor had them."""
    connection_of(principal, desk, organization_id, connection_id)
    of = {"list": "records", "connection": connection_id, "type": data_export_type, "gone": include_gone}
    after = None if cursor is None else place_of(cursor, of)
    if after is not None and not isinstance(after, str):
        raise refused()
    with desk.database.connection() as db:
        found = records.list_records(
            db, connection_id, data_export_type, after=after, limit=limit + 1, with_gone=include_gone
        )
    shown, following = cut(found, limit, of, lambda each: each.record_id)
    return answer(page([record_document(each, data_export_type) for each in shown], next_cursor=following))


@router.get("/data-types", summary="Count what was synced", response_model=PageShape[DataTypeShape])
def count(organization_id: UUID, connection_id: UUID, principal: Reader, desk: AtDesk) -> Response:
    """Say how much of each data type is stored, and when it was last read to its end."""
    connection_of(principal, desk, organization_id, connection_id)
    with desk.database.connection() as db:
        found = records.count_records(db, connection_id)
    return answer(page([data_type_document(each) for each in found], next_cursor=None))
