"""Requests that are sent twice and carried out once: alone, at the same time, and after a crash."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import psycopg
import pytest

from models import repeatables
from models.database import Database
from models.errors import RepeatedDifferentlyError, RepeatedTooSoonError, TakenOverError, VaultSwappedError
from models.repeatables import FirstRequest, FormerAnswer
from models.vault import Keyring, generate_key

Db = psycopg.Connection[Any]
KEYRING = Keyring.parse(generate_key())
NAMED = {"actor": "key:1", "idempotency_key": "k-1"}


def begun(db: Db, request: bytes = b"POST /x\n{}", **other: str) -> FirstRequest | FormerAnswer:
    named = {**NAMED, **other}
    return repeatables.begin(
        db, KEYRING, actor=named["actor"], idempotency_key=named["idempotency_key"], request=request
    )


def first(db: Db) -> FirstRequest:
    found = begun(db)
    assert isinstance(found, FirstRequest)
    return found


def finish(db: Db, request: FirstRequest, body: dict[str, Any]) -> None:
    repeatables.finish(db, KEYRING, request, status=200, body=body)


@pytest.fixture
def database(fresh_database_url: str) -> Iterator[Database]:
    made = Database(fresh_database_url)
    yield made
    made.close()


def test_the_second_request_gets_the_answer_of_the_first(db: Db) -> None:
    finish(db, first(db), {"id": 1, "key": "a secret of the answer"})

    assert begun(db) == FormerAnswer(status=200, body={"id": 1, "key": "a secret of the answer"})
    stored = db.execute("SELECT sealed FROM repeatable_request").fetchone()
    assert stored is not None
    assert b"a secret" not in bytes(stored[0])


def test_another_request_with_the_same_key_is_told(db: Db) -> None:
    finish(db, first(db), {})

    with pytest.raises(RepeatedDifferentlyError):
        begun(db, b"POST /x\n{1}")
    assert isinstance(begun(db, actor="key:2"), FirstRequest)  # another's key is another's affair


def test_one_that_is_still_on_is_told_and_one_that_failed_may_come_again(db: Db) -> None:
    one = first(db)
    with pytest.raises(RepeatedTooSoonError):
        begun(db)
    repeatables.abandon(db, one)
    assert isinstance(begun(db), FirstRequest)


def test_a_request_whose_process_died_is_taken_over_and_the_slow_one_makes_nothing(db: Db) -> None:
    slow = first(db)
    db.execute("UPDATE repeatable_request SET created_at = created_at - interval '121 seconds'")
    slow = FirstRequest(**NAMED, began_at=db.execute("SELECT created_at FROM repeatable_request").fetchone()[0])  # type: ignore[index]  # there is one
    second = first(db)
    with pytest.raises(TakenOverError):
        finish(db, slow, {"by": "the slow one"})
    repeatables.abandon(db, slow)  # it does not take away what is another's now
    finish(db, second, {"by": "the second"})
    assert begun(db) == FormerAnswer(status=200, body={"by": "the second"})


def test_after_a_day_the_same_key_is_another_request(db: Db) -> None:
    finish(db, first(db), {})
    db.execute(
        "UPDATE repeatable_request SET created_at = created_at - interval '25 hours', "
        "finished_at = finished_at - interval '25 hours'"
    )

    assert isinstance(begun(db, b"another"), FirstRequest)


def test_of_many_at_the_same_time_one_is_the_first(database: Database) -> None:
    ready = Barrier(8)

    def send(_number: int) -> str:
        ready.wait()
        try:
            with database.transaction() as db:
                return type(begun(db)).__name__
        except RepeatedTooSoonError:
            return "later"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(send, range(8))) == ["FirstRequest", *["later"] * 7]


def test_an_answer_is_kept_only_with_what_it_tells_of(database: Database) -> None:
    with database.transaction() as db:
        one = first(db)
    with database.transaction() as db:
        finish(db, one, {})
        db.rollback()  # what it tells of was not stored
    with database.transaction() as db, pytest.raises(RepeatedTooSoonError):
        begun(db)


def test_an_answer_that_was_moved_to_another_key_does_not_open(db: Db) -> None:
    finish(db, first(db), {"of": "key 1"})
    db.execute("UPDATE repeatable_request SET actor = 'key:2'")

    with pytest.raises(VaultSwappedError):
        begun(db, actor="key:2")
