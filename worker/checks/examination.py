"""Runs checks side by side. Whatever one of them waits for, the others come to their end, and so does the whole."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import InsufficientPrivilege, QueryCanceled, UndefinedColumn, UndefinedTable

from models.database import driver_url
from models.errors import DatabaseUnreachableError, ModelsError
from vendors.errors import VendorError
from worker.checks import broker, database, own, work
from worker.checks.finding import Bench, Finding, State, failed, warning
from worker.errors import WorkerError, first_line
from worker.hints import BrokerError
from worker.settings import Settings

Check = Callable[[Bench], Finding]

CHECKS: Final[Mapping[str, Check]] = {
    "database": database.database,
    "database_connections": database.database_connections,
    "transactions": database.transactions,
    "migrations": database.migrations,
    "broker": broker.broker,
    "queue": broker.queue,
    "clocks": broker.clocks,
    "workers": work.workers,
    "dispatch": work.dispatch,
    "beat": broker.beat,
    "overdue": work.overdue,
    "stuck_runs": work.stuck_runs,
    "vendor_limits": work.vendor_limits,
    "vault": own.vault_key,
    "definitions": own.definitions,
    "vendors_in_use": own.vendors_in_use,
    "lapsing": own.lapsing,
    "partitions": database.partitions,
    "retention": database.retention,
    "disk": database.disk,
}
"""Every check, in the order in which a person reads them."""

READINESS: Final = ("database", "migrations", "vault")
"""What a process needs before it can answer anybody. Not Redis: without it everything goes on, a little later. Nor what
people are advised of, such as access that lapses: no process answers worse for it."""

_COMPUTED: Final = frozenset({"definitions"})
"""Asks no server: where it is late, this machine is busy, and nothing is known to be wrong."""

_SLACK_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One check by its name. took_s: how long it took."""

    name: str
    finding: Finding
    took_s: float

    @property
    def state(self) -> State:
        """How it came out."""
        return self.finding.state


def examine(bench: Bench, names: Iterable[str] = tuple(CHECKS)) -> list[Result]:
    """Return what each check found, in the order of the names. Takes bench.within_s and a second at most; never raises.

    Raises KeyError for a name that is none.
    """
    chosen = {name: CHECKS[name] for name in names}
    done: queue.SimpleQueue[Result] = queue.SimpleQueue()
    begun = time.monotonic()
    for name, check in chosen.items():
        # Daemons: one that hangs all the same (a disk that is gone) must not keep the process from ending.
        threading.Thread(target=_run, args=(name, check, bench, done), name=f"check {name}", daemon=True).start()
    found: dict[str, Result] = {}
    while len(found) < len(chosen):
        try:
            result = done.get(timeout=max(0.0, begun + bench.within_s + _SLACK_S - time.monotonic()))
        except queue.Empty:
            break
        found[result.name] = result
    late_s = time.monotonic() - begun
    return [found.get(name) or Result(name=name, finding=_late(bench, name), took_s=late_s) for name in chosen]


def worst(results: Iterable[Result]) -> State:
    """Return the worst state among them."""
    return max((each.state for each in results), key=list(State).index, default=State.OK)


def _run(name: str, check: Check, bench: Bench, done: "queue.SimpleQueue[Result]") -> None:
    begun = time.monotonic()
    try:
        finding = check(bench)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what this check has to say
        was_cut = time.monotonic() - begun >= bench.within_s and isinstance(error, psycopg.OperationalError)
        finding = _silent(bench) if was_cut else _of_error(bench, error)
    done.put(Result(name=name, finding=_scrubbed(finding, bench.settings), took_s=time.monotonic() - begun))


def _late(bench: Bench, name: str) -> Finding:
    if name in _COMPUTED:
        return warning(f"not done within {bench.within_s:g} s", "this machine is busy: look again, and give it longer")
    return _silent(bench)


def _silent(bench: Bench) -> Finding:
    return failed(
        f"no answer within {bench.within_s:g} s", "see whether the server that it asks is frozen or overloaded"
    )


def _of_error(bench: Bench, error: Exception) -> Finding:
    """Return what an error means. Of a driver's sentences the first line is shown; of strangers' nothing."""
    for kind, meaning in _MEANINGS:
        if isinstance(error, kind):
            return meaning(bench, error)
    return failed(f"the check itself broke: {type(error).__name__}", "this is a bug of ours: please tell us")


def _unreachable(_bench: Bench, error: Exception) -> Finding:
    return failed(
        str(error).partition(". Is it running")[0],
        "start it, or mend CONNECTION_HEALTH_DATABASE_URL; nothing runs meanwhile, and nothing is lost",
    )


def _redis(bench: Bench, error: Exception) -> Finding:
    return failed(
        f"Redis: {first_line(error)}",
        "start it, or mend CONNECTION_HEALTH_REDIS_URL; workers claim from PostgreSQL "
        f"{bench.settings.degraded_after_s:g} s after it went away",
    )


def _of_ours(_bench: Bench, error: Exception) -> Finding:
    problem, _, remedy = str(error).partition(": ")  # our sentences say what to do behind a colon
    return failed(problem, remedy or "see docs/operations.md")


_Meaning = Callable[[Bench, Exception], Finding]
_MEANINGS: Final[Sequence[tuple[type[Exception] | tuple[type[Exception], ...], _Meaning]]] = (
    (DatabaseUnreachableError, _unreachable),
    (
        InsufficientPrivilege,
        lambda _, error: warning(f"our role may not look: {first_line(error)}", "grant it pg_monitor"),
    ),
    (
        (UndefinedTable, UndefinedColumn),
        lambda *_: failed("the tables are not those of this version", "run `connection-health db migrate`"),
    ),
    (QueryCanceled, lambda bench, _: _silent(bench)),
    (psycopg.Error, lambda _, error: failed(f"PostgreSQL: {first_line(error)}", "see the log of PostgreSQL")),
    (BrokerError, _redis),
    ((ModelsError, WorkerError, VendorError), _of_ours),
)


def _scrubbed(finding: Finding, settings: Settings) -> Finding:
    """Return the finding without what must not be shown, should a server have repeated it in an error."""
    measured, remedy = finding.measured, finding.remedy
    for secret in _secrets(settings):
        measured, remedy = measured.replace(secret, "…"), remedy.replace(secret, "…")
    return Finding(state=finding.state, measured=measured, remedy=remedy, values=finding.values)


def _secrets(settings: Settings) -> list[str]:
    urls = [settings.database_url.get_secret_value(), settings.redis_client_url]
    found = [*urls, *(url.partition("://")[2].rpartition("@")[0].partition(":")[2] for url in urls)]
    with suppress(psycopg.Error):  # the check of the database says so
        found.append(str(conninfo_to_dict(driver_url(urls[0])).get("password") or ""))
    if settings.vault_keys is not None:
        found += [line.rpartition(":")[2].strip() for line in settings.vault_keys.get_secret_value().splitlines()]
    return sorted({each for each in found if len(each) > 3}, key=len, reverse=True)
