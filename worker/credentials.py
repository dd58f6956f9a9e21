"""Try credentials against the living vendor, and store them only when it takes them."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg

from classifier import classify
from classifier.outcome import DataTypeOutcome, ExceptionLink, Outcome
from classifier.verdict import Verdict
from classifier.vocabulary import HealthName
from models import connections, vault
from models.connections import ConnectionView
from models.errors import NotFoundError
from vendors.connector import open_connector
from vendors.credentials_schema import prepare
from vendors.wire import TokenKeeper
from worker.errors import CredentialsRefusedError
from worker.observe import CHECK
from worker.station import Station
from worker.tokens import MemoryTokens, VaultTokens
from worker.wire.budget import Budget
from worker.wire.capture import Capture, exception_links
from worker.wire.errors import DeadlineReached
from worker.wire.redactor import Redactor

TEST_BUDGET_S = 60.0

Along = Callable[["psycopg.Connection[object]", ConnectionView], None]
"""What a door stores in the same transaction: who did it, what was answered. It may raise to let nothing be stored."""


def _nothing_more(_db: "psycopg.Connection[object]", _view: ConnectionView) -> None:
    """For doors that store nothing besides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """What a live test of credentials found. message: for a person; token: what the vendor gave out meanwhile."""

    is_valid: bool
    message: str
    verdict: Verdict
    exchanges: tuple[Mapping[str, object], ...] = ()
    token: Mapping[str, object] | None = field(default=None, repr=False)


def probe(
    station: Station, vendor: str, *, credentials: Mapping[str, object], options: Mapping[str, object]
) -> ProbeReport:
    """Make the vendor's check call with these credentials.

    Raises UnknownVendorError, and the errors of `prepare` for credentials that the definition does not take; what the
    vendor or the network does is in the report.
    """
    tokens = MemoryTokens()
    report = _checked(station, vendor, credentials, options, tokens=tokens, connection_id=uuid4())
    return dataclasses.replace(report, token=tokens.document)


def probe_stored(station: Station, connection_id: UUID) -> ProbeReport:
    """Make the vendor's check call with what is stored. A token that must be renewed for it is renewed, and kept.

    Raises NotFoundError, the vault's errors, and those of `probe`.
    """
    with station.database.connection() as db:
        view = connections.get_connection(db, connection_id)
        if view is None:
            raise NotFoundError("connection", str(connection_id))
        credentials = vault.load(db, station.keyring, connection_id, "credentials") or {}
    tokens = VaultTokens(
        connection_id=connection_id,
        cred_version=view.cred_version,
        database=station.database,
        token_locks=station.token_locks,
        keyring=station.keyring,
    )
    return _checked(station, view.vendor, credentials, view.options, tokens=tokens, connection_id=connection_id)


def _checked(
    station: Station,
    vendor: str,
    credentials: Mapping[str, object],
    options: Mapping[str, object],
    *,
    tokens: TokenKeeper,
    connection_id: UUID,
) -> ProbeReport:
    definition = station.catalogue.get(vendor)
    prepared = prepare(definition, credentials, options)
    redactor = Redactor(prepared.secrets)
    capture = Capture(redactor)
    session = station.session(
        definition,
        prepared,
        connection_id,
        budget=Budget(TEST_BUDGET_S),
        capture=capture,
        redactor=redactor,
        stop=_go_on,
    )
    connector = open_connector(
        definition,
        credentials=prepared.credentials,
        settings=prepared.settings,
        tokens=tokens,
        now=datetime.now(UTC),
    )
    failure: tuple[ExceptionLink, ...] = ()
    try:
        connector.check(session)
    except (Exception, DeadlineReached) as error:  # noqa: BLE001 - whatever it is, the report says it
        failure = exception_links(error, redactor)
    newest = capture.newest()
    outcome = Outcome(
        vendor=vendor,
        observed_at=datetime.now(UTC),
        data_types=(
            DataTypeOutcome(
                data_type=CHECK,
                endpoint=None if newest is None else newest.endpoint,
                exchange=None if newest is None else newest.as_exchange(),
                exception=failure,
            ),
        ),
    )
    verdict = classify(outcome, station.dialect_of(vendor))
    is_valid = verdict.name is HealthName.HEALTHY
    return ProbeReport(
        is_valid=is_valid,
        message="The vendor took the credentials." if is_valid else verdict.sentence,
        verdict=verdict,
        exchanges=tuple(capture.summary()),
    )


def replace(
    station: Station,
    connection_id: UUID,
    *,
    vendor: str,
    credentials: Mapping[str, object],
    options: Mapping[str, object],
    test: bool = True,
    along: Along = _nothing_more,
) -> ProbeReport | None:
    """Test new credentials, store them and ask for a run, in one transaction. None where no test was wanted.

    Raises CredentialsRefusedError where the vendor did not take them; nothing is stored then. The caller sends hints.
    """
    report = _accepted(station, vendor, credentials, options) if test else None
    with station.database.transaction() as db:
        cred_version = connections.replace_credentials(db, station.keyring, connection_id, credentials)
        _keep_token(db, station, connection_id, report, cred_version)
        view = connections.get_connection(db, connection_id)
        if view is not None:
            along(db, view)
    return report


def create(
    station: Station,
    *,
    organization_id: UUID,
    vendor: str,
    credentials: Mapping[str, object],
    options: Mapping[str, object],
    identifier: str | None,
    refresh_interval_secs: int,
    timeout_secs: int,
    test: bool = True,
    along: Along = _nothing_more,
) -> tuple[UUID, ProbeReport | None]:
    """Test the credentials, then store the connection and ask for its first run. Errors as `replace`."""
    report = _accepted(station, vendor, credentials, options) if test else None
    with station.database.transaction() as db:
        connection = connections.create_connection(
            db,
            station.keyring,
            organization_id=organization_id,
            vendor=vendor,
            credentials=credentials,
            options=options,
            identifier=identifier,
            refresh_interval_secs=refresh_interval_secs,
            timeout_secs=timeout_secs,
        )
        _keep_token(db, station, connection.connection_id, report, connection.cred_version)
        along(db, connection)
    return connection.connection_id, report


def _accepted(
    station: Station, vendor: str, credentials: Mapping[str, object], options: Mapping[str, object]
) -> ProbeReport:
    report = probe(station, vendor, credentials=credentials, options=options)
    if not report.is_valid:
        raise CredentialsRefusedError(vendor, report.message, report.verdict.name, report.verdict.reason)
    return report


def _keep_token(
    db: "psycopg.Connection[object]",
    station: Station,
    connection_id: UUID,
    report: ProbeReport | None,
    cred_version: int,
) -> None:
    """Keep what the test was given: with a rotating refresh token, the pair that was typed in is already spent."""
    if report is not None and report.token is not None:
        vault.store_token(db, station.keyring, connection_id, report.token, cred_version=cred_version)


def _go_on() -> None:
    """Nothing ends a test but its budget."""
