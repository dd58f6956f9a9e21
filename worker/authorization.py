"""Connections that a customer authorizes at the vendor (OAuth2 by authorization code): there and back.

    link_of ─► the customer follows it ─► open_link, authorize_url ─► the vendor's consent page
                                                                              │ back, with a code or an error
    a run starts at once ◄─ PENDING becomes ACTIVE ◄─ the token is stored ◄─ finish

A connection that works, or that broke, is authorized anew in the same way: its token stays in force until another one
is stored. The code is exchanged by the same guarded session that runs have, and nothing is tried with the token before
it is stored: the run that follows says what it is good for.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from uuid import UUID

import structlog

from classifier import classify
from classifier.outcome import DataTypeOutcome, Outcome
from classifier.vocabulary import ResolutionOwner
from models import authorizations, connections, vault
from models.authorizations import Attempt
from models.connections import ConnectionView
from models.errors import AttemptOverError, LinkRefusedError, NotFoundError
from models.lists import ListedConnection
from models.vocabulary import ConnectionState
from vendors.consent import REDIRECT_URLS, Consent, challenge_of, consent_way, new_verifier, offers_consent
from vendors.credentials_schema import Prepared, prepare
from vendors.definition import Auth, Definition
from vendors.errors import MissingApplicationError, VendorError
from vendors.requests_made import base_url_of
from vendors.token_endpoint import AuthContext
from worker.credentials import Along, nothing_more
from worker.errors import (
    AttemptRefusedError,
    AuthorizationError,
    AuthorizationLinkError,
    AuthorizationNotOfferedError,
    AuthorizationNotSetUpError,
    CodeRefusedError,
    ConsentDeniedError,
)
from worker.station import Station
from worker.tokens import MemoryTokens
from worker.wire.budget import Budget
from worker.wire.capture import Capture, exception_links
from worker.wire.errors import DeadlineReached
from worker.wire.redactor import Redactor

CALLBACK_PATH: Final = "/v1/oauth2/callback"
LINK_PATH: Final = "/v1/oauth2/authorize"
EXCHANGE: Final = "authorization"
"""What `details` names where a code was not taken: no data type was tried yet."""

EXCHANGE_BUDGET_S: Final = 30.0
_LONGEST_CODE: Final = 8192
_LONGEST_SAID: Final = 64
_LONGEST_ISSUER: Final = 200
_OURS: Final = frozenset({"invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope"})
_THEIRS: Final = frozenset({"server_error", "temporarily_unavailable"})

_log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """Where a customer's browser is to go: the vendor's consent page, for one attempt."""

    url: str = field(repr=False)
    attempt_id: UUID
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A consent that came to its end. redirect_url: where the customer's browser goes now, None where nobody said."""

    connection_id: UUID
    cred_version: int
    was_pending: bool
    redirect_url: str | None


def new_browser_secret() -> str:
    """Return what a door gives the customer's browser (a cookie), so that no other browser can come back for it."""
    return secrets.token_urlsafe(32)


def link_of(station: Station, view: ConnectionView) -> str | None:
    """Return the link by which a customer authorizes the connection, or None where there is no such way.

    Stable for a day, good for a week at least, void once the connection was authorized. Whoever has it may connect an
    account of theirs in the customer's name, so it goes to that customer alone.
    """
    if not _may_consent(station, view.vendor, view.state, lambda: view.options):
        return None
    return _link(station, view.connection_id, view.cred_version)


def listed_link(station: Station, listed: ListedConnection) -> str | None:
    """Return what `link_of` does, for a connection of a list."""
    document = listed.document
    if not _may_consent(station, document["vendor"], document["state"], lambda: json.loads(listed.options)):
        return None
    return _link(station, UUID(document["id"]), listed.cred_version)


def _may_consent(station: Station, vendor: str, state: str, options: Callable[[], Mapping[str, object]]) -> bool:
    if station.settings.public_url is None or state == ConnectionState.DELETED:
        return False
    try:
        definition = station.catalogue.get(vendor)
    except VendorError:  # gone or broken: its own runs say so, and nobody else's document is harmed
        return False
    return offers_consent(definition) and is_chosen(definition, options())


