"""What can be seen of the whole from the database: named queries that change nothing.

Each one walks an index and stops, so that it is as cheap at a million connections as at ten: counts end at COUNTED, and
a backlog is looked at by its oldest rows. Whoever asks takes a connection of its own (`probing`), which is cut when its
time is over, so that a server that hangs hangs nobody.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import Connection

from models import retention
from models.database import Statement, driver_url, refuse_unreadable, row, rows, unreachable

COUNTED: Final = 1000
"""Counts end here: "1,000 or more" says as much as the exact figure, and costs nothing at a million."""

_LISTED: Final = 10
_SHORTEST_CONNECT_S: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """The server and its load.

    version: major; settings: those that our guarantees rest on, by name; connections: open ones of all databases;
    connections_most: how many a role without privileges may open; oldest_transaction_s: of those that we may see;
    data_directory: None where our role may not see it.
    """

    version: int
    is_standby: bool
    settings: Mapping[str, str]
    connections: int
    connections_most: int
    oldest_transaction_s: float
    database_bytes: int
    data_directory: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorQueue:
    """What one vendor's connections wait for.

    due: up to COUNTED; oldest_s: how long the first of them has been due; unhinted_s: how long the first one has been
    due that nobody was sent a hint for lately, among the oldest COUNTED; both 0 where there is none.
    paused_s: until when no run of the vendor begins, 0 where it is not paused.
    """

    vendor: str
    max_inflight: int | None
    paused_s: float
    running: int
    due: int
    oldest_s: float
    unhinted_s: float

    @property
    def is_open(self) -> bool:
        """Whether a run of it could begin now."""
        return not self.paused_s and (self.max_inflight is None or self.running < self.max_inflight)


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckRun:
    """A run that should have been ended by now. why: `deadline` or `lease` has passed, or its `worker` is not known."""

    connection_id: UUID
    run_seq: int
    running_s: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningFacts:
    """The runs that are on. stuck: up to ten, oldest first; orphans: connections held by a run that is not there."""

    running: int
    oldest_s: float
    stuck_count: int
    stuck: tuple[StuckRun, ...]
    orphans: tuple[UUID, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """A worker's lease. left_s: below 0 where it has ended; is_back: the same process holds another one since."""

    worker_id: UUID
    host: str
    pid: int
    age_s: float
    left_s: float
    runs: int
    is_back: bool

    @property
    def is_alive(self) -> bool:
        """Whether its lease holds."""
        return self.left_s > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """A vault key that rows are sealed with, and one of them. count: up to COUNTED."""

    key_id: str
    count: int
    connection_id: UUID
    kind: str
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryFacts:
    """The partitions of run_history. strays: some runs lie outside all days. today: by the server's clock, UTC."""

    today: date
    days: tuple[date, ...]
    strays: bool


@contextmanager
def probing(url: str, *, within_s: float) -> Iterator[Connection[Any]]:
    """Lend a connection of one's own, on which every statement is a transaction, for so long at most.

    When the time is over its socket is shut, whatever the server does meanwhile (a frozen one takes a connection and
    never answers). Raises DatabaseUnreachableError; psycopg.Error where a statement failed or was cut.
    """
    wait_ms = max(1, round(within_s * 1000))
    options = (
        f"-c statement_timeout={wait_ms} -c lock_timeout={wait_ms} -c timezone=UTC -c jit=off -c enable_seqscan=off "
        "-c plan_cache_mode=force_generic_plan"
    )
    refuse_unreadable(url)
    try:
        opened: Connection[Any] = psycopg.connect(
            driver_url(url),
            autocommit=True,
            connect_timeout=max(_SHORTEST_CONNECT_S, round(within_s)),
            application_name="connection-health checks",
            options=options,
        )
    except psycopg.Error as error:
        raise unreachable(url, _first_line(error)) from error
    cutting = threading.Timer(within_s, _cut, [opened])
    cutting.daemon = True
    cutting.start()
    try:
        yield opened
    finally:
        cutting.cancel()
        opened.close()


def _cut(opened: Connection[Any]) -> None:
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(opened.fileno())) as twin:
        twin.shutdown(socket.SHUT_RDWR)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def revision(db: Connection[Any]) -> str | None:
    """Return the revision of the tables, or None where there are none of ours."""
    there = rows(db, b"SELECT to_regclass('alembic_version') IS NOT NULL")
    if not there[0][0]:
        return None
    found = row(db, b"SELECT version_num FROM alembic_version")
    return None if found is None else str(found[0])


