"""What reads on an event loop, with one cursor for each of its connections."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest

from models.database import Statement
from models.errors import DatabaseUnreachableError
from models.reading import Reading

SAME: Final = Statement("SELECT %(value)s")
FAILS: Final = Statement("SELECT 1 / %(value)s::int")
SLEEPS: Final = Statement("SELECT pg_sleep(%(value)s)")
WHO: Final = Statement("SELECT pg_backend_pid() WHERE %(value)s::int IS NOT NULL")


async def value(reading: Reading, statement: Statement, given: object) -> Any:
    ((found,),) = await reading.rows(statement, {"value": given})
    return found


def run(url: str, used: Callable[[Reading], Awaitable[None]], *, max_size: int = 1) -> None:
    async def main() -> None:
        reading = Reading(url, max_size=max_size, application_name="test")
        try:
            await used(reading)
        finally:
            await reading.close()

    asyncio.run(main())


def test_a_cursor_that_is_kept_reads_and_writes_each_type_as_a_new_one_would(fresh_database_url: str) -> None:
    values: list[object] = [
        1,
        2**40,
        2**70,
        "text",
        None,
        True,
        UUID(int=1),
        [1],
        [2**40],
        1.5,
        b"\0",
        1,
    ]

    async def used(reading: Reading) -> None:
        for given in (*values, *reversed(values)):
            assert await value(reading, SAME, given) == given

    run(fresh_database_url, used)


def test_a_statement_that_fails_harms_none_after_it(fresh_database_url: str) -> None:
    async def used(reading: Reading) -> None:
        before = await value(reading, WHO, 1)
        with pytest.raises(psycopg.errors.DivisionByZero):
            await value(reading, FAILS, 0)
        assert await value(reading, FAILS, 1) == 1
        assert await value(reading, WHO, 1) == before

    run(fresh_database_url, used)


def test_rows_of_one_statement_stay_when_the_next_is_run(fresh_database_url: str) -> None:
    async def used(reading: Reading) -> None:
        first = await reading.rows(SAME, {"value": "first"})
        await reading.rows(SAME, {"value": "second"})
        assert first == [("first",)]

    run(fresh_database_url, used)


def test_whoever_gives_up_waiting_leaves_nothing_to_the_next(fresh_database_url: str) -> None:
    async def used(reading: Reading) -> None:
        assert await value(reading, SAME, 1) == 1
        asking = asyncio.ensure_future(value(reading, SLEEPS, 3600.0))
        await asyncio.sleep(0)  # it has begun
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await value(reading, SAME, 2) == 2

    run(fresh_database_url, used)


def test_many_at_once_each_read_their_own_rows(fresh_database_url: str) -> None:
    async def used(reading: Reading) -> None:
        numbers = range(40)
        assert await asyncio.gather(*(value(reading, SAME, number) for number in numbers)) == list(numbers)

    run(fresh_database_url, used, max_size=3)


def test_a_connection_whose_server_ended_it_is_replaced(fresh_database_url: str) -> None:
    async def used(reading: Reading) -> None:
        before = await value(reading, WHO, 1)
        with psycopg.connect(fresh_database_url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 10000)", (before,))
        assert await value(reading, WHO, 1) != before

    run(fresh_database_url, used)


def test_nothing_can_be_written(fresh_database_url: str) -> None:
    async def used(reading: Reading) -> None:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await reading.rows(Statement("CREATE TABLE written (a int)"), {})

    run(fresh_database_url, used)


def test_a_server_that_is_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    made = "models.reading.AsyncConnectionPool.getconn"

    async def away(_pool: object) -> None:
        raise psycopg.OperationalError("away")

    monkeypatch.setattr(made, away)

    async def used(reading: Reading) -> None:
        with pytest.raises(DatabaseUnreachableError):
            await value(reading, SAME, 1)

    run("postgresql://nobody@127.0.0.1:1/none", used)
