"""Try credentials against the living vendor, and store them only when it takes them.

The vendor's check decides whether they are taken. Beside it, each data type that has a check of its own is tried, one
after another within the same budget, and told: partial access is a choice that a customer may make, and the health of
the connection says UNAUTHORIZED for the data types that are refused. But whoever replaces credentials means to mend and
not to lose: where the last run read a data type with the old ones, and the vendor refuses it to the new ones, these are
not taken, and the old ones stay in force. Where the old ones had lost it themselves, partial access beats none.

Credentials of a vendor whose customers consent (OAuth2 by authorization code) say nothing before somebody consented:
such a connection is made PENDING, untested.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final
from uuid import UUID, uuid4

import psycopg

from classifier import classify
from classifier.outcome import DataTypeOutcome, ExceptionLink, Outcome
from classifier.verdict import Verdict
from classifier.vocabulary import HealthName
from models import connections, vault
from models.connections import ConnectionView
from models.errors import NotFoundError
from models.vocabulary import ConnectionState
from vendors.connector import open_connector
from vendors.consent import consent_way, offers_consent
from vendors.credentials_schema import Prepared, prepare
from vendors.definition import Definition
from vendors.page import ChecksDataTypes, Connector
from vendors.wire import TokenKeeper
from worker.errors import CredentialsRefusedError
from worker.observe import CHECK
from worker.station import Station
from worker.tokens import MemoryTokens, VaultTokens
from worker.wire.budget import Budget
from worker.wire.capture import Capture, exception_links
from worker.wire.errors import DeadlineReached
from worker.wire.redactor import Redactor
from worker.wire.session import VendorSession

TEST_BUDGET_S = 60.0

Along = Callable[["psycopg.Connection[object]", ConnectionView], None]
"""What a door stores in the same transaction: who did it, what was answered. It may raise to let nothing be stored."""


def nothing_more(_db: "psycopg.Connection[object]", _view: ConnectionView) -> None:
    """For doors that store nothing besides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTypeReport:
    """What the test of one data type found. is_ok None: it could not be told; sentence: for a person."""

    name: str
    is_ok: bool | None
    sentence: str
    endpoint: str | None = None
    verdict: Verdict | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the vendor refused it to these credentials."""
        return self.verdict is not None and self.verdict.name is HealthName.UNAUTHORIZED


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """What a live test of credentials found. message: for a person; token: what the vendor gave out meanwhile.

    data_types: those that have a check of their own, where the account's check passed.
    """

    is_valid: bool
    message: str
    verdict: Verdict
    data_types: tuple[DataTypeReport, ...] = ()
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


def probe_stored(station: Station, connection_id: UUID, *, options: Mapping[str, object] | None = None) -> ProbeReport:
    """Make the vendor's check call with what is stored. A token that must be renewed for it is renewed, and kept.

    options: to be tried in the place of those that are stored.
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
    chosen = view.options if options is None else options
    return _checked(station, view.vendor, credentials, chosen, tokens=tokens, connection_id=connection_id)


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
        app=station.application(definition),
    )
    trial = _Trial(station=station, vendor=vendor, session=session, capture=capture, redactor=redactor)
    verdict, _ = trial.judge(CHECK, lambda: connector.check(session))
    is_valid = verdict.name is HealthName.HEALTHY
    data_types = _by_data_type(connector, trial) if is_valid else ()
    return ProbeReport(
        is_valid=is_valid,
        message=_message(data_types) if is_valid else verdict.sentence,
        verdict=verdict,
        data_types=data_types,
        exchanges=tuple(capture.summary()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """What the calls of one test share."""

    station: Station
    vendor: str
    session: VendorSession
    capture: Capture
    redactor: Redactor

    def judge(self, name: str, call: Callable[[], None]) -> tuple[Verdict, str | None]:
        """Make a call, and return what came of it and its endpoint."""
        before = self.capture.requests
        failure: tuple[ExceptionLink, ...] = ()
        try:
            call()
        except (Exception, DeadlineReached) as error:  # noqa: BLE001 - whatever it is, the report says it
            failure = exception_links(error, self.redactor)
        newest = self.capture.newest() if self.capture.requests > before else None
        endpoint = None if newest is None else newest.endpoint
        outcome = Outcome(
            vendor=self.vendor,
            observed_at=datetime.now(UTC),
            data_types=(
                DataTypeOutcome(
                    data_type=name,
                    endpoint=endpoint,
                    exchange=None if newest is None else newest.as_exchange(),
                    exception=failure,
                ),
            ),
        )
        return classify(outcome, self.station.dialect_of(self.vendor)), endpoint


_SAYS_NO: Final = frozenset({HealthName.UNAUTHORIZED, HealthName.VENDOR_CLIENT_ERROR, HealthName.INTERNAL_ERROR})
"""What the same call will meet again; the rest says something of the moment, and nothing of the credentials."""


def _by_data_type(connector: Connector, trial: _Trial) -> tuple[DataTypeReport, ...]:
    """Try the data types one after another. Where the vendor or the time sets an end, the rest is told as not tried."""
    if not isinstance(connector, ChecksDataTypes):
        return ()
    found: list[DataTypeReport] = []
    stopped_by = ""
    for name in connector.checked_data_types:
        if stopped_by:
            found.append(DataTypeReport(name=name, is_ok=None, sentence=f"was not tried: {stopped_by}"))
            continue
        verdict, endpoint = trial.judge(name, partial(connector.check_data_type, trial.session, name))
        is_ok = True if verdict.name is HealthName.HEALTHY else False if verdict.name in _SAYS_NO else None
        found.append(
            DataTypeReport(name=name, is_ok=is_ok, sentence=verdict.sentence, endpoint=endpoint, verdict=verdict)
        )
        if is_ok is None:
            stopped_by = verdict.sentence
    return tuple(found)


def _message(data_types: tuple[DataTypeReport, ...]) -> str:
    refused = [each.name for each in data_types if each.is_ok is False]
    untold = [each.name for each in data_types if each.is_ok is None]
    message = "The vendor took the credentials"
    if refused:
        message += f", but they do not open {_listed(refused)}"
    if untold:
        message += f"; {_listed(untold)} could not be tried"
    return f"{message}."


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def replace(
    station: Station,
    connection_id: UUID,
    *,
    vendor: str,
    credentials: Mapping[str, object],
    options: Mapping[str, object],
    test: bool = True,
    along: Along = nothing_more,
) -> ProbeReport | None:
    """Test new credentials, store them and ask for a run, in one transaction.

    None where no test was wanted, or where only a consent can tell. The caller sends hints.
    Raises CredentialsRefusedError where the vendor did not take them, or would give less than it gave to the old ones;
    nothing is stored then.
    """
    report = accepted(station, vendor, credentials, options, connection_id=connection_id) if test else None
    with station.database.transaction() as db:
        store(db, station, connection_id, credentials, report)
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
    along: Along = nothing_more,
) -> tuple[UUID, ProbeReport | None]:
    """Test the credentials, then store the connection and ask for its first run. Errors as `replace`.

    A connection that is authorized by consent is not tested: it is made PENDING, and its first run follows the consent.
    """
    needs_consent = is_by_consent(station, vendor, credentials, options)
    report = accepted(station, vendor, credentials, options) if test and not needs_consent else None
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
            state=ConnectionState.PENDING if needs_consent else ConnectionState.ACTIVE,
        )
        _keep_token(db, station, connection.connection_id, report, connection.cred_version)
        along(db, connection)
    return connection.connection_id, report


