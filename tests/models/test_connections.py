from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from classifier.vocabulary import HealthName, ResolutionOwner
from models import connections, runs, vault
from models.errors import InvalidValueError, NotFoundError
from models.runs import FinishedRun
from models.vocabulary import ConnectionState, Trigger


def test_ids_are_versioned_unique_and_in_the_order_of_their_making() -> None:
    made = [connections.new_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert {(one.version, one.variant) for one in made} == {(7, "specified in RFC 4122")}
    assert made == sorted(made)


def test_a_delete_takes_its_rows_in_the_order_of_a_run_that_ends(committed: Any, fresh_database_url: str) -> None:
    """A run's end has the health and then wants the schedule: a delete that had that already would wait for ever."""
    connection_id = committed.connection().connection_id
    with psycopg.connect(fresh_database_url) as ending, ThreadPoolExecutor(1) as aside:
        ending.execute("SELECT FROM health WHERE connection_id = %s FOR UPDATE", (connection_id,))
        deleted = aside.submit(connections.delete_connection, committed.db, connection_id)
        waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        while not ending.execute(waiting).fetchall():
            assert not deleted.done()
            ending.execute("SELECT pg_stat_clear_snapshot()")
        ending.execute("SELECT FROM connection_sched WHERE connection_id = %s FOR UPDATE NOWAIT", (connection_id,))
        ending.commit()
        assert deleted.result(timeout=30)


# --- organizations


def test_organizations_are_listed_in_parts(world: Any) -> None:
    made = [connections.create_organization(world.db, f"org {number}").organization_id for number in range(5)]
    listed: list[UUID] = []
    after = world.organization_id
    while after is not None:
        page = connections.list_organizations(world.db, after=after, limit=2)
        listed += [one.organization_id for one in page.items]
        after = page.after
    assert set(made) <= set(listed)
    assert listed == sorted(listed)


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_an_organization_needs_a_name(world: Any, name: str) -> None:
    with pytest.raises(InvalidValueError, match="1 to 200 characters") as caught:
        connections.create_organization(world.db, name)
    assert caught.value.constraint == "ck_organization_name_length"


def test_deleting_an_organization_deletes_its_connections_and_ends_their_runs(world: Any) -> None:
    run = world.running()
    idle = world.connection()
    assert connections.delete_organization(world.db, world.organization_id)
    assert not connections.delete_organization(world.db, world.organization_id)
    assert connections.get_organization(world.db, world.organization_id) is None
    assert not runs.is_current(world.db, run.key)
    for connection_id in (run.key.connection_id, idle.connection_id):
        view = connections.get_connection(world.db, connection_id)
        assert view is not None
        assert view.state is ConnectionState.DELETED
    with pytest.raises(NotFoundError):
        world.connection()


# --- connections


def test_a_new_connection_is_due_at_once(world: Any) -> None:
    view = connections.create_connection(
        world.db,
        world.keyring,
        organization_id=world.organization_id,
        vendor="acme",
        credentials={"k": "v"},
        options={"a": 1},
        identifier="mine",
    )
    assert (view.vendor, view.state, view.identifier, view.options) == (
        "acme",
        ConnectionState.ACTIVE,
        "mine",
        {"a": 1},
    )
    assert (view.refresh_interval_secs, view.timeout_secs, view.cred_version) == (14_400, 3_600, 1)
    assert (view.health, view.active_run, view.run_seq, view.is_active) == (None, None, 0, True)
    assert vault.load(world.db, world.keyring, view.connection_id, "credentials") == {"k": "v"}
    run = runs.claim(world.db, view.connection_id, worker_id=world.worker())
    assert run is not None
    assert run.trigger is Trigger.CREDENTIALS


def test_a_connection_without_credentials_may_wait_for_them(world: Any) -> None:
    view = world.connection(credentials=None, state=ConnectionState.PENDING)
    assert vault.load(world.db, world.keyring, view.connection_id, "credentials") is None
    connections.replace_credentials(world.db, world.keyring, view.connection_id, {"k": "v"})
    assert vault.load(world.db, world.keyring, view.connection_id, "credentials") == {"k": "v"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        pytest.param({"refresh_interval_secs": 9}, "10 to 31536000 seconds, not 9", id="interval too short"),
        pytest.param({"refresh_interval_secs": 0}, "10 to 31536000", id="no interval"),
        pytest.param({"refresh_interval_secs": 31_536_001}, "10 to 31536000", id="interval too long"),
        pytest.param({"timeout_secs": 0}, "1 to 86400", id="no time"),
        pytest.param({"timeout_secs": 86_401}, "1 to 86400", id="too much time"),
        pytest.param({"vendor": "no such/vendor"}, "1 to 64 letters", id="vendor"),
        pytest.param({"identifier": ""}, "1 to 500 characters", id="empty identifier"),
        pytest.param({"state": ConnectionState.DELETED}, "cannot be created as DELETED", id="deleted"),
    ],
)
def test_what_the_tables_refuse_is_said_in_a_sentence(world: Any, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidValueError, match=said):
        world.connection(**wrong)


