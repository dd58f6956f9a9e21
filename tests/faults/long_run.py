"""Very many runs through one worker, good ones and broken ones: does it grow?

    python tests/faults/long_run.py --runs 200000

Memory, files, threads and database connections are looked at after every round. Ends with 1 where one of them rises.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embedded.postgres import Postgres
from embedded.redis import Redis
from models import migrate
from simulator.client import Control
from tests.system.stack import ROOT, Installation, Program

CONNECTIONS: Final = 250
ALL_AT_ONCE_MS: Final = 400
"""So long the vendor takes in the first rounds: all threads are busy at once, and open what they ever will."""
SLOW_ROUNDS: Final = 4
SETTLED_AFTER: Final = 12_000
"""So many runs until a worker has what it keeps: measured, it grew by 1.3 MB per thousand runs until 10,000, whatever
it is that fills up there, and by 0.1 after that."""
MOST_MB: Final = 1.0
"""Of memory, on average for 10,000 runs."""
MOST_THINGS: Final = 0.5
"""Of files, threads or connections, on average for 10,000 runs."""
NOISE: Final = 10.0
"""Sockets of calls that are under way come and go: what rises by less over all rounds is no rise."""
# Leaks live where things break. In the order in which they are looked for: every so manieth request.
FAULTS: Final = {"reset": 11, "truncated": 13, "unavailable": 17, "broken_json": 19, "unauthorized": 23}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A worker after so many runs."""

    runs: int
    memory_mb: float
    files: int
    threads: int
    connections: int

    def __str__(self) -> str:
        return (
            f"{self.runs:7} runs: {self.memory_mb:6.1f} MB, {self.files} files, {self.threads} threads, "
            f"{self.connections} database connections"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Slopes:
    """What 10,000 runs add, by the line that fits the samples best once it has settled. span: how many times 10,000."""

    memory_mb: float
    files: float
    threads: float
    connections: float
    span: float

    @property
    def rises(self) -> list[str]:
        """Name what grows."""
        allowed = {"memory_mb": MOST_MB, "files": MOST_THINGS, "threads": MOST_THINGS, "connections": MOST_THINGS}
        return [
            name
            for name, most in allowed.items()
            if getattr(self, name) > most and getattr(self, name) * self.span > NOISE
        ]

    def __str__(self) -> str:
        return (
            f"slope per 10,000 runs: {self.memory_mb:+.2f} MB, {self.files:+.2f} files, {self.threads:+.2f} threads, "
            f"{self.connections:+.2f} database connections"
        )


@contextmanager
def simulated_vendors() -> Iterator[Control]:
    """Run the simulated vendors as a process of their own, with one of them failing in every way."""
    process = subprocess.Popen([sys.executable, "-m", "simulator"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        control = Control(process.stdout.readline().split()[-1])
        for kind, every in FAULTS.items():
            control.fault("plain", kind, every=every)
        yield control
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def measure(installation: Installation, worker: Program, vendors: Control, runs: int) -> list[Sample]:
    """Let the worker make so many runs, round by round, and look at it after each."""
    port = int(vendors.url.rpartition(":")[2])
    for number in range(CONNECTIONS):
        installation.connect("plain", {"token": f"token-of-account-{number}"}, {"port": port, "records": 3})
    samples = []
    for number in range(1, runs // CONNECTIONS + 1):
        wait_ms = ALL_AT_ONCE_MS if number <= SLOW_ROUNDS else 0
        with installation.database.transaction() as db:
            db.execute(
                b"""UPDATE connection SET options = options || jsonb_build_object('wait_ms', %s::integer)""", (wait_ms,)
            )
            db.execute(
                b"UPDATE connection_sched SET next_due_at = now(), hinted_at = NULL WHERE run_seq < %s", (number,)
            )
        _await_round(installation, number)
        samples.append(_sample(installation, worker, number * CONNECTIONS))
    return samples


def slopes(samples: Sequence[Sample]) -> Slopes:
    """Return what the samples rise by."""
    settled = [sample for sample in samples if sample.runs > SETTLED_AFTER]
    if len(settled) < 2:
        settled = list(samples)
    at = [sample.runs / 10_000 for sample in settled]
    return Slopes(
        span=at[-1] - at[0],
        **{
            name: statistics.linear_regression(at, [float(getattr(sample, name)) for sample in settled]).slope
            for name in ("memory_mb", "files", "threads", "connections")
        },
    )


def _await_round(installation: Installation, number: int) -> None:
    give_up_at = time.monotonic() + 300
    while True:
        with installation.database.transaction() as db:
            row = db.execute(
                b"SELECT count(*) FROM connection_sched WHERE run_seq < %s OR active_seq IS NOT NULL", (number,)
            ).fetchone()
        if row is not None and not row[0]:
            return
        assert time.monotonic() < give_up_at, f"round {number} does not end: {row}"
        time.sleep(0.1)


def _sample(installation: Installation, worker: Program, runs: int) -> Sample:
    status = Path(f"/proc/{worker.pid}/status").read_text(encoding="ascii", errors="replace")
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    with installation.database.transaction() as db:
        row = db.execute(
            b"SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'connection-health%'"
            b" AND datname = current_database()"
        ).fetchone()
    return Sample(
        runs=runs,
        memory_mb=int(fields["VmRSS"].split()[0]) / 1024,
        files=sum(1 for _ in Path(f"/proc/{worker.pid}/fd").iterdir()),
        threads=int(fields["Threads"]),
        connections=row[0] if row else 0,
    )


def main() -> int:
    """Measure once, on servers of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200_000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ch-long-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        with (
            Postgres(folder / "postgres", durable=False, shared_buffers_mb=128) as postgres,
            Redis(folder / "redis") as redis,
            simulated_vendors() as vendors,
        ):
            migrate.upgrade(postgres.url)
            settings = {"vendors_dir": ROOT / "simulator" / "definitions", "log_level": "ERROR"}
            installation = Installation(
                database_url=postgres.url, redis_url=redis.url, folder=folder, settings=settings
            )
            worker = installation._start("worker", "--without-mingle", "--without-gossip")
            began = time.monotonic()
            try:
                samples = measure(installation, worker, vendors, options.runs)
            finally:
                installation.close()
        for sample in samples[:: max(1, len(samples) // 20)]:
            sys.stdout.write(f"{sample}\n")
        found = slopes(samples)
        sys.stdout.write(f"{samples[-1].runs / (time.monotonic() - began):.0f} runs a second\n{found}\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if found.rises:
        sys.stdout.write(f"GROWS: {', '.join(found.rises)}\n")
    return 1 if found.rises else 0


if __name__ == "__main__":
    sys.exit(main())
