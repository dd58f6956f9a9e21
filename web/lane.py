"""A short way from a request to its handler, past what the framework does for handlers of every kind.

The framework tries its routes one after the other and builds up and takes down at each request what only handlers with
files, generators or background tasks need: for a list that is a quarter of its price. Whatever is not one of ours, or
is wrong about its address or method, goes the long way, so answers are the same on both.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from web.api.route import Route

_Handlers = Mapping[Any, Callable[..., Any]]


class Lane:
    """ASGI, in front of the router. routes: in their order; on_error: plain functions, by class of exception."""

    def __init__(self, app: ASGIApp, *, routes: Sequence[object], on_error: _Handlers) -> None:
        self._app, self._on_error = app, on_error
        self._routes: Final[dict[tuple[str, int], list[tuple[re.Pattern[str], Route]]]] = {}
        for route in routes:
            if isinstance(route, Route):
                for method in route.methods or ():
                    alike = self._routes.setdefault((method, route.path.count("/")), [])
                    alike.append((route.path_regex, route))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] == "http":
            path = scope["path"]
            for pattern, route in self._routes.get((scope["method"], path.count("/")), ()):
                found = pattern.match(path)
                if found is None:
                    continue
                if route.lean is None:
                    break
                scope["route"], scope["path_params"] = route, found.groupdict()
                request = Request(scope, receive)
                try:
                    response = await route.lean(request)
                except Exception as error:  # noqa: BLE001 - who answers for it is looked up; for others it is raised again
                    response = self._told(request, error)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _told(self, request: Request, error: Exception) -> Response:
        for kind in type(error).__mro__:
            if kind in self._on_error:
                response: Response = self._on_error[kind](request, error)
                return response
        raise error
