"""What a page of a list costs, and a count by health, at a hundred thousand and at a million connections.

    python benchmarks/lists.py [--connections 1000000] [--repeats 300] [--plans]

Its own PostgreSQL, filled by SQL (crowd.py). Each list is asked for 50 connections with one filter or several, from its
beginning, its middle and near its end, by turns with `SELECT 1` over the same session; generic plans, as in use. Times
are the client's, reading of the rows included. Counts are held against GROUP BY, and must agree with it. Exits with 1
where a target is missed: 10 ms at the 95th percentile, pages alike wherever they lie, and whatever the table's size.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psycopg

from benchmarks.crowd import fill
from classifier.vocabulary import HealthName, HealthStatus, ResolutionOwner
from embedded.postgres import Postgres
from models import counts, migrate
from models.database import Database, Statement, row, rows
from models.lists import ConnectionFilter, Order, Place, list_connections, list_params, list_statement, walk_for
from models.vocabulary import ConnectionState

P95_MS: Final = 10.0
COUNT_MS: Final = 10.0
COUNT_SHARE: Final = 0.1
ALIKE: Final = 2.0
"""How much dearer the middle of a list may be than its beginning, and a table of ten times the size."""

Db = psycopg.Connection[Any]


def filters(db: Db) -> dict[str, tuple[ConnectionFilter, Order]]:
    """Return what is asked for, by name."""
    found = row(db, b"SELECT organization_id FROM organization ORDER BY name LIMIT 1")
    moment = row(db, b"SELECT now() - interval '10 days'")
    assert found is not None
    assert moment is not None
    organization_id = found[0]
    oldest = Order.OLDEST
    return {
        "everything": (ConnectionFilter(), oldest),
        "everything, newest first": (ConnectionFilter(), Order.NEWEST),
        "everything, latest change first": (ConnectionFilter(), Order.LATEST),
        "healthy": (ConnectionFilter(health=HealthName.HEALTHY), oldest),
        "unauthorized": (ConnectionFilter(health=HealthName.UNAUTHORIZED), oldest),
        "unauthorized, longest first": (ConnectionFilter(health=HealthName.UNAUTHORIZED), Order.LONGEST),
        "unhealthy": (ConnectionFilter(status=HealthStatus.UNHEALTHY), oldest),
        "the customer's to mend": (ConnectionFilter(owner=ResolutionOwner.CUSTOMER), oldest),
        "never run": (ConnectionFilter(never_run=True), oldest),
        "paused": (ConnectionFilter(state=ConnectionState.PAUSED), oldest),
        "pending (none)": (ConnectionFilter(state=ConnectionState.PENDING), oldest),
        "a vendor": (ConnectionFilter(vendor="vendor-7"), oldest),
        "a vendor that none has": (ConnectionFilter(vendor="nobody"), oldest),
        "a reason": (ConnectionFilter(reason="rate_limit_exceeded"), oldest),
        "a reason that none has": (ConnectionFilter(reason="nothing"), oldest),
        "an identifier": (ConnectionFilter(identifier="customer-777"), oldest),
        "an organization": (ConnectionFilter(organization_id=organization_id), oldest),
        "an organization, unauthorized": (
            ConnectionFilter(organization_id=organization_id, health=HealthName.UNAUTHORIZED),
            oldest,
        ),
        "a vendor, unhealthy": (ConnectionFilter(vendor="vendor-7", status=HealthStatus.UNHEALTHY), oldest),
        "changed in ten days, unhealthy": (
            ConnectionFilter(status=HealthStatus.UNHEALTHY, since=moment[0]),
            Order.LATEST,
        ),
    }


def place(db: Db, order: Order, share: float) -> Place:
    """Return the place at which a share of all connections lies behind."""
    if order.is_backwards:
        share = 1 - share
    if not order.is_by_since:
        return Place(connection_id=UUID(int=int(share * (2**128 - 1))))  # ids are random here
    found = row(db, b"SELECT min(since) + (max(since) - min(since)) * %s FROM health", (share,))
    assert found is not None
    return Place(connection_id=UUID(int=0), since=found[0])


def took_ms(work: Callable[[], object]) -> float:
    """Return how long a call took."""
    began_s = time.perf_counter()
    work()
    return (time.perf_counter() - began_s) * 1000


def measured(db: Db, work: Callable[[], object], repeats: int) -> tuple[list[float], list[float]]:
    """Do it so many times, by turns with `SELECT 1`. Returns the milliseconds of both."""
    one = Statement("SELECT 1")
    for _ in range(5):
        work()
    ours, bare = [], []
    for _ in range(repeats):
        bare.append(took_ms(lambda: rows(db, one)))
        ours.append(took_ms(work))
    return ours, bare


def p95(values: list[float]) -> float:
    """Return the 95th percentile."""
    return statistics.quantiles(values, n=20)[-1]


def lists(db: Db, repeats: int) -> tuple[dict[str, float], list[tuple[str, float, float]]]:
    """Measure every list. Returns the median from the start by name, and what is to be judged."""
    judged: list[tuple[str, float, float]] = []
    medians: dict[str, float] = {}
    worst_p95, worst_alike = 0.0, 0.0
    print(f"  {'list of 50':34}{'p50 ms':>8}{'p95 ms':>8}{'x SELECT 1':>12}{'middle':>9}{'near end':>10}")
    for name, (chosen, order) in filters(db).items():
        ours, bare = measured(db, lambda c=chosen, o=order: list_connections(db, c, order=o), repeats)  # type: ignore[misc]  # a lambda's defaults
        medians[name] = statistics.median(ours)
        elsewhere = []
        for share in (0.5, 0.95):
            at = place(db, order, share)
            later, _ = measured(
                db,
                lambda c=chosen, o=order, a=at: list_connections(db, c, order=o, after=a),  # type: ignore[misc]  # likewise
                repeats // 3,
            )
            elsewhere.append(statistics.median(later))
        worst_p95 = max(worst_p95, p95(ours))
        worst_alike = max(worst_alike, max(elsewhere) / medians[name])
        times = p95(ours) / p95(bare)
        print(f"  {name:34}{medians[name]:8.2f}{p95(ours):8.2f}{times:12.1f}{elsewhere[0]:9.2f}{elsewhere[1]:10.2f}")
    judged.append(("list of 50, the dearest p95, ms", worst_p95, P95_MS))
    judged.append(("middle or end of a list / its beginning, at most", worst_alike, ALIKE))
    return medians, judged


def counted(db: Db, repeats: int) -> list[tuple[str, float, float]]:
    """Measure counts by health, and see that they are exact."""
    found = row(db, b"SELECT organization_id FROM organization ORDER BY name LIMIT 1")
    assert found is not None
    whole = Statement("SELECT listed_as, count(*) FROM health WHERE connection_state <> 'DELETED' GROUP BY listed_as")
    exact = dict(rows(db, whole))
    ours = {("NEVER_RUN" if name is None else name.value): n for name, n in counts.health_counts(db).items() if n}
    if ours != exact:
        raise SystemExit(f"counts are wrong: {ours}, and not {exact}")
    grouped = statistics.median([took_ms(lambda: rows(db, whole)) for _ in range(5)])
    of_all, _ = measured(db, lambda: counts.health_counts(db), repeats)
    of_one, _ = measured(db, lambda: counts.health_counts(db, organization_id=found[0]), repeats)
    print(f"  counts by health: {p95(of_all):.2f} ms; of an organization {p95(of_one):.2f}; GROUP BY {grouped:.1f} ms")
    return [
        ("counts by health, p95, ms", max(p95(of_all), p95(of_one)), COUNT_MS),
        ("counts by health / GROUP BY", statistics.median(of_all) / grouped, COUNT_SHARE),
    ]


def plans(db: Db) -> None:
    """Print the generic plan of each list."""
    for name, (chosen, order) in filters(db).items():
        statement = list_statement(walk_for(chosen), order)
        values = statement.values(list_params(chosen, order, None))
        db.execute(b"PREPARE shown AS " + statement.sql)
        literals = ", ".join(psycopg.sql.Literal(value).as_string(db) for value in values)
        print(f"-- {name}")
        for (line,) in db.execute(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) EXECUTE shown({literals})".encode()):
            print(f"   {line}")
        db.execute(b"DEALLOCATE shown")


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--plans", action="store_true", help="print the plans too")
    chosen = parser.parse_args()
    found: dict[int, dict[str, float]] = {}
    judged: list[tuple[str, float, float]] = []
    for count in (chosen.connections // 10, chosen.connections):
        with (
            tempfile.TemporaryDirectory(prefix="ch-bench-", dir="/tmp") as folder,
            Postgres(Path(folder) / "postgres", durable=False, shared_buffers_mb=2048) as server,
        ):
            Path(folder).chmod(0o711)
            migrate.upgrade(server.url)
            fill(server.url, count)
            database = Database(server.url, by_index=True)
            print(f"{count:,} connections")
            with database.connection() as db:
                found[count], of_lists = lists(db, chosen.repeats)
                of_counts = counted(db, chosen.repeats)
                if chosen.plans and count == chosen.connections:
                    plans(db)
            database.close()
            judged = [*of_lists, *of_counts]
    small, large = found.values()
    grown = {name: large[name] / small[name] for name in small}
    dearest = max(grown, key=lambda name: grown[name])
    judged.append((f"ten times the connections ({dearest})", grown[dearest], ALIKE))
    failed = 0
    for name, figure, target in judged:
        holds = figure <= target
        failed += not holds
        print(f"{name:60}{figure:8.2f} <= {target:<6}{'ok' if holds else 'MISSED'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
