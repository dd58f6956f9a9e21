"""Whether a fleet runs on time: 10,000 connections each minute on this one machine, and what that costs.

    python benchmarks/fleet_on_time.py [--connections 10000] [--interval 60] [--minutes 3] [--workers 2]

Real processes throughout: `celery -A worker worker` and `celery -A worker beat`, PostgreSQL that waits for its disk,
Redis, and a local vendor that answers one GET a run. New connections run at once, so first everything is due together;
when that is worked off, a minute goes by, and then every slot of the measured minutes is looked up: when it was due,
and when its run began. A slot that has no run counts as late by the time until the end. CPU is that of each part's
whole process tree. Exits with 1 where one run was late by more than LATE_S, where one failed or a slot was left out.
"""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from psycopg.rows import dict_row

from benchmarks.cpu import tree_cpu_s
from benchmarks.fleet import Fleet
from benchmarks.run_cost import celery_process, wait_for

LATE_S: Final = 5.0

# Each run of the window by its slot; and those connections whose slot has come and that nobody has begun yet.
PUNCTUALITY: Final = """
WITH slot AS (
  SELECT started_at - scheduled_for AS late, state, skipped_slots FROM run_history
   WHERE scheduled_for >= %(start)s AND scheduled_for < %(end)s AND trigger = 'SCHEDULED'
  UNION ALL
  SELECT started_at - scheduled_for, 'RUNNING', skipped_slots FROM run
   WHERE scheduled_for >= %(start)s AND scheduled_for < %(end)s AND trigger = 'SCHEDULED'
  UNION ALL
  SELECT %(end)s - next_due_at, 'WAITING', 0 FROM connection_sched
   WHERE active_seq IS NULL AND next_due_at >= %(start)s AND next_due_at < %(end)s
)
SELECT count(*) AS slots, count(*) FILTER (WHERE state = 'SUCCEEDED') AS succeeded,
       count(*) FILTER (WHERE state IN ('FAILED', 'LOST', 'INTERRUPTED', 'CANCELLED')) AS failed,
       count(*) FILTER (WHERE state = 'WAITING') AS waiting, COALESCE(sum(skipped_slots), 0) AS skipped,
       count(*) FILTER (WHERE late > make_interval(secs => %(late_s)s)) AS late,
       extract(epoch FROM percentile_disc(0.5) WITHIN GROUP (ORDER BY late))::float AS p50_s,
       extract(epoch FROM percentile_disc(0.95) WITHIN GROUP (ORDER BY late))::float AS p95_s,
       extract(epoch FROM percentile_disc(0.99) WITHIN GROUP (ORDER BY late))::float AS p99_s,
       extract(epoch FROM max(late))::float AS max_s
  FROM slot"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The measured time. cpu_s: of each part; found: what PUNCTUALITY says."""

    wall_s: float
    cpu_s: dict[str, float]
    found: dict[str, Any]


def now_of(fleet: Fleet) -> datetime:
    """Return the time by the clock that decides what is due."""
    with fleet.database.connection() as db:
        found = db.execute("SELECT now()").fetchone()
    assert found is not None
    when: datetime = found[0]
    return when


def is_worked_off(fleet: Fleet) -> bool:
    """Say whether every connection has run and nothing has been due for more than two seconds."""
    with fleet.database.connection() as db:
        found = db.execute(
            "SELECT (SELECT count(*) FROM health WHERE run_seq = 0), (SELECT count(*) FROM connection_sched"
            " WHERE active_seq IS NULL AND next_due_at < now() - interval '2 s')"
        ).fetchone()
    return found == (0, 0)


