"""Claiming, ending and rescuing runs: the statements that decide. One each, all times by the database's now().

Every statement that ends a run takes its row out of `run` first, guarded by connection, run_seq and worker. Whoever
gets the row may go on to the schedule, the history and the health; whoever comes second finds nothing and changes
nothing. The order of locks is the same everywhere: vendor_limit, credential, connection, run,
connection_sched, health. They are made for READ COMMITTED, PostgreSQL's default.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg import Connection
from psycopg.errors import LockNotAvailable

from classifier.vocabulary import OWNER, HealthName, status_of
from models.database import Statement, affected, atomic, row, rows
from models.documents import clean_text, stored
from models.vocabulary import RunState, Trigger

GRACE_S: Final = 30
"""deadline_at lies so far behind the run's budget: the watchdog comes first, the reaper is the net under it."""

RETRIES_OF_LOST: Final = 3
"""So many times in a row a LOST run is made again at once; then the connection waits for its regular slot."""

QUARANTINE_S: Final = 300
"""After that it waits for so long at least, whatever its interval: each of its runs may cost a whole process."""

LONGEST_WAIT_S: Final = 30 * 86_400.0
WORKER_LOST: Final = "worker_lost"
BUDGET_SPENT: Final = "budget_spent"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKey:
    """What fences a run: whoever writes for it must hold all three."""

    connection_id: UUID
    run_seq: int
    worker_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What the vault holds of a connection's credentials, to be opened with `vault.unseal`."""

    key_id: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRun:
    """A run that is ours now, and what it needs.

    scheduled_for: when it was due; skipped_slots: slots of the grid that passed without a run of their own before this
    one; deadline_at: the budget (timeout_secs) and GRACE_S after started_at; health_name, health_reason and
    consecutive_failures: as they stood at the claim, None and 0 before the first finished run; sealed, cursors, passes:
    read in the same breath, for a run that only finds everything as it was has no other reason to ask. passes: of data
    types of which the run before made a full pass of one page, its digest (`records.Page.met_unchanged`).
    """

    key: RunKey
    organization_id: UUID
    vendor: str
    trigger: Trigger
    scheduled_for: datetime
    skipped_slots: int
    cred_version: int
    timeout_secs: int
    refresh_interval_secs: int
    options: dict[str, Any] = field(repr=False)
    started_at: datetime
    deadline_at: datetime
    health_name: HealthName | None
    health_reason: str | None
    consecutive_failures: int
    sealed: Sealed | None = field(default=None, repr=False)
    cursors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    passes: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueConnection:
    """A connection that a dispatcher is to send a hint for."""

    connection_id: UUID
    vendor: str
    due_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """How a run ended, with its verdict. state: SUCCEEDED or FAILED.

    The documents are redacted and JSON. exchanges: one object per exchange; requests: how many were sent, also where
    not all of them are kept; next_in_s: when to run next, None for the regular slot; met_unchanged: data types of which
    a pass found everything as it was (`Landed.met_unchanged`), which is noted with the end of the run.
    """

    state: RunState
    name: HealthName
    reason: str
    rule: str
    sentence: str
    next_step: str
    retry_at: datetime | None = None
    details: Sequence[Mapping[str, object]] = ()
    evidence: Mapping[str, object] | None = None
    data_types: Sequence[Mapping[str, object]] = ()
    records_new: int = 0
    records_changed: int = 0
    records_unchanged: int = 0
    records_skipped: int = 0
    exchanges: Sequence[Mapping[str, object]] = ()
    requests: int = 0
    next_in_s: float | None = None
    classifier_version: str = ""
    met_unchanged: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReapedRun:
    """A run that the reaper ended as LOST, and the health that it left."""

    connection_id: UUID
    run_seq: int
    name: HealthName
    reason: str
    crash_streak: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStats:
    """The queue in numbers. oldest_due_s: 0 where nothing is due; the total counts since the tables were made."""

    due: int
    oldest_due_s: float
    running: int
    oldest_running_s: float
    workers: int
    skipped_slots_total: int


# The first slot of the grid that lies strictly after now: it keeps its phase and never drifts.
_NEXT_SLOT: Final = """date_bin(make_interval(secs => s.refresh_interval_secs), now(), s.slot_origin)
                 + make_interval(secs => s.refresh_interval_secs)"""

_DUE_COLUMNS: Final = "s.connection_id, s.slot_at, s.next_due_at, s.requested_trigger"

# What a claim does with the rows that it has locked as `due`.
_TAKEN: Final = f"""
     SET run_seq = s.run_seq + 1, active_seq = s.run_seq + 1, hinted_at = NULL, requested_trigger = NULL,
         slot_at = {_NEXT_SLOT},
         next_due_at = {_NEXT_SLOT}"""

_BEGUN: Final = """
SELECT d.*, c.organization_id, c.vendor, c.options, h.name, h.reason, h.consecutive_failures,
         due.next_due_at AS scheduled_for,
         COALESCE(due.requested_trigger, CASE WHEN due.next_due_at <= now() THEN 'SCHEDULED' ELSE 'MANUAL' END)
           AS trigger,
         CASE WHEN due.slot_at > now() THEN 0
              ELSE floor(extract(epoch FROM now() - due.slot_at) / d.refresh_interval_secs)::integer END
           AS skipped_slots"""


