import contextlib
import pickle
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import errors
from models.database import (
    AMBIGUOUS,
    UNREADABLE,
    Database,
    Statement,
    affected,
    atomic,
    driver_url,
    engine_url,
    row,
    rows,
    target_of,
    unreachable,
)
from models.errors import DatabaseUnreachableError, SwallowedFailureError

SPELLINGS = ["postgresql://u:p@h:1/d", "postgresql+psycopg://u:p@h:1/d", "postgres://u:p@h:1/d"]


@pytest.mark.parametrize("url", SPELLINGS)
def test_every_usual_spelling_of_a_url_is_understood(url: str) -> None:
    assert driver_url(url) == "postgresql://u:p@h:1/d"
    assert engine_url(url) == "postgresql+psycopg://u:p@h:1/d"


@pytest.mark.parametrize("url", SPELLINGS)
def test_no_password_is_shown(url: str) -> None:
    assert target_of(url) == "h:1/d"
    assert repr(Database(url)) == "Database('h:1/d')"


def test_an_unreadable_url_is_not_repeated() -> None:
    assert target_of("postgresql://secret@[::") == "an unreadable URL"


SPELT = "abcdefghijklmnop"
"""What passwords are made of beside signs: none of it is in anything else that is shown."""


@given(
    user=st.text("UVW", max_size=3),
    password=st.text(f"{SPELT}/?@:#%[]&= ,'\\\\", min_size=1, max_size=12).filter(lambda text: set(text) & set(SPELT)),
    after=st.sampled_from(["@H:1/D", "@H", "@/D", "@H:1/D?sslmode=X"]),
)
def test_nothing_of_a_password_is_shown_however_it_is_written(user: str, password: str, after: str) -> None:
    url = f"postgresql://{user}:{password}{after}"
    target = target_of(url)
    if target not in (UNREADABLE, AMBIGUOUS):
        assert set(target.lower().replace("the local socket", "")) <= set(":/1d5432h"), target
    told = str(unreachable(url, f"the driver says {password}")) if target in (UNREADABLE, AMBIGUOUS) else ""
    assert f"says {password}" not in told


@pytest.mark.parametrize(
    ("url", "target"),
    [
        pytest.param("postgresql://u:p/ss@h/d", AMBIGUOUS, id="a slash"),
        pytest.param("postgresql://u:12/ss@h/d", AMBIGUOUS, id="a slash after what could be a port"),
        pytest.param("postgresql://u:12?sslmode=ss@h/d", AMBIGUOUS, id="a question mark"),
        pytest.param("postgresql://u:p@ss@h/d", AMBIGUOUS, id="an at sign"),
        pytest.param("postgresql://u:p/ss", UNREADABLE, id="what could be a port is none"),
        pytest.param("postgresql://u:p%2Fs%40s@h/d", "h:5432/d", id="written as they should be"),
        pytest.param("postgresql://h/d?password=s%40s", "h:5432/d", id="a password among the parameters"),
        pytest.param("postgresql://h/d?password=s@s", AMBIGUOUS, id="the same, with an at sign"),
        pytest.param("host=h dbname=d password=s/s", "h:5432/d", id="as words"),
    ],
)
def test_a_url_is_shown_where_it_is_told_from_its_password(url: str, target: str) -> None:
    assert target_of(url) == target


def test_what_the_driver_took_for_a_host_is_not_quoted() -> None:
    database = Database("postgresql://secret:12/more@127.0.0.1:1/d?connect_timeout=1")
    with pytest.raises(DatabaseUnreachableError) as caught:
        database.check()
    assert "secret" not in str(caught.value)
    assert "%2F" in str(caught.value)


def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    database = Database("postgresql://u:secret@127.0.0.1:1/d")
    with pytest.raises(DatabaseUnreachableError) as caught:
        database.check()
    assert "127.0.0.1:1/d" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_block_that_raises_leaves_nothing(database: Database) -> None:
    with database.transaction() as db:
        db.execute("CREATE TABLE t (n int)")
    with contextlib.suppress(ZeroDivisionError), database.transaction() as db:
        db.execute("INSERT INTO t VALUES (1)")
        raise ZeroDivisionError
    with database.connection() as db:
        assert db.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_a_block_may_commit_before_its_end(database: Database) -> None:
    with database.transaction() as db:
        db.execute("CREATE TABLE t (n int)")
    with contextlib.suppress(ZeroDivisionError), database.transaction() as db:
        db.execute("INSERT INTO t VALUES (1)")
        db.commit()
        db.execute("INSERT INTO t VALUES (2)")
        raise ZeroDivisionError
    with database.connection() as db:
        assert db.execute("SELECT n FROM t ORDER BY n").fetchall() == [(1,), (2,)]  # each statement after it by itself


def test_a_failure_that_was_passed_over_is_not_committed_away(database: Database) -> None:
    def swallows() -> None:
        with database.transaction() as db:
            db.execute("CREATE TABLE t (n int)")
            with contextlib.suppress(psycopg.errors.DivisionByZero):
                db.execute("SELECT 1 / 0")

    with pytest.raises(SwallowedFailureError):
        swallows()


