"""What a handler is called with, out of a request: as FastAPI finds it, at a fraction of the price.

FastAPI looks at each parameter's type anew at each request, given or not: for a list with its thirteen filters that
takes longer than the list itself. What each parameter is, and the schema, stay FastAPI's; here it is only asked for
what was sent. Bodies, and whatever else is not known here, stay with FastAPI altogether.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from fastapi import Request, Response
from fastapi._compat import ModelField
from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError

_SOURCES: Final[Mapping[str, Callable[[Request], Mapping[str, Any]]]] = {
    "path": lambda request: request.path_params,
    "query": lambda request: request.query_params,
    "header": lambda request: request.headers,
    "cookie": lambda request: request.cookies,
}
_NOT_KNOWN: Final = (
    "websocket_param_name", "response_param_name", "background_tasks_param_name", "security_scopes_param_name",
    "body_params",
)  # fmt: skip


class _Field:
    """One parameter. default: shared by all requests; those of our handlers cannot be changed."""

    __slots__ = ("alias", "default", "is_required", "name", "validate")

    def __init__(self, field: ModelField) -> None:
        self.name, self.alias = field.name, field.validation_alias or field.alias
        self.is_required, self.default = field.field_info.is_required(), field.get_default()
        self.validate = field.validate


class Plan:
    """How the arguments of one callable are found. Made once for each route."""

    def __init__(self, dependant: Dependant) -> None:
        assert dependant.call is not None  # noqa: S101 - FastAPI's own type allows for one that is not filled in yet
        self.call = dependant.call
        self._request_name = dependant.request_param_name or dependant.http_connection_param_name
        self._is_async = _is_async(dependant.call)
        self._parts = [(part.name, Plan(part)) for part in dependant.dependencies]
        given = {
            "path": dependant.path_params,
            "query": dependant.query_params,
            "header": dependant.header_params,
            "cookie": dependant.cookie_params,
        }
        self._sources = [
            (source, of, [_Field(field) for field in given[source]]) for source, of in _SOURCES.items() if given[source]
        ]
        self._defaults = {each.name: each.default for _, _, fields in self._sources for each in fields}

    @staticmethod
    def knows(dependant: Dependant) -> bool:
        """Whether everything that a callable wants can be found here."""
        return not any(getattr(dependant, name) for name in _NOT_KNOWN) and all(map(Plan.knows, dependant.dependencies))

    async def answered(self, request: Request) -> Response:
        """Call the handler. Raises RequestValidationError for all that is wrong at once."""
        wrong: list[Any] = []
        arguments = await self.arguments(request, {}, wrong)
        if wrong:
            raise RequestValidationError(wrong)
        return cast("Response", await self.called(arguments))

    async def arguments(self, request: Request, found: dict[object, Any], wrong: list[Any]) -> dict[str, Any]:
        """Return the arguments. found: what dependencies came to, so that none is called twice for one request."""
        arguments = dict(self._defaults)
        for name, part in self._parts:
            if part.call not in found:
                mistakes = len(wrong)
                theirs = await part.arguments(request, found, wrong)
                if len(wrong) > mistakes:
                    continue
                found[part.call] = await part.called(theirs)
            if name is not None:
                arguments[name] = found[part.call]
        for source, of, fields in self._sources:
            values = of(request)
            for field in fields:
                value = values.get(field.alias)
                if value is not None:
                    arguments[field.name], mistaken = field.validate(value, {}, loc=(source, field.alias))
                    wrong.extend(mistaken)
                elif field.is_required:
                    wrong.append(
                        {"type": "missing", "loc": (source, field.alias), "msg": "Field required", "input": None}
                    )
        if self._request_name is not None:
            arguments[self._request_name] = request
        return arguments

    async def called(self, arguments: Mapping[str, Any]) -> Any:
        """Call it."""
        if self._is_async:
            return await cast("Awaitable[Any]", self.call(**arguments))
        return await run_in_threadpool(self.call, **arguments)


def _is_async(call: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004 - whether it is a coroutine, not whether it is there
