"""The way to PostgreSQL: a pool of psycopg connections that may idle or run only for so long.

Nothing here imports SQLAlchemy, which migrations alone use: it would be a fifth of the time in which a worker starts.
"""

import re
import select
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg_pool import ConnectionPool, PoolTimeout

from models.errors import (
    DatabaseUnreachableError,
    SchemaMissingError,
    SchemaOutdatedError,
    ServerTooOldError,
    SwallowedFailureError,
)

SCHEMA_REVISION: Final = "0008"
"""The revision that this code needs; a test compares it with the newest migration."""

OLDEST_SERVER: Final = 15
_DRIVER_PREFIXES: Final = ("postgresql+psycopg://", "postgres://", "postgresql://")
# A transaction that idles keeps dead rows alive in the hot tables, which slows every claim (docs/decisions/0002).
# Generic plans: those are what tests/models/test_plans.py looks at; left to itself, the server makes some statements a
# new plan at every call, which costs more than running them. READ COMMITTED is what the statements are made for: where
# a whole database is set to more, they would fail where they should wait for one another.
_SESSION: Final = (
    "-c idle_in_transaction_session_timeout=60s -c statement_timeout=60s -c timezone=UTC -c jit=off "
    "-c plan_cache_mode=force_generic_plan -c default_transaction_isolation=read\\ committed"
)
# A plan is made once and reused. Made while a table was empty it would read the whole table, also once that is large.
_BY_INDEX: Final = " -c enable_seqscan=off"
# For what may be lost by a crash of the server, with all that rests on it: it does not wait for the disk.
_NOT_DURABLE: Final = " -c synchronous_commit=off"


def session_options(*, durable: bool = True, by_index: bool = False) -> str:
    """Return what a session is begun with, as libpq reads it. What it means: see Database."""
    return _SESSION + _NOT_DURABLE * (not durable) + _BY_INDEX * by_index


def driver_url(url: str) -> str:
    """Return the URL as libpq reads it, from any of the usual spellings."""
    for prefix in _DRIVER_PREFIXES:
        if url.startswith(prefix):
            return "postgresql://" + url.removeprefix(prefix)
    return url


def engine_url(url: str) -> str:
    """Return the URL as SQLAlchemy reads it, from any of the usual spellings."""
    return "postgresql+psycopg://" + driver_url(url).removeprefix("postgresql://")


UNREADABLE: Final = "an unreadable URL"
AMBIGUOUS: Final = "a URL with an @ too many"
_ESCAPES: Final = "special characters of user and password are written as %40, %2F and the like"


def target_of(url: str) -> str:
    """Return host, port and database of a URL, without user and password.

    Where it cannot be told what belongs to a password, nothing is shown: libpq ends one at its first `/` or `@`, and
    takes the rest for host, port, database and parameters.
    """
    readable = driver_url(url)
    scheme, is_url, rest = readable.partition("://")
    if is_url and scheme == "postgresql" and "@" in rest.partition("@")[2] + re.sub(r"^[^/?]*", "", rest):
        return AMBIGUOUS
    try:
        parts = conninfo_to_dict(readable)
    except (psycopg.Error, UnicodeError):
        return UNREADABLE
    port = str(parts.get("port") or 5432)
    if not port.replace(",", "").isdecimal():
        return UNREADABLE
    host = parts.get("host") or parts.get("hostaddr") or "the local socket"
    return f"{host}:{port}/{parts.get('dbname') or ''}"


def refuse_unreadable(url: str) -> None:
    """Refuse a URL whose parts are not what they should be: the driver would say so by showing them."""
    if target_of(url) == UNREADABLE:
        raise unreachable(url, "")


def unreachable(url: str, cause: str) -> DatabaseUnreachableError:
    """Return the error that says why a database cannot be reached. cause: as the driver says it.

    Where a part of a password may have been taken for a host or a port, the driver names it: it is not quoted then.
    """
    target = target_of(url)
    return DatabaseUnreachableError(
        target, _ESCAPES if target in (UNREADABLE, AMBIGUOUS) else cause.strip().partition("\n")[0]
    )


class _LastFirst(deque[psycopg.Connection[Any]]):
    """The connections that nobody uses: who asks gets the one that was given back last.

    Its server process has plans and pages at hand; with each in its turn, as the pool would have it, a run costs
    PostgreSQL a quarter more, and none is ever idle for so long that the pool closes it.
    """

    def popleft(self) -> psycopg.Connection[Any]:
        return self.pop()


