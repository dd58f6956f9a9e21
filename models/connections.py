"""Organizations and connections: what a person creates, sees and changes. Lists of them are in models/lists.py.

Locks are taken in one order everywhere: credential, connection, run, connection_sched, health.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from time import time_ns
from typing import Any, Final, Generic, TypeVar
from uuid import UUID, uuid4

from psycopg import Connection as Session
from psycopg import errors as refusals

from models import vault
from models.database import Statement, affected, atomic, row, rows
from models.documents import clean_text, stored
from models.errors import InvalidValueError, NotFoundError
from models.history import HEALTH_COLUMNS, HEALTH_WIDTH, HealthView, health_of
from models.runs import cancel
from models.vocabulary import (
    LONGEST_INTERVAL_SECS,
    LONGEST_TIMEOUT_SECS,
    SHORTEST_INTERVAL_SECS,
    SHORTEST_TIMEOUT_SECS,
    ConnectionState,
    Trigger,
)

_GRID: Final = datetime(2000, 1, 1, tzinfo=UTC)
_FIRST_ID: Final = UUID(int=0)
T = TypeVar("T")


class Unset(Enum):
    """Stands for a value that is not to be changed, where None is a value itself."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """One customer of ours."""

    organization_id: UUID
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveRun:
    """The run that is on."""

    run_seq: int
    trigger: Trigger
    worker_id: UUID
    started_at: datetime
    deadline_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionView:
    """A connection with its schedule, its health and the run that is on.

    health is None before the first finished run; in lists it comes without its evidence. requested_trigger: why a run
    is wanted at once; crash_streak: runs in a row that ended as LOST; cred_version: how often credentials were stored.
    """

    connection_id: UUID
    organization_id: UUID
    organization_name: str
    vendor: str
    state: ConnectionState
    identifier: str | None
    options: dict[str, Any] = field(repr=False)
    refresh_interval_secs: int
    timeout_secs: int
    created_at: datetime
    updated_at: datetime
    cred_version: int
    next_due_at: datetime
    requested_trigger: Trigger | None
    run_seq: int
    crash_streak: int
    active_run: ActiveRun | None
    health: HealthView | None

    @property
    def is_active(self) -> bool:
        """Whether it is run at all."""
        return self.state is ConnectionState.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """A part of a list. after: hand it in to get the next part; None at the end."""

    items: list[T]
    after: UUID | None


def new_id() -> UUID:
    """Return a UUID of version 7: order of id is order of age, for those of one process within a millisecond too.

    Its first 48 bits are the time in milliseconds, the next 12 the part of one (RFC 9562 section 6.2, method 3).
    """
    ms, ns = divmod(time_ns(), 1_000_000)
    value = ms << 80 | (ns << 12) // 1_000_000 << 64 | uuid4().int & (1 << 64) - 1
    return UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)


def slot_origin(connection_id: UUID, refresh_interval_secs: int) -> datetime:
    """Return a moment on the connection's grid. The phase is drawn from its id, so connections spread over the time."""
    return _GRID + timedelta(seconds=(connection_id.int & (1 << 62) - 1) % refresh_interval_secs)


def create_organization(db: Session[Any], name: str) -> Organization:
    """Create an organization. Raises InvalidValueError for a name that is empty or longer than 200 characters."""
    with _refusals():
        found = row(
            db,
            b"INSERT INTO organization (organization_id, name) VALUES (%s, %s) "
            b"RETURNING organization_id, name, created_at",
            (new_id(), clean_text(name)),
        )
    assert found is not None  # noqa: S101 - an insert returns its row or raises
    return Organization(organization_id=found[0], name=found[1], created_at=found[2])


ORGANIZATION_EXISTS: Final = Statement("""
SELECT 1 FROM organization WHERE organization_id = %(organization_id)s AND deleted_at IS NULL""")
"""Returns a row where there is an organization that was not deleted."""


