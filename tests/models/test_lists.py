import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import psycopg
import pytest

from classifier.vocabulary import HealthName, HealthStatus, ResolutionOwner
from models import connections, count_sums, counts, history, runs
from models.counts import health_counts
from models.database import rows
from models.errors import InvalidValueError
from models.lists import (
    DEEPEST_OFFSET,
    NAMES,
    ConnectionFilter,
    DocumentPage,
    Order,
    Place,
    document_page,
    document_query,
    list_connections,
    unnamed,
)
from models.representations import connection_document
from models.runs import FinishedRun
from models.vocabulary import ConnectionState, RunState


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


def listed(world: Any, chosen: ConnectionFilter, limit: int = 7, order: Order = Order.OLDEST) -> list[UUID]:
    found: list[UUID] = []
    page = list_connections(world.db, chosen, order=order, limit=limit)
    while True:
        found += [one.connection_id for one in page.items]
        assert len(page.items) <= limit
        if page.after is None:
            return found
        page = list_connections(world.db, chosen, order=order, after=page.after, limit=limit)


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
    page = list_connections(
        world.db, ConnectionFilter(organization_id=world.organization_id, health=HealthName.UNAUTHORIZED)
    )
    health = page.items[0].health
    assert health is not None
    assert health.evidence is None
    assert history.get_health(world.db, page.items[0].connection_id) is not None


@pytest.mark.parametrize("limit", [0, 1001])
def test_a_page_has_a_size(world: Any, limit: int) -> None:
    with pytest.raises(InvalidValueError, match="1 to 1000"):
        list_connections(world.db, limit=limit)


def test_connections_are_counted_by_health(world: Any, many: dict[UUID, Any]) -> None:
    counts = health_counts(world.db, organization_id=world.organization_id)
    assert counts == dict.fromkeys([*HealthName, None], 6)
    of_one = health_counts(world.db, vendor=world.vendor + ".a")
    assert of_one == dict.fromkeys([*HealthName, None], 3)


# --- orders, offsets, totals


def age(world: Any, many: dict[UUID, Any]) -> dict[UUID, datetime]:
    """Let every health have begun at a time of its own, and in another order than that of the ids."""
    moments = {}
    for number, (connection_id, (name, _, _)) in enumerate(many.items()):
        if name is not None:
            moments[connection_id] = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number * 7 % 48)
            world.db.execute(
                "UPDATE health SET since = %s WHERE connection_id = %s", (moments[connection_id], connection_id)
            )
    return moments


SCOPES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "organization": lambda world: {"organization_id": world.organization_id},
    "vendor": lambda world: {"vendor": world.vendor + ".a"},
    "both": lambda world: {"organization_id": world.organization_id, "vendor": world.vendor + ".a"},
}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("order", Order)
def test_a_list_has_the_order_that_was_asked_for(world: Any, many: dict[UUID, Any], order: Order, scope: str) -> None:
    moments = age(world, many)
    chosen = ConnectionFilter(**SCOPES[scope](world))
    expected = [one for one, (_, vendor, _) in many.items() if scope == "organization" or vendor == world.vendor + ".a"]
    if order.is_by_since:
        expected = [one for one in expected if one in moments]
        expected.sort(key=lambda one: (moments[one], one), reverse=order.is_backwards)
    else:
        expected.sort(reverse=order.is_backwards)
    assert listed(world, chosen, order=order, limit=5) == expected
    whole = list_connections(world.db, chosen, order=order, limit=50).items
    for offset in (0, 1, len(expected) - 1, len(expected), len(expected) + 3):
        page = list_connections(world.db, chosen, order=order, offset=offset, limit=4)
        assert page.items == whole[offset : offset + 4]
        assert (page.after is None) == (offset + 4 >= len(expected))
    assert counts.total(world.db, chosen, order) == len(expected)


