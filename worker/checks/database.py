"""PostgreSQL: there, new enough, set as our guarantees need it, with room, at the right revision."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from psycopg.conninfo import conninfo_to_dict

from models import checks
from models.checks import ServerFacts
from models.database import OLDEST_SERVER, SCHEMA_REVISION, driver_url
from worker.checks.finding import Bench, Finding, State, Trouble, counted, failed, judged, lasting, ok, sized, warning

SLOW_S: Final = 0.1
FULL_PART: Final = 0.8
LONG_TRANSACTION_S: Final = 300.0
LOW_PART, LOW_BYTES = 0.10, 5e9
SPENT_PART, SPENT_BYTES = 0.03, 1e9
_CONTROL_CONNECTIONS: Final = 4

# What a setting must be, and why. The first two end everything, the others are a danger.
_MUST: Final = {
    "default_transaction_read_only": ("off", "nothing can be written: lead to the primary, or set it to off"),
    "default_transaction_isolation": ("read committed", "the statements are made for read committed: set it so"),
}
_SHOULD: Final = {
    "autovacuum": ("on", "dead rows slow every claim: set it to on"),
    "track_counts": ("on", "autovacuum does nothing without it: set it to on"),
    "fsync": ("on", "a crash of the machine may destroy the data: set it to on"),
    "full_page_writes": ("on", "a crash of the machine may destroy the data: set it to on"),
}


def database(bench: Bench) -> Finding:
    """Look whether it answers, takes writes, is new enough and set as it must be."""
    with bench.database() as db:
        facts = checks.server_facts(db)
        asked_at = time.perf_counter()
        db.execute("SELECT 1")
        took_s = time.perf_counter() - asked_at
    values = {"version": facts.version, "latency_ms": round(took_s * 1000, 2), "settings": dict(facts.settings)}
    return judged(
        f"PostgreSQL {facts.version}, answers in {took_s * 1000:.1f} ms",
        values,
        [
            Trouble(
                state=State.FAILED,
                holds=facts.version < OLDEST_SERVER,
                remedy=f"PostgreSQL {OLDEST_SERVER} or newer is needed: upgrade it",
            ),
            Trouble(
                state=State.FAILED,
                holds=facts.is_standby,
                said="a standby",
                remedy="the URL must lead to the primary: promote it or change the URL",
            ),
            *_differing(facts, _MUST, State.FAILED),
            *_differing(facts, _SHOULD, State.WARNING),
            Trouble(
                state=State.WARNING,
                holds=facts.settings.get("synchronous_commit") == "off",
                said="synchronous_commit off",
                remedy="a crash may take ended runs back, which are then run again: set it to on",
            ),
            Trouble(
                state=State.WARNING,
                holds=took_s > SLOW_S,
                remedy="two round trips make a run: bring workers and database closer together",
            ),
        ],
    )


def _differing(facts: ServerFacts, wanted: Mapping[str, tuple[str, str]], state: State) -> list[Trouble]:
    return [
        Trouble(state=state, holds=True, said=f"{name} {facts.settings[name]}", remedy=remedy)
        for name, (value, remedy) in wanted.items()
        if facts.settings.get(name, value) != value
    ]


def database_connections(bench: Bench) -> Finding:
    """Look whether the server has room for the connections that live workers may open."""
    with bench.database() as db:
        facts = checks.server_facts(db)
        workers = sum(worker.is_alive for worker in checks.worker_facts(db, lapsed_s=0))
    each = connections_of_a_process(bench)
    most = facts.connections_most
    measured = f"{facts.connections} of {most} open; {counted(workers, 'worker')} may open {workers * each}"
    values = {"open": facts.connections, "most": most, "workers": workers, "per_worker": each}
    if facts.connections >= most * FULL_PART:
        return warning(measured, "raise max_connections, or put a pooler in session mode between", **values)
    if workers * each > most:
        return warning(
            measured,
            "lower CONNECTION_HEALTH_DATABASE_POOL or raise max_connections: under load some workers will be refused",
            **values,
        )
    return ok(measured, **values)


def connections_of_a_process(bench: Bench) -> int:
    """Return how many connections one worker process opens at most (worker/station.py)."""
    settings = bench.settings
    return 2 * settings.database_pool + _CONTROL_CONNECTIONS + max(4, settings.concurrency // 4)


def transactions(bench: Bench) -> Finding:
    """Look for transactions that keep dead rows alive in the tables that every claim reads."""
    with bench.database() as db:
        oldest_s = checks.server_facts(db).oldest_transaction_s
    measured = f"the oldest transaction is {lasting(oldest_s)} old"
    if oldest_s > LONG_TRANSACTION_S:
        return warning(
            measured,
            "dead rows cannot be removed meanwhile and slow every claim: end it (pg_stat_activity shows whose it is)",
            oldest_s=round(oldest_s, 1),
        )
    return ok(measured, oldest_s=round(oldest_s, 1))


def migrations(bench: Bench) -> Finding:
    """Look whether the tables are those that this version needs."""
    with bench.database() as db:
        found = checks.revision(db)
    values = {"revision": found, "needed": SCHEMA_REVISION}
    if found is None:
        return failed("no tables of ours", "run `connection-health db migrate`", **values)
    if found < SCHEMA_REVISION:
        return failed(f"revision {found}, needed {SCHEMA_REVISION}", "run `connection-health db migrate`", **values)
    if found > SCHEMA_REVISION:
        return warning(
            f"revision {found}, this version knows {SCHEMA_REVISION}",
            "replace this version by the newer one: it works, but is behind",
            **values,
        )
    return ok(f"revision {found}", **values)


def disk(bench: Bench) -> Finding:
    """Look how much room the data directory has, where it lies on this machine."""
    with bench.database() as db:
        facts = checks.server_facts(db)
    size = sized(facts.database_bytes)
    values: dict[str, object] = {"database_bytes": facts.database_bytes}
    where = facts.data_directory
    if where is None or not _is_local(bench):
        return ok(f"the database takes {size}; its disk is not this machine's to see", **values)
    try:
        total, _used, free = bench.disk_usage(Path(where))
    except OSError as error:
        return ok(f"the database takes {size}; {where} cannot be seen: {error.strerror}", **values)
    measured = f"{sized(free)} of {sized(total)} free in {where}; the database takes {size}"
    values |= {"free_bytes": free, "total_bytes": total}
    remedy = "add room, or keep less: CONNECTION_HEALTH_RUN_HISTORY_DAYS is what takes most"
    if free < min(SPENT_BYTES, total * SPENT_PART):
        return failed(measured, f"PostgreSQL stops when it is full: {remedy}", **values)
    if free < min(LOW_BYTES, total * LOW_PART):
        return warning(measured, remedy, **values)
    return ok(measured, **values)


def _is_local(bench: Bench) -> bool:
    parts = conninfo_to_dict(driver_url(bench.settings.database_url.get_secret_value()))
    host = str(parts.get("hostaddr") or parts.get("host") or "/")
    return host.startswith(("/", "@", "127.")) or host in {"localhost", "::1"}


def partitions(bench: Bench) -> Finding:
    """Look whether the days to come have a place for their runs."""
    with bench.database() as db:
        facts = checks.history_facts(db)
    ahead = sum(day > facts.today for day in facts.days)
    values = {"today": facts.today.isoformat(), "days_ahead": ahead, "strays": facts.strays}
    strays = "; some runs lie outside all days" if facts.strays else ""
    remedy = "start a beat and a worker; `celery -A worker call worker.purge` makes them now"
    if facts.today not in facts.days:
        return failed(
            f"none for today{strays}", f"nothing is lost, but deleting old runs gets slow: {remedy}", **values
        )
    if not ahead:
        return warning(f"none for tomorrow{strays}", remedy, **values)
    return ok(f"today and {ahead} more days{strays}", **values)


def retention(bench: Bench) -> Finding:
    """Look whether days that are to be dropped were dropped."""
    kept = bench.settings.run_history_days
    with bench.database() as db:
        facts = checks.history_facts(db)
    old = [day for day in facts.days if (facts.today - day).days > kept + 1]
    oldest = facts.days[0].isoformat() if facts.days else None
    values = {"oldest": oldest, "kept_days": kept, "too_old": len(old)}
    if old:
        return warning(
            f"runs of {oldest} are still there, {kept} days are kept",
            "start a beat; `celery -A worker call worker.purge` drops them now, where nobody is reading them",
            **values,
        )
    return ok(f"{kept} days of runs are kept, the oldest is {oldest}" if oldest else "no days yet", **values)