def get_organization(db: Session[Any], organization_id: UUID) -> Organization | None:
    """Return an organization, or None where there is none or it was deleted."""
    found = row(
        db,
        b"SELECT organization_id, name, created_at FROM organization WHERE organization_id = %s AND deleted_at IS NULL",
        (organization_id,),
    )
    return None if found is None else Organization(organization_id=found[0], name=found[1], created_at=found[2])


def list_organizations(db: Session[Any], *, after: UUID | None = None, limit: int = 50) -> Page[Organization]:
    """Return organizations in the order of their age."""
    found = rows(
        db,
        b"SELECT organization_id, name, created_at FROM organization "
        b"WHERE organization_id > %s AND deleted_at IS NULL ORDER BY organization_id LIMIT %s",
        (after or _FIRST_ID, limit + 1),
    )
    items = [Organization(organization_id=one[0], name=one[1], created_at=one[2]) for one in found[:limit]]
    return Page(items=items, after=items[-1].organization_id if len(found) > limit and items else None)


def delete_organization(db: Session[Any], organization_id: UUID) -> bool:
    """Delete an organization and its connections, softly: their runs end, their credentials go. False: no such one."""
    with atomic(db):
        gone = affected(
            db,
            b"UPDATE organization SET deleted_at = now() WHERE organization_id = %s AND deleted_at IS NULL",
            (organization_id,),
        )
        for (connection_id,) in rows(
            db,
            b"SELECT connection_id FROM connection WHERE organization_id = %s AND state <> 'DELETED' "
            b"ORDER BY connection_id",
            (organization_id,),
        ):
            delete_connection(db, connection_id)
    return gone > 0


_CREATE: Final = Statement("""
WITH owner AS (
  SELECT organization_id FROM organization WHERE organization_id = %(organization_id)s AND deleted_at IS NULL
     FOR KEY SHARE
), made AS (
  INSERT INTO connection (connection_id, organization_id, vendor, state, identifier, options)
  SELECT %(connection_id)s, organization_id, %(vendor)s, %(state)s, %(identifier)s, %(options)s::jsonb FROM owner
  RETURNING connection_id, organization_id, vendor, state
), scheduled AS (
  INSERT INTO connection_sched (connection_id, vendor, enabled, refresh_interval_secs, timeout_secs, slot_origin,
                                slot_at, next_due_at, requested_trigger)
  SELECT connection_id, vendor, state = 'ACTIVE', %(refresh_interval_secs)s, %(timeout_secs)s, %(slot_origin)s,
         date_bin(make_interval(secs => %(refresh_interval_secs)s), now(), %(slot_origin)s)
           + make_interval(secs => %(refresh_interval_secs)s),
         now(), 'CREDENTIALS'
    FROM made
)
INSERT INTO health (connection_id, organization_id, vendor, connection_state)
SELECT connection_id, organization_id, vendor, state FROM made""")


def create_connection(
    db: Session[Any],
    keyring: vault.Keyring,
    *,
    organization_id: UUID,
    vendor: str,
    credentials: Mapping[str, object] | None,
    options: Mapping[str, object] | None = None,
    identifier: str | None = None,
    refresh_interval_secs: int = 14_400,
    timeout_secs: int = 3_600,
    state: ConnectionState = ConnectionState.ACTIVE,
) -> ConnectionView:
    """Create a connection, seal its credentials, and make it due at once where it is ACTIVE.

    Raises NotFoundError for an unknown organization, InvalidValueError for what the tables refuse.
    """
    connection_id = new_id()
    _bounded(refresh_interval_secs, timeout_secs)
    if state is ConnectionState.DELETED:
        raise InvalidValueError("ck_connection_state_known", "a connection cannot be created as DELETED")
    with _refusals(), atomic(db):
        affected(db, b"INSERT INTO vendor_limit (vendor) VALUES (%s) ON CONFLICT DO NOTHING", (vendor,))
        made = affected(
            db,
            _CREATE,
            {
                "connection_id": connection_id,
                "organization_id": organization_id,
                "vendor": vendor,
                "state": state.value,
                "identifier": None if identifier is None else clean_text(identifier),
                "options": stored(dict(options or {})),
                "refresh_interval_secs": refresh_interval_secs,
                "timeout_secs": timeout_secs,
                "slot_origin": slot_origin(connection_id, refresh_interval_secs),
            },
        )
        if not made:
            raise NotFoundError("organization", str(organization_id))
        if credentials is not None:
            vault.store(db, keyring, connection_id, "credentials", credentials)
    return _existing(db, connection_id)