def measured(fleet: Fleet, parts: dict[str, tuple[int, ...]], seconds: float) -> Window:
    """Let so much time go by and see how it went."""
    start, before = now_of(fleet), {name: tree_cpu_s(*pids) for name, pids in parts.items()}
    began = time.monotonic()
    while (left_s := began + seconds - time.monotonic()) > 0:
        time.sleep(min(left_s, 5.0))
    wall_s = time.monotonic() - began
    cpu_s = {name: tree_cpu_s(*pids) - before[name] for name, pids in parts.items()}
    end = now_of(fleet)
    time.sleep(LATE_S + 1)  # what became due at the very end may still begin in time
    with fleet.database.connection() as db:
        cursor = db.cursor(row_factory=dict_row)
        found = cursor.execute(PUNCTUALITY, {"start": start, "end": end, "late_s": LATE_S}).fetchone()
    assert found is not None
    return Window(wall_s=wall_s, cpu_s=cpu_s, found=found)


def report(window: Window, count: int, interval_s: int) -> int:
    """Print what was seen; return 1 where it does not hold."""
    found = window.found
    due_per_s = count / interval_s
    print(
        f"{found['slots']:,} slots in {window.wall_s:.0f} s: {found['slots'] / window.wall_s:.1f} a second"
        f" ({due_per_s:.1f} expected)"
    )
    print(
        f"late by p50 {found['p50_s']:.2f} s, p95 {found['p95_s']:.2f}, p99 {found['p99_s']:.2f},"
        f" max {found['max_s']:.2f}"
    )
    total_s = sum(cpu_s for name, cpu_s in window.cpu_s.items() if name != "vendor")
    for name, cpu_s in window.cpu_s.items():
        print(f"  {name:12}{cpu_s / window.wall_s:6.3f} cores{cpu_s / found['slots'] * 1e6:8.0f} us a run")
    print(f"  {'all of ours':12}{total_s / window.wall_s:6.3f} cores{total_s / found['slots'] * 1e6:8.0f} us a run")
    failed = 0
    for what, figure in (
        (f"begun more than {LATE_S:.0f} s late", found["late"]),
        ("failed, lost or interrupted", found["failed"]),
        ("not begun at all", found["waiting"]),
        ("slots left out", found["skipped"]),
        ("slots that are missing", int(due_per_s * window.wall_s * 0.98) - found["slots"]),
    ):
        holds = figure <= 0
        failed += not holds
        print(f"{what:34}{max(0, figure):8,} of 0   {'ok' if holds else 'MISSED'}")
    return 1 if failed else 0


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--interval", type=int, default=60, help="seconds between two runs of a connection")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--wait-ms", type=int, default=0, help="how long the vendor takes to answer")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ch-"))
        fleet = stack.enter_context(Fleet(Path(folder), chosen.concurrency))
        fleet.add_connections(
            chosen.connections, interval_s=chosen.interval, timeout_s=chosen.interval, wait_ms=chosen.wait_ms
        )
        workers = [
            stack.enter_context(celery_process("worker", "worker", fleet.environ, log=f"worker-{n}"))
            for n in range(chosen.workers)
        ]
        beat = stack.enter_context(celery_process("worker", "beat", fleet.environ, log="beat"))
        began = time.monotonic()
        wait_for(lambda: is_worked_off(fleet), "everything to have run once", limit_s=900)
        took_s = time.monotonic() - began
        print(f"{chosen.connections:,} connections that were all due at once: on time after {took_s:.0f} s")
        time.sleep(chosen.interval)
        parts = {
            "worker": tuple(worker.pid for worker in workers),
            "beat": (beat.pid,),
            "redis": (fleet.redis_pid,),
            "postgres": (fleet.postgres_pid,),
            "vendor": (fleet.vendor_pid,),
        }
        window = measured(fleet, parts, chosen.minutes * 60)
        for log in sorted(Path(folder).glob("*.log")):
            said = [line for line in log.read_text().splitlines() if "[warning" in line or "[error" in line]
            print("\n".join(said[-20:]), file=sys.stderr, end="\n" if said else "")
        if any(process.poll() is not None for process in (*workers, beat)):
            raise SystemExit("a worker or beat ended meanwhile")
        return report(window, chosen.connections, chosen.interval)


if __name__ == "__main__":
    sys.exit(main())
