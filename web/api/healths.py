"""A connection's health: now, in time, and what it rests on."""

from uuid import UUID

from fastapi import APIRouter, Response

from models import history
from models.representations import change_document
from web.api.answers import answer, page
from web.api.authority import AtDesk, Reader
from web.api.connections import connection_of
from web.api.cursors import Cursor, Limit, cut
from web.api.documents import shown_health
from web.api.jobs import before_seq
from web.api.route import Route
from web.api.shapes import ChangeShape, ExplanationShape, HealthAnswerShape, PageShape
from worker.explanation import explanation_document, judged_again

router = APIRouter(
    prefix="/v1/provisioning/organizations/{organization_id}/connections/{connection_id}/health",
    tags=["health"],
    route_class=Route,
)


@router.get("", summary="Get a connection's health", response_model=HealthAnswerShape)
def get(organization_id: UUID, connection_id: UUID, principal: Reader, desk: AtDesk) -> Response:
    """Return the verdict of the last finished run: what is wrong, who must act, since when."""
    view = connection_of(principal, desk, organization_id, connection_id)
    return answer(
        {
            "connection_id": connection_id,
            "health": shown_health(desk, view),
            "next_due_at": view.next_due_at,
            "running_run_seq": None if view.active_run is None else view.active_run.run_seq,
        }
    )


@router.get("/history", summary="List the changes of a connection's health", response_model=PageShape[ChangeShape])
def list_changes(  # noqa: PLR0917 - FastAPI hands everything over by name
    organization_id: UUID,
    connection_id: UUID,
    principal: Reader,
    desk: AtDesk,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List how the health changed, the newest change first."""
    connection_of(principal, desk, organization_id, connection_id)
    of = {"list": "health", "connection": connection_id}
    with desk.database.connection() as db:
        found = history.health_history(db, connection_id, before_seq=before_seq(cursor, of), limit=limit + 1)
    shown, following = cut(found, limit, of, lambda each: each.run_seq)
    return answer(page([change_document(each) for each in shown], next_cursor=following))


@router.get(
    "/explain",
    summary="Explain a connection's health",
    response_model=ExplanationShape,
    response_model_exclude_unset=True,
)
def explain(organization_id: UUID, connection_id: UUID, principal: Reader, desk: AtDesk) -> Response:
    """Show what a health rests on: evidence, rules asked, the one that fired, owner, next step."""
    view = connection_of(principal, desk, organization_id, connection_id)
    judged = None if view.health is None else judged_again(view, view.health, desk.station.dialect_of(view.vendor))
    return answer({**explanation_document(view, judged), "health": shown_health(desk, view)})