def its(table: str, alias: str, key: str, of: str) -> str:
    """Return a join with the one row of a table that belongs to a row before it."""
    # One by one (LIMIT 1): the planner takes a page of unknown length for a tenth of what there is.
    return f"LATERAL (SELECT * FROM {table} x WHERE x.{key} = {of}.{key} LIMIT 1) {alias}"  # noqa: S608 - constants


VIEW: Final = f"""
SELECT c.connection_id, c.organization_id, o.name, c.vendor, c.state, c.identifier, c.options,
       s.refresh_interval_secs, s.timeout_secs, c.created_at, c.updated_at, s.cred_version, s.next_due_at,
       s.requested_trigger, s.run_seq, s.crash_streak,
       r.run_seq, r.trigger, r.worker_id, r.started_at, r.deadline_at,
       {{health}}
  FROM {{source}}
 CROSS JOIN {its("connection", "c", "connection_id", "page")}
 CROSS JOIN {its("connection_sched", "s", "connection_id", "page")}
 CROSS JOIN {its("health", "h", "connection_id", "page")}
 CROSS JOIN {its("organization", "o", "organization_id", "c")}
  LEFT JOIN {its("run", "r", "connection_id", "page")} ON TRUE
 {{order}}"""  # noqa: S608 - put together from constants
"""Everything of the connections that `source` names, as `view_of` reads it; health: its columns, in their order."""

_WIDTH: Final = 21

_GET: Final = Statement(
    VIEW.format(health=HEALTH_COLUMNS, source="(SELECT %(connection_id)s::uuid AS connection_id) page", order="")
)


def get_connection(db: Session[Any], connection_id: UUID) -> ConnectionView | None:
    """Return a connection, a deleted one too, or None."""
    found = row(db, _GET, {"connection_id": connection_id})
    return None if found is None else view_of(found)


def _existing(db: Session[Any], connection_id: UUID) -> ConnectionView:
    view = get_connection(db, connection_id)
    if view is None:
        raise NotFoundError("connection", str(connection_id))
    return view


_UPDATE: Final = Statement("""
UPDATE connection SET identifier = CASE WHEN %(set_identifier)s THEN %(identifier)s ELSE identifier END,
       state = COALESCE(%(state)s, state), options = COALESCE(%(options)s::jsonb, options), updated_at = now()
 WHERE connection_id = %(connection_id)s AND state <> 'DELETED'""")

# A grid of another width begins with its next slot; a wait that is on, and what is due already, stay as they are.
_RESCHEDULE: Final = Statement("""
UPDATE connection_sched s
   SET timeout_secs = COALESCE(%(timeout_secs)s, s.timeout_secs),
       refresh_interval_secs = COALESCE(n.every, s.refresh_interval_secs),
       slot_origin = COALESCE(%(slot_origin)s, s.slot_origin),
       slot_at = COALESCE(n.slot_at, s.slot_at),
       next_due_at = CASE WHEN s.next_due_at = s.slot_at AND s.slot_at > now() THEN COALESCE(n.slot_at, s.next_due_at)
                          ELSE s.next_due_at END
  FROM (SELECT %(every)s::integer AS every, date_bin(make_interval(secs => %(every)s), now(), %(slot_origin)s)
                                            + make_interval(secs => %(every)s) AS slot_at) n
 WHERE s.connection_id = %(connection_id)s""")