_SETTINGS: Final = (
    "autovacuum",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "track_counts",
)

# numbackends may be read by everybody; of pg_stat_activity a role without privileges sees its own sessions.
_SERVER: Final = Statement("""
SELECT current_setting('server_version_num')::integer / 10000, pg_is_in_recovery(),
       (SELECT jsonb_object_agg(name, setting) FROM pg_settings WHERE name = ANY(%(settings)s::text[])),
       (SELECT COALESCE(sum(numbackends), 0)::integer FROM pg_stat_database),
       current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
         - COALESCE(current_setting('reserved_connections', TRUE), '0')::integer,
       (SELECT COALESCE(max(extract(epoch FROM clock_timestamp() - a.xact_start)), 0)::double precision
          FROM pg_stat_activity a
         WHERE a.pid <> pg_backend_pid() AND a.datname = current_database() AND a.backend_type = 'client backend'),
       pg_database_size(current_database()),
       (SELECT setting FROM pg_settings WHERE name = 'data_directory')""")


def server_facts(db: Connection[Any]) -> ServerFacts:
    """Return what the server says of itself."""
    found = rows(db, _SERVER, {"settings": list(_SETTINGS)})[0]
    return ServerFacts(
        version=found[0],
        is_standby=found[1],
        settings=found[2] or {},
        connections=found[3],
        connections_most=found[4],
        oldest_transaction_s=found[5],
        database_bytes=found[6],
        data_directory=found[7],
    )


# The index on what is due is walked from its oldest row on, in each vendor by itself, and never further than `most`.
_QUEUES: Final = Statement("""
SELECT l.vendor, l.max_inflight, greatest(COALESCE(extract(epoch FROM l.paused_until - now()), 0), 0)::double precision,
       (SELECT count(*) FROM run r WHERE r.vendor = l.vendor),
       d.count, COALESCE(extract(epoch FROM now() - d.oldest), 0)::double precision,
       COALESCE(extract(epoch FROM now() - d.unhinted), 0)::double precision
  FROM vendor_limit l CROSS JOIN LATERAL (
    SELECT count(*) AS count, min(x.next_due_at) AS oldest,
           min(x.next_due_at) FILTER (WHERE x.hinted_at IS NULL
             OR x.hinted_at < now() - make_interval(secs => %(rehint_after_s)s)) AS unhinted
      FROM (SELECT s.next_due_at, s.hinted_at FROM connection_sched s
             WHERE s.vendor = l.vendor AND s.enabled AND s.active_seq IS NULL AND s.next_due_at <= now()
             ORDER BY s.next_due_at LIMIT %(most)s) x) d
 ORDER BY l.vendor""")


def vendor_queues(db: Connection[Any], *, rehint_after_s: float) -> list[VendorQueue]:
    """Return what waits, for every vendor that has or had connections."""
    return [
        VendorQueue(
            vendor=vendor,
            max_inflight=most,
            paused_s=paused_s,
            running=running,
            due=due,
            oldest_s=oldest_s,
            unhinted_s=unhinted_s,
        )
        for vendor, most, paused_s, running, due, oldest_s, unhinted_s in rows(
            db, _QUEUES, {"rehint_after_s": rehint_after_s, "most": COUNTED}
        )
    ]


_RUNNING: Final = b"SELECT count(*), COALESCE(extract(epoch FROM now() - min(started_at)), 0)::float8 FROM run"

_STUCK: Final = Statement("""
SELECT r.connection_id, r.run_seq, extract(epoch FROM now() - r.started_at)::double precision,
       CASE WHEN w.worker_id IS NULL THEN 'worker' WHEN w.lease_until <= now() THEN 'lease' ELSE 'deadline' END,
       count(*) OVER ()
  FROM run r LEFT JOIN worker w ON w.worker_id = r.worker_id
 WHERE w.worker_id IS NULL
    OR least(r.deadline_at, w.lease_until) < now() - make_interval(secs => %(patience_s)s)
 ORDER BY r.started_at LIMIT %(listed)s""")

# A connection that is held is due again at its next slot and not taken, so it comes to stand among the oldest.
_ORPHANS: Final = Statement("""
SELECT o.connection_id FROM vendor_limit l CROSS JOIN LATERAL (
  SELECT x.connection_id FROM (
    SELECT s.connection_id, s.active_seq FROM connection_sched s
     WHERE s.vendor = l.vendor AND s.enabled AND s.next_due_at < now() - make_interval(secs => %(patience_s)s)
     ORDER BY s.next_due_at LIMIT %(most)s) x
   WHERE x.active_seq IS NOT NULL
     AND (SELECT r.run_seq FROM run r WHERE r.connection_id = x.connection_id LIMIT 1) IS DISTINCT FROM x.active_seq) o
 LIMIT %(listed)s""")