def _claim_of(its: str, *, rows: str, of_rows: str, credential: str) -> str:
    """Return the end of a statement that claims.

    its: the connection's id; rows: those of the schedule that are locked; of_rows: where the rest of them is read;
    credential: the join of what the vault holds.
    """
    return f"""
claimed AS (
  UPDATE connection_sched s {_TAKEN}
   WHERE s.connection_id {rows}
  RETURNING s.connection_id, s.run_seq, s.cred_version, s.refresh_interval_secs, s.timeout_secs
), begun AS MATERIALIZED ({_BEGUN}
    FROM claimed d {of_rows}
), started AS (
  INSERT INTO run (connection_id, run_seq, worker_id, organization_id, vendor, trigger, scheduled_for, skipped_slots,
                   cred_version, started_at, deadline_at)
  SELECT connection_id, run_seq, %(worker_id)s, organization_id, vendor, trigger, scheduled_for, skipped_slots,
         cred_version, now(), now() + make_interval(secs => timeout_secs + {GRACE_S})
    FROM begun
)
SELECT begun.connection_id, run_seq, organization_id, vendor, trigger, scheduled_for, skipped_slots, cred_version,
       timeout_secs, refresh_interval_secs, options, now(), now() + make_interval(secs => timeout_secs + {GRACE_S}),
       name, reason, consecutive_failures, k.key_id, k.sealed,
       (SELECT jsonb_object_agg(u.data_type, jsonb_build_array(u.state,
                 CASE WHEN u.pass_digest_seq = begun.run_seq - 1 THEN encode(u.pass_digest, 'hex') END))
          FROM cursor u WHERE u.connection_id = {its})
  FROM begun LEFT JOIN {credential}
"""  # noqa: S608 - put together from this module's constants


# For one connection each row is found by its key: a plan for many has more steps, and to make those ready is what a
# claim costs.
_CLAIM_ONE: Final = _claim_of(
    "%(connection_id)s",
    rows="= (SELECT connection_id FROM due)",
    of_rows="""CROSS JOIN due CROSS JOIN connection c CROSS JOIN health h
   WHERE c.connection_id = %(connection_id)s AND h.connection_id = %(connection_id)s""",
    credential="credential k ON k.connection_id = %(connection_id)s AND k.kind = 'credentials'",
)

# For many, the rows of big tables are looked up by an array of ids, or one by one (LIMIT 1): the planner cannot know
# how few they are, and would rather read a million rows once.
_CLAIM_MANY: Final = _claim_of(
    "begun.connection_id",
    rows="= ANY(ARRAY(SELECT connection_id FROM due))",
    of_rows="""
    JOIN due ON due.connection_id = d.connection_id
    CROSS JOIN LATERAL (
      SELECT x.organization_id, x.vendor, x.options FROM connection x WHERE x.connection_id = d.connection_id LIMIT 1) c
    CROSS JOIN LATERAL (
      SELECT x.name, x.reason, x.consecutive_failures FROM health x
       WHERE x.connection_id = d.connection_id LIMIT 1) h""",
    credential="""LATERAL (
    SELECT x.key_id, x.sealed FROM credential x
     WHERE x.connection_id = begun.connection_id AND x.kind = 'credentials' LIMIT 1) k ON TRUE""",
)

# A worker whose lease has run out is about to be reaped: it may not begin anything.
_LEASED: Final = """
EXISTS (SELECT FROM worker w WHERE w.worker_id = %(worker_id)s AND w.lease_until > now() AND w.retired_at IS NULL)"""


def _claim_one(within_limit: str) -> Statement:
    return Statement(f"""
WITH due AS (
  SELECT {_DUE_COLUMNS}
    FROM connection_sched s JOIN vendor_limit l ON l.vendor = s.vendor
   WHERE s.connection_id = %(connection_id)s AND s.enabled AND s.active_seq IS NULL
     AND (s.next_due_at <= now() OR NOT %(due_only)s)
     AND (l.paused_until IS NULL OR l.paused_until <= now())
     AND {within_limit}
     AND {_LEASED}
     FOR UPDATE OF s SKIP LOCKED
), {_CLAIM_ONE}""")  # noqa: S608 - put together from this module's constants


_CLAIM_UNLIMITED: Final = _claim_one("l.max_inflight IS NULL")
_CLAIM_COUNTED: Final = _claim_one("(SELECT count(*) FROM run r WHERE r.vendor = l.vendor) < l.max_inflight")

# What a claim found may be missing because somebody had the row at that moment: a trigger, or other hints' claims.
_STILL_CLAIMABLE: Final = """s.connection_id = %(connection_id)s AND s.enabled AND s.active_seq IS NULL
   AND (s.next_due_at <= now() OR NOT %(due_only)s)"""

_LOOK: Final = Statement(f"""
SELECT l.max_inflight
  FROM vendor_limit l JOIN connection_sched s ON s.vendor = l.vendor
 WHERE {_STILL_CLAIMABLE} AND (l.paused_until IS NULL OR l.paused_until <= now())""")  # noqa: S608 - constants

_LOCK_LIMIT: Final = Statement("""
SELECT FROM vendor_limit l JOIN connection_sched s ON s.vendor = l.vendor
 WHERE s.connection_id = %(connection_id)s FOR UPDATE OF l""")

_WAIT_BRIEFLY: Final = b"SET LOCAL lock_timeout = '5s'"

_LOCK_SCHEDULE: Final = Statement(f"SELECT FROM connection_sched s WHERE {_STILL_CLAIMABLE} FOR UPDATE")