def _link(station: Station, connection_id: UUID, cred_version: int) -> str:
    ticket = authorizations.link_ticket(station.keyring, connection_id, cred_version, now=datetime.now(UTC))
    return f"{station.settings.public_url}{LINK_PATH}/{ticket}"


def whole_link(station: Station, connection_id: UUID) -> str:
    """Return the link by which a customer authorizes the connection, where everything that it takes is there.

    Raises NotFoundError, AuthorizationNotOfferedError, AuthorizationNotSetUpError; the errors of `prepare`.
    """
    _redirect_uri(station)
    view = _living(station, connection_id)
    _opened(station, view)
    link = link_of(station, view)
    if link is None:
        raise AuthorizationNotOfferedError(view.vendor)
    return link


def open_link(station: Station, ticket: str) -> UUID:
    """Return the connection that a link is for. Raises AuthorizationLinkError."""
    try:
        with station.database.connection() as db:
            return authorizations.open_link(db, station.keyring, ticket)
    except LinkRefusedError as error:
        raise AuthorizationLinkError from error


def authorize_url(station: Station, connection_id: UUID, *, browser: str = "") -> Departure:
    """Begin an attempt and return the consent page's URL for it.

    browser: a secret that the customer's browser brings along again (`new_browser_secret`); empty: the attempt is bound
    to no browser, as for a URL that is handed over by other means.
    Raises NotFoundError, AuthorizationNotOfferedError, AuthorizationNotSetUpError; the errors of `prepare`.
    """
    redirect_uri = _redirect_uri(station)
    view = _living(station, connection_id)
    opened = _opened(station, view)
    consent = opened.consent
    verifier = new_verifier()
    document = {
        "verifier": verifier,
        "redirect_uri": redirect_uri,
        "issuer": urlsplit(consent.url(state="", challenge="", redirect_uri=redirect_uri)).netloc,
        "exact_issuer": consent.issuer(),
        "is_issuer_sent": opened.way.is_issuer_sent,
    }
    urls = view.options.get(REDIRECT_URLS) or {}
    with station.database.transaction() as db:
        begun = authorizations.begin(
            db,
            station.keyring,
            connection_id,
            document,
            success_url=urls.get("success"),
            error_url=urls.get("error"),
            browser=browser,
        )
    return Departure(
        url=consent.url(state=begun.state, challenge=challenge_of(verifier), redirect_uri=redirect_uri),
        attempt_id=begun.attempt_id,
        expires_at=begun.expires_at,
    )


def finish(
    station: Station,
    *,
    state: str | None,
    code: str | None = None,
    error: str | None = None,
    error_description: str | None = None,
    iss: str | None = None,
    browser: str = "",
    along: Along = nothing_more,
) -> Arrival:
    """Take what the consent page sent back: exchange the code, store the token, activate, and ask for a run.

    iss: who answers, where the server says so (RFC 9207). An answer of another issuer than the definition names, or of
    another host than that of the consent page where it names none, is refused: its code is good there, and would be
    shown to this vendor. So is one that does not say, where the definition says that they all do.
    along: what a door stores in the same transaction. The caller sends hints.
    Raises AuthorizationError: nothing was stored then, and the attempt is spent.
    """
    try:
        with station.database.transaction() as db:
            attempt = authorizations.take(db, station.keyring, state or "", browser=browser)
    except AttemptOverError as over:
        refused = AttemptRefusedError(over.problem)
        raise AttemptRefusedError(over.problem, _with_error(over.error_url, refused)) from over
    try:
        _check_issuer(attempt, iss)
        return _finished(station, attempt, code, error, error_description, along)
    except AuthorizationError as refused:
        refused.redirect_url = _with_error(attempt.error_url, refused, connection_id=str(attempt.connection_id))
        _log.warning(
            "authorization.refused",
            connection_id=str(attempt.connection_id),
            code=refused.code,
            owner=refused.owner,
            problem=str(refused),
        )
        raise


