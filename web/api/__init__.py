"""The JSON API below /v1."""

from typing import Final

from fastapi import APIRouter

from web.api import (
    audits,
    connections,
    connectors,
    consents,
    healths,
    invites,
    jobs,
    keys,
    organizations,
    probes,
    records,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    organizations.router,
    connections.router,
    probes.router,
    jobs.router,
    healths.router,
    records.router,
    connectors.router,
    invites.router,
    consents.router,
    keys.router,
    keys.own,
    audits.router,
)
