"""What is made ahead and what is dropped in time. Safe to run anywhere, any number of times, beside running workers."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from psycopg import Connection, sql
from psycopg.errors import LockNotAvailable

from models.database import affected, atomic, row, rows

_LOCK: Final = 7_034_612_940_116
_PREFIX: Final = "run_history_"
_BATCH: Final = 10_000
_MOST_BATCHES: Final = 20
EVENT_DAYS: Final = 7
WORKER_DAYS: Final = 2
OVER_DAYS: Final = 30
"""Somebody may ask what became of an invitation; the audit remembers longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What one purge dropped.

    partitions: days of run_history; postponed: days that somebody was reading, for the next time; the rest: rows.
    more: something is left over because one purge does only so much.
    """

    partitions: tuple[date, ...] = ()
    postponed: tuple[date, ...] = ()
    strays: int = 0
    changes: int = 0
    events: int = 0
    workers: int = 0
    records: int = 0
    requests: int = 0
    invites: int = 0
    attempts: int = 0
    entries: int = 0
    more: bool = False


def ensure_partitions(db: Connection[Any], days_ahead: int = 7) -> list[date]:
    """Make the partitions of run_history from yesterday to so many days ahead, and return the days that were made.

    Rows that had to go to the default partition meanwhile are moved to where they belong. Waits for a lock for 2 s at
    most; a day that cannot be made now is made by the next call, and until then its rows go to the default partition.
    """
    with atomic(db):
        if not _alone(db):
            return []
        today = _today(db)
        there = {day for day, _ in _days(db)}
        wanted = [today + timedelta(days=ahead) for ahead in range(-1, days_ahead + 1)]
        return [day for day in wanted if day not in there and _make(db, day)]


def purge(db: Connection[Any], *, run_days: int = 30, history_days: int = 400) -> Purged:
    """Drop runs older than run_days; changes of health, deleted connections and the audit older than history_days.

    Health is left alone: it carries its own evidence, and the change that it stands on is kept. Events go after
    EVENT_DAYS, workers that have gone after WORKER_DAYS, answers for requests that are sent again after a day,
    invitations and consents that are over after OVER_DAYS. Call it again while `more` is set.
    """
    if run_days < 1 or history_days < 1:
        raise ValueError(f"at least one day is kept, not run_days={run_days}, history_days={history_days}")
    with atomic(db):
        if not _alone(db):
            return Purged()
        counted = {
            "strays": _in_batches(db, _STRAYS, run_days),
            "changes": _in_batches(db, _CHANGES, history_days),
            "events": _in_batches(db, _EVENTS, EVENT_DAYS),
            "workers": _in_batches(db, _WORKERS, WORKER_DAYS),
            "records": _in_batches(db, _RECORDS, history_days),
            "requests": _in_batches(db, _REQUESTS, 1),
            "invites": _in_batches(db, _INVITES, OVER_DAYS),
            "attempts": _in_batches(db, _ATTEMPTS, OVER_DAYS),
            "entries": _in_batches(db, _ENTRIES, history_days),
        }
        for statement in _REMAINS:
            _in_batches(db, statement, history_days)
        # Last, for it locks out everybody until the end of the transaction.
        dropped, postponed = _drop_before(db, _today(db) - timedelta(days=run_days))
    return Purged(
        partitions=tuple(dropped),
        postponed=tuple(postponed),
        more=any(count >= _BATCH * _MOST_BATCHES for count in counted.values()),
        **counted,
    )


def days(db: Connection[Any]) -> tuple[date, tuple[date, ...]]:
    """Return today, by the server's clock and UTC, and the days that run_history has a partition for, oldest first."""
    return _today(db), tuple(day for day, _ in _days(db))


