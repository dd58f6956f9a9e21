"""What every route of the API holds a request against before its handler sees it.

A query parameter that is not known is refused: `?helth=UNAUTHORIZED` must not list everything. A body is JSON of a sane
depth, and neither it nor the query holds what PostgreSQL's text cannot (NUL).
"""

from collections.abc import Callable, Coroutine, Iterator
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from web.api.arguments import Plan
from web.problems import Fault, Problem, pointer_of, unacceptable

DEEPEST: Final = 64
"""Levels of lists and objects in a body."""


class Route(APIRoute):
    """A route of the API."""

    lean: Callable[[Request], Coroutine[Any, Any, Response]] | None = None
    """What answers a request, where it needs nothing of the framework."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request: the checks, then the handler."""
        known = tuple(sorted(set(_query_names(self.dependant))))
        if self.body_field is None and Plan.knows(self.dependant):
            plan = Plan(self.dependant)

            async def lean(request: Request) -> Response:
                _check_query(request, known)
                return await plan.answered(request)

            self.lean = lean
            return lean

        handle = super().get_route_handler()
        takes_body = self.body_field is not None

        async def checked(request: Request) -> Response:
            _check_query(request, known)
            return await handle(_JsonRequest(request, await _document(request)) if takes_body else request)

        return checked


class _JsonRequest(Request):
    """A request whose body was read and checked before."""

    def __init__(self, request: Request, document: object) -> None:
        super().__init__(request.scope, request.receive)
        self._document = document
        self._body = b"null" if document is None else b"{}"  # FastAPI looks whether there is any

    async def json(self) -> Any:
        """Return the document."""
        return self._document


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for each in dependant.dependencies:
        yield from _query_names(each)


def _check_query(request: Request, known: tuple[str, ...]) -> None:
    seen: set[str] = set()
    for name, value in request.query_params.multi_items():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known) or 'none'}."
            fault = Fault(detail=f"is no parameter of this address; {meant}", parameter=name[:100])
            raise unacceptable(f"{name[:100]!r} {fault.detail}", fault)
        if name in seen:
            fault = Fault(detail="is given more than once", parameter=name)
            raise unacceptable(f"{name} {fault.detail}.", fault)
        if "\0" in value:
            fault = Fault(detail="holds a NUL character", parameter=name)
            raise unacceptable(f"{name} {fault.detail}.", fault)
        seen.add(name)


async def _document(request: Request) -> object:
    raw = await request.body()
    types = request.headers.getlist("content-type")
    if len(types) > 1:
        raise Problem(HTTPStatus.BAD_REQUEST, "Content-Type is given more than once.")
    if not raw:
        return None
    kind, _, parameters = (types[0] if types else "").lower().partition(";")
    charset = parameters.replace(" ", "").replace('"', "")
    if not (kind.strip() == "application/json" or kind.strip().endswith("+json")) or charset not in (
        "",
        "charset=utf-8",
    ):
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Send the body as JSON, with Content-Type: application/json.",
            headers={"accept-post": "application/json"},
        )
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Problem(
            HTTPStatus.BAD_REQUEST, f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from None
    _check_document(document)
    return document


def _check_document(document: object) -> None:
    waiting: list[tuple[object, tuple[str | int, ...]]] = [(document, ())]
    while waiting:
        value, path = waiting.pop()
        if len(path) > DEEPEST:
            raise unacceptable(f"The body is nested deeper than {DEEPEST} levels.")
        if isinstance(value, dict):
            for name, item in value.items():
                _check_text(name, path)
                waiting.append((item, (*path, name)))
        elif isinstance(value, list):
            waiting.extend((item, (*path, place)) for place, item in enumerate(value))
        elif isinstance(value, str):
            _check_text(value, path)


def _check_text(text: str, path: tuple[str | int, ...]) -> None:
    if "\0" in text:
        where = pointer_of(path)
        raise unacceptable(f"{where or 'The body'} holds a NUL character.", Fault(detail="holds a NUL", pointer=where))
