"""Attempts and outlooks, as the tables keep them. What a provider answers: tests/worker/test_authorization.py."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from models import authorizations, connections, vault
from models.connections import ConnectionView
from models.database import Statement
from models.errors import AttemptOverError, NotFoundError, VaultSwappedError
from models.vocabulary import ConnectionState, Trigger

World = Any  # conftest.World, which --import-mode=importlib cannot import by name


@pytest.fixture
def pending(world: World) -> ConnectionView:
    made: ConnectionView = world.connection(credentials={}, state=ConnectionState.PENDING)
    return made


def begin(world: World, connection: ConnectionView, **more: Any) -> authorizations.Begun:
    return authorizations.begin(world.db, world.keyring, connection.connection_id, {"verifier": "v"}, **more)


def scheduled(world: World, connection_id: UUID) -> tuple[Any, ...]:
    found = world.db.execute(
        "SELECT enabled, requested_trigger, cred_version, next_due_at <= now() FROM connection_sched"
        " WHERE connection_id = %s",
        (connection_id,),
    ).fetchone()
    assert found is not None
    return tuple(found)


def test_an_attempt_is_taken_once_with_what_was_sealed_for_it(world: World, pending: ConnectionView) -> None:
    begun = begin(world, pending, success_url="https://a.example/yes", error_url="https://a.example/no")
    taken = authorizations.take(world.db, world.keyring, begun.state)

    assert (taken.attempt_id, taken.connection_id) == (begun.attempt_id, pending.connection_id)
    assert (taken.document, taken.success_url) == ({"verifier": "v"}, "https://a.example/yes")
    with pytest.raises(AttemptOverError, match="was finished before") as over:
        authorizations.take(world.db, world.keyring, begun.state)
    assert over.value.error_url == "https://a.example/no"


def test_the_state_is_random_and_kept_as_a_digest_alone(world: World, pending: ConnectionView) -> None:
    states = {begin(world, pending).state for _ in range(10)}

    assert len(states) == 10
    assert all(len(state) == 43 for state in states)  # 256 bits
    held = str(world.db.execute("SELECT t::text, encode(sealed, 'escape') FROM authorization_attempt t").fetchall())
    assert not [state for state in states if state in held]
    assert not [state for state in states if state.encode().hex() in held]


def test_an_attempt_that_is_bound_to_a_browser_is_taken_by_that_browser_alone(
    world: World, pending: ConnectionView
) -> None:
    begun = begin(world, pending, browser="a cookie")

    for other in ("", "another cookie"):
        with pytest.raises(AttemptOverError, match="not in this browser") as over:
            authorizations.take(world.db, world.keyring, begun.state, browser=other)
        assert over.value.error_url is None
    assert authorizations.take(world.db, world.keyring, begun.state, browser="a cookie").attempt_id == begun.attempt_id


def test_no_state_and_cookie_can_be_shifted_into_one_another(world: World, pending: ConnectionView) -> None:
    begun = begin(world, pending, browser="abc")

    with pytest.raises(AttemptOverError):
        authorizations.take(world.db, world.keyring, begun.state + "a", browser="bc")


def test_an_attempt_of_a_connection_that_is_gone_cannot_begin(world: World, pending: ConnectionView) -> None:
    connections.delete_connection(world.db, pending.connection_id)

    for connection_id in (pending.connection_id, uuid4()):
        with pytest.raises(NotFoundError):
            authorizations.begin(world.db, world.keyring, connection_id, {"verifier": "v"})


def test_a_verifier_that_was_moved_to_another_attempt_does_not_open(world: World, pending: ConnectionView) -> None:
    first, second = begin(world, pending), begin(world, pending)
    world.db.execute(
        "UPDATE authorization_attempt a SET sealed = b.sealed FROM authorization_attempt b"
        " WHERE a.attempt_id = %s AND b.attempt_id = %s",
        (first.attempt_id, second.attempt_id),
    )
    with pytest.raises(VaultSwappedError):
        authorizations.take(world.db, world.keyring, first.state)


def test_a_link_that_is_called_a_thousand_times_fills_no_table(world: World, pending: ConnectionView) -> None:
    begun = [begin(world, pending) for _ in range(60)]
    kept = world.db.execute("SELECT count(*) FROM authorization_attempt").fetchone()

    assert kept is not None
    assert kept[0] <= 21
    assert authorizations.take(world.db, world.keyring, begun[-1].state).attempt_id == begun[-1].attempt_id
    with pytest.raises(AttemptOverError):
        authorizations.take(world.db, world.keyring, begun[0].state)


@pytest.mark.parametrize(
    ("before", "after", "enabled"),
    [
        pytest.param(ConnectionState.PENDING, ConnectionState.ACTIVE, True, id="one that waited runs at once"),
        pytest.param(ConnectionState.ACTIVE, ConnectionState.ACTIVE, True, id="one that ran runs at once"),
        pytest.param(ConnectionState.PAUSED, ConnectionState.PAUSED, False, id="one that was paused stays so"),
    ],
)
def test_completing_stores_the_token_and_asks_for_a_run(
    world: World, before: ConnectionState, after: ConnectionState, enabled: bool
) -> None:
    made = world.connection(credentials={}, state=before)
    version = authorizations.complete(world.db, world.keyring, made.connection_id, {"access_token": "a"})

    view = connections.get_connection(world.db, made.connection_id)
    assert view is not None
    assert (view.state, version) == (after, 2)
    assert scheduled(world, made.connection_id)[:3] == (enabled, Trigger.CREDENTIALS, 2)
    assert not enabled or scheduled(world, made.connection_id)[3]
    assert vault.load(world.db, world.keyring, made.connection_id, "token") == {"access_token": "a"}


def test_a_run_that_is_on_is_followed_by_one_with_the_new_token(world: World, pending: ConnectionView) -> None:
    connections.resume_connection(world.db, pending.connection_id)
    claimed = world.running(pending.connection_id)
    authorizations.complete(world.db, world.keyring, pending.connection_id, {"access_token": "a"})

    assert scheduled(world, pending.connection_id)[1] == Trigger.CREDENTIALS
    assert not vault.store_token(
        world.db, world.keyring, pending.connection_id, {"access_token": "old"}, cred_version=claimed.cred_version
    )


def test_nothing_is_completed_for_a_connection_that_was_deleted(world: World, pending: ConnectionView) -> None:
    connections.delete_connection(world.db, pending.connection_id)

    with pytest.raises(NotFoundError):
        authorizations.complete(world.db, world.keyring, pending.connection_id, {"access_token": "a"})
    assert vault.load(world.db, world.keyring, pending.connection_id, "token") is None


def test_new_credentials_drop_the_token_or_keep_it(world: World, pending: ConnectionView) -> None:
    connection_id = pending.connection_id
    for keep_token in (True, False):
        vault.store(world.db, world.keyring, connection_id, "token", {"access_token": "a", "lapses_at": 4e9})
        connections.replace_credentials(world.db, world.keyring, connection_id, {"x": "y"}, keep_token=keep_token)
        assert (vault.load(world.db, world.keyring, connection_id, "token") is not None) is keep_token
        assert (authorizations.outlook(world.db, connection_id) is not None) is keep_token


@pytest.mark.parametrize("moment", [None, "soon", True, -5, 0, 1e300, float("inf"), [1]])
def test_a_moment_that_is_none_is_not_told_and_no_error(world: World, pending: ConnectionView, moment: object) -> None:
    vault.store(world.db, world.keyring, pending.connection_id, "token", {"expires_at": moment, "lapses_at": 2e9})
    outlook = authorizations.outlook(world.db, pending.connection_id)

    assert outlook is not None
    assert outlook.access_token_expires_at is None or outlook.access_token_expires_at.year == 9999
    assert outlook.lapses_at == datetime.fromtimestamp(2e9, UTC)


def test_what_lapses_is_listed_the_soonest_first_page_by_page(world: World) -> None:
    now = datetime.now(UTC).timestamp()
    made: list[UUID] = []
    for days in (5, -1, 3, 3, 40):
        connection = world.connection()
        document = {"access_token": "a", "lapses_at": now + days * 86_400}
        vault.store(world.db, world.keyring, connection.connection_id, "token", document)
        made.append(connection.connection_id)
    within = timedelta(days=14)

    whole = [each.connection_id for each in authorizations.list_lapsing(world.db, within=within)]
    paged: list[UUID] = []
    page: list[authorizations.Lapsing] = []
    while True:
        page = authorizations.list_lapsing(world.db, within=within, limit=1, after=page[-1] if page else None)
        if not page:
            break
        paged.append(page[0].connection_id)

    assert whole == paged == [made[1], *sorted(made[2:4]), made[0]]
    assert authorizations.list_lapsing(world.db, within=within, organization_id=uuid4()) == []
    connections.delete_connection(world.db, made[1])
    assert made[1] not in {each.connection_id for each in authorizations.list_lapsing(world.db, within=within)}


def test_what_lapses_is_read_in_the_order_of_one_index_however_much_there_is(world: World) -> None:
    world.db.execute("SET LOCAL session_replication_role = replica")  # rows without their connections will do
    world.db.execute(
        "INSERT INTO credential (connection_id, kind, key_id, sealed, lapses_at)"
        " SELECT gen_random_uuid(), 'token', 'k', '', now() + n * interval '1 minute' FROM generate_series(1, 20000) n"
    )
    world.db.execute(
        "INSERT INTO authorization_attempt (attempt_id, connection_id, state_digest, key_id, sealed, expires_at)"
        " SELECT gen_random_uuid(), gen_random_uuid(), sha256(n::text::bytea), 'k', '', now() + n * interval '1 s'"
        " FROM generate_series(1, 20000) n"
    )
    world.db.execute("ANALYZE credential, authorization_attempt")
    statements = (
        (authorizations._LAPSING, {"organization_id": None, "within_s": 1e6, "after_at": "-infinity", "limit": 50}),
        (authorizations._TAKE, {"digests": [b"x"]}),
        (authorizations._CLEAR, {"connection_id": uuid4(), "most": 20}),
    )
    plans = [plan_of(world, statement, {"after_id": UUID(int=0), **params}) for statement, params in statements]

    assert "Scan using ix_credential_lapses" in plans[0]
    assert "Sort" not in plans[0]
    assert "ix_authorization_attempt_state" in plans[1]
    assert "ix_authorization_attempt_connection" in plans[2]
    assert "Seq Scan" not in "".join(plans)


def plan_of(world: World, statement: Statement, params: dict[str, Any]) -> str:
    """Return the plan that serves whatever parameters."""
    world.db.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    world.db.execute("SET LOCAL enable_seqscan = off")  # as the doors' sessions have it
    world.db.execute(b"PREPARE looked_at AS " + statement.sql)
    literals = sql.SQL(", ").join([sql.Literal(value) for value in statement.values(params)])
    lines = world.db.execute(sql.SQL("EXPLAIN EXECUTE looked_at({})").format(literals)).fetchall()
    world.db.execute("DEALLOCATE looked_at")
    return "\n".join(line for (line,) in lines)


@pytest.mark.parametrize("has_token", [True, False], ids=["over a token", "before there is one"])
def test_a_consent_waits_for_a_renewal_that_is_on(committed: World, has_token: bool) -> None:
    """The pair that a renewal brings must not be written over what the consent brings later, nor be lost before it."""
    connection_id = committed.connection(credentials={}).connection_id
    keyring, url, version = committed.keyring, committed.db.info.dsn, 1
    if has_token:
        version = authorizations.complete(committed.db, keyring, connection_id, {"access_token": "first"})
    done = threading.Event()

    def complete() -> None:
        with psycopg.connect(url) as db:
            authorizations.complete(db, keyring, connection_id, {"access_token": "consent"})
        done.set()

    with psycopg.connect(url) as renewing:
        vault.lock_token(renewing, keyring, connection_id)
        thread = threading.Thread(target=complete)
        thread.start()
        waits = b"SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        while committed.db.execute(waits).fetchone() == (0,):
            assert thread.is_alive()
        assert not done.is_set()
        assert vault.store_token(renewing, keyring, connection_id, {"access_token": "renewed"}, cred_version=version)
    thread.join(30)

    assert vault.load(committed.db, keyring, connection_id, "token") == {"access_token": "consent"}