@pytest.mark.parametrize(
    ("column", "value"),
    [("refresh_interval_secs", 9), ("timeout_secs", 0), ("active_seq", 99), ("requested_trigger", "x")],
)
def test_the_database_itself_refuses_too(world: Any, column: str, value: Any) -> None:
    connection = world.connection()
    with pytest.raises(Exception, match=f"ck_connection_sched_{column}"):
        world.set_sched(connection.connection_id, **{column: value})


def test_only_what_is_given_is_changed(world: Any) -> None:
    view = world.connection(identifier="mine", options={"a": 1}, state=ConnectionState.PAUSED)
    assert connections.update_connection(world.db, view.connection_id) == connections.get_connection(
        world.db, view.connection_id
    )
    changed = connections.update_connection(world.db, view.connection_id, timeout_secs=5, options={"b": 2})
    assert (changed.state, changed.identifier, changed.timeout_secs, changed.options) == (
        ConnectionState.PAUSED,
        "mine",
        5,
        {"b": 2},
    )
    assert connections.update_connection(world.db, view.connection_id, identifier=None).identifier is None


def test_changing_what_is_not_there_says_so(world: Any) -> None:
    deleted = world.connection().connection_id
    assert connections.delete_connection(world.db, deleted)
    assert not connections.delete_connection(world.db, deleted)
    for connection_id in (deleted, uuid4()):
        with pytest.raises(NotFoundError):
            connections.update_connection(world.db, connection_id, timeout_secs=5)
        with pytest.raises(NotFoundError):
            connections.replace_credentials(world.db, world.keyring, connection_id, {"k": "v"})
    assert connections.get_connection(world.db, uuid4()) is None


def test_another_interval_begins_with_its_next_slot(world: Any) -> None:
    connection_id = world.connection(refresh_interval_secs=86_400).connection_id
    run = world.running(connection_id)
    runs.interrupt(world.db, run.key, reason="test", due_at_once=False)
    connections.update_connection(world.db, connection_id, refresh_interval_secs=60)
    sched = world.sched(connection_id)
    assert sched["next_due_at"] == sched["slot_at"]
    assert timedelta(0) < sched["slot_at"] - sched["now"] <= timedelta(seconds=60)


def test_another_interval_does_not_end_a_vendors_wait(world: Any, unauthorized: FinishedRun, with_wait: Any) -> None:
    run = world.running()
    runs.finish(world.db, run.key, with_wait(unauthorized, 7200.0))
    connections.update_connection(world.db, run.key.connection_id, refresh_interval_secs=60)
    sched = world.sched(run.key.connection_id)
    assert sched["next_due_at"] == sched["now"] + timedelta(hours=2)


def test_a_resumed_connection_runs_at_once_and_owes_no_slots_of_its_pause(world: Any) -> None:
    view = connections.pause_connection(world.db, world.connection(refresh_interval_secs=60).connection_id)
    assert not view.is_active
    world.set_sched(view.connection_id, slot_at="=slot_at - interval '1 hour'", next_due_at="=slot_at")
    connections.resume_connection(world.db, view.connection_id)
    run = runs.claim(world.db, view.connection_id, worker_id=world.worker())
    assert run is not None
    assert run.skipped_slots == 0


def test_the_state_is_followed_whatever_statement_sets_it(world: Any) -> None:
    connection_id = world.connection().connection_id
    for state, enabled in (("PAUSED", False), ("ACTIVE", True), ("PENDING", False)):
        world.db.execute("UPDATE connection SET state = %s WHERE connection_id = %s", (state, connection_id))
        assert world.sched(connection_id)["enabled"] is enabled
        assert world.health(connection_id)["connection_state"] == state


def test_a_view_shows_the_run_that_is_on_and_the_health(world: Any, unauthorized: FinishedRun) -> None:
    run = world.running()
    runs.finish(world.db, run.key, unauthorized)
    again = world.running(run.key.connection_id)
    view = connections.get_connection(world.db, run.key.connection_id)
    assert view is not None
    assert view.active_run is not None
    assert (view.active_run.run_seq, view.active_run.worker_id) == (2, again.key.worker_id)
    assert view.health is not None
    assert (view.health.name, view.health.owner, view.health.evidence) == (
        HealthName.UNAUTHORIZED,
        ResolutionOwner.CUSTOMER,
        {"status": 401},
    )
    assert view.health.description == "Connection is unauthorized"
    assert view.health.details == [{"data_export_type": "alerts", "endpoint": "GET /alerts"}]
