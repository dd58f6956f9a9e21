"""What operators and their machines ask: does it live, can it work, what does it count."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from models.errors import ModelsError
from web.api.answers import answer
from web.api.authority import AtDesk
from web.metrics import MEDIA_TYPE, Metrics

router = APIRouter(tags=["operations"])


@router.get("/healthz", summary="Whether this process lives")
def healthz() -> Response:
    """Say that this process answers. It asks nobody else."""
    return answer({"status": "ok"})


@router.get("/readyz", summary="Whether this process can work", responses={503: {"description": "It cannot."}})
def readyz(desk: AtDesk) -> Response:
    """Say whether the database can be reached, and its tables are those of this version."""
    try:
        desk.database.check()
    except ModelsError as error:
        failed = {"database": {"ok": False, "detail": str(error)}}
        return answer({"status": "unavailable", "checks": failed}, status=HTTPStatus.SERVICE_UNAVAILABLE)
    return answer({"status": "ok", "checks": {"database": {"ok": True, "detail": "reachable"}}})


@router.get("/metrics", summary="What this process counts, as Prometheus reads it")
def metrics(request: Request) -> Response:
    """Return the counters."""
    counted: Metrics = request.app.state.metrics
    return Response(counted.text(), media_type=MEDIA_TYPE)
