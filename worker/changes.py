"""Change a connection as a person asks: what reaches the vendor is tried there first, and all is stored at once."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

import psycopg

from models import connections, revisions, runs
from models.connections import UNSET, ConnectionView, Unset
from models.errors import ChangedMeanwhileError, InvalidValueError, NotFoundError
from models.revisions import Revision
from models.vocabulary import ConnectionState, Trigger
from vendors.credentials_schema import host_settings, prepare
from worker import credentials as live
from worker.credentials import Along, ProbeReport, nothing_more
from worker.errors import CredentialsRefusedError
from worker.station import Station


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be changed; what is not given stays.

    options: laid over those that are there, where None takes one away; credentials: in the place of all that are there;
    of: the revision that the change is meant for, None for whichever there is.
    """

    identifier: str | Unset | None = UNSET
    state: ConnectionState | None = None
    refresh_interval_secs: int | None = None
    timeout_secs: int | None = None
    options: Mapping[str, object] | None = None
    credentials: Mapping[str, object] | None = field(default=None, repr=False)
    of: Revision | None = None


def change(
    station: Station, before: ConnectionView, wanted: Change, *, along: Along = nothing_more
) -> tuple[ConnectionView, ProbeReport | None]:
    """Carry a change out, in one transaction, and return the connection and what the vendor said, where it was asked.

    New credentials, and options, are tried at the vendor first. A setting that decides where calls go is changed only
    together with the credentials: else whoever may change settings could have credentials that they do not know sent to
    a place of their own. The caller sends hints.

    Raises CredentialsRefusedError (nothing is stored then), ChangedMeanwhileError, NotFoundError, InvalidValueError,
    and the errors of `prepare`.
    """
    _check_state(before, wanted)
    if wanted.of is not None and wanted.of != revisions.revision_of(before):
        raise ChangedMeanwhileError(before.connection_id)
    options = _laid_over(before.options, wanted.options)
    report = _tried(station, before, wanted, options)
    state = wanted.state
    if report is not None and before.state is ConnectionState.PENDING and state is None:
        state = ConnectionState.ACTIVE
    changed = dataclasses.replace(wanted, state=state, options=options)
    with station.database.transaction() as db:
        if wanted.of is not None:
            found = revisions.locked_revision(db, before.connection_id, with_credentials=wanted.credentials is not None)
            if found is None:
                raise NotFoundError("connection", str(before.connection_id))
            if found != wanted.of:
                raise ChangedMeanwhileError(before.connection_id)
        if wanted.credentials is not None:
            live.store(db, station, before.connection_id, wanted.credentials, report)
        view = _written(db, before.connection_id, changed)
        if wanted.options is not None and wanted.credentials is None:
            runs.trigger(db, before.connection_id, Trigger.CREDENTIALS)
        along(db, view)
    return view, report


def delete(station: Station, connection_id: UUID, *, of: Revision | None, along: Along = nothing_more) -> None:
    """Delete a connection. Raises NotFoundError, ChangedMeanwhileError."""
    with station.database.transaction() as db:
        if of is not None and revisions.locked_revision(db, connection_id, with_credentials=True) not in (None, of):
            raise ChangedMeanwhileError(connection_id)
        if not connections.delete_connection(db, connection_id):
            raise NotFoundError("connection", str(connection_id))
        view = connections.get_connection(db, connection_id)
        if view is not None:
            along(db, view)


def _written(db: "psycopg.Connection[object]", connection_id: UUID, changed: Change) -> ConnectionView:
    return connections.update_connection(
        db,
        connection_id,
        identifier=changed.identifier,
        state=changed.state,
        refresh_interval_secs=changed.refresh_interval_secs,
        timeout_secs=changed.timeout_secs,
        options=changed.options,
    )


def _check_state(before: ConnectionView, wanted: Change) -> None:
    if wanted.state in (None, before.state):
        return
    if wanted.state is ConnectionState.DELETED:
        raise InvalidValueError("state", "state DELETED is reached by deleting the connection")
    if wanted.state is ConnectionState.PENDING:
        raise InvalidValueError("state", "state PENDING cannot be set: it is left once a connection is authorized")
    if before.state is ConnectionState.PENDING and wanted.credentials is None:
        raise InvalidValueError("state", "this connection waits for its authorization: it becomes ACTIVE with that")


def _laid_over(before: Mapping[str, object], wanted: Mapping[str, object] | None) -> dict[str, object] | None:
    if wanted is None:
        return None
    return {name: value for name, value in {**before, **wanted}.items() if value is not None}


def _tried(
    station: Station, before: ConnectionView, wanted: Change, options: Mapping[str, object] | None
) -> ProbeReport | None:
    if wanted.credentials is None and wanted.options is None:
        return None
    definition = station.catalogue.get(before.vendor)
    chosen = before.options if options is None else options
    if wanted.credentials is not None:
        prepare(definition, wanted.credentials, chosen)
        return live.accepted(station, before.vendor, wanted.credentials, chosen, connection_id=before.connection_id)
    moved = sorted(name for name in host_settings(definition) if chosen.get(name) != before.options.get(name))
    if moved:
        raise InvalidValueError(
            "options", f"{', '.join(moved)} decides where calls go: send the credentials along with it"
        )
    if before.state is ConnectionState.PENDING:
        return None
    report = live.probe_stored(station, before.connection_id, options=chosen)
    if not report.is_valid:
        raise CredentialsRefusedError(before.vendor, report.message, report.verdict.name, report.verdict.reason)
    return report
