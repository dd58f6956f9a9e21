"""The JSON API below /v1."""

from fastapi import APIRouter

from web.api import connections, organizations

API = APIRouter(prefix="/v1")
API.include_router(organizations.router)
API.include_router(connections.router)
