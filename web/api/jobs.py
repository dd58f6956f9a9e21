"""A connection's runs: list, get, ask for one, stop one."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Path, Response

from models import audit, connections, history, runs
from models.representations import run_document
from models.vocabulary import Trigger
from web.api.answers import answer, page
from web.api.authority import AtDesk, Reader, Writer
from web.api.connections import connection_of
from web.api.cursors import Cursor, Limit, cut, place_of, refused
from web.api.documents import address_of
from web.api.repeats import Keep, Repeatable
from web.api.route import Route
from web.api.shapes import JobShape, PageShape, SyncShape, WholeJobShape
from web.problems import Problem, not_found

LARGEST_SEQ: Final = 2**63 - 1
RunSeq = Annotated[int, Path(ge=1, le=LARGEST_SEQ, description="The run's number.")]

router = APIRouter(
    prefix="/v1/provisioning/organizations/{organization_id}/connections/{connection_id}",
    tags=["runs"],
    route_class=Route,
)


@router.get("/jobs", summary="List a connection's runs", response_model=PageShape[JobShape])
def list_jobs(  # noqa: PLR0917 - FastAPI hands everything over by name
    organization_id: UUID,
    connection_id: UUID,
    principal: Reader,
    desk: AtDesk,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List runs, the newest first, the one that is on included."""
    connection_of(principal, desk, organization_id, connection_id)
    of = {"list": "jobs", "connection": connection_id}
    with desk.database.connection() as db:
        found = history.list_runs(db, connection_id, before_seq=before_seq(cursor, of), limit=limit + 1)
    shown, following = cut(found, limit, of, lambda each: each.run_seq)
    return answer(page([run_document(run) for run in shown], next_cursor=following))


@router.get("/jobs/{run_seq}", summary="Get a run", response_model=WholeJobShape)
def get_job(organization_id: UUID, connection_id: UUID, run_seq: RunSeq, principal: Reader, desk: AtDesk) -> Response:
    """Return one run with its exchanges and the evidence that its verdict rests on, without secrets."""
    connection_of(principal, desk, organization_id, connection_id)
    with desk.database.connection() as db:
        found = history.get_run(db, connection_id, run_seq)
    if found is None:
        raise not_found("run")
    return answer(run_document(found, whole=True))


@router.post("/sync", summary="Run a connection now", status_code=202, response_model=SyncShape)
def sync(organization_id: UUID, connection_id: UUID, principal: Writer, desk: AtDesk, repeat: Repeatable) -> Response:
    """Ask for a run that starts after this; one that is on is followed by another. Asking twice makes one run."""
    connection_of(principal, desk, organization_id, connection_id)

    def make(keep: Keep) -> Response:
        # In one transaction: the trigger holds the schedule's row, so the number of the run that answers is certain.
        with desk.database.transaction() as db:
            asked = runs.trigger(db, connection_id, Trigger.MANUAL)
            view = connections.get_connection(db, connection_id)
            if view is None:
                raise not_found("connection")
            if not asked:
                raise Problem(HTTPStatus.CONFLICT, f"This connection is {view.state}: only an ACTIVE one is run.")
            run_seq = view.run_seq + 1
            audit.write_entry(
                db,
                principal.actor,
                "run.requested",
                organization_id=organization_id,
                connection_id=connection_id,
                changes={"run_seq": run_seq},
            )
            document: dict[str, object] = {
                "connection_id": connection_id,
                "run_seq": run_seq,
                "job_url": address_of(desk, organization_id, connection_id, "jobs", run_seq),
            }
            keep(db, HTTPStatus.ACCEPTED, document, connection_id)
        desk.wake(connection_id)
        return answer(document, status=HTTPStatus.ACCEPTED, headers={"location": str(document["job_url"])})

    return repeat.once(principal, make)


@router.post("/jobs/{run_seq}/cancel", summary="Stop a run", response_model=JobShape)
def cancel(  # noqa: PLR0917 - FastAPI hands everything over by name
    organization_id: UUID,
    connection_id: UUID,
    run_seq: RunSeq,
    principal: Writer,
    desk: AtDesk,
    repeat: Repeatable,
) -> Response:
    """Stop a run that is on. It says nothing of the connection's health, which stays as it was."""
    connection_of(principal, desk, organization_id, connection_id)

    def make(keep: Keep) -> Response:
        with desk.database.transaction() as db:
            stopped = runs.cancel(db, connection_id, run_seq)
            found = history.get_run(db, connection_id, run_seq)
            if found is None:
                raise not_found("run")
            if not stopped:
                raise Problem(HTTPStatus.CONFLICT, f"Run {run_seq} is not on: it ended as {found.state}.")
            audit.write_entry(
                db,
                principal.actor,
                "run.cancelled",
                organization_id=organization_id,
                connection_id=connection_id,
                changes={"run_seq": run_seq},
            )
            document = run_document(found)
            keep(db, HTTPStatus.OK, document, connection_id)
        return answer(document)

    return repeat.once(principal, make)


def before_seq(cursor: str | None, of: Mapping[str, object]) -> int | None:
    """Return the number that a cursor stands at, None for the beginning. Raises Problem."""
    if cursor is None:
        return None
    read = place_of(cursor, of)
    if not isinstance(read, int) or not 1 <= read <= LARGEST_SEQ:
        raise refused()
    return read
