"""What it costs to take due connections and to keep the books of a run, at 100,000 and at a million connections.

Starts its own PostgreSQL, fills it, and prints a table: `python benchmarks/claim.py`. Every figure is a ratio inside
this one invocation, or a rate of it; CPU is read from /proc, of this process and of the server's backend. `--quick`
takes a tenth of the rows. Exits with 1 where a target is missed.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg

from classifier.vocabulary import HealthName
from embedded.postgres import Postgres
from models import database, migrate, retention, runs
from models.runs import FinishedRun
from models.vocabulary import RunState

BATCH: Final = 500
VENDORS: Final = 20
TENTHS: Final = 10

FILL: Final = b"""
WITH ids AS (SELECT gen_random_uuid() AS id, n FROM generate_series(1, %(count)s) n),
made AS (
  INSERT INTO connection (connection_id, organization_id, vendor, state)
  SELECT id, %(organization)s, 'vendor-' || n %% %(vendors)s, 'ACTIVE' FROM ids RETURNING connection_id, vendor
), scheduled AS (
  INSERT INTO connection_sched (connection_id, vendor, enabled, refresh_interval_secs, timeout_secs, slot_origin,
                                slot_at, next_due_at)
  SELECT connection_id, vendor, TRUE, 3600, 600, '2000-01-01Z', due, due
    FROM (SELECT connection_id, vendor, now() - random() * interval '50 min' AS due FROM made) m
)
INSERT INTO health (connection_id, organization_id, vendor, connection_state)
SELECT connection_id, %(organization)s, vendor, 'ACTIVE' FROM made"""

# What the research measured a claim with: found by the index, marked, returned; nothing else.
BARE_CLAIM: Final = b"""
WITH due AS (SELECT id FROM bare WHERE next_due_at <= now() AND active IS NULL
              ORDER BY next_due_at LIMIT 500 FOR UPDATE SKIP LOCKED)
UPDATE bare b SET next_due_at = now() + interval '1 hour', active = 1 FROM due WHERE b.id = due.id RETURNING b.id"""

# The least that any bookkeeping writes: a run, its end, the connection.
BARE_BOOKS: Final = b"""
WITH r AS (INSERT INTO bare_run (id, started, finished, outcome) VALUES (%s, now(), now(), 'ok') RETURNING id)
UPDATE bare b SET next_due_at = now() + interval '1 hour' FROM r WHERE b.id = r.id"""

HEALTHY: Final = FinishedRun(
    state=RunState.SUCCEEDED,
    name=HealthName.HEALTHY,
    reason="healthy",
    rule="healthy",
    sentence="All data types were read.",
    next_step="Nothing.",
    data_types=[{"data_type": "users", "ended": True}],
    exchanges=[{"method": "GET", "url": "https://api.example.com/users", "status": 200, "took_s": 0.12}],
    requests=1,
    records_unchanged=100,
    classifier_version="1",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a stretch of work took. wall_s; cpu_s of this process and of the backend."""

    wall_s: float
    client_s: float
    server_s: float


def backend_cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process with one thread has had so far, to the nanosecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


@contextmanager
def measured(db: psycopg.Connection[Any]) -> Iterator[list[Cost]]:
    """Measure a block; the list that it yields holds the cost afterwards."""
    costs: list[Cost] = []
    pid = db.info.backend_pid
    server, client, wall = backend_cpu_s(pid), time.process_time(), time.perf_counter()
    yield costs
    costs.append(
        Cost(
            wall_s=time.perf_counter() - wall,
            client_s=time.process_time() - client,
            server_s=backend_cpu_s(pid) - server,
        )
    )


def fill(db: psycopg.Connection[Any], count: int) -> None:
    """Make `count` connections that are all due."""
    organization = uuid4()
    db.execute("INSERT INTO organization (organization_id, name) VALUES (%s, 'all')", (organization,))
    db.execute("INSERT INTO vendor_limit (vendor) SELECT 'vendor-' || n FROM generate_series(0, %s) n", (VENDORS - 1,))
    db.execute(FILL, {"count": count, "organization": organization, "vendors": VENDORS})
    db.execute(
        "CREATE TABLE bare (id uuid PRIMARY KEY, next_due_at timestamptz NOT NULL, active int) WITH (fillfactor = 80)"
    )
    db.execute("INSERT INTO bare SELECT connection_id, next_due_at FROM connection_sched")
    db.execute("CREATE INDEX ON bare (next_due_at) WHERE active IS NULL")
    db.execute("CREATE TABLE bare_run (id uuid, started timestamptz, finished timestamptz, outcome text)")
    db.execute("CREATE INDEX ON bare_run (id)")
    db.execute("VACUUM ANALYZE")
    db.execute("CHECKPOINT")


