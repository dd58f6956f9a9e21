"""The ASGI application: put together here, with what holds for all of it."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import orjson
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from web import operations, problems
from web.api import ROUTERS
from web.desk import Desk
from web.lane import Lane
from web.lately import Lately
from web.metrics import Metrics
from web.middleware import REQUEST_ID, RequestMiddleware
from web.schema import openapi_of

VERSION: Final = "1"
SUMMARY: Final = "Connections to your customers' vendors, their health, and who must act."


def make_app(desk: Desk) -> FastAPI:
    """Return the application. It connects to nothing before its first request, and closes the desk at its end."""
    settings = desk.settings

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await desk.end()

    app = FastAPI(
        title="Connection Health",
        summary=SUMMARY,
        version=VERSION,
        openapi_url=None,  # it is one of our own routes: made in a thread, and only once
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.desk = desk
    app.state.metrics = Metrics()
    app.state.readiness = operations.readiness(desk)
    app.state.healths = operations.healths(desk)
    problems.install(app)
    first, *others = ROUTERS  # they are tried in their order
    routers = (first, operations.router, *others)
    for router in routers:
        app.include_router(router)
    app.state.api_routes = [route for router in routers for route in router.routes]
    app.state.schema = Lately(lambda: orjson.dumps(openapi_of(app)), math.inf)
    app.add_middleware(Lane, routes=app.state.api_routes, on_error=app.exception_handlers)
    origins = [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["X-API-KEY", "X-CONNECTION-INVITE-TOKEN", "Idempotency-Key", "If-Match", "Content-Type"],
            expose_headers=["ETag", REQUEST_ID, "Retry-After", "Idempotency-Replayed", "RateLimit", "RateLimit-Policy"],
        )
    app.add_middleware(
        RequestMiddleware,
        metrics=app.state.metrics,
        largest_body=settings.http_body_limit,
        slowest_body_s=settings.http_slow_after_s,
    )
    return app
