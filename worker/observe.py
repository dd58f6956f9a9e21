"""Read one connection from its vendor: pages become stored records, failures become evidence."""

import time
from typing import Final

from classifier.outcome import ExceptionLink
from classifier.vocabulary import HealthName, Phase
from models import records, vault
from models.errors import FencedError
from models.records import Landed, RecordRow
from models.runs import ClaimedRun
from vendors.connector import open_connector
from vendors.credentials_schema import prepare
from vendors.page import Connector, Page
from worker.errors import CONFLICT, is_database_away
from worker.in_flight import RunInFlight, StopReason
from worker.observation import Observation, Reading
from worker.parents import StoredParents
from worker.station import Station
from worker.tokens import VaultTokens
from worker.wire.budget import Budget
from worker.wire.errors import RateLimitedLocallyError, RunStopped
from worker.wire.session import VendorSession

CHECK: Final = "credentials"
"""What `details` names where the test of the credentials failed, before any data type was tried."""

_CONFLICT_PAUSES_S: Final = (0.05, 0.2, 1.0)

_CONNECT_FAILURES: Final = frozenset(
    {"ConnectTimeoutError", "NameResolutionError", "NewConnectionError", "SSLError", "ConnectTimeout"}
)


def observe(station: Station, entry: RunInFlight, budget: Budget, observation: Observation) -> None:
    """Fill the observation. Raises DeadlineReached or RunStopped where the run was cut; all else is recorded in it."""
    try:
        connector, session = _opened(station, entry, budget, observation)
    except Exception as error:  # noqa: BLE001 - the edge of a run: our own failure becomes a recorded outcome
        observation.exception = _links(observation, error)
        return
    observation.readings = [Reading(data_type=name) for name in connector.data_types]
    try:
        if _is_probe(entry.run) and not _credentials_work(connector, session, observation):
            return
        for reading in observation.readings:
            _read(station, entry.run, connector, session, observation, reading)
            if _is_pointless_to_go_on(reading):
                return
    finally:
        observation.own_side |= session.own_side()


def _opened(
    station: Station, entry: RunInFlight, budget: Budget, observation: Observation
) -> tuple[Connector, VendorSession]:
    run = entry.run
    connection_id = run.key.connection_id
    definition = station.definition(run.vendor)
    sealed = run.sealed
    credentials = (
        {}
        if sealed is None
        else vault.unseal(station.keyring, connection_id, "credentials", sealed.key_id, sealed.data)
    )
    prepared = prepare(definition, credentials, run.options)
    for secret in prepared.secrets:
        observation.redactor.hide(secret)
    session = station.session(
        definition,
        prepared,
        connection_id,
        budget=budget,
        capture=observation.capture,
        redactor=observation.redactor,
        now=observation.now,
        stop=lambda: _raise_if_stopped(station, entry),
    )
    entry.abort = session.abort
    tokens = VaultTokens(
        connection_id=connection_id,
        cred_version=run.cred_version,
        database=station.database,
        token_locks=station.token_locks,
        keyring=station.keyring,
    )
    connector = open_connector(
        definition,
        credentials=prepared.credentials,
        settings=prepared.settings,
        tokens=tokens,
        now=observation.now(),
        parents=StoredParents(database=station.database, connection_id=connection_id, observation=observation),
        app=station.application(definition),
    )
    return connector, session


def _raise_if_stopped(station: Station, entry: RunInFlight) -> None:
    if entry.stop is not None:
        raise RunStopped(entry.stop)
    if not station.lease.is_held_by(entry.run.key.worker_id):
        raise RunStopped(StopReason.LEASE_LOST)


def _links(observation: Observation, error: Exception) -> tuple[ExceptionLink, ...]:
    """Return a failure as data; raise RunStopped where our own database went away: it says nothing of a connection."""
    if is_database_away(error):
        raise RunStopped(StopReason.DATABASE_AWAY) from error
    return observation.links(error)


def _is_probe(run: ClaimedRun) -> bool:
    """Say whether this run begins with the cheapest call: the last one found the credentials themselves refused."""
    return run.health_name is HealthName.UNAUTHORIZED


def _credentials_work(connector: Connector, session: VendorSession, observation: Observation) -> bool:
    reading = Reading(data_type=CHECK, attempted=True)
    try:
        connector.check(session)
    except Exception as error:  # noqa: BLE001 - the edge of a run
        reading.exception = _links(observation, error)
    newest = observation.capture.newest()
    if newest is not None:
        reading.exchange, reading.endpoint = newest.as_exchange(), newest.endpoint
    if not _is_pointless_to_go_on(reading):
        return True  # a check that is forbidden by itself says nothing of the data types
    observation.readings = [reading, *observation.readings]
    return False


def _read(  # noqa: PLR0917 - one data type of one run needs all of them
    station: Station,
    run: ClaimedRun,
    connector: Connector,
    session: VendorSession,
    observation: Observation,
    reading: Reading,
) -> None:
    name = reading.data_type
    reading.attempted = True
    try:
        for page in connector.pull(session, name, run.cursors.get(name)):
            reading.skipped.extend(page.skipped)
            reading.add(_landed(station, run, name, page, is_first=reading.pages == 0))
        reading.ended = True
    except FencedError as error:
        raise RunStopped(StopReason.SUPERSEDED) from error
    except RateLimitedLocallyError as error:
        reading.exception = _links(observation, error)
        observation.own_retry_at = error.retry_at
    except Exception as error:  # noqa: BLE001 - the edge of a run: our own failure becomes a recorded outcome
        reading.exception = _links(observation, error)
    finally:
        # In `finally`, because a run that is cut at its deadline must still show what it was waiting for.
        reading.exchange = observation.capture.deciding(name)
        newest = observation.capture.newest()
        reading.endpoint = newest.endpoint if newest is not None else None


def _landed(station: Station, run: ClaimedRun, data_type: str, page: Page, *, is_first: bool) -> Landed:
    """Store a page, with another try where it stood in somebody's way: that says nothing of the vendor."""
    rows = [RecordRow(id=record.id, payload=record.payload) for record in page.records]
    read = records.Page.of(run.key, data_type, rows, page.cursor)
    if is_first and page.full_pass:
        landed = read.met_unchanged(run.passes.get(data_type))
        if landed is not None:
            return landed
    for pause_s in (*_CONFLICT_PAUSES_S, None):
        try:
            with station.database.connection() as db:
                return records.land(db, read, full_pass=page.full_pass)
        except CONFLICT:
            if pause_s is None:
                raise
            time.sleep(pause_s)
    raise AssertionError


def _is_pointless_to_go_on(reading: Reading) -> bool:
    """Say whether the data types left would meet the same wall: asking on could lock an account or spend a quota."""
    exchange = reading.exchange
    if not reading.exception or exchange is None:
        return False
    if exchange.status is None:
        return any(link.name in _CONNECT_FAILURES for link in (*exchange.exception, *reading.exception))
    return exchange.phase is Phase.TOKEN or exchange.status in (401, 429)