class Database:
    """A pool of connections, opened at its first use. Safe to share between threads, not between processes.

    durable False: a commit does not wait for the disk; a crash of the server may take the last moments back.
    by_index: rows are found by an index wherever there is one, for sessions that live long while tables grow.
    """

    def __init__(
        self,
        url: str,
        *,
        max_size: int = 10,
        application_name: str = "connection-health",
        durable: bool = True,
        by_index: bool = False,
    ) -> None:
        self._url = url
        self._pool: ConnectionPool[psycopg.Connection[Any]] = ConnectionPool(
            driver_url(url),
            min_size=0,
            max_size=max_size,
            open=False,
            timeout=10.0,
            kwargs={
                "autocommit": True,
                "application_name": application_name,
                "options": session_options(durable=durable, by_index=by_index),
            },
            check=_check,
            name=application_name,
        )
        self._pool._pool = _LastFirst()  # noqa: SLF001 - psycopg_pool has no setting for it

    def __repr__(self) -> str:
        return f"Database({target_of(self._url)!r})"

    @property
    def url(self) -> str:
        """The URL as it was given, password included: never print it."""
        return self._url

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend a connection on which every statement is a transaction of its own.

        Raises DatabaseUnreachableError where none can be had within 10 s, or where the server went away meanwhile.
        """
        self._pool.open()
        try:
            lent = self._pool.getconn()
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise unreachable(self._url, self._why(error)) from error
        try:
            yield lent
        finally:
            self._pool.putconn(lent)

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend a connection inside one transaction: committed at the end, rolled back where the block raises.

        A block that must be sure of something before it goes on may commit earlier; each statement after that commits
        by itself. Raises SwallowedFailureError where the block passed over an error of the database: nothing of it is
        stored then, and a plain COMMIT would not say so.
        """
        with self.connection() as lent:
            lent.execute(b"BEGIN")
            try:
                yield lent
                _commit(lent)
            except BaseException:
                if not lent.closed:
                    lent.rollback()
                raise

    def check(self) -> None:
        """Raise unless the database can be reached and its tables are what this code needs.

        A newer revision passes: a migration suits the code before it, so that workers can be replaced one by one.
        """
        refuse_unreadable(self._url)
        try:
            with psycopg.connect(driver_url(self._url), connect_timeout=10, autocommit=True) as db:
                version = db.info.server_version // 10_000
                found = _revision(db)
        except psycopg.OperationalError as error:
            raise unreachable(self._url, _first_line(error)) from error
        if version < OLDEST_SERVER:
            raise ServerTooOldError(version, OLDEST_SERVER)
        if found is None:
            raise SchemaMissingError(target_of(self._url))
        if found < SCHEMA_REVISION:
            raise SchemaOutdatedError(found, SCHEMA_REVISION)

    def close(self) -> None:
        """Close every connection. Those that are lent out are closed when they come back."""
        self._pool.close()

    def _why(self, error: Exception) -> str:
        """Ask the server itself: a pool that timed out knows only that it did."""
        try:
            psycopg.connect(driver_url(self._url), connect_timeout=3).close()
        except psycopg.OperationalError as direct:
            return _first_line(direct)
        return f"all {self._pool.max_size} connections of the pool are in use ({_first_line(error)})"


def _commit(lent: psycopg.Connection[Any]) -> None:
    if lent.info.transaction_status == TransactionStatus.INERROR:
        raise SwallowedFailureError
    lent.commit()


def _check(lent: psycopg.Connection[Any]) -> None:
    """Refuse a connection whose server has gone. An idle socket is silent: what can be read from it is its end.

    Asking the server itself would cost every borrower a round trip.
    """
    if select.select([lent.fileno()], [], [], 0)[0]:
        ConnectionPool.check_connection(lent)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _revision(db: psycopg.Connection[Any]) -> str | None:
    there = db.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone()
    if not (there and there[0]):
        return None
    found = db.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(found[0]) if found else None


class Statement:
    """One SQL statement with named parameters, `%(name)s` as in psycopg, translated once.

    psycopg translates a statement of more than 4 KiB anew at each call, which for the one that ends a run costs more
    than the rest of the call.
    """

    __slots__ = ("names", "sql")

    def __init__(self, text: str) -> None:
        numbers: dict[str, int] = {}

        def numbered(found: re.Match[str]) -> str:
            name = found["name"]
            return "%" if name is None else f"${numbers.setdefault(name, len(numbers) + 1)}"

        self.sql = re.sub(r"%(?:%|\((?P<name>\w+)\)s)", numbered, text).encode()
        self.names = tuple(numbers)

    def values(self, params: Mapping[str, Any]) -> list[Any]:
        """Return the parameters in the order in which the server counts them."""
        return [params[name] for name in self.names]


@contextmanager
def atomic(db: psycopg.Connection[Any]) -> Iterator[None]:
    """Let several statements be one: in the transaction that the caller has (or has coming), else in one of their own.

    psycopg's own `transaction()` commits where it is the first to use a connection that is not on autocommit, and in
    the middle of a transaction it makes a savepoint, at the price of two more journeys.
    """
    if not db.autocommit or db.info.transaction_status != TransactionStatus.IDLE:
        yield
    else:
        with db.transaction():
            yield


Params = Mapping[str, Any] | Sequence[Any]


def _executed(db: psycopg.Connection[Any], statement: Statement | bytes, params: Params) -> psycopg.Cursor[Any]:
    if isinstance(statement, bytes):
        return db.cursor(row_factory=tuple_row).execute(statement, params, prepare=True)
    if not isinstance(params, Mapping):
        raise TypeError("a Statement takes its parameters by name")
    cursor = psycopg.RawCursor(db, row_factory=tuple_row)
    # Binary: to write and read a time as text takes longer than to find its row.
    return cursor.execute(statement.sql, statement.values(params), prepare=True, binary=True)


def rows(db: psycopg.Connection[Any], statement: Statement | bytes, params: Params = ()) -> list[tuple[Any, ...]]:
    """Run one statement that returns rows, prepared by its text, whatever row factory the connection has."""
    return _executed(db, statement, params or {}).fetchall()


def row(db: psycopg.Connection[Any], statement: Statement | bytes, params: Params = ()) -> tuple[Any, ...] | None:
    """Return the first row of a statement, or None."""
    found: tuple[Any, ...] | None = _executed(db, statement, params or {}).fetchone()
    return found


def affected(db: psycopg.Connection[Any], statement: Statement | bytes, params: Params = ()) -> int:
    """Run one statement and return the number of rows that it changed."""
    return _executed(db, statement, params or {}).rowcount