def update_connection(
    db: Session[Any],
    connection_id: UUID,
    *,
    identifier: str | Unset | None = UNSET,
    state: ConnectionState | None = None,
    refresh_interval_secs: int | None = None,
    timeout_secs: int | None = None,
    options: Mapping[str, object] | None = None,
) -> ConnectionView:
    """Change what is given and nothing else. state ACTIVE runs at once what was not active before.

    Raises NotFoundError, InvalidValueError.
    """
    if state is ConnectionState.DELETED:
        raise InvalidValueError("ck_connection_state_known", "state DELETED is not set but reached by deleting")
    _bounded(refresh_interval_secs, timeout_secs)
    named = None if identifier is UNSET or identifier is None else clean_text(identifier)
    with _refusals(), atomic(db):
        changed = affected(
            db,
            _UPDATE,
            {
                "connection_id": connection_id,
                "set_identifier": identifier is not UNSET,
                "identifier": named,
                "state": None if state is None else state.value,
                "options": None if options is None else stored(dict(options)),
            },
        )
        if not changed:
            raise NotFoundError("connection", str(connection_id))
        if refresh_interval_secs is not None or timeout_secs is not None:
            every = refresh_interval_secs
            params = {
                "connection_id": connection_id,
                "timeout_secs": timeout_secs,
                "every": every,
                "slot_origin": None if every is None else slot_origin(connection_id, every),
            }
            affected(db, _RESCHEDULE, params)
    return _existing(db, connection_id)


def pause_connection(db: Session[Any], connection_id: UUID) -> ConnectionView:
    """Stop running a connection. A run that is on goes to its end."""
    return update_connection(db, connection_id, state=ConnectionState.PAUSED)


def resume_connection(db: Session[Any], connection_id: UUID) -> ConnectionView:
    """Run a connection again, at once."""
    return update_connection(db, connection_id, state=ConnectionState.ACTIVE)


def delete_connection(db: Session[Any], connection_id: UUID) -> bool:
    """Delete a connection, softly: its run is cancelled, its credentials go, its history stays. False: none there."""
    with atomic(db):
        affected(db, b"DELETE FROM credential WHERE connection_id = %s", (connection_id,))
        rows(db, b"SELECT 1 FROM connection WHERE connection_id = %s FOR NO KEY UPDATE", (connection_id,))
        _cancel_active(db, connection_id)
        gone = affected(
            db,
            b"UPDATE connection SET state = 'DELETED', deleted_at = now(), updated_at = now() "
            b"WHERE connection_id = %s AND state <> 'DELETED'",
            (connection_id,),
        )
        # A claim may have come between; from now on the schedule's row is ours, so none comes any more.
        _cancel_active(db, connection_id)
    return gone > 0


def _cancel_active(db: Session[Any], connection_id: UUID) -> None:
    # A locked row is a run that somebody is ending just now; to wait for it would turn the order of locks round.
    active = row(db, b"SELECT run_seq FROM run WHERE connection_id = %s FOR UPDATE SKIP LOCKED", (connection_id,))
    if active is not None:
        cancel(db, connection_id, active[0])


_NEW_CREDENTIALS: Final = Statement("""
UPDATE connection_sched s
   SET cred_version = s.cred_version + 1, requested_trigger = %(trigger)s, hinted_at = NULL,
       next_due_at = CASE WHEN s.active_seq IS NULL THEN least(s.next_due_at, now()) ELSE s.next_due_at END
 WHERE s.connection_id = %(connection_id)s
RETURNING s.cred_version""")


