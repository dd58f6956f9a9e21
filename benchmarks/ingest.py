"""What it costs to bring a vendor's records into PostgreSQL, against the least that a script by hand would do.

    python benchmarks/ingest.py [--records 1000000] [--sample 100000] [--turns 3]

One connection, pages of 1000 records of about 0.9 kB, a vendor in a process of its own. `ours` is a whole run: claimed,
asked through the session with its guards and its capture, landed page by page with its fence, its cursor and its marks
for what is gone, judged, finished. By hand, over one `requests.Session`, each page one transaction as with us:

    fetch       ask and parse by orjson; nothing is stored
    load        COPY into a temporary table, INSERT
    rewrite     COPY into a temporary table, INSERT ... ON CONFLICT DO UPDATE
    skip equal  the same, but only where the hash differs: everything is sent, nothing is written
    ask         send ids and hashes, learn which differ, send only those

Each way is a process of its own, by turns, `--sample` records each, after one page to get warm; CPU is the client's and
that of PostgreSQL's whole tree. The ratios are medians over the turns. Then ours again with `--records`, for
the peak of memory (VmHWM) and what a record costs there. Counts of rows are checked each time. Exits with 1 where a
target is missed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from benchmarks import by_hand
from benchmarks.big_vendor import DEFINITION, PER_PAGE
from benchmarks.cpu import tree_cpu_s
from embedded.postgres import Postgres
from models import connections, migrate, vault
from models.database import Database
from models.runs import claim
from models.vault import Keyring
from worker import journal, memory
from worker.run import execute
from worker.settings import Settings
from worker.station import Station


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one way took, per million records where it is CPU. peak_mb: the client's largest resident size."""

    client_s: float
    server_s: float
    rate_per_s: float
    peak_mb: float

    @property
    def cpu_s(self) -> float:
        """Client and PostgreSQL together."""
        return self.client_s + self.server_s


# ---- ours: runs in a process of its own


@cache
def station_of(environ: str) -> Station:
    """Return the worker's tools, the same ones for each of its runs. environ: as JSON."""
    settings = Settings.read(json.loads(environ))
    journal.set_up(settings)
    memory.settle()
    station = Station.of(settings)
    station.lease.acquire(station.control)
    return station


def run_ours(order: dict[str, Any]) -> int:
    """Make one whole run, as a worker that has made some before; return how many records were written."""
    station = station_of(json.dumps(order["environ"]))
    connection_id = UUID(order["connection_id"])
    with station.claims.connection() as db:
        run = claim(db, connection_id, worker_id=station.lease.worker_id, due_only=False)
    assert run is not None, "the connection could not be claimed"
    execute(station, run)
    with station.database.connection() as db:
        ended = db.execute(
            "SELECT state, records_new + records_changed, records_unchanged, sentence FROM run_history"
            " WHERE connection_id = %s ORDER BY run_seq DESC LIMIT 1",
            (connection_id,),
        ).fetchone()
    assert ended is not None, "the run has no end"
    assert ended[0] == "SUCCEEDED", ended
    assert ended[1] + ended[2] == order["records"], ended
    return int(ended[1])


# ---- the comparison


