"""Statements that only read, run on an event loop: no thread waits for them, and none is woken up for their answer.

To hand a list's statement to a thread and its rows back takes as long as the list itself. What writes, or does more
than one thing in a transaction, is `models.database`'s.
"""

import select
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from models.database import Statement, driver_url, session_options, unreachable


class _Lent(AsyncConnection[Any]):
    """A connection with one cursor, which is not thrown away.

    A cursor looks up how each type of a parameter and of a column is written and read, and remembers it: with a new one
    for each statement that takes as long as the journey to the server.
    """

    @cached_property
    def reader(self) -> AsyncRawCursor[tuple[Any, ...]]:
        """Its cursor. It holds the rows that it read last."""
        return AsyncRawCursor(self, row_factory=tuple_row)


class Reading:
    """A pool of connections for one event loop, opened at its first use; `by_index`, as in models.database."""

    def __init__(self, url: str, *, max_size: int, application_name: str) -> None:
        self._url = url
        self._pool: AsyncConnectionPool[_Lent] = AsyncConnectionPool(
            driver_url(url),
            connection_class=_Lent,
            min_size=0,
            max_size=max_size,
            open=False,
            timeout=10.0,
            kwargs={
                "autocommit": True,
                "application_name": application_name,
                "options": session_options(by_index=True) + " -c default_transaction_read_only=on",
            },
            check=_check,
            name=application_name,
        )

    async def rows(self, statement: Statement, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run one statement that returns rows, in a transaction of its own.

        Raises DatabaseUnreachableError where no connection can be had within 10 s.
        """
        if self._pool.closed:
            await self._pool.open()
        try:
            lent = await self._pool.getconn()
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise unreachable(self._url, str(error)) from error
        try:
            await lent.reader.execute(statement.sql, statement.values(params), prepare=True, binary=True)
            return await lent.reader.fetchall()
        finally:
            await self._pool.putconn(lent)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()


async def _check(lent: _Lent) -> None:
    """Refuse a connection whose server has gone: as `models.database` does."""
    if select.select([lent.fileno()], [], [], 0)[0]:
        await AsyncConnectionPool.check_connection(lent)