def store(
    db: "psycopg.Connection[object]",
    station: Station,
    connection_id: UUID,
    credentials: Mapping[str, object],
    report: ProbeReport | None,
) -> None:
    """Store new credentials, and the token that their test brought, and ask for a run. Raises NotFoundError.

    A token that somebody consented to is the application's, not of its secret: it stays.
    """
    view = connections.get_connection(db, connection_id)
    keep_token = view is not None and is_by_consent(station, view.vendor, credentials, view.options)
    cred_version = connections.replace_credentials(
        db, station.keyring, connection_id, credentials, keep_token=keep_token
    )
    _keep_token(db, station, connection_id, report, cred_version)


def accepted(
    station: Station,
    vendor: str,
    credentials: Mapping[str, object],
    options: Mapping[str, object],
    *,
    connection_id: UUID | None = None,
) -> ProbeReport | None:
    """Return what the test of credentials found, where the vendor takes them; None where only a consent can tell.

    connection_id: whose credentials they are to replace: a data type that its last run read must not be lost.
    Raises CredentialsRefusedError.
    """
    if is_by_consent(station, vendor, credentials, options):
        return None
    report = probe(station, vendor, credentials=credentials, options=options)
    if not report.is_valid:
        raise CredentialsRefusedError(vendor, report.message, report.verdict.name, report.verdict.reason)
    refused = tuple(each for each in report.data_types if each.is_refused)
    kept = _read_by_last_run(station, connection_id) if refused and connection_id is not None else frozenset()
    lost = tuple((each.name, each.sentence) for each in refused if each.name in kept)
    if lost:
        name, sentence = lost[0]
        reasons = {each.name: each.verdict.reason for each in refused if each.verdict is not None}
        message = f"the credentials in force read {_listed([each for each, _ in lost])}, these may not: {sentence}"
        raise CredentialsRefusedError(vendor, message, HealthName.UNAUTHORIZED, reasons[name], lost=lost)
    return report


def is_by_consent(
    station: Station, vendor: str, credentials: Mapping[str, object], options: Mapping[str, object]
) -> bool:
    """Say whether a connection that is set up so is authorized by consent. Raises what `prepare` raises."""
    definition = station.catalogue.get(vendor)
    return offers_consent(definition) and _is_by_consent(definition, prepare(definition, credentials, options))


def _is_by_consent(definition: Definition, prepared: Prepared) -> bool:
    scope = {"credentials": prepared.credentials, "settings": prepared.settings}
    return consent_way(definition, scope) is not None


def _read_by_last_run(station: Station, connection_id: UUID) -> frozenset[str]:
    """Return the data types that the connection's last finished run read to their end."""
    with station.database.connection() as db:
        view = connections.get_connection(db, connection_id)
    if view is None or view.health is None:
        return frozenset()
    read = (each for each in view.health.data_types or () if each.get("ended") is True)
    return frozenset(str(each.get("data_type")) for each in read)


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
