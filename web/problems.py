"""Errors as application/problem+json (RFC 9457). `detail` is always a sentence: clients show it as it is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import orjson
import psycopg
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from models.errors import (
    ChangedMeanwhileError,
    DatabaseUnreachableError,
    InvalidValueError,
    InviteRefusedError,
    NotFoundError,
    RepeatedDifferentlyError,
    RepeatedTooSoonError,
    SchemaError,
    TakenOverError,
    VaultError,
)
from vendors.errors import DefinitionError, InvalidCredentialsError, UnknownVendorError
from worker.errors import AuthorizationError, CredentialsRefusedError, VaultNotConfiguredError

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"
AGAIN_SOON_S: Final = 1
AGAIN_LATER_S: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong with a request. pointer: where in the body it is (RFC 6901); parameter: which one."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None

    def document(self) -> dict[str, str]:
        """Return it as JSON has it."""
        where = {"pointer": self.pointer, "parameter": self.parameter}
        return {"detail": self.detail, **{name: value for name, value in where.items() if value is not None}}


class Problem(Exception):  # noqa: N818 - the RFC's word
    """A request that cannot be answered as it is asked. more: further members, as the RFC allows them."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        title: str | None = None,
        faults: Iterable[Fault] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(status, detail)
        self.status, self.detail, self.title = status, detail, title
        self.faults, self.headers, self.more = tuple(faults), dict(headers or {}), dict(more or {})

    def __str__(self) -> str:
        return self.detail


def not_found(what: str) -> Problem:
    """Say that something is not there, or is somebody else's, in the same words."""
    return Problem(HTTPStatus.NOT_FOUND, f"There is no such {what}.")


def unacceptable(detail: str, *faults: Fault, more: Mapping[str, object] | None = None) -> Problem:
    """Say that a request reads well but cannot be carried out."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, faults=faults, more=more)


def response_of(problem: Problem, request_id: str) -> Response:
    """Return a problem as it goes out."""
    document = {
        "type": "about:blank",
        "title": problem.title or problem.status.phrase,
        "status": problem.status.value,
        "detail": problem.detail,
        "request_id": request_id,
        **problem.more,
    }
    if problem.faults:
        document["errors"] = [fault.document() for fault in problem.faults]
    return Response(
        orjson.dumps(document, default=str),
        status_code=problem.status.value,
        media_type=MEDIA_TYPE,
        headers={"cache-control": "no-store", **problem.headers},
    )


def install(app: FastAPI) -> None:
    """Let every error of a handler go out as a problem."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in _TRANSLATIONS:
        app.add_exception_handler(kind, _translated)


def request_id_of(request: Request) -> str:
    """Return the request's id, which the middleware gave it."""
    return str(request.scope.get("request_id", ""))


def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - registered for this class alone
    return response_of(error, request_id_of(request))


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - likewise
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"allow": ", ".join(_methods_at(request))}
        if request.method == "OPTIONS":
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
    detail = {
        HTTPStatus.NOT_FOUND: "There is nothing at this address.",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.method} is not possible here.",
    }.get(status, str(error.detail))
    return response_of(Problem(status, detail, headers=headers), request_id_of(request))


def _methods_at(request: Request) -> list[str]:
    """Return what is possible at an address, over all routes: the framework knows of the first one only."""
    found = {"OPTIONS"}
    for route in request.app.state.api_routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= set(route.methods)
    if "GET" in found:
        found.add("HEAD")
    return sorted(found)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - likewise
    faults = tuple(_fault_of(item) for item in error.errors())
    first = faults[0] if faults else Fault(detail="the request cannot be read")
    where = first.pointer or first.parameter or ""
    detail = f"{where}: {first.detail}" if where else first.detail
    if len(faults) > 1:
        detail += f" (and {len(faults) - 1} more)"
    problem = unacceptable(detail, *faults)
    return response_of(problem, request_id_of(request))