def _check_issuer(attempt: Attempt, iss: str | None) -> None:
    document = attempt.document  # one that an older version began has less in it
    exact = document.get("exact_issuer")
    if iss is None:
        if exact is not None and document.get("is_issuer_sent"):
            raise AttemptRefusedError("was answered without `iss`, by which its server says who answers")
        return
    if exact is not None:
        if iss != exact:  # RFC 9207, section 2.4: character by character, a slash at the end counts
            _log.warning("authorization.issuer_differs", expected=exact, came=iss[:_LONGEST_ISSUER])
            raise AttemptRefusedError("was answered by another server than it was sent to")
        return
    begun_at = document.get("issuer")
    if begun_at is None:
        return
    try:
        answered_by = urlsplit(iss)
        is_same = answered_by.netloc.lower() == str(begun_at).lower() and answered_by.scheme in {"https", "http"}
    except ValueError:
        is_same = False
    if not is_same:
        raise AttemptRefusedError("was answered by another server than it was sent to")


def _finished(  # noqa: PLR0917 - what came back, as it came
    station: Station,
    attempt: Attempt,
    code: str | None,
    error: str | None,
    error_description: str | None,
    along: Along,
) -> Arrival:
    if error is not None:
        raise _denied(station, attempt, error, error_description)
    if not code or len(code) > _LONGEST_CODE:
        raise AttemptRefusedError("came back without a code")
    with station.database.connection() as db:
        view = connections.get_connection(db, attempt.connection_id)
    if view is None or view.state is ConnectionState.DELETED:
        raise AttemptRefusedError("is for a connection that was deleted")
    token = _exchanged(station, view, attempt, code)
    with station.database.transaction() as db:
        try:
            cred_version = authorizations.complete(db, station.keyring, view.connection_id, token)
        except NotFoundError as gone:
            raise AttemptRefusedError("is for a connection that was deleted") from gone
        stored = connections.get_connection(db, view.connection_id)
        if stored is not None:
            along(db, stored)
    _log.info("authorization.finished", connection_id=str(view.connection_id), cred_version=cred_version)
    return Arrival(
        connection_id=view.connection_id,
        cred_version=cred_version,
        was_pending=view.state is ConnectionState.PENDING,
        redirect_url=_with_query(attempt.success_url, connection_id=str(view.connection_id)),
    )


def _denied(station: Station, attempt: Attempt, error: str, description: str | None) -> ConsentDeniedError:
    """Return what a consent page's error means. What it says is anybody's to write: it is shown as data, and short."""
    said = error[:_LONGEST_SAID] if error.isascii() and error.replace("_", "").isalnum() else "an unknown error"
    told = f' "{" ".join(description.split())[:200]}"' if description and description.strip() else ""
    if said in _OURS:
        owner, message = ResolutionOwner.LEEN, f"the consent page refused our request ({said}{told})"
    elif said in _THEIRS:
        owner, message = ResolutionOwner.VENDOR, f"the vendor's consent page failed ({said}{told}); try again later"
    else:
        owner, message = ResolutionOwner.CUSTOMER, f"access was not granted at the vendor ({said}{told})"
    if said in {"invalid_request", "invalid_scope", "unauthorized_client"} and not _is_operators(station, attempt):
        owner = ResolutionOwner.CUSTOMER
    return ConsentDeniedError(attempt.connection_id, said, message, owner)


def _is_operators(station: Station, attempt: Attempt) -> bool:
    """Say whether the application is the operator's, so that what is wrong with it is not the customer's to mend."""
    with station.database.connection() as db:
        view = connections.get_connection(db, attempt.connection_id)
    return view is None or bool(_opened(station, view).way.app)


def _living(station: Station, connection_id: UUID) -> ConnectionView:
    with station.database.connection() as db:
        view = connections.get_connection(db, connection_id)
    if view is None or view.state is ConnectionState.DELETED:
        raise NotFoundError("connection", str(connection_id))
    return view


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    definition: Definition
    prepared: Prepared = field(repr=False)
    way: Auth
    consent: Consent