def _alone(db: Connection[Any]) -> bool:
    found = row(db, b"SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,))
    return bool(found and found[0])


def _today(db: Connection[Any]) -> date:
    found = row(db, b"SELECT (now() AT TIME ZONE 'UTC')::date")
    assert found is not None  # noqa: S101 - one row
    today: date = found[0]
    return today


def _days(db: Connection[Any]) -> list[tuple[date, str]]:
    found = rows(
        db,
        b"SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        b"WHERE i.inhparent = 'run_history'::regclass ORDER BY c.relname",
    )
    names = [name for (name,) in found if name.removeprefix(_PREFIX).isdecimal()]
    return [
        (datetime.strptime(name.removeprefix(_PREFIX), "%Y%m%d").replace(tzinfo=UTC).date(), name) for name in names
    ]


def _make(db: Connection[Any], day: date) -> bool:
    name = sql.Identifier(f"{_PREFIX}{day:%Y%m%d}")
    bounds = {
        "name": name,
        "low": sql.Literal(f"{day} 00:00:00+00"),
        "high": sql.Literal(f"{day + timedelta(days=1)} 00:00:00+00"),
    }
    try:
        with db.transaction():
            db.execute("SET LOCAL lock_timeout = '2s'")
            db.execute(
                sql.SQL("CREATE TABLE {name} (LIKE run_history INCLUDING DEFAULTS INCLUDING CONSTRAINTS)").format(
                    **bounds
                )
            )
            # ATTACH lets readers and writers of the other days go on; CREATE … PARTITION OF would stop them all.
            db.execute("LOCK TABLE run_history_default IN ACCESS EXCLUSIVE MODE")
            db.execute(
                sql.SQL(
                    "WITH moved AS (DELETE FROM run_history_default "
                    "WHERE finished_at >= {low} AND finished_at < {high} RETURNING *) "
                    "INSERT INTO {name} SELECT * FROM moved"
                ).format(**bounds)
            )
            db.execute(
                sql.SQL("ALTER TABLE run_history ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})").format(
                    **bounds
                )
            )
    except LockNotAvailable:
        return False
    return True


def _drop_before(db: Connection[Any], oldest: date) -> tuple[list[date], list[date]]:
    dropped: list[date] = []
    postponed: list[date] = []
    for day, name in _days(db):
        if day >= oldest:
            continue
        try:
            with db.transaction():
                db.execute("SET LOCAL lock_timeout = '2s'")
                db.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
            dropped.append(day)
        except LockNotAvailable:
            postponed.append(day)
    return dropped, postponed


def _in_batches(db: Connection[Any], statement: bytes, days: int) -> int:
    total = 0
    for _ in range(_MOST_BATCHES):
        gone = affected(db, statement, {"days": days, "batch": _BATCH})
        total += gone
        if gone < _BATCH:
            break
    return total


_AGE: Final = b"now() - make_interval(days => %(days)s)"
_STRAYS: Final = (
    b"DELETE FROM run_history_default WHERE ctid = ANY(ARRAY(SELECT ctid FROM run_history_default "
    b"WHERE finished_at < " + _AGE + b" LIMIT %(batch)s))"
)
_CHANGES: Final = (
    b"DELETE FROM health_history WHERE ctid = ANY(ARRAY(SELECT c.ctid FROM health_history c "
    b"JOIN health h ON h.connection_id = c.connection_id AND h.changed_seq > c.run_seq "
    b"WHERE c.changed_at < " + _AGE + b" LIMIT %(batch)s))"
)
# Those that nobody took in all that time go as well: what they tell stands in health_history.
_EVENTS: Final = (
    b"DELETE FROM event WHERE ctid = ANY(ARRAY("
    b"(SELECT ctid FROM event WHERE delivered_at < " + _AGE + b" LIMIT %(batch)s) UNION ALL "
    b"(SELECT ctid FROM event WHERE delivered_at IS NULL AND next_attempt_at < " + _AGE + b" LIMIT %(batch)s)))"
)
_WORKERS: Final = (
    b"DELETE FROM worker w WHERE w.ctid = ANY(ARRAY(SELECT ctid FROM worker WHERE lease_until < " + _AGE + b" "
    b"LIMIT %(batch)s)) AND NOT EXISTS (SELECT FROM run r WHERE r.worker_id = w.worker_id)"
)
_DELETED: Final = b"(SELECT connection_id FROM connection WHERE deleted_at < " + _AGE + b")"
# By key, not by ctid: the same place in two partitions is two rows.
_RECORDS: Final = (
    b"DELETE FROM record r USING (SELECT connection_id, data_type, record_id FROM record WHERE connection_id IN "
    + _DELETED
    + b" LIMIT %(batch)s) g WHERE r.connection_id = g.connection_id AND r.data_type = g.data_type "
    b"AND r.record_id = g.record_id"
)
# models.repeatables keeps an answer for KEPT_HOURS, which is a day; what is still on is taken over long before.
_REQUESTS: Final = (
    b"DELETE FROM repeatable_request WHERE ctid = ANY(ARRAY(SELECT ctid FROM repeatable_request "
    b"WHERE created_at < " + _AGE + b" LIMIT %(batch)s))"
)
_INVITES: Final = (
    b"DELETE FROM invite WHERE ctid = ANY(ARRAY(SELECT ctid FROM invite WHERE expires_at < "
    + _AGE
    + b" LIMIT %(batch)s))"
)
_ATTEMPTS: Final = (
    b"DELETE FROM authorization_attempt WHERE ctid = ANY(ARRAY(SELECT ctid FROM authorization_attempt "
    b"WHERE expires_at < " + _AGE + b" LIMIT %(batch)s))"
)
_ENTRIES: Final = (
    b"DELETE FROM audit_entry WHERE ctid = ANY(ARRAY(SELECT ctid FROM audit_entry WHERE happened_at < "
    + _AGE
    + b" LIMIT %(batch)s))"
)
_REMAINS: Final = tuple(
    b"DELETE FROM " + table + b" WHERE connection_id IN " + _DELETED
    for table in (b"cursor", b"sighting", b"credential")
)
"""A deleted connection's own row, its health and its changes stay: a handful of bytes, and somebody may ask."""