class Bench:
    """PostgreSQL, the vendor, and the ways over them."""

    def __init__(self, server: Postgres, port: int, folder: Path) -> None:
        self._server, self._port, self._folder = server, port, folder
        self._key = vault.generate_key()
        migrate.upgrade(server.url)
        self.database = Database(server.url)
        with self.database.connection() as db:
            db.execute(by_hand.TABLE)
        with self.database.transaction() as db:
            self._organization_id = connections.create_organization(db, "benchmark").organization_id
        (folder / "vendors").mkdir()
        (folder / "vendors" / "big.yaml").write_text(DEFINITION, encoding="utf-8")

    def empty(self) -> None:
        """Forget all records, ours and those by hand."""
        with self.database.connection() as db:
            db.execute("TRUNCATE by_hand, record, sighting, cursor")

    def connection(self, records: int) -> UUID:
        """Make a connection to the vendor."""
        with self.database.transaction() as db:
            return connections.create_connection(
                db,
                Keyring.parse(self._key),
                organization_id=self._organization_id,
                vendor="big",
                credentials={"token": "secret-of-the-benchmark"},
                options={"port": self._port, "records": records, "edition": 1},
                identifier=f"bench-{uuid4()}",
                refresh_interval_secs=86_400,
            ).connection_id

    def spent(self, way: str, connection_id: UUID, *, records: int, edition: int, written: int) -> Spent:
        """Let a process of its own go one way. written: how many rows must come out as written."""
        with self.database.connection() as db:
            db.execute("CHECKPOINT")
            db.execute("VACUUM ANALYZE by_hand, record, sighting, cursor")
            if way == "ours":
                options = {"port": self._port, "records": records, "edition": edition}
                db.execute(
                    "UPDATE connection SET options = %s WHERE connection_id = %s", (json.dumps(options), connection_id)
                )
        order = {
            "way": way,
            "connection_id": str(connection_id),
            "warm_id": str(self.connection(PER_PAGE)),
            "port": self._port,
            "records": records,
            "edition": edition,
            "url": self._server.url,
            "environ": {
                "CONNECTION_HEALTH_DATABASE_URL": self._server.url,
                "CONNECTION_HEALTH_REDIS_URL": "redis://127.0.0.1:1/0",
                "CONNECTION_HEALTH_VAULT_KEYS": self._key,
                "CONNECTION_HEALTH_ALLOW_LOOPBACK_VENDORS": "true",
                "CONNECTION_HEALTH_VENDORS_DIR": str(self._folder / "vendors"),
                "CONNECTION_HEALTH_LEASE_S": "600",
                "CONNECTION_HEALTH_LOG_LEVEL": "WARNING",
            },
        }
        self.database.close()
        module = ("benchmarks.ingest", "--ours") if way == "ours" else ("benchmarks.by_hand",)
        with subprocess.Popen(
            [sys.executable, "-m", *module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            if process.stdout.readline() != "warm\n":
                raise SystemExit(f"{way}, edition {edition}: the first page failed")
            before_s = tree_cpu_s(self._server.pid)
            found = json.loads(process.communicate("now\n")[0] or "null")
            time.sleep(SETTLE_S)
            server_s = tree_cpu_s(self._server.pid) - before_s
        self.database = Database(self._server.url)
        if found is None:
            raise SystemExit(f"{way}, edition {edition}: it failed")
        if found["written"] != written:
            raise SystemExit(f"{way}, edition {edition}: wrote {found['written']} rows, and not {written}")
        return Spent(
            client_s=found["client_s"] / records * 1e6,
            server_s=server_s / records * 1e6,
            rate_per_s=records / found["wall_s"],
            peak_mb=found["peak_mb"],
        )


FIRST, SAME, FEW, ALL = "first load", "unchanged", "1 % changed", "all changed"
COMPARED: Final = (
    # (what, way, edition, the part of the records that is written)
    ("", "fetch", 1, 0.0),
    (FIRST, "load", 1, 1.0),
    (FIRST, "ours", 1, 1.0),
    (SAME, "skip equal", 1, 0.0),
    (SAME, "ask", 1, 0.0),
    (SAME, "ours", 1, 0.0),
    (FEW, "ask", 2, 0.01),
    (FEW, "ours", 2, 0.01),
    (ALL, "rewrite", 3, 1.0),
    (ALL, "ours", 3, 1.0),
)
TARGETS: Final = (
    (FIRST, "load", 1.2),
    (SAME, "skip equal", 1.2),
    (SAME, "ask", 1.2),
    (FEW, "ask", 1.2),
    (ALL, "rewrite", 1.2),
)
MEMORY_TARGET: Final = 1.1

SETTLE_S: Final = 0.3
"""Server processes that end while they are counted are missed: the client's are let go first."""


def compared(bench: Bench, records: int, turns: int) -> dict[tuple[str, str], list[Spent]]:
    """Go every way by turns."""
    found: dict[tuple[str, str], list[Spent]] = {(what, way): [] for what, way, _edition, _part in COMPARED}
    for turn in range(turns):
        bench.empty()
        connection_id = bench.connection(records)
        steps = list(COMPARED)
        if turn % 2:  # ours first, then by hand: whatever the order does, it does to both
            steps.sort(key=lambda step: (step[2], step[0] == SAME, step[1] != "ours"))
        for what, way, edition, part in steps:
            took = bench.spent(way, connection_id, records=records, edition=edition, written=round(records * part))
            found[what, way].append(took)
            print(f"  turn {turn + 1}: {_line(what, way, took)}", file=sys.stderr)
    return found


def _line(what: str, way: str, took: Spent) -> str:
    return (
        f"{what:12}{way:12}{took.client_s:9.1f}{took.server_s:9.1f}{took.cpu_s:9.1f}"
        f"{took.rate_per_s:11,.0f}{took.peak_mb:9.0f}"
    )


def _median(each: list[Spent]) -> Spent:
    def middle(value: Callable[[Spent], float]) -> float:
        return statistics.median(value(one) for one in each)

    return Spent(
        client_s=middle(lambda one: one.client_s),
        server_s=middle(lambda one: one.server_s),
        rate_per_s=middle(lambda one: one.rate_per_s),
        peak_mb=middle(lambda one: one.peak_mb),
    )


def report(found: dict[tuple[str, str], list[Spent]], large: dict[str, Spent], chosen: argparse.Namespace) -> int:
    """Print the tables; return 1 where a target is missed."""
    head = f"{'':12}{'way':12}{'client':>9}{'PG':>9}{'both':>9}{'records/s':>11}{'peak MB':>9}"
    print(f"CPU seconds per million records; medians of {chosen.turns} turns of {chosen.sample:,} records")
    print(head)
    for (what, way), each in found.items():
        print(_line(what, way, _median(each)))
    judged = []
    for what, way, target in TARGETS:
        ratios = [ours.cpu_s / hand.cpu_s for ours, hand in zip(found[what, "ours"], found[what, way], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        judged.append((f"{what}, ours / {way} ({spread})", statistics.median(ratios), target))
    if large:
        print(f"ours with {chosen.records:,} records, once")
        print(head)
        for what, took in large.items():
            print(_line(what, "ours", took))
            small_mb = _median(found[what, "ours"]).peak_mb
            judged.append(
                (f"{what}, peak memory {chosen.records:,} / {chosen.sample:,}", took.peak_mb / small_mb, MEMORY_TARGET)
            )
    failed = 0
    for name, figure, target in judged:
        holds = figure <= target
        failed += not holds
        print(f"{name:60}{figure:6.2f} <= {target:<5}{'ok' if holds else 'MISSED'}")
    return 1 if failed else 0


@contextmanager
def vendor() -> Iterator[int]:
    """Serve the vendor while the block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.big_vendor"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.communicate()


def main() -> int:
    """Measure, print, and judge."""
    if sys.argv[1:] == ["--ours"]:
        by_hand.main(run_ours)
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000, help="for the peak of memory; 0 leaves that out")
    parser.add_argument("--sample", type=int, default=100_000, help="for the comparison")
    parser.add_argument("--turns", type=int, default=3)
    chosen = parser.parse_args()
    if chosen.records % PER_PAGE or chosen.sample % PER_PAGE:
        parser.error(f"give whole pages of {PER_PAGE}")
    settings = {"autovacuum": "off", "max_wal_size": "16GB"}
    with (
        tempfile.TemporaryDirectory(prefix="ch-bench-", dir="/tmp") as folder,
        Postgres(Path(folder) / "postgres", shared_buffers_mb=1024, settings=settings) as server,
        vendor() as port,
    ):
        Path(folder).chmod(0o711)
        server.start()
        bench = Bench(server, port, Path(folder))
        found = compared(bench, chosen.sample, chosen.turns)
        large: dict[str, Spent] = {}
        if chosen.records:
            bench.empty()
            connection_id = bench.connection(chosen.records)
            for what, edition, part in ((FIRST, 1, 1.0), (SAME, 1, 0.0), (FEW, 2, 0.01)):
                written = round(chosen.records * part)
                large[what] = bench.spent(
                    "ours", connection_id, records=chosen.records, edition=edition, written=written
                )
                print(f"  {_line(what, 'ours', large[what])}", file=sys.stderr)
        bench.database.close()
    return report(found, large, chosen)


if __name__ == "__main__":
    sys.exit(main())