def replace_credentials(
    db: Session[Any],
    keyring: vault.Keyring,
    connection_id: UUID,
    credentials: Mapping[str, object],
    *,
    keep_token: bool = False,
) -> int:
    """Store new credentials, forget the token got with the old ones, and ask for a run, in one transaction.

    keep_token: the token does not rest on what is replaced (a person consented to it) and stays.
    Returns the new cred_version. Waits for a token that is just being renewed. Raises NotFoundError.
    """
    with atomic(db):
        # The credentials before the schedule: whoever renews a token holds the former for as long as a vendor takes.
        rows(db, b"SELECT 1 FROM credential WHERE connection_id = %s ORDER BY kind FOR UPDATE", (connection_id,))
        alive = row(
            db,
            b"SELECT 1 FROM connection WHERE connection_id = %s AND state <> 'DELETED' FOR NO KEY UPDATE",
            (connection_id,),
        )
        if alive is None:
            raise NotFoundError("connection", str(connection_id))
        vault.store(db, keyring, connection_id, "credentials", credentials)
        if not keep_token:
            vault.drop_token(db, connection_id)
        return renew_credentials(db, connection_id)


def renew_credentials(db: Session[Any], connection_id: UUID) -> int:
    """Count that other credentials, or another token, are in force from now on, and ask for a run with them.

    Returns the new cred_version. For whoever holds the locks of the credentials and the connection, in this order.
    """
    found = row(db, _NEW_CREDENTIALS, {"connection_id": connection_id, "trigger": Trigger.CREDENTIALS.value})
    assert found is not None  # noqa: S101 - a connection has its schedule from the start
    return int(found[0])


_REMEDIES: Final = {
    "ck_organization_name_length": "an organization's name has 1 to 200 characters",
    "ck_vendor_limit_vendor_shape": "a vendor's name is 1 to 64 letters, digits, dots, dashes and underscores",
    "ck_vendor_limit_max_inflight_positive": "a vendor's limit of runs at a time is 1 or more, or none",
    "ck_connection_identifier_length": "an identifier has 1 to 500 characters",
    "ck_connection_sched_refresh_interval_secs_bounds": (
        f"a refresh interval is {SHORTEST_INTERVAL_SECS} to {LONGEST_INTERVAL_SECS} seconds"
    ),
    "ck_connection_sched_timeout_secs_bounds": (
        f"a timeout is {SHORTEST_TIMEOUT_SECS} to {LONGEST_TIMEOUT_SECS} seconds"
    ),
}


def _bounded(refresh_interval_secs: int | None, timeout_secs: int | None) -> None:
    """Refuse what the constraints would refuse as well: the grid is reckoned before they are asked."""
    bounds = (
        ("refresh_interval_secs", refresh_interval_secs, SHORTEST_INTERVAL_SECS, LONGEST_INTERVAL_SECS),
        ("timeout_secs", timeout_secs, SHORTEST_TIMEOUT_SECS, LONGEST_TIMEOUT_SECS),
    )
    for name, value, least, most in bounds:
        if value is not None and not least <= value <= most:
            constraint = f"ck_connection_sched_{name}_bounds"
            raise InvalidValueError(constraint, f"{_REMEDIES[constraint]}, not {value}")


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn a constraint's refusal into the sentence that says what it wants."""
    try:
        yield
    except refusals.CheckViolation as error:
        constraint = error.diag.constraint_name or ""
        raise InvalidValueError(constraint, _REMEDIES.get(constraint, "the database refuses this value")) from error


def view_of(found: tuple[Any, ...]) -> ConnectionView:
    """Read the columns of VIEW."""
    health = found[_WIDTH : _WIDTH + HEALTH_WIDTH]
    return ConnectionView(
        connection_id=found[0],
        organization_id=found[1],
        organization_name=found[2],
        vendor=found[3],
        state=ConnectionState(found[4]),
        identifier=found[5],
        options=found[6],
        refresh_interval_secs=found[7],
        timeout_secs=found[8],
        created_at=found[9],
        updated_at=found[10],
        cred_version=found[11],
        next_due_at=found[12],
        requested_trigger=None if found[13] is None else Trigger(found[13]),
        run_seq=found[14],
        crash_streak=found[15],
        active_run=None
        if found[16] is None
        else ActiveRun(
            run_seq=found[16],
            trigger=Trigger(found[17]),
            worker_id=found[18],
            started_at=found[19],
            deadline_at=found[20],
        ),
        health=None if health[1] is None else health_of(health),
    )
