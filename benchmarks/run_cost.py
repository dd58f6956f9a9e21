"""What a whole run costs against a bare Celery task that makes the same GET and records nothing.

`python benchmarks/run_cost.py [--runs 2000] [--turns 3]`. In one invocation, by turns, over the same Redis and the same
local vendor: CPU of worker, Redis, PostgreSQL and whoever publishes, per run, the vendor left out. Ours is
all of it: found due, hinted, claimed, credentials opened, asked, captured, the record compared, judged, recorded.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import redis

from benchmarks.cpu import tree_cpu_s
from benchmarks.fleet import Fleet

TARGET: Final = 1.3


@contextmanager
def celery_process(app: str, role: str, environ: dict[str, str], *, log: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `celery -A app role` while the block lasts. log: the name under which its words are kept in LOG_DIR."""
    more = ["--pidfile="] if role == "beat" else []
    with (Path(environ["LOG_DIR"]) / f"{log}.log").open("wb") as out:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "cli.child",
                str(os.getpid()),
                "celery",
                "-A",
                app,
                role,
                "--loglevel",
                "WARNING",
                *more,
            ],
            env={**os.environ, **environ},
            stdout=out,
            stderr=out,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def wait_for(done: Callable[[], bool], what: str, limit_s: float = 300) -> None:
    """Poll until it is so."""
    end = time.monotonic() + limit_s
    while not done():
        if time.monotonic() > end:
            raise SystemExit(f"gave up waiting for {what}")
        time.sleep(0.1)


def publish(broker_url: str, vendor_url: str, count: int) -> float:
    """Publish bare tasks from a process of its own; return its CPU seconds without its start."""
    code = (
        "import os, time, resource\n"
        "from benchmarks.bare import get, app\n"
        "with app.connection_for_write() as c, app.amqp.Producer(c) as p:\n"
        "    get.apply_async(kwargs={'connection_id': 'warm'}, producer=p)\n"
        "    a = time.process_time()\n"
        f"    for n in range({count}):\n"
        "        get.apply_async(kwargs={'connection_id': f'01a20c52-8528-7238-b224-{n:012d}'}, producer=p)\n"
        "print(time.process_time() - a)\n"
    )
    environ = {**os.environ, "BARE_BROKER_URL": broker_url, "BARE_URL": vendor_url}
    return float(subprocess.run([sys.executable, "-c", code], env=environ, check=True, capture_output=True).stdout)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=64)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ch-") as folder, Fleet(Path(folder), chosen.concurrency) as fleet:
        vendor_url = f"{fleet.vendor_url}/plain/items?records=1&page_size=100&wait_ms=0"
        environ = {
            **fleet.environ,
            "BARE_BROKER_URL": fleet.broker_url,
            "BARE_URL": vendor_url,
            "BARE_CONCURRENCY": str(chosen.concurrency),
        }
        fleet.add_connections(chosen.runs, interval_s=86_400)
        client = redis.Redis.from_url(fleet.redis_url)
        ratios, rows = [], []
        with (
            celery_process("benchmarks.bare", "worker", environ, log="bare") as bare,
            celery_process("worker", "worker", environ, log="worker") as ours,
        ):
            wait_for(lambda: fleet.finished() >= chosen.runs, "the first runs")  # warm: pools, plans, first records
            publish(fleet.broker_url, vendor_url, 200)
            wait_for(lambda: client.llen("bare") == 0, "the bare worker")
            time.sleep(1)
            for turn in range(chosen.turns):
                before = tree_cpu_s(bare.pid) + tree_cpu_s(fleet.redis_pid)
                idle = tree_cpu_s(ours.pid) + tree_cpu_s(fleet.postgres_pid)
                published = publish(fleet.broker_url, vendor_url, chosen.runs)
                wait_for(lambda: client.llen("bare") == 0, "the bare worker")
                time.sleep(0.5)
                bare_us = (tree_cpu_s(bare.pid) + tree_cpu_s(fleet.redis_pid) - before + published) / chosen.runs * 1e6
                done = fleet.finished()
                parts = {"worker": ours.pid, "redis": fleet.redis_pid, "postgres": fleet.postgres_pid}
                fleet.make_due(in_s=1.0)  # before the count begins: in real life the run before has set the time
                started = {name: tree_cpu_s(pid) for name, pid in parts.items()}
                wait_for(fleet.is_idle, "our worker")
                spent_s = {name: tree_cpu_s(pid) - started[name] for name, pid in parts.items()}
                ended = fleet.finished() - done  # whose regular slot came meanwhile has run twice
                if ended < chosen.runs:
                    raise SystemExit(f"{ended} runs ended where {chosen.runs} were to")
                spent = {name: seconds / ended * 1e6 for name, seconds in spent_s.items()}
                ours_us = sum(spent.values())
                ratios.append(ours_us / bare_us)
                rows.append((turn, bare_us, ours_us, spent, idle))
                shown = " ".join(f"{name} {us:.0f}" for name, us in spent.items())
                print(f"turn {turn + 1}: bare {bare_us:.0f} us, ours {ours_us:.0f} us ({shown}): {ratios[-1]:.2f} x")
        ratio = statistics.median(ratios)
        print(f"a whole run costs {ratio:.2f} x a bare task (target {TARGET})")
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