def test_several_statements_are_one_whatever_the_caller_has(fresh_database_url: str, database: Database) -> None:
    def two(db: psycopg.Connection[Any]) -> None:
        with atomic(db):
            db.execute("INSERT INTO t VALUES (1)")
            db.execute("INSERT INTO t VALUES (1 / (SELECT count(*) - 1 FROM t))")

    with psycopg.connect(fresh_database_url, autocommit=True) as db:
        db.execute("CREATE TABLE t (n int)")
        with pytest.raises(psycopg.errors.DivisionByZero):
            two(db)
        assert db.execute("SELECT count(*) FROM t").fetchone() == (0,)
    with psycopg.connect(fresh_database_url) as db:
        with atomic(db):
            db.execute("INSERT INTO t VALUES (1)")
        db.rollback()  # the caller's transaction was not committed for it
        assert db.execute("SELECT count(*) FROM t").fetchone() == (0,)
    with contextlib.suppress(ZeroDivisionError), database.transaction() as db:
        with atomic(db):
            db.execute("INSERT INTO t VALUES (1)")
        raise ZeroDivisionError
    with database.connection() as db:
        assert db.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_a_connection_commits_each_statement(database: Database) -> None:
    with database.connection() as db:
        db.execute("CREATE TABLE t (n int)")
        assert db.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    with database.transaction() as db:
        db.execute("SELECT 1")
        assert db.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
    with database.connection() as db:
        db.execute("SELECT 1")
        assert db.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_a_connection_whose_server_went_away_is_replaced(database: Database, fresh_database_url: str) -> None:
    with database.connection() as db:
        pid = db.info.backend_pid
    with psycopg.connect(fresh_database_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    with database.transaction() as db:
        assert db.info.backend_pid != pid
        assert db.execute("SELECT 1").fetchone() == (1,)


def test_the_connection_that_was_given_back_last_is_lent_first(database: Database) -> None:
    with contextlib.ExitStack() as at_once:
        lent = [at_once.enter_context(database.connection()) for _ in range(4)]
        assert len({one.info.backend_pid for one in lent}) == 4
    used = []
    for _ in range(8):
        with database.connection() as db:
            used.append(db.info.backend_pid)
    assert used == [lent[0].info.backend_pid] * 8  # an exit stack gives back in reverse


def test_no_transaction_may_idle_and_no_statement_run_for_ever(database: Database) -> None:
    with database.connection() as db:
        shown = [
            (db.execute(f"SHOW {name}".encode()).fetchone() or ("",))[0]
            for name in ("idle_in_transaction_session_timeout", "statement_timeout", "synchronous_commit", "TimeZone")
        ]
    assert shown == ["1min", "1min", "on", "UTC"]


def test_a_pool_that_is_used_up_says_so(fresh_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(fresh_database_url, max_size=1)
    with database.connection():
        monkeypatch.setattr(database._pool, "timeout", 0.05)
        with pytest.raises(DatabaseUnreachableError, match="all 1 connections"), database.connection():
            pass
    database.close()


def test_a_statement_is_translated_once() -> None:
    statement = Statement("SELECT %(a)s, %(b)s, %(a)s, 7 %% 2")
    assert statement.sql == b"SELECT $1, $2, $1, 7 % 2"
    assert statement.values({"b": 2, "a": 1, "c": 3}) == [1, 2]


def test_statements_run_whatever_the_connections_rows_look_like(database_url: str) -> None:
    with psycopg.connect(database_url, row_factory=psycopg.rows.dict_row) as db:
        statement = Statement("SELECT %(a)s::int + 1")
        assert rows(db, statement, {"a": 1}) == [(2,)]
        assert row(db, b"SELECT %s::int", (5,)) == (5,)
        assert affected(db, b"SELECT 1") == 1
        with pytest.raises(TypeError, match="by name"):
            rows(db, statement, (1,))


ID = UUID(int=1)
SAMPLES: dict[type[Exception], tuple[Any, ...]] = {
    errors.DatabaseUnreachableError: ("h:1/d", "refused"),
    errors.ServerTooOldError: (14, 15),
    errors.SwallowedFailureError: (),
    errors.SchemaMissingError: ("h:1/d",),
    errors.SchemaOutdatedError: ("0001", "0002"),
    errors.SchemaDriftError: (("a column",),),
    errors.FencedError: (ID, 3),
    errors.NotFoundError: ("connection", "x"),
    errors.InvalidValueError: ("ck_x", "a remedy"),
    errors.InviteRefusedError: (),
    errors.AttemptOverError: ("is over", "https://customer.example/no"),
    errors.LinkRefusedError: (),
    errors.RepeatedDifferentlyError: ("a-key",),
    errors.RepeatedTooSoonError: ("a-key",),
    errors.TakenOverError: ("a-key",),
    errors.ChangedMeanwhileError: (ID,),
    errors.KeyringError: (2, "is not base64"),
    errors.UnknownKeyError: (ID, "token", "k1"),
    errors.VaultKeyError: (ID, "token", "k1"),
    errors.VaultTamperedError: (ID, "token"),
    errors.VaultSwappedError: (ID, "token"),
}


def leaves(root: type[Exception]) -> set[type[Exception]]:
    below = root.__subclasses__()
    return {root, *(leaf for one in below for leaf in leaves(one))} if below else {root}


def test_every_error_has_a_sample_and_stands_in_the_tree() -> None:
    bases = {errors.ModelsError, errors.SchemaError, errors.VaultError}
    assert leaves(errors.ModelsError) - bases == set(SAMPLES)
    assert errors.__doc__ is not None
    assert all(one.__name__ in errors.__doc__ for one in leaves(errors.ModelsError))


@pytest.mark.parametrize("kind", SAMPLES, ids=lambda kind: kind.__name__)
def test_every_error_says_a_sentence_and_survives_pickling(kind: type[Exception]) -> None:
    error = kind(*SAMPLES[kind])
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))
    assert len(str(error).split()) > 1
