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

# First what is asked for most.
ROUTERS: Final[tuple[APIRouter, ...]] = (
    connections.router,
    organizations.router,
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