def _fault_of(item: Mapping[str, Any]) -> Fault:
    # pydantic's `input` is left out: it may be a credential.
    place, *path = item["loc"] or ("body",)
    words = str(item["msg"]).removeprefix("Value error, ")
    if place == "body":
        return Fault(detail=words, pointer=pointer_of(path if item["type"] != "json_invalid" else ()))
    return Fault(detail=words, parameter=str(path[0]) if path else str(place))


def pointer_of(path: Sequence[str | int]) -> str:
    """Return a JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _refused_fields(error: InvalidCredentialsError) -> Problem:
    faults = [Fault(detail=each.problem, pointer=pointer_of((_part(each.part), each.name))) for each in error.problems]
    return unacceptable(_sentence(str(error)), *faults)


def _later(status: HTTPStatus, detail: str, after_s: int) -> Problem:
    return Problem(status, detail, headers={"retry-after": str(after_s)})


def _ours(detail: str) -> Problem:
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, f"{detail}: tell your operator.")


_AWAY: Final = "The service cannot reach its database just now."
_TRANSLATIONS: Final[Mapping[type[Exception], Callable[[Any], Problem]]] = {
    NotFoundError: lambda error: not_found(error.what),
    InviteRefusedError: lambda error: Problem(HTTPStatus.UNAUTHORIZED, _sentence(str(error))),
    InvalidValueError: lambda error: unacceptable(_sentence(error.remedy)),
    UnknownVendorError: lambda error: unacceptable(_sentence(str(error)), Fault(detail=str(error), pointer="/vendor")),
    InvalidCredentialsError: _refused_fields,
    CredentialsRefusedError: lambda error: unacceptable(
        str(error),
        Fault(detail=error.message, pointer="/credentials"),
        *(Fault(detail=f"{name}: {said}", pointer="/credentials") for name, said in error.lost),
        more={"verdict": {"name": error.name, "reason": error.reason, "is_refusal": error.is_refusal}},
    ),
    RepeatedDifferentlyError: lambda error: unacceptable(_sentence(str(error))),
    RepeatedTooSoonError: lambda error: _later(HTTPStatus.CONFLICT, _sentence(str(error)), AGAIN_SOON_S),
    ChangedMeanwhileError: lambda error: Problem(HTTPStatus.PRECONDITION_FAILED, _sentence(str(error))),
    TakenOverError: lambda error: _later(HTTPStatus.CONFLICT, _sentence(str(error)), AGAIN_SOON_S),
    psycopg.OperationalError: lambda _: _later(HTTPStatus.SERVICE_UNAVAILABLE, _AWAY, AGAIN_LATER_S),
    DatabaseUnreachableError: lambda _: _later(HTTPStatus.SERVICE_UNAVAILABLE, _AWAY, AGAIN_LATER_S),
    SchemaError: lambda _: _later(HTTPStatus.SERVICE_UNAVAILABLE, _AWAY, AGAIN_LATER_S),
    AuthorizationError: lambda error: unacceptable(_sentence(str(error))),
    DefinitionError: lambda _: _ours("This vendor's definition is broken"),
    VaultError: lambda _: _ours("The vault's keys do not open what is stored"),
    VaultNotConfiguredError: lambda _: _ours("The vault has no keys"),
}


def translated(error: Exception) -> Problem:
    """Return what a layer below had to say, as a problem. error: of one of the classes in _TRANSLATIONS."""
    return next(made(error) for kind, made in _TRANSLATIONS.items() if isinstance(error, kind))


def _translated(request: Request, error: Exception) -> Response:
    problem = translated(error)
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request.failed", error=f"{type(error).__name__}: {error}")
    return response_of(problem, request_id_of(request))


def unforeseen(error: Exception, request_id: str) -> Response:
    """Log what nobody foresaw, and return an answer that says nothing of it."""
    log.error("request.broke", error=type(error).__name__, exc_info=error)
    problem = Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Something broke on our side; the request id finds it.")
    return response_of(problem, request_id)


def _part(part: str) -> str:
    return "options" if part == "settings" else part  # the wire's word


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