def repeated(take: Callable[[], int], times: int) -> tuple[list[float], int]:
    """Return the wall time in milliseconds of each call, and how many rows they took together."""
    took_ms, total = [], 0
    for _ in range(times):
        began = time.perf_counter()
        total += take()
        took_ms.append((time.perf_counter() - began) * 1000)
    return took_ms, total


class Size:
    """One size of the table, and what was measured at it."""

    def __init__(self, server: Postgres, count: int) -> None:
        self.count = count
        self.url = server.create_database(f"claim_{count}")
        migrate.upgrade(self.url)
        self.db = psycopg.connect(self.url, autocommit=True, options=database._SESSION)  # noqa: SLF001 - as the pool has it
        self.db.execute("SET statement_timeout = 0")
        retention.ensure_partitions(self.db)
        fill(self.db, count)
        self.worker_id = uuid4()
        runs.register_worker(self.db, self.worker_id, host="benchmark", pid=os.getpid(), lease_s=86_400.0)

    def rates(self, calls: int) -> list[tuple[str, float, float, float]]:
        """Take turns at the three ways to take 500 due rows. Returns (name, p50 ms, rows/s, CPU µs/row)."""
        ways: dict[str, Callable[[], int]] = {
            "bare UPDATE … RETURNING": lambda: len(self.db.execute(BARE_CLAIM, prepare=True).fetchall()),
            "take_due (dispatcher)": lambda: len(runs.take_due(self.db, limit=BATCH)),
            "claim_due (run rows too)": lambda: len(runs.claim_due(self.db, worker_id=self.worker_id, limit=BATCH)),
        }
        taken_ms: dict[str, list[float]] = {name: [] for name in ways}
        totals: dict[str, list[float]] = {name: [0.0, 0.0] for name in ways}
        for take in ways.values():  # warm: plans are made and chosen
            repeated(take, 6)
        for _ in range(calls):
            for name, take in ways.items():
                with measured(self.db) as costs:
                    took_ms, total = repeated(take, 1)
                if total != BATCH:
                    raise RuntimeError(f"{name} took {total} rows of {BATCH}")
                taken_ms[name] += took_ms
                totals[name][0] += costs[0].client_s
                totals[name][1] += costs[0].server_s
        return [
            (
                name,
                statistics.median(taken_ms[name]),
                BATCH * calls / sum(taken_ms[name]) * 1000,
                (totals[name][0] + totals[name][1]) * 1e6 / (BATCH * calls),
            )
            for name in ways
        ]

    def drain(self) -> tuple[float, float, float]:
        """Hint everything that is left, each batch of hints followed by what its claims write, which is not measured.

        Returns the CPU in milliseconds of one batch, in the first tenth and in the last, and rows/s. After each tenth
        the table is vacuumed: a tenth of a million runs are six minutes at full speed, and autovacuum comes every
        minute; here they are a few seconds, and what it has not yet taken away would lie in the way of the next batch.
        """
        (left,) = self.db.execute("SELECT count(*) FROM connection_sched WHERE next_due_at <= now()").fetchone() or (0,)
        in_tenth = max(1, left // BATCH // TENTHS)
        costs: list[Cost] = []
        while True:
            with measured(self.db) as cost:
                due = runs.take_due(self.db, limit=BATCH, rehint_after_s=86_400.0)
            if len(due) < BATCH:
                break
            costs += cost
            self.db.execute(
                "UPDATE connection_sched SET hinted_at = NULL, slot_at = now() + interval '1 hour', "
                "next_due_at = now() + interval '1 hour' WHERE connection_id = ANY(%s)",
                ([one.connection_id for one in due],),
                prepare=True,
            )
            if len(costs) % in_tenth == 0:
                self.db.execute("VACUUM connection_sched")
        first_ms, last_ms = (
            sum(cost.client_s + cost.server_s for cost in part) * 1000 / len(part)
            for part in (costs[:in_tenth], costs[-in_tenth:])
        )
        return first_ms, last_ms, len(costs) * BATCH / sum(cost.wall_s for cost in costs)

    def plans(self) -> str:
        """Return the plans of the two statements as the server would reuse them."""
        shown = []
        for name, statement, more in (
            ("take_due", runs._TAKE_DUE, {"rehint_after_s": 60.0, "locked": False, "limited": []}),  # noqa: SLF001 - shown
            ("claim_due", runs._CLAIM_DUE, {"worker_id": self.worker_id, "locked": True, "limited": []}),  # noqa: SLF001 - shown
        ):
            with self.db.transaction(force_rollback=True):
                found = (
                    psycopg.RawCursor(self.db)
                    .execute(
                        b"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) " + statement.sql,
                        statement.values({"share": BATCH // VENDORS, "limit": BATCH, **more}),
                    )
                    .fetchall()
                )
            shown.append(f"{name} at {self.count:,}:\n" + "\n".join(f"  {line}" for (line,) in found))
        return "\n".join(shown)

    def books(self, pairs: int) -> tuple[Cost, Cost]:
        """Return the cost of claim and finish of `pairs` runs, and of the bare statement for as many."""
        ids: list[UUID] = [
            one
            for (one,) in self.db.execute(
                "SELECT connection_id FROM connection_sched WHERE active_seq IS NULL LIMIT %s", (pairs,)
            )
        ]
        # Twice, the second time measured: the first finished run of a connection is a change of health, later ones not.
        for _ in range(2):
            self.db.execute("UPDATE connection_sched SET next_due_at = now() WHERE connection_id = ANY(%s)", (ids,))
            with measured(self.db) as ours:
                for connection_id in ids:
                    self._pair(connection_id)
            with measured(self.db) as bare:
                for connection_id in ids:
                    self.db.execute(BARE_BOOKS, (connection_id,), prepare=True)
        return ours[0], bare[0]

    def _pair(self, connection_id: UUID) -> None:
        claimed = runs.claim(self.db, connection_id, worker_id=self.worker_id)
        if claimed is None or not runs.finish(self.db, claimed.key, HEALTHY):
            raise RuntimeError("a run could not be claimed and finished")


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="10,000 and 100,000 connections")
    parser.add_argument("--plans", action="store_true", help="print the plans")
    options = parser.parse_args()
    sizes = (10_000, 100_000) if options.quick else (100_000, 1_000_000)
    with (
        tempfile.TemporaryDirectory(prefix="ch-bench-", dir="/tmp") as folder,
        Postgres(Path(folder) / "postgres", shared_buffers_mb=2048, settings={"max_wal_size": "8GB"}) as server,
    ):
        Path(folder).chmod(0o711)
        server.start()
        return _report([Size(server, count) for count in sizes], quick=options.quick, plans=options.plans)


def _report(sizes: list[Size], *, quick: bool, plans: bool) -> int:
    small, large = sizes
    calls = 5 if quick else 60
    cpu: dict[tuple[int, str], float] = {}
    rate: dict[tuple[int, str], float] = {}
    print(f"{'connections':>12}  {'taking 500 due':26} {'p50 ms':>8} {'rows/s':>9} {'CPU us/row':>10}")
    for size in sizes:
        for name, median_ms, rows_per_s, cpu_us in size.rates(calls):
            cpu[size.count, name], rate[size.count, name] = cpu_us, rows_per_s
            print(f"{size.count:>12,}  {name:26} {median_ms:8.1f} {rows_per_s:9,.0f} {cpu_us:10.1f}")
    if plans:
        print(large.plans())
    ours, bare = large.books(500 if quick else 3000)
    count = 500 if quick else 3000
    for name, cost in (("claim and finish", ours), ("bare 1 CTE", bare)):
        print(
            f"{name:18} client {cost.client_s * 1e6 / count:6.0f} us | server {cost.server_s * 1e6 / count:6.0f} us | "
            f"{count / cost.wall_s:7,.0f} runs/s, 1 client"
        )
    first_ms, last_ms, drained_per_s = large.drain()
    print(
        f"drain of {large.count:,}: CPU of a batch {first_ms:.1f} ms in the first tenth, {last_ms:.1f} ms in the last; "
        f"{drained_per_s:,.0f} rows/s"
    )
    dispatch, direct = "take_due (dispatcher)", "claim_due (run rows too)"
    # The sizes are measured one after the other, and other work on the machine tells in the wall clock: the cost of
    # one is set against the cost of the other by CPU.
    judged = [
        ("take_due CPU, large / small", cpu[large.count, dispatch] / cpu[small.count, dispatch], "<=", 1.5),
        ("claim_due CPU, large / small", cpu[large.count, direct] / cpu[small.count, direct], "<=", 1.5),
        ("take_due rows/s, large", rate[large.count, dispatch], ">=", 30_000),
        ("drain CPU, last / first tenth", last_ms / first_ms, "<=", 1.2),
    ]
    failed = 0
    for name, figure, sense, target in judged:
        holds = figure <= target if sense == "<=" else figure >= target
        failed += not holds
        print(f"{name:30} {figure:12,.2f} {sense} {target:<8,} {'ok' if holds else 'MISSED'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