@pytest.mark.parametrize("order", [Order.LONGEST, Order.LATEST])
def test_a_list_since_a_time_begins_with_it(world: Any, many: dict[UUID, Any], order: Order) -> None:
    moments = age(world, many)
    since = sorted(moments.values())[len(moments) // 2]
    chosen = ConnectionFilter(organization_id=world.organization_id, since=since)
    expected = sorted(
        (one for one, moment in moments.items() if moment >= since),
        key=lambda one: (moments[one], one),
        reverse=order.is_backwards,
    )
    assert listed(world, chosen, order=order, limit=3) == expected
    assert counts.total(world.db, chosen, order) is None


def test_newest_first_works_for_identifiers_and_reasons(world: Any) -> None:
    made = [world.connection(identifier="x").connection_id for _ in range(5)]
    for connection_id in made:
        runs.finish(world.db, world.running(connection_id).key, result_of(HealthName.UNAUTHORIZED))
    for chosen in (
        ConnectionFilter(identifier="x"),
        ConnectionFilter(reason="because_unauthorized", organization_id=world.organization_id),
        ConnectionFilter(reason="because_unauthorized", vendor=world.vendor),
    ):
        assert listed(world, chosen, order=Order.NEWEST, limit=2) == sorted(made, reverse=True)
        assert counts.total(world.db, chosen) == 5


@pytest.mark.parametrize(
    ("chosen", "order", "offset", "remedy"),
    [
        pytest.param(ConnectionFilter(), Order.OLDEST, DEEPEST_OFFSET + 1, "by the cursor", id="a deep offset"),
        pytest.param(ConnectionFilter(), Order.OLDEST, -1, "by the cursor", id="an offset below none"),
        pytest.param(ConnectionFilter(reason="r"), Order.LATEST, 0, "order of created_at", id="a reason by since"),
        pytest.param(ConnectionFilter(identifier="i"), Order.LONGEST, 0, "order of created_at", id="a name by since"),
        pytest.param(
            ConnectionFilter(since=datetime(2026, 1, 1, tzinfo=UTC)),
            Order.NEWEST,
            0,
            "order of since",
            id="since by age",
        ),
    ],
)
def test_what_no_index_serves_is_refused(
    world: Any, chosen: ConnectionFilter, order: Order, offset: int, remedy: str
) -> None:
    with pytest.raises(InvalidValueError, match=remedy):
        list_connections(world.db, chosen, order=order, offset=offset)


def test_a_page_goes_on_after_its_place_whatever_became_of_its_last_connection(
    world: Any, many: dict[UUID, Any]
) -> None:
    age(world, many)
    chosen = ConnectionFilter(organization_id=world.organization_id)
    first = list_connections(world.db, chosen, order=Order.LONGEST, limit=6)
    assert first.after == Place(connection_id=first.items[-1].connection_id, since=first.items[-1].health.since)  # type: ignore[union-attr]  # by since each has one
    expected = list_connections(world.db, chosen, order=Order.LONGEST, after=first.after, limit=50).items
    connections.delete_connection(world.db, first.after.connection_id)
    assert list_connections(world.db, chosen, order=Order.LONGEST, after=first.after, limit=50).items == expected


# --- counts

COUNT_ALL = """
SELECT organization_id, vendor, listed_as, connection_state, COALESCE(reason, ''), count(*) FROM health
 GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5"""


def differences(world: Any) -> list[Any]:
    """What is counted, by organization and over all, against what is there."""
    there = world.db.execute(COUNT_ALL).fetchall()
    by_organization = world.db.execute(
        "SELECT organization_id, vendor, listed_as, connection_state, reason, sum(n)::bigint FROM ("
        "SELECT organization_id, vendor, listed_as, connection_state, reason, n FROM health_count UNION ALL "
        "SELECT organization_id, vendor, listed_as, connection_state, reason, n FROM health_count_change) c "
        "GROUP BY 1, 2, 3, 4, 5 HAVING sum(n) <> 0 ORDER BY 1, 2, 3, 4, 5"
    ).fetchall()
    of_all = world.db.execute(
        "SELECT listed_as, sum(n)::bigint FROM (SELECT listed_as, n FROM health_count_total UNION ALL "
        "SELECT listed_as, n FROM health_count_change) c GROUP BY 1 HAVING sum(n) <> 0 ORDER BY 1"
    ).fetchall()
    plain = world.db.execute("SELECT listed_as, count(*) FROM health GROUP BY 1 ORDER BY 1").fetchall()
    return [*set(there) ^ set(by_organization), *set(plain) ^ set(of_all)]


def test_counts_follow_whatever_happens_folded_or_not(world: Any, many: dict[UUID, Any]) -> None:
    assert differences(world) == []
    assert count_sums.fold(world.db) > 0
    assert differences(world) == []
    assert count_sums.fold(world.db) == 0

    one, other, third = list(many)[:3]
    if many[one][2] is not ConnectionState.ACTIVE:
        connections.resume_connection(world.db, one)
    runs.finish(world.db, world.running(one).key, result_of(HealthName.RATE_LIMIT_EXCEEDED))
    connections.pause_connection(world.db, one)
    connections.delete_connection(world.db, other)
    world.db.execute("UPDATE health SET reason = 'another' WHERE connection_id = %s", (third,))
    assert differences(world) == []
    world.db.execute("DELETE FROM health WHERE connection_id = %s", (third,))
    assert differences(world) == []
    count_sums.fold(world.db)
    assert differences(world) == []
    connections.delete_organization(world.db, world.organization_id)
    count_sums.fold(world.db)
    assert differences(world) == []
    assert set(health_counts(world.db, organization_id=world.organization_id).values()) == {0}


def test_a_run_that_changes_nothing_changes_no_count(world: Any) -> None:
    connection_id = world.connection().connection_id
    runs.finish(world.db, world.running(connection_id).key, result_of(HealthName.HEALTHY))
    count_sums.fold(world.db)
    runs.finish(world.db, world.running(connection_id).key, result_of(HealthName.HEALTHY))
    assert world.db.execute("SELECT count(*) FROM health_count_change").fetchone() == (0,)


def test_sums_of_nothing_are_not_kept(world: Any) -> None:
    connection_id = world.connection().connection_id
    count_sums.fold(world.db)
    runs.finish(world.db, world.running(connection_id).key, result_of(HealthName.HEALTHY))
    count_sums.fold(world.db)
    kept = world.db.execute(
        "SELECT listed_as, n FROM health_count WHERE organization_id = %s", (world.organization_id,)
    ).fetchall()
    assert kept == [("HEALTHY", 1)]


def test_totals_are_those_of_the_list(world: Any, many: dict[UUID, Any]) -> None:
    for asked, fits in FILTERS:
        chosen = ConnectionFilter(organization_id=world.organization_id, **asked)
        expected = sum(fits(name, state) for name, _, state in many.values())
        assert counts.total(world.db, chosen) == expected, asked


def test_what_is_folded_at_this_moment_is_counted_once(fresh_database_url: str) -> None:
    with psycopg.connect(fresh_database_url) as one, psycopg.connect(fresh_database_url, autocommit=True) as other:
        made = connections.create_organization(other, "An organization").organization_id
        other.execute(
            "INSERT INTO health_count_change (organization_id, vendor, listed_as, connection_state, reason, n) "
            "SELECT %s, 'v', 'HEALTHY', 'ACTIVE', 'healthy', 1 FROM generate_series(1, 9)",
            (made,),
        )
        assert count_sums.fold(one) == 9
        assert count_sums.fold(other) == 0  # one at a time
        assert health_counts(other, organization_id=made)[HealthName.HEALTHY] == 9
        one.commit()
        assert health_counts(other, organization_id=made)[HealthName.HEALTHY] == 9
        assert health_counts(other)[HealthName.HEALTHY] == 9


def test_an_empty_vendor_is_none_and_not_any(
    world: Any, many: dict[UUID, tuple[HealthName | None, str, ConnectionState]]
) -> None:
    assert many
    assert listed(world, ConnectionFilter(vendor="")) == []


def test_documents_are_those_of_views(
    world: Any, many: dict[UUID, tuple[HealthName | None, str, ConnectionState]]
) -> None:
    """Lists over HTTP are made straight from rows: they must say what the views say, word for word."""
    failing = next(one for one, (name, _, _) in many.items() if name is HealthName.UNAUTHORIZED)
    details = [{"endpoint": "GET /x", "reason": "r", "data_export_type": "users"}]
    world.db.execute("UPDATE health SET details = %s WHERE connection_id = %s", (json.dumps(details), failing))
    world.running(world.connection().connection_id)
    for order in Order:
        views = list_connections(world.db, order=order, limit=1000)
        page = documents_of(world, ConnectionFilter(), order, limit=1000)
        made = [each.document for each in page.items]
        assert [json_of(each) for each in made] == [json_of(connection_document(view)) for view in views.items]
        assert [list(each) for each in made] == [list(connection_document(view)) for view in views.items]
        assert [each.cred_version for each in page.items] == [view.cred_version for view in views.items]
        assert [json.loads(each.options) for each in page.items] == [view.options for view in views.items]
        part = documents_of(world, ConnectionFilter(), order, limit=3)
        assert part.after == list_connections(world.db, order=order, limit=3).after
        assert page.after is None


def documents_of(world: Any, chosen: ConnectionFilter, order: Order, *, limit: int) -> DocumentPage:
    statement, params = document_query(chosen, order=order, limit=limit)
    found = rows(world.db, statement, params)
    names = dict(rows(world.db, NAMES, {"organization_ids": list(unnamed(found, {}))}))
    assert unnamed(found, names) == set()
    return document_page(found, names, order=order, limit=limit)


def json_of(document: dict[str, Any]) -> Any:
    return json.loads(orjson.dumps(document))
