import itertools
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from classifier.vocabulary import HealthName, HealthStatus, ResolutionOwner
from models import connections, history, runs, vault
from models.connections import ConnectionFilter
from models.errors import InvalidValueError, NotFoundError
from models.runs import FinishedRun
from models.vocabulary import ConnectionState, RunState, Trigger


def test_ids_are_versioned_unique_and_in_the_order_of_their_making() -> None:
    made = [connections.new_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert {(one.version, one.variant) for one in made} == {(7, "specified in RFC 4122")}
    assert [one.int >> 80 for one in made] == sorted(one.int >> 80 for one in made)


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


# --- lists


def result_of(name: HealthName) -> FinishedRun:
    return FinishedRun(
        state=RunState.SUCCEEDED if name is HealthName.HEALTHY else RunState.FAILED,
        name=name,
        reason=f"because_{name.value.lower()}"[:30],
        rule="r",
        sentence="s",
        next_step="n",
        evidence={"big": "x"},
    )


@pytest.fixture
def many(world: Any) -> dict[UUID, tuple[HealthName | None, str, ConnectionState]]:
    """Connections of every health, of two vendors, in every state that is listed."""
    made = {}
    vendors = (world.vendor + ".a", world.vendor + ".b")
    states = (ConnectionState.ACTIVE, ConnectionState.PAUSED, ConnectionState.PENDING)
    for name, vendor, state in itertools.product([*HealthName, None], vendors, states):
        connection_id = world.connection(vendor=vendor).connection_id
        if name is not None:
            runs.finish(world.db, world.running(connection_id).key, result_of(name))
        if state is not ConnectionState.ACTIVE:
            connections.update_connection(world.db, connection_id, state=state)
        made[connection_id] = (name, vendor, state)
    connections.delete_connection(world.db, world.connection(vendor=vendors[0]).connection_id)
    return made


def listed(world: Any, chosen: ConnectionFilter, limit: int = 7) -> list[UUID]:
    found: list[UUID] = []
    page = connections.list_connections(world.db, chosen, limit=limit)
    while True:
        found += [one.connection_id for one in page.items]
        assert len(page.items) <= limit
        if page.after is None:
            return found
        page = connections.list_connections(world.db, chosen, after=page.after, limit=limit)


FILTERS: list[tuple[dict[str, Any], Any]] = [
    ({}, lambda _name, _state: True),
    ({"health": HealthName.UNAUTHORIZED}, lambda name, _state: name is HealthName.UNAUTHORIZED),
    ({"status": HealthStatus.HEALTHY}, lambda name, _state: name is HealthName.HEALTHY),
    ({"status": HealthStatus.UNHEALTHY}, lambda name, _state: name not in (HealthName.HEALTHY, None)),
    ({"owner": ResolutionOwner.VENDOR}, lambda name, _state: name is HealthName.VENDOR_SERVER_ERROR),
    (
        {"owner": ResolutionOwner.LEEN, "status": HealthStatus.UNHEALTHY, "state": ConnectionState.PAUSED},
        lambda name, state: (
            state is ConnectionState.PAUSED
            and name
            in (
                HealthName.EXECUTION_TIMEOUT,
                HealthName.RATE_LIMIT_EXCEEDED,
                HealthName.VENDOR_CLIENT_ERROR,
                HealthName.INTERNAL_ERROR,
            )
        ),
    ),
    ({"state": ConnectionState.PENDING}, lambda _name, state: state is ConnectionState.PENDING),
    ({"never_run": True}, lambda name, _state: name is None),
    ({"reason": "because_unauthorized"}, lambda name, _state: name is HealthName.UNAUTHORIZED),
    (
        {"reason": "because_unauthorized", "state": ConnectionState.ACTIVE},
        lambda name, state: name is HealthName.UNAUTHORIZED and state is ConnectionState.ACTIVE,
    ),
    ({"reason": "unheard of"}, lambda _name, _state: False),
    ({"health": HealthName.HEALTHY, "owner": ResolutionOwner.CUSTOMER}, lambda _name, _state: False),
    ({"never_run": True, "health": HealthName.HEALTHY}, lambda _name, _state: False),
    ({"identifier": "unheard of"}, lambda _name, _state: False),
]


@pytest.mark.parametrize("scope", ["organization", "vendor", "both"])
@pytest.mark.parametrize(
    ("asked", "fits"), FILTERS, ids=[str(sorted(asked)) + str(n) for n, (asked, _) in enumerate(FILTERS)]
)
def test_a_list_shows_exactly_what_was_asked_for(
    world: Any, many: dict[UUID, Any], scope: str, asked: dict[str, Any], fits: Any
) -> None:
    vendor = world.vendor + ".b"
    within: dict[str, Any] = {
        "organization": {"organization_id": world.organization_id},
        "vendor": {"vendor": vendor},
        "both": {"organization_id": world.organization_id, "vendor": vendor},
    }[scope]
    expected = [
        one
        for one, (name, of, state) in many.items()
        if fits(name, state) and (scope == "organization" or of == vendor)
    ]
    assert listed(world, ConnectionFilter(**asked, **within)) == sorted(expected)


def test_a_list_of_everything_goes_over_organizations(world: Any, many: dict[UUID, Any]) -> None:
    other = connections.create_organization(world.db, "Another").organization_id
    elsewhere = world.connection(organization_id=other).connection_id
    everything = listed(world, ConnectionFilter(), limit=50)
    assert {*many, elsewhere} <= set(everything)
    assert everything == sorted(everything)
    assert listed(world, ConnectionFilter(organization_id=other)) == [elsewhere]


def test_deleted_connections_are_shown_where_they_are_asked_for(world: Any, many: dict[UUID, Any]) -> None:
    chosen = ConnectionFilter(organization_id=world.organization_id, state=ConnectionState.DELETED)
    assert len(listed(world, chosen)) == 1


def test_an_identifier_is_found_in_every_organization_or_in_one(world: Any) -> None:
    first = world.connection(identifier="x").connection_id
    other = connections.create_organization(world.db, "Another").organization_id
    second = world.connection(identifier="x", organization_id=other).connection_id
    assert listed(world, ConnectionFilter(identifier="x")) == [first, second]
    assert listed(world, ConnectionFilter(identifier="x", organization_id=other)) == [second]
    assert listed(world, ConnectionFilter(identifier="x", state=ConnectionState.PAUSED)) == []


def test_a_list_leaves_the_evidence_where_it_is(world: Any, many: dict[UUID, Any]) -> None:
    page = connections.list_connections(
        world.db, ConnectionFilter(organization_id=world.organization_id, health=HealthName.UNAUTHORIZED)
    )
    health = page.items[0].health
    assert health is not None
    assert health.evidence is None
    assert history.get_health(world.db, page.items[0].connection_id) is not None


@pytest.mark.parametrize("limit", [0, 1001])
def test_a_page_has_a_size(world: Any, limit: int) -> None:
    with pytest.raises(InvalidValueError, match="1 to 1000"):
        connections.list_connections(world.db, limit=limit)


def test_connections_are_counted_by_health(world: Any, many: dict[UUID, Any]) -> None:
    counts = connections.health_counts(world.db, organization_id=world.organization_id)
    assert counts == dict.fromkeys([*HealthName, None], 6)
    of_one = connections.health_counts(world.db, vendor=world.vendor + ".a")
    assert of_one == dict.fromkeys([*HealthName, None], 3)
