"""Try a connection's stored credentials at its vendor."""

from http import HTTPStatus
from typing import Final
from uuid import UUID

from fastapi import APIRouter, Response

from models import audit
from models.vocabulary import ConnectionState
from web.api.answers import answer
from web.api.authority import AtDesk, Principal, Writer
from web.api.connections import connection_of
from web.api.documents import probe_document
from web.api.outside import asks_outside
from web.api.repeats import Keep, Repeatable
from web.api.route import Route
from web.api.shapes import TestShape
from web.desk import Desk
from web.problems import Problem
from worker.credentials import probe_stored

router = APIRouter(
    prefix="/v1/provisioning/organizations/{organization_id}/connections/{connection_id}",
    tags=["connections"],
    route_class=Route,
)
_ABOUT: Final = """Call the vendor with the stored credentials, and say whether it takes them. Changes nothing."""


@router.get("/test", summary="Test a connection", description=_ABOUT, response_model=TestShape)
@asks_outside
def test_by_get(organization_id: UUID, connection_id: UUID, principal: Writer, desk: AtDesk) -> Response:
    """Test; for clients of the wire that we follow. It calls the vendor, so POST is the better way."""
    return answer(_tested(principal, desk, organization_id, connection_id))


@router.post("/test", summary="Test a connection", description=_ABOUT, response_model=TestShape)
@asks_outside
def test(organization_id: UUID, connection_id: UUID, principal: Writer, desk: AtDesk, repeat: Repeatable) -> Response:
    """Test."""

    def make(keep: Keep) -> Response:
        document = _tested(principal, desk, organization_id, connection_id)
        with desk.database.transaction() as db:
            audit.write_entry(
                db,
                principal.actor,
                "connection.tested",
                organization_id=organization_id,
                connection_id=connection_id,
                changes={"is_valid": document["is_valid"]},
            )
            keep(db, HTTPStatus.OK, document, connection_id)
        return answer(document)

    return repeat.once(principal, make)


def _tested(principal: Principal, desk: Desk, organization_id: UUID, connection_id: UUID) -> dict[str, object]:
    view = connection_of(principal, desk, organization_id, connection_id)
    if view.state is ConnectionState.PENDING:
        raise Problem(HTTPStatus.CONFLICT, "This connection waits for its authorization: there is nothing to test yet.")
    return probe_document(probe_stored(desk.station, connection_id))