def _opened(station: Station, view: ConnectionView) -> _Opened:
    """Return the connection's way to its consent page. Raises as `authorize_url` says."""
    definition = station.catalogue.get(view.vendor)
    with station.database.connection() as db:
        credentials = vault.load(db, station.keyring, view.connection_id, "credentials") or {}
    prepared = prepare(definition, credentials, view.options)
    way = _way_of(definition, prepared)
    if way is None:
        raise AuthorizationNotOfferedError(view.vendor)
    scope = {
        "credentials": prepared.credentials,
        "settings": prepared.settings,
        "app": station.application(definition),
        "now": datetime.now(UTC),
    }
    context = AuthContext(
        base_url=base_url_of(definition, scope), scope=scope, tokens=MemoryTokens(), clock=lambda: datetime.now(UTC)
    )
    try:
        consent = Consent(view.vendor, way, context)
    except MissingApplicationError as error:
        raise AuthorizationNotSetUpError(str(error)) from error
    return _Opened(definition=definition, prepared=prepared, way=way, consent=consent)


def _way_of(definition: Definition, prepared: Prepared) -> Auth | None:
    return consent_way(definition, {"credentials": prepared.credentials, "settings": prepared.settings})


def is_chosen(definition: Definition, options: Mapping[str, object]) -> bool:
    """Say whether the settings choose consent, without opening the vault: for documents of many connections."""
    if not offers_consent(definition):
        return False
    by = definition.auth.by
    if not by.startswith("settings."):
        return True
    name = by.removeprefix("settings.")
    properties = definition.settings.get("properties")
    words = properties.get(name) if isinstance(properties, Mapping) else None
    default = words.get("default") if isinstance(words, Mapping) else None
    chosen = definition.auth.options.get(str(options.get(name, default)))
    return chosen is not None and chosen.authorize_url is not None


def _exchanged(station: Station, view: ConnectionView, attempt: Attempt, code: str) -> Mapping[str, object]:
    """Return the token that the vendor gave for the code. Raises CodeRefusedError with what it said instead."""
    opened = _opened(station, view)
    verifier, redirect_uri = str(attempt.document["verifier"]), str(attempt.document["redirect_uri"])
    redactor = Redactor((*opened.prepared.secrets, code, verifier))
    capture = Capture(redactor)
    session = station.session(
        opened.definition,
        opened.prepared,
        view.connection_id,
        budget=Budget(EXCHANGE_BUDGET_S),
        capture=capture,
        redactor=redactor,
        stop=_go_on,
    )
    try:
        return opened.consent.exchange(session, code=code, verifier=verifier, redirect_uri=redirect_uri)
    except (Exception, DeadlineReached) as failure:
        newest = capture.newest()
        outcome = Outcome(
            vendor=view.vendor,
            observed_at=datetime.now(UTC),
            own_side=frozenset(session.own_side()),
            data_types=(
                DataTypeOutcome(
                    data_type=EXCHANGE,
                    endpoint=None if newest is None else newest.endpoint,
                    exchange=None if newest is None else newest.as_exchange(),
                    exception=exception_links(failure, redactor),
                ),
            ),
        )
        verdict = classify(outcome, station.dialect_of(view.vendor))
        raise CodeRefusedError(view.connection_id, verdict, tuple(capture.summary())) from failure


def _redirect_uri(station: Station) -> str:
    public_url = station.settings.public_url
    if public_url is None:
        raise AuthorizationNotSetUpError(
            "vendors cannot send customers back: set CONNECTION_HEALTH_PUBLIC_URL to how this service is reached from "
            f"outside, and register that URL with {CALLBACK_PATH} at the vendor"
        )
    return f"{public_url}{CALLBACK_PATH}"


def _with_error(url: str | None, error: AuthorizationError, **more: str) -> str | None:
    return _with_query(url, error=error.code, error_description=str(error)[:300], **more)


def _with_query(url: str | None, **more: str) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in more]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode([*query, *more.items()]), ""))


def _go_on() -> None:
    """Nothing ends an exchange but its budget."""