def running_facts(db: Connection[Any], *, patience_s: float) -> RunningFacts:
    """Return what runs, and what should have been ended by a reaper more than patience_s ago."""
    running, oldest_s = rows(db, _RUNNING)[0]
    params = {"patience_s": patience_s, "listed": _LISTED, "most": COUNTED}
    stuck = rows(db, _STUCK, params)
    return RunningFacts(
        running=running,
        oldest_s=oldest_s,
        stuck_count=stuck[0][4] if stuck else 0,
        stuck=tuple(
            StuckRun(connection_id=connection_id, run_seq=run_seq, running_s=running_s, why=why)
            for connection_id, run_seq, running_s, why, _count in stuck
        ),
        orphans=tuple(connection_id for (connection_id,) in rows(db, _ORPHANS, params)),
    )


_WORKERS: Final = Statement("""
SELECT w.worker_id, w.host, w.pid, extract(epoch FROM now() - w.started_at)::double precision,
       extract(epoch FROM w.lease_until - now())::double precision,
       (SELECT count(*) FROM run r WHERE r.worker_id = w.worker_id),
       EXISTS (SELECT FROM worker o WHERE o.host = w.host AND o.pid = w.pid AND o.worker_id <> w.worker_id
                AND o.started_at > w.started_at AND o.lease_until > now())
  FROM worker w
 WHERE w.retired_at IS NULL AND w.lease_until > now() - make_interval(secs => %(lapsed_s)s)
 ORDER BY w.host, w.pid, w.started_at""")


def worker_facts(db: Connection[Any], *, lapsed_s: float) -> list[WorkerFacts]:
    """Return the workers that hold a lease, and those whose lease ended within the last lapsed_s without a farewell."""
    return [
        WorkerFacts(worker_id=worker_id, host=host, pid=pid, age_s=age_s, left_s=left_s, runs=held, is_back=is_back)
        for worker_id, host, pid, age_s, left_s, held, is_back in rows(db, _WORKERS, {"lapsed_s": lapsed_s})
    ]


# From one key id to the next along the index: there are a handful of keys and a million rows.
_KEYS: Final = Statement("""
WITH RECURSIVE used (key_id) AS (
  (SELECT key_id FROM credential ORDER BY key_id LIMIT 1)
  UNION ALL
  SELECT (SELECT c.key_id FROM credential c WHERE c.key_id > u.key_id ORDER BY c.key_id LIMIT 1)
    FROM used u WHERE u.key_id IS NOT NULL
)
SELECT u.key_id, (SELECT count(*) FROM (SELECT FROM credential c WHERE c.key_id = u.key_id LIMIT %(most)s) n),
       s.connection_id, s.kind, s.sealed
  FROM used u CROSS JOIN LATERAL (
    SELECT c.connection_id, c.kind, c.sealed FROM credential c
     WHERE c.key_id = u.key_id ORDER BY c.connection_id, c.kind LIMIT 1) s""")


def keys_in_use(db: Connection[Any]) -> list[KeyUse]:
    """Return every key that credentials or tokens are sealed with, each with a row to try it on."""
    return [
        KeyUse(key_id=key_id, count=count, connection_id=connection_id, kind=kind, sealed=bytes(sealed))
        for key_id, count, connection_id, kind, sealed in rows(db, _KEYS, {"most": COUNTED})
    ]


def history_facts(db: Connection[Any]) -> HistoryFacts:
    """Return which days have a partition."""
    today, days = retention.days(db)
    strays = row(db, b"SELECT EXISTS (SELECT FROM run_history_default)")
    return HistoryFacts(today=today, days=days, strays=bool(strays and strays[0]))


# One look into the index for each vendor: as EXISTS it may become a join, for which the whole table is read.
_IN_USE: Final = Statement("""
SELECT l.vendor FROM vendor_limit l
 WHERE (SELECT TRUE FROM connection_sched s WHERE s.vendor = l.vendor AND s.enabled LIMIT 1)
 ORDER BY l.vendor""")


def vendors_in_use(db: Connection[Any]) -> list[str]:
    """Return the vendors that have active connections."""
    return [vendor for (vendor,) in rows(db, _IN_USE)]
