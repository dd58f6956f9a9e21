"""A station over a database of the test's own, and runs that were never claimed."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from models import connections, vault
from models.runs import ClaimedRun, RunKey
from models.vocabulary import Trigger
from simulator.server import Simulator
from tests.system.stack import ROOT
from worker.settings import Settings
from worker.station import Station

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def settings_of(**changed: Any) -> Settings:
    """Settings that reach nothing."""
    return Settings.read(
        {},
        **{
            "database_url": "postgresql://nobody@127.0.0.1:1/none",
            "redis_url": "redis://127.0.0.1:1/0",
            "vault_keys": vault.generate_key(),
            "vendors_dir": ROOT / "simulator" / "definitions",
            "allow_loopback_vendors": True,
            **changed,
        },
    )


def claimed(**changed: Any) -> ClaimedRun:
    """A run as a claim returns it."""
    return ClaimedRun(
        **{
            "key": RunKey(connection_id=uuid4(), run_seq=1, worker_id=uuid4()),
            "organization_id": uuid4(),
            "vendor": "plain",
            "trigger": Trigger.SCHEDULED,
            "scheduled_for": NOW,
            "skipped_slots": 0,
            "cred_version": 1,
            "timeout_secs": 60,
            "refresh_interval_secs": 3600,
            "options": {},
            "started_at": NOW,
            "deadline_at": NOW + timedelta(seconds=90),
            "health_name": None,
            "health_reason": None,
            "consecutive_failures": 0,
            **changed,
        }
    )


@pytest.fixture
def offline() -> Iterator[Station]:
    """A station whose database and Redis cannot be reached."""
    made = Station.of(settings_of())
    yield made
    made.close()


@pytest.fixture
def station(fresh_database_url: str) -> Iterator[Station]:
    """A station with a lease."""
    made = Station.of(settings_of(database_url=fresh_database_url))
    made.lease.acquire(made.control)
    yield made
    made.close()


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


def connect(station: Station, vendor: str, credentials: dict[str, object], options: dict[str, object]) -> UUID:
    """Store a connection, due at once."""
    with station.database.transaction() as db:
        organization = connections.create_organization(db, "An organization")
        return connections.create_connection(
            db,
            station.keyring,
            organization_id=organization.organization_id,
            vendor=vendor,
            credentials=credentials,
            options=options,
            identifier=None,
            refresh_interval_secs=3600,
            timeout_secs=60,
        ).connection_id
