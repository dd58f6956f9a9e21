"""What operators and their machines ask: does it live, can it work, what does it count. None of it needs a key."""

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request, Response

from models import counts
from models.errors import DatabaseUnreachableError, SchemaError
from models.vocabulary import NEVER_RUN
from web.api.answers import answer
from web.api.route import Route
from web.desk import Desk
from web.lately import Lately
from web.metrics import MEDIA_TYPE, Metrics
from worker.checks.examination import READINESS, Result, examine, worst
from worker.checks.finding import Bench, State

router = APIRouter(tags=["operations"], route_class=Route)

READY_FOR_S: Final = 1.0
COUNTED_FOR_S: Final = 5.0
WITHIN_S: Final = 3.0


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request) -> Response:
    """Return the OpenAPI document."""
    lately: Lately[bytes] = request.app.state.schema
    return Response(lately.get(), media_type="application/json", headers={"cache-control": "public, max-age=60"})


@router.get("/healthz", summary="Whether this process lives", response_model=dict[str, str])
def healthz() -> Response:
    """Say that this process answers. It asks nobody else."""
    return answer({"status": "ok"})


@router.get(
    "/readyz",
    summary="Whether this process can work",
    response_model=dict[str, object],
    responses={503: {"description": "It cannot."}},
)
def readyz(request: Request) -> Response:
    """Say whether the database is there, its tables are of this version, and the vault's keys open it.

    What exactly is wrong, and what to do, is told by `connection-health doctor`.
    """
    lately: Lately[list[Result]] = request.app.state.readiness
    results = lately.get()
    is_ready = worst(results) is not State.FAILED
    return answer(
        {"status": "ok" if is_ready else "unavailable", "checks": {each.name: each.state for each in results}},
        status=HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE,
    )


@router.get("/metrics", summary="What is counted, as Prometheus reads it", response_class=Response)
def metrics(request: Request) -> Response:
    """Return this process's counters, and how many connections there are of each health."""
    counted: Metrics = request.app.state.metrics
    lately: Lately[dict[str, int] | None] = request.app.state.healths
    counted.set_healths(lately.get())
    return Response(counted.text(), media_type=MEDIA_TYPE)


def readiness(desk: Desk) -> Lately[list[Result]]:
    """Return what /readyz asks."""
    return Lately(lambda: examine(Bench(station=desk.station, within_s=WITHIN_S), READINESS), READY_FOR_S)


def healths(desk: Desk) -> Lately[dict[str, int] | None]:
    """Return what /metrics asks: counts by health; None while the database is away."""

    def find() -> dict[str, int] | None:
        try:
            with desk.database.connection() as db:
                found = counts.health_counts(db)
        except (DatabaseUnreachableError, SchemaError):
            return None
        return {name or NEVER_RUN: number for name, number in found.items()}

    return Lately(find, COUNTED_FOR_S)