def claim(db: Connection[Any], connection_id: UUID, *, worker_id: UUID, due_only: bool = True) -> ClaimedRun | None:
    """Make the connection's next run ours, or return None: taken, not due, paused, at its vendor's limit, or gone.

    due_only False takes a connection that is not due as well (its caller has just asked for a run). None too where the
    worker holds no lease, or where a session that hangs has the row. For whoever is in no transaction: what is waited
    for in vain would take one with it.
    """
    params = {"connection_id": connection_id, "worker_id": worker_id, "due_only": due_only}
    found = row(db, _CLAIM_UNLIMITED, params) or _claim_after_all(db, params)
    return None if found is None else _claimed(db, found, worker_id)


def _claim_after_all(db: Connection[Any], params: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Claim what can be claimed but was not: its vendor has a limit, or somebody held its row.

    A hint that gave up there would be lost, for its connection counts as hinted. So this waits a while, and claims by
    a statement that begins after that, which sees what the former holder has just committed. The limit's row is locked
    first, and by that the runs are counted one after another.
    """
    seen = row(db, _LOOK, params)
    if seen is None:
        return None
    is_limited = seen[0] is not None
    try:
        with atomic(db):
            db.execute(_WAIT_BRIEFLY)
            if is_limited:
                row(db, _LOCK_LIMIT, params)
            if row(db, _LOCK_SCHEDULE, params) is None:
                return None
            return row(db, _CLAIM_COUNTED if is_limited else _CLAIM_UNLIMITED, params)
    except LockNotAvailable:
        return None  # a session that hangs: it is not to take this one's worker with it


_OPEN_VENDOR: Final = "(l.paused_until IS NULL OR l.paused_until <= now())"
_CLAIMABLE: Final = "s.vendor = l.vendor AND s.enabled AND s.active_seq IS NULL AND s.next_due_at <= now()"
_UNHINTED: Final = (
    f"{_CLAIMABLE} AND (s.hinted_at IS NULL OR s.hinted_at < now() - make_interval(secs => %(rehint_after_s)s))"
)

# Hints that were given and not used yet take up places of a vendor with a limit. Hints go to those that are due
# longest, so they are looked for among as many of these as there could be, not in the whole of a backlog.
_HINTED: Final = f"""
           - (SELECT count(*) FROM (SELECT s.hinted_at FROM connection_sched s WHERE {_CLAIMABLE}
                                     ORDER BY s.next_due_at LIMIT 2 * l.max_inflight) q
               WHERE q.hinted_at >= now() - make_interval(secs => %(rehint_after_s)s))"""  # noqa: S608 - constants


def _vendors(places_taken: str) -> str:
    """Return the vendors that take part, in an order drawn by lot: none is always the one that `limit` cuts off.

    share: how many connections of one vendor this call takes at most, so that vendors take turns; where a vendor has a
    limit, no more than its free places.
    """
    return f"""
vendors AS MATERIALIZED (
  SELECT l.vendor,
         CASE WHEN l.max_inflight IS NULL THEN %(share)s
              ELSE greatest(0, least(%(share)s, l.max_inflight
           - (SELECT count(*) FROM run r WHERE r.vendor = l.vendor){places_taken})) END AS share
    FROM vendor_limit l
   WHERE {_OPEN_VENDOR} AND (l.max_inflight IS NULL OR NOT %(locked)s OR l.vendor = ANY(%(limited)s))
   ORDER BY random()
)"""  # noqa: S608 - put together from this module's constants


_CLAIM_DUE: Final = Statement(f"""
WITH {_vendors("")}, due AS MATERIALIZED (
  SELECT d.* FROM vendors l CROSS JOIN LATERAL (
    SELECT {_DUE_COLUMNS} FROM connection_sched s WHERE {_CLAIMABLE}
     ORDER BY s.next_due_at LIMIT l.share FOR UPDATE OF s SKIP LOCKED) d
   WHERE {_LEASED}
   LIMIT %(limit)s
), {_CLAIM_MANY}""")  # noqa: S608 - put together from this module's constants

_LOCK_LIMITS: Final = Statement("""
SELECT vendor FROM vendor_limit WHERE max_inflight IS NOT NULL ORDER BY vendor FOR UPDATE SKIP LOCKED""")


def _vendors_that(wait: str) -> Statement:
    return Statement(f"""
SELECT count(*) FROM vendor_limit l
 WHERE {_OPEN_VENDOR} AND EXISTS (SELECT FROM connection_sched s WHERE {wait})""")  # noqa: S608 - constants


_VENDORS_CLAIMABLE: Final = _vendors_that(_CLAIMABLE)
_VENDORS_UNHINTED: Final = _vendors_that(_UNHINTED)


def claim_due(db: Connection[Any], *, worker_id: UUID, limit: int) -> list[ClaimedRun]:
    """Claim up to `limit` due connections straight from PostgreSQL, in turn over the vendors, oldest first in each.

    The way without Redis. Leaves alone the vendors with a limit that somebody else is counting at this moment.
    """
    with atomic(db):
        limited = [vendor for (vendor,) in rows(db, _LOCK_LIMITS)]
        params = {"worker_id": worker_id, "locked": True, "limited": limited}
        found = _in_turn(db, _CLAIM_DUE, _VENDORS_CLAIMABLE, params, limit)
    return [_claimed(db, one, worker_id) for one in found]


_TAKE_DUE: Final = Statement(f"""
WITH {_vendors(_HINTED)}, due AS MATERIALIZED (
  SELECT d.* FROM vendors l CROSS JOIN LATERAL (
    SELECT s.connection_id FROM connection_sched s WHERE {_UNHINTED}
     ORDER BY s.next_due_at LIMIT l.share FOR UPDATE OF s SKIP LOCKED) d
   LIMIT %(limit)s
)
UPDATE connection_sched s SET hinted_at = now()
 WHERE s.connection_id = ANY(ARRAY(SELECT connection_id FROM due))
RETURNING s.connection_id, s.vendor, s.next_due_at""")  # noqa: S608 - constants of this module


def take_due(db: Connection[Any], *, limit: int, rehint_after_s: float = 60.0) -> list[DueConnection]:
    """Return up to `limit` due connections that nobody was sent a hint for lately, in turn over the vendors.

    They count as hinted from now on; a hint that is lost is given again after rehint_after_s.
    """
    params = {"rehint_after_s": rehint_after_s, "locked": False, "limited": []}
    with atomic(db):
        return [
            DueConnection(connection_id=connection_id, vendor=vendor, due_at=due_at)
            for connection_id, vendor, due_at in _in_turn(db, _TAKE_DUE, _VENDORS_UNHINTED, params, limit)
        ]


def unhint(db: Connection[Any], connection_ids: Sequence[UUID]) -> int:
    """Forget that hints were given, so that they are given again at once: they could not be sent, or not be used."""
    return affected(
        db,
        b"UPDATE connection_sched SET hinted_at = NULL WHERE connection_id = ANY(%s) AND hinted_at IS NOT NULL",
        (list(connection_ids),),
    )


_ROUNDS: Final = 4


def _in_turn(
    db: Connection[Any], take: Statement, vendors: Statement, params: Mapping[str, Any], limit: int
) -> list[tuple[Any, ...]]:
    """Share `limit` out evenly between the vendors that wait; what some leave over goes round again."""
    taken: list[tuple[Any, ...]] = []
    for _ in range(_ROUNDS):
        room = limit - len(taken)
        waiting = row(db, vendors, params) if room > 0 else None
        if waiting is None or not waiting[0]:
            break
        share = max(1, room // waiting[0])
        got = rows(db, take, {**params, "share": share, "limit": room})
        taken += got
        if not got:
            break
    return taken


_TRIGGER: Final = Statement("""
UPDATE connection_sched s
   SET requested_trigger = CASE WHEN s.requested_trigger = 'CREDENTIALS' THEN s.requested_trigger
                                ELSE %(trigger)s END,
       next_due_at = CASE WHEN s.active_seq IS NULL THEN least(s.next_due_at, now()) ELSE s.next_due_at END,
       hinted_at = CASE WHEN s.requested_trigger IS NULL THEN NULL ELSE s.hinted_at END
 WHERE s.connection_id = %(connection_id)s AND s.enabled""")


def trigger(db: Connection[Any], connection_id: UUID, trigger: Trigger) -> bool:
    """Ask for a run that starts after this; False where there is no such active connection.

    A thousand calls while a run is on make one run after it; a thousand calls while none is on make one.
    """
    return affected(db, _TRIGGER, {"connection_id": connection_id, "trigger": trigger.value}) > 0


# What every end of a run does once it has the row (`ended`) and knows what to say of it: in columns of `verdict` where
# there are many runs, in parameters where there is one, for each step of a plan costs as much as the row it is for.
_SAID: Final = {
    "state": "text", "name": "text", "status": "text", "owner": "text", "reason": "text", "rule": "text",
    "sentence": "text", "next_step": "text", "retry_at": "timestamptz", "classifier_version": "text",
    "details": "jsonb", "evidence": "jsonb", "data_types": "jsonb", "exchanges": "jsonb", "requests": "integer",
    "records_new": "bigint", "records_changed": "bigint", "records_unchanged": "bigint", "records_skipped": "bigint",
}  # fmt: skip
_IN_COLUMNS: Final = {word: f"v.{word}" for word in _SAID}
_IN_PARAMETERS: Final = {word: f"%({word})s::{kind}" for word, kind in _SAID.items()}


def _keep(said: Mapping[str, str], source: str) -> str:
    """Return the part that writes the history. source: where `e`, the run that ended, is read."""
    listed = [word for word in said if word not in {"state", "status", "owner"}]
    return f"""
kept AS (
  INSERT INTO run_history (connection_id, run_seq, finished_at, state, worker_id, organization_id, vendor, trigger,
    scheduled_for, skipped_slots, cred_version, started_at, deadline_at, {", ".join(listed)})
  SELECT e.connection_id, e.run_seq, now(), {said["state"]}, e.worker_id, e.organization_id, e.vendor, e.trigger,
    e.scheduled_for, e.skipped_slots, e.cred_version, e.started_at, e.deadline_at,
    {", ".join(said[word] for word in listed)}
    FROM {source}
)"""  # noqa: S608 - put together from this module's constants


def _judge(said: Mapping[str, str], *, run_seq: str, cred_version: str, source: str) -> str:
    """Return the part that moves the health. run_seq, cred_version: the run's; source: what follows SET.

    Health follows the highest finished run only, and a deleted connection keeps the health it had. A change of name,
    reason or owner moves changed_seq, and with that the table itself writes its history and the event
    (models/tables.py).
    """
    name, is_healthy = said["name"], f"{said['name']} = '{HealthName.HEALTHY}'"
    changed = f"(h.name, h.reason, h.owner) IS DISTINCT FROM ({name}, {said['reason']}, {said['owner']})"
    copied = ", ".join(
        f"{word} = {said[word]}"
        for word in (
            "name", "status", "owner", "reason", "rule", "sentence", "next_step", "retry_at", "classifier_version",
            "details", "evidence", "data_types",
        )
    )  # fmt: skip
    return f"""
judged AS (
  UPDATE health h
     SET {copied},
         run_seq = {run_seq}, cred_version = {cred_version}, classified_at = now(),
         since = CASE WHEN h.name IS DISTINCT FROM {name} THEN now() ELSE h.since END,
         changed_seq = CASE WHEN {changed} THEN {run_seq} ELSE h.changed_seq END,
         previous_name = CASE WHEN {changed} THEN h.name ELSE h.previous_name END,
         previous_reason = CASE WHEN {changed} THEN h.reason ELSE h.previous_reason END,
         consecutive_failures = CASE WHEN {is_healthy} THEN 0 ELSE h.consecutive_failures + 1 END,
         first_failure_at = CASE WHEN NOT {is_healthy} AND h.consecutive_failures = 0 THEN now()
                                 ELSE h.first_failure_at END,
         last_failure_at = CASE WHEN NOT {is_healthy} THEN now() ELSE h.last_failure_at END,
         first_success_at = CASE WHEN {is_healthy} AND h.name IS DISTINCT FROM '{HealthName.HEALTHY}' THEN now()
                                 ELSE h.first_success_at END,
         last_success_at = CASE WHEN {is_healthy} THEN now() ELSE h.last_success_at END
   {source} AND h.run_seq < {run_seq} AND h.connection_state <> 'DELETED'
)"""  # noqa: S608 - put together from this module's constants


# The same for many runs: an array of ids keeps the planner from reading the whole table for them.
_OF_MANY: Final = "= ANY(ARRAY(SELECT connection_id FROM ended))"

_ENDED: Final = """r.connection_id, r.run_seq, r.worker_id, r.organization_id, r.vendor, r.trigger, r.scheduled_for,
            r.skipped_slots, r.cred_version, r.started_at, r.deadline_at"""

_BY_KEY: Final = "r.connection_id = %(connection_id)s AND r.run_seq = %(run_seq)s AND r.worker_id = %(worker_id)s"

# A pass that met everything as it was (`met`) is dated to the start of its run: nothing is said to have been seen later
# than it was, however long the other data types took.
_FINISH: Final = Statement(f"""
WITH ended AS (
  DELETE FROM run r WHERE {_BY_KEY}
  RETURNING {_ENDED}
), freed AS (
  UPDATE connection_sched s
     SET active_seq = NULL, crash_streak = 0,
         succeeded_seq = CASE WHEN %(state)s::text = 'SUCCEEDED' THEN s.active_seq ELSE s.succeeded_seq END,
         next_due_at = CASE WHEN s.requested_trigger IS NOT NULL THEN least(s.next_due_at, now())
                            ELSE COALESCE(now() + make_interval(secs => %(next_in_s)s::double precision), s.slot_at) END
   WHERE s.connection_id = %(connection_id)s AND s.active_seq = (SELECT e.run_seq FROM ended e)
), met AS (
  UPDATE cursor c
     SET last_pass_at = greatest(c.last_pass_at, (SELECT e.started_at FROM ended e)), last_pass_seq = %(run_seq)s,
         pass_digest_seq = %(run_seq)s
   WHERE c.connection_id = (SELECT e.connection_id FROM ended e) AND c.data_type = ANY(%(met_unchanged)s::text[])
), {_keep(_IN_PARAMETERS, "ended e")}, {
    _judge(
        _IN_PARAMETERS,
        run_seq="%(run_seq)s",
        cred_version="(SELECT e.cred_version FROM ended e)",
        source="WHERE h.connection_id = (SELECT e.connection_id FROM ended e)",
    )
}
SELECT FROM ended""")  # noqa: S608 - put together from this module's constants

# A repeated finish of our own, after an unknown COMMIT, is no late result.
_LATE: Final = Statement("""
UPDATE run_history SET late_result = %(late_result)s::jsonb
 WHERE connection_id = %(connection_id)s AND run_seq = %(run_seq)s AND late_result IS NULL
   AND (worker_id <> %(worker_id)s OR state NOT IN ('SUCCEEDED', 'FAILED'))""")


def finish(db: Connection[Any], key: RunKey, result: FinishedRun) -> bool:
    """End the run with its verdict: schedule, history, health, change and event in one statement.

    False: the run is no longer ours (or was ended before), and nothing was changed; what came of it is kept in
    `late_result`. After a COMMIT whose answer was lost, repeat it: `ended_as` tells which of the two calls did it.
    """
    params = _finish_params(key, result)
    if row(db, _FINISH, params) is not None:
        return True
    affected(db, _LATE, {**params, "late_result": stored(asdict(result))})
    return False


def _finish_params(key: RunKey, result: FinishedRun) -> dict[str, Any]:
    if result.state not in (RunState.SUCCEEDED, RunState.FAILED):
        raise ValueError(f"a run finishes as SUCCEEDED or FAILED, not as {result.state}: use interrupt or cancel")
    wait_s = result.next_in_s
    if wait_s is not None and not wait_s >= 0:  # NaN as well
        raise ValueError(f"next_in_s is to be a number of seconds from now, not {wait_s}")
    return {
        "connection_id": key.connection_id,
        "run_seq": key.run_seq,
        "worker_id": key.worker_id,
        "state": result.state.value,
        "name": result.name.value,
        "status": status_of(result.name).value,
        "owner": OWNER[result.name].value,
        "reason": clean_text(result.reason),
        "rule": clean_text(result.rule),
        "sentence": clean_text(result.sentence),
        "next_step": clean_text(result.next_step),
        "retry_at": result.retry_at,
        "classifier_version": result.classifier_version,
        "details": stored(result.details) if result.details else None,
        "evidence": stored(result.evidence),
        "data_types": stored(result.data_types) if result.data_types else None,
        "exchanges": stored(result.exchanges) if result.exchanges else None,
        "requests": result.requests,
        "records_new": result.records_new,
        "records_changed": result.records_changed,
        "records_unchanged": result.records_unchanged,
        "records_skipped": result.records_skipped,
        "next_in_s": None if wait_s is None else min(float(wait_s), LONGEST_WAIT_S),
        "met_unchanged": list(result.met_unchanged),
    }


def _stop(which: str) -> Statement:
    """Return the statement that ends runs without a verdict: health and streaks stay as they are."""
    return Statement(f"""
WITH ended AS (
  DELETE FROM run r WHERE {which}
  RETURNING {_ENDED}
), freed AS (
  UPDATE connection_sched s
     SET active_seq = NULL, hinted_at = NULL,
         requested_trigger = CASE WHEN %(due_at_once)s THEN COALESCE(s.requested_trigger, 'RECOVERY')
                                  ELSE s.requested_trigger END,
         next_due_at = CASE WHEN %(due_at_once)s OR s.requested_trigger IS NOT NULL THEN least(s.next_due_at, now())
                            ELSE s.slot_at END
    FROM ended e
   WHERE s.connection_id {_OF_MANY} AND s.connection_id = e.connection_id AND s.active_seq = e.run_seq
), kept AS (
  INSERT INTO run_history (connection_id, run_seq, finished_at, state, worker_id, organization_id, vendor, trigger,
    scheduled_for, skipped_slots, cred_version, started_at, deadline_at, reason)
  SELECT e.connection_id, e.run_seq, now(), %(state)s, e.worker_id, e.organization_id, e.vendor, e.trigger,
    e.scheduled_for, e.skipped_slots, e.cred_version, e.started_at, e.deadline_at, %(reason)s
    FROM ended e
)
SELECT count(*) FROM ended""")  # noqa: S608 - put together from this module's constants


_INTERRUPT: Final = _stop(_BY_KEY)
_INTERRUPT_WORKER: Final = _stop("r.worker_id = %(worker_id)s")
_CANCEL: Final = _stop("r.connection_id = %(connection_id)s AND r.run_seq = %(run_seq)s")


def interrupt(db: Connection[Any], key: RunKey, *, reason: str, due_at_once: bool = True) -> bool:
    """End the run as INTERRUPTED: we stopped it, it says nothing of the connection. False: it was not ours any more."""
    return _stopped(db, _INTERRUPT, {"reason": clean_text(reason), "due_at_once": due_at_once, **_of(key)}) > 0


def interrupt_worker(db: Connection[Any], worker_id: UUID, *, reason: str) -> int:
    """End every run of a worker as INTERRUPTED and make its connections due at once. Returns how many there were."""
    return _stopped(db, _INTERRUPT_WORKER, {"worker_id": worker_id, "reason": clean_text(reason), "due_at_once": True})


def cancel(db: Connection[Any], connection_id: UUID, run_seq: int) -> bool:
    """End a run as CANCELLED because a person says so: the connection waits for its slot, or for a pending trigger.

    The worker learns of it by is_current. False: that run is not on.
    """
    params = {
        "connection_id": connection_id,
        "run_seq": run_seq,
        "reason": "cancelled",
        "due_at_once": False,
        "state": RunState.CANCELLED.value,
    }
    return _stopped(db, _CANCEL, params) > 0


def _stopped(db: Connection[Any], statement: Statement, params: Mapping[str, Any]) -> int:
    found = row(db, statement, {"state": RunState.INTERRUPTED.value, **params})
    return int(found[0]) if found else 0


def _of(key: RunKey) -> dict[str, Any]:
    return {"connection_id": key.connection_id, "run_seq": key.run_seq, "worker_id": key.worker_id}


# A budget counts as spent where the worker's lease reached to its end: had the worker died before, it is lost.
_REAP: Final = Statement(f"""
WITH lost AS MATERIALIZED (
  SELECT g.connection_id, g.run_seq, least(now(), w.lease_until) >= g.deadline_at - interval '{GRACE_S} s' AS spent
    FROM worker w CROSS JOIN LATERAL (
      SELECT r.connection_id, r.run_seq, r.deadline_at FROM run r
       WHERE r.worker_id = w.worker_id AND (w.lease_until <= now() OR r.deadline_at <= now())
       LIMIT %(limit)s FOR UPDATE OF r SKIP LOCKED) g
   WHERE %(reaper)s::uuid IS NULL OR EXISTS (
     SELECT FROM worker m WHERE m.worker_id = %(reaper)s::uuid AND m.retired_at IS NULL
        AND m.lease_until > now() + make_interval(secs => %(held_for_s)s))
   LIMIT %(limit)s
), ended AS (
  DELETE FROM run r USING lost l WHERE r.connection_id = l.connection_id AND r.run_seq = l.run_seq
  RETURNING {_ENDED}, l.spent
), freed AS (
  UPDATE connection_sched s
     SET active_seq = NULL, hinted_at = NULL, crash_streak = s.crash_streak + 1,
         requested_trigger = CASE WHEN s.crash_streak < {RETRIES_OF_LOST} THEN COALESCE(s.requested_trigger, 'RECOVERY')
                                  ELSE s.requested_trigger END,
         next_due_at = CASE WHEN s.crash_streak < {RETRIES_OF_LOST} OR s.requested_trigger IS NOT NULL
                            THEN least(s.next_due_at, now())
                            WHEN s.refresh_interval_secs < {QUARANTINE_S}
                            THEN greatest(s.slot_at, now() + interval '{QUARANTINE_S} s')
                            ELSE s.slot_at END
    FROM ended e
   WHERE s.connection_id {_OF_MANY} AND s.connection_id = e.connection_id AND s.active_seq = e.run_seq
  RETURNING s.connection_id, s.crash_streak
), verdict AS (
  SELECT e.connection_id, 'LOST'::text AS state,
    CASE WHEN e.spent THEN '{HealthName.EXECUTION_TIMEOUT}' ELSE '{HealthName.INTERNAL_ERROR}' END AS name,
    '{status_of(HealthName.INTERNAL_ERROR)}'::text AS status, '{OWNER[HealthName.INTERNAL_ERROR]}'::text AS owner,
    CASE WHEN e.spent THEN '{BUDGET_SPENT}' ELSE '{WORKER_LOST}' END AS reason,
    CASE WHEN e.spent THEN 'own.{BUDGET_SPENT}' ELSE 'own.{WORKER_LOST}' END AS rule,
    CASE WHEN e.spent
         THEN 'The run had not ended ' || round(extract(epoch FROM now() - e.started_at)) || ' s after its start, and '
              || 'its time budget was spent'
         ELSE 'The worker died in the middle of the run, '
              || round(extract(epoch FROM now() - e.started_at)) || ' s after its start at the latest' END
      || CASE WHEN f.crash_streak > 1 THEN '; ' || f.crash_streak || ' runs in a row ended so' ELSE '' END
      || CASE WHEN f.crash_streak > {RETRIES_OF_LOST} THEN '. It is not tried again before its regular time.'
              ELSE '. It is tried again at once.' END AS sentence,
    CASE WHEN e.spent THEN 'Raise the connection''s timeout, or look at the log of the worker for what held the run.'
         ELSE 'Look at the log of the worker for why it died.' END AS next_step,
    NULL::timestamptz AS retry_at, ''::text AS classifier_version,
    jsonb_build_array() AS details,
    jsonb_build_object('worker_id', e.worker_id, 'started_at', e.started_at, 'deadline_at', e.deadline_at,
                       'crash_streak', f.crash_streak) AS evidence,
    NULL::jsonb AS data_types, NULL::jsonb AS exchanges, 0 AS requests, 0 AS records_new, 0 AS records_changed,
    0 AS records_unchanged, 0 AS records_skipped, f.crash_streak
    FROM ended e JOIN freed f ON f.connection_id = e.connection_id
), {_keep(_IN_COLUMNS, "ended e JOIN verdict v ON v.connection_id = e.connection_id")}, {
    _judge(
        _IN_COLUMNS,
        run_seq="e.run_seq",
        cred_version="e.cred_version",
        source=f'''FROM ended e JOIN verdict v ON v.connection_id = e.connection_id
   WHERE h.connection_id {_OF_MANY} AND h.connection_id = e.connection_id''',
    )
}
SELECT e.connection_id, e.run_seq, v.name, v.reason, v.crash_streak
  FROM ended e JOIN verdict v ON v.connection_id = e.connection_id""")  # noqa: S608 - constants of this module


def reap(
    db: Connection[Any], *, limit: int = 500, reaper: UUID | None = None, held_for_s: float = 0.0
) -> list[ReapedRun]:
    """End up to `limit` runs whose worker's lease or whose own deadline has passed, as LOST. Safe to run anywhere.

    Their connections are due at once, RETRIES_OF_LOST times in a row at most; after that they wait for their slot, and
    for QUARANTINE_S at the least.
    reaper: who asks; it ends nothing where that worker's own lease does not last for held_for_s more. A statement that
    waited in a server that was frozen would else find every lease ended, of the living too.
    """
    params = {"limit": limit, "reaper": reaper, "held_for_s": held_for_s}
    return [
        ReapedRun(
            connection_id=connection_id, run_seq=run_seq, name=HealthName(name), reason=reason, crash_streak=streak
        )
        for connection_id, run_seq, name, reason, streak in rows(db, _REAP, params)
    ]


_IS_CURRENT: Final = Statement(f"SELECT EXISTS (SELECT FROM run r WHERE {_BY_KEY})")  # noqa: S608 - constants


def is_current(db: Connection[Any], key: RunKey) -> bool:
    """Whether the run is still ours: not reaped, not cancelled, not ended."""
    found = row(db, _IS_CURRENT, _of(key))
    return bool(found and found[0])


def running_of(db: Connection[Any], worker_id: UUID) -> frozenset[RunKey]:
    """Return the runs that a worker still holds: whatever else it is doing has been taken from it."""
    found = rows(db, b"SELECT connection_id, run_seq FROM run WHERE worker_id = %s", (worker_id,))
    return frozenset(RunKey(connection_id=one, run_seq=seq, worker_id=worker_id) for one, seq in found)


def clock_s(db: Connection[Any]) -> float:
    """Return the database's clock in seconds since 1970, to be compared with itself over time."""
    return float(rows(db, b"SELECT extract(epoch FROM clock_timestamp())::double precision")[0][0])


_ENDED_AS: Final = Statement("""
SELECT state FROM run_history
 WHERE connection_id = %(connection_id)s AND run_seq = %(run_seq)s AND worker_id = %(worker_id)s""")


def ended_as(db: Connection[Any], key: RunKey) -> RunState | None:
    """Return the state in which a run of ours ended, or None where it has not: what an unknown COMMIT came to."""
    found = row(db, _ENDED_AS, _of(key))
    return None if found is None else RunState(found[0])


def register_worker(db: Connection[Any], worker_id: UUID, *, host: str, pid: int, lease_s: float) -> None:
    """Make a worker known. worker_id: new at each start of a process tree, never used again."""
    affected(
        db,
        b"INSERT INTO worker (worker_id, host, pid, lease_until) "
        b"VALUES (%s, %s, %s, now() + make_interval(secs => %s))",
        (worker_id, clean_text(host), pid, lease_s),
    )


def renew_lease(db: Connection[Any], worker_id: UUID, *, lease_s: float) -> bool:
    """Move the end of the lease. False: it has run out or was given back, and the worker must stop everything."""
    return (
        affected(
            db,
            b"UPDATE worker SET lease_until = now() + make_interval(secs => %s) "
            b"WHERE worker_id = %s AND lease_until > now() AND retired_at IS NULL",
            (lease_s, worker_id),
        )
        > 0
    )


def shorten_leases(db: Connection[Any], *, to_s: float) -> int:
    """Shorten leases that last longer than any that was just renewed: the server's clock was put back.

    The living renew theirs; the dead would else not be noticed before the old time is reached again.
    """
    return affected(
        db,
        b"UPDATE worker SET lease_until = now() + make_interval(secs => %s) "
        b"WHERE lease_until > now() + make_interval(secs => %s) AND retired_at IS NULL",
        (to_s, 2 * to_s),
    )


def retire_worker(db: Connection[Any], worker_id: UUID) -> None:
    """Give the lease back. Runs that it still holds are reaped at the next sweep: interrupt them first."""
    affected(
        db,
        b"UPDATE worker SET retired_at = now(), lease_until = least(lease_until, now()) "
        b"WHERE worker_id = %s AND retired_at IS NULL",
        (worker_id,),
    )


_STATS: Final = Statement(f"""
SELECT due.count, COALESCE(extract(epoch FROM now() - due.oldest), 0)::double precision,
       running.count, COALESCE(extract(epoch FROM now() - running.oldest), 0)::double precision,
       (SELECT count(*) FROM worker WHERE lease_until > now() AND retired_at IS NULL),
       (SELECT COALESCE(sum(value), 0)::bigint FROM tally WHERE name = 'skipped_slots')
  FROM (SELECT COALESCE(sum(d.count), 0)::bigint AS count, min(d.oldest) AS oldest
          FROM vendor_limit l CROSS JOIN LATERAL (
            SELECT count(*) AS count, min(s.next_due_at) AS oldest FROM connection_sched s WHERE {_CLAIMABLE}) d) due,
       (SELECT count(*) AS count, min(started_at) AS oldest FROM run) running""")  # noqa: S608 - constants


def queue_stats(db: Connection[Any]) -> QueueStats:
    """Count what is due, what runs, and what was skipped. Due counts paused vendors' connections too."""
    found = row(db, _STATS)
    assert found is not None  # noqa: S101 - an aggregate without GROUP BY has one row
    due, oldest_due_s, running, oldest_running_s, workers, skipped = found
    return QueueStats(
        due=due,
        oldest_due_s=oldest_due_s,
        running=running,
        oldest_running_s=oldest_running_s,
        workers=workers,
        skipped_slots_total=skipped,
    )


_SEALED: Final = b"SELECT key_id, sealed FROM credential WHERE connection_id = %s AND kind = 'credentials'"


def _claimed(db: Connection[Any], found: tuple[Any, ...], worker_id: UUID) -> ClaimedRun:
    name = found[13]
    known = found[18] or {}
    sealed = found[16:18]
    if found[4] == Trigger.CREDENTIALS:
        # The schedule's row is read as it is once it is locked, all else as it was when the statement began. Had they
        # been replaced in between, the old credentials would be tried, and blamed, as the new.
        sealed = row(db, _SEALED, (found[0],)) or (None, None)
    return ClaimedRun(
        key=RunKey(connection_id=found[0], run_seq=found[1], worker_id=worker_id),
        organization_id=found[2],
        vendor=found[3],
        trigger=Trigger(found[4]),
        scheduled_for=found[5],
        skipped_slots=found[6],
        cred_version=found[7],
        timeout_secs=found[8],
        refresh_interval_secs=found[9],
        options=found[10],
        started_at=found[11],
        deadline_at=found[12],
        health_name=None if name is None else HealthName(name),
        health_reason=found[14],
        consecutive_failures=found[15],
        sealed=None if sealed[0] is None else Sealed(key_id=sealed[0], data=bytes(sealed[1])),
        cursors={data_type: state for data_type, (state, _) in known.items() if state is not None},
        passes={data_type: bytes.fromhex(digest) for data_type, (_, digest) in known.items() if digest is not None},
    )
