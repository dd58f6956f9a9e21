"""What a list of 50 costs over HTTP, at a million connections.

    python benchmarks/api.py [--connections 1000000] [--repeats 200]

Its own PostgreSQL, filled by SQL (crowd.py), and the HTTP API as an operator starts it. Each list is asked for with one
filter by one client over one connection, by turns with /healthz, which asks nobody: the 95th percentile is the
client's, the answer read to its end. Then the same lists are asked for by turns as fast as one client can, and the CPU
seconds of the web process and of PostgreSQL are counted: requests per second and core. Exits with 1 where a target is
missed.
"""

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from benchmarks.cpu import tree_cpu_s
from benchmarks.crowd import fill
from cli.stack import free_port
from embedded.postgres import Postgres
from models import api_keys, migrate
from models.database import Database, row
from models.vault import generate_key
from models.vocabulary import Scope

P95_MS: Final = 25.0
PER_CORE: Final = 500.0
PREFIX: Final = "CONNECTION_HEALTH_"
ROOT: Final = Path(__file__).resolve().parent.parent

LISTS: Final[dict[str, dict[str, str]]] = {
    "everything": {},
    "everything, newest first": {"sort": "-created_at"},
    "healthy": {"health": "HEALTHY"},
    "unauthorized": {"health": "UNAUTHORIZED"},
    "unhealthy": {"status": "UNHEALTHY"},
    "the customer's to mend": {"resolution_owner": "CUSTOMER"},
    "never run": {"never_run": "true"},
    "paused": {"state": "PAUSED"},
    "pending (none)": {"state": "PENDING"},
    "a vendor": {"vendor": "vendor-7"},
    "a vendor that none has": {"vendor": "nobody"},
    "a reason": {"reason": "rate_limit_exceeded"},
    "a reason that none has": {"reason": "nothing"},
    "an identifier": {"identifier": "customer-777"},
    "unhealthy since a time": {"status": "UNHEALTHY", "since": "2026-01-01T00:00:00Z"},
    "with the total": {"health": "UNAUTHORIZED", "offset": "0"},
}


class Client:
    """One client with one connection."""

    def __init__(self, port: int, key: str) -> None:
        self._opened = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"X-API-KEY": key}

    def get(self, path: str) -> bytes:
        """Return the body of an answer, which must be a 200."""
        self._opened.request("GET", path, headers=self._headers)
        answer = self._opened.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {body[:500]!r}")
        return body

    def took_ms(self, path: str) -> float:
        """Return how long a request took."""
        began_s = time.perf_counter()
        self.get(path)
        return (time.perf_counter() - began_s) * 1000


@contextmanager
def served(database_url: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Run the HTTP API over a database; give its port and its process id."""
    port = free_port(0)
    settings = {
        "DATABASE_URL": database_url,
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "VAULT_KEYS": generate_key(),
        "HTTP_PORT": str(port),
        "HTTP_REQUESTS_PER_MINUTE": "1000000",
        "LOG_FORMAT": "json",
    }
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **{PREFIX + name: value for name, value in settings.items()}}
    with (folder / "web.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "web"], env=environment, stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                Client(port, "").get("/healthz")
                break
            except OSError:
                if process.poll() is not None:
                    raise SystemExit((folder / "web.log").read_text()) from None
                time.sleep(0.1)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=200)
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="ch-bench-", dir="/tmp") as name,
        Postgres(Path(name) / "postgres", durable=False, shared_buffers_mb=2048) as server,
    ):
        folder = Path(name)
        folder.chmod(0o711)
        migrate.upgrade(server.url)
        fill(server.url, chosen.connections)
        database = Database(server.url)
        with database.transaction() as db:
            key = api_keys.create_key(db, name="bench", scope=Scope.READ, organization_id=None, created_by="bench")[1]
            found = row(db, b"SELECT organization_id FROM organization ORDER BY name LIMIT 1")
        database.close()
        assert found is not None
        everywhere = "/v1/provisioning/connections"
        paths = {name: f"{everywhere}?{urlencode(params)}" for name, params in LISTS.items()}
        paths["an organization"] = f"/v1/provisioning/organizations/{found[0]}/connections"
        print(f"{chosen.connections:,} connections")
        with served(server.url, folder) as (port, web):
            judged = [judge_times(Client(port, key), paths, chosen.repeats)]
            assert server.pid is not None
            judged.append(judge_cost(Client(port, key), list(paths.values()), chosen.repeats * 10, web, server.pid))
    failed = 0
    for name, figure, target, holds in judged:
        failed += not holds
        print(f"{name:60}{figure:9.2f} target {target:<6}{'ok' if holds else 'MISSED'}")
    return 1 if failed else 0


def judge_times(client: Client, paths: dict[str, str], repeats: int) -> tuple[str, float, float, bool]:
    """Ask for each list many times, by turns with an address that asks nobody."""
    print(f"  {'list of 50':34}{'items':>6}{'kB':>7}{'p50 ms':>8}{'p95 ms':>8}{'/healthz p95':>14}")
    worst = 0.0
    for name, path in paths.items():
        body = client.get(path)
        for _ in range(20):
            client.get(path)
        ours, bare = [], []
        for _ in range(repeats):
            bare.append(client.took_ms("/healthz"))
            ours.append(client.took_ms(path))
        p95 = statistics.quantiles(ours, n=20)[-1]
        worst = max(worst, p95)
        items = json.loads(body)["count"]
        print(
            f"  {name:34}{items:6}{len(body) / 1000:7.1f}{statistics.median(ours):8.2f}{p95:8.2f}"
            f"{statistics.quantiles(bare, n=20)[-1]:14.2f}"
        )
    return ("list of 50 over HTTP, the dearest p95, ms", worst, P95_MS, worst <= P95_MS)


def judge_cost(client: Client, paths: list[str], count: int, *roots: int) -> tuple[str, float, float, bool]:
    """Ask for the lists by turns, and count the CPU that the processes took."""
    before = tree_cpu_s(*roots)
    parts = [tree_cpu_s(root) for root in roots]
    for number in range(count):
        client.get(paths[number % len(paths)])
    cpu_s = tree_cpu_s(*roots) - before
    web, postgres = (tree_cpu_s(root) - part for root, part in zip(roots, parts, strict=True))
    print(f"  {count} requests: web {web * 1000 / count:.2f} ms of CPU each, PostgreSQL {postgres * 1000 / count:.2f}")
    figure = count / cpu_s
    return ("list requests per second and core", figure, PER_CORE, figure >= PER_CORE)


if __name__ == "__main__":
    sys.exit(main())
