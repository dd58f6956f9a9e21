from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.vendors.engine.fakes import BASE, NOW, THINGS, FakeSession, Reply, connect, define, read, read_until_error
from vendors.definition import Definition
from vendors.errors import UnexpectedShapeError, UnusableValueError
from vendors.wire import Request

SITES: dict[str, Any] = {**THINGS, "request": {"path": "/sites"}}
GONE = [{"status": [404], "body": {"path": "code", "eq": "GONE"}, "action": "skip_part"}]


def child(**more: Any) -> dict[str, Any]:
    return {
        **THINGS,
        "request": {"path": "/sites/${parent.site.id}/things"},
        "id": ["parent.site.id", "id"],
        "parents": [{"data_type": "sites", "key": "id", "as": "site", "fields": ["name"]}],
        **more,
    }


def tree() -> Definition:
    rooms = {
        **THINGS,
        "request": {"path": "/sites/${parent.site.id}/rooms"},
        "parents": [{"data_type": "sites", "key": "id", "as": "site"}],
    }
    things = {
        **THINGS,
        "request": {
            "path": "/sites/${parent.place.id}/rooms/${parent.room.id}/things",
            "query": {"n": "${parent.place.name}"},
        },
        "id": ["parent.place.id", "parent.room.id", "id"],
        "parents": [
            {"data_type": "sites", "key": "id", "as": "place", "fields": ["name"]},
            {"data_type": "rooms", "key": "id", "as": "room"},
        ],
    }
    return define({"things": things, "rooms": rooms, "sites": SITES})


class Stored:
    """Parent records that the run has stored: `held` by data type."""

    def __init__(self, held: Mapping[str, list[dict[str, object]]]) -> None:
        self.held = held
        self.asked: list[tuple[str, tuple[str, ...], datetime | None]] = []

    def keys(
        self, data_type: str, fields: tuple[str, ...], *, changed_since: datetime | None
    ) -> Iterator[Mapping[str, object]] | None:
        self.asked.append((data_type, fields, changed_since))
        if data_type not in self.held:
            return None
        return iter({path: row[path] for path in fields if path in row} for row in self.held[data_type])


def vendor(request: Request) -> Any:
    path = request.url.removeprefix(BASE)
    if path == "/sites":
        return {"items": [{"id": 1, "name": "north"}, {"id": "a/b", "name": "south"}]}
    return {"items": [{"id": 7}]}


def test_parents_are_read_before_their_children() -> None:
    assert connect(tree()).data_types == ("sites", "rooms", "things")


def test_a_child_is_read_once_for_each_parent() -> None:
    found = read(define({"sites": SITES, "things": child()}), vendor)
    assert [request.url for request in found.session.requests] == [
        f"{BASE}/sites",
        f"{BASE}/sites/1/things",
        f"{BASE}/sites/a%2Fb/things",
    ]
    assert found.ids == ["1:7", "a/b:7"]
    assert found.payloads[0] == {"id": 7, "_parent": {"site": {"id": 1, "name": "north"}}}
    assert found.full_pass
    assert found.session.requests[0].endpoint == "GET /sites"
    assert found.session.requests[1].endpoint == "GET /sites/{site.id}/things"


def test_all_requests_of_a_child_are_made_in_its_name() -> None:
    found = read(define({"sites": SITES, "things": child()}), vendor)
    assert {request.data_type for request in found.session.requests} == {"things"}


def test_stored_parents_spare_the_vendor() -> None:
    stored = Stored({"sites": [{"id": 1, "name": "north"}]})
    found = read(define({"sites": SITES, "things": child()}), vendor, parents=stored)
    assert [request.url for request in found.session.requests] == [f"{BASE}/sites/1/things"]
    assert stored.asked == [("sites", ("id", "name"), None)]
    assert found.full_pass


def test_parents_that_are_not_stored_come_from_the_vendor() -> None:
    found = read(define({"sites": SITES, "things": child()}), vendor, parents=Stored({}))
    assert len(found.session.requests) == 3


def test_grandparents_come_with_the_parents_under_the_names_used_here() -> None:
    def building(request: Request) -> Any:
        path = request.url.removeprefix(BASE)
        if path == "/sites":
            return {"items": [{"id": 1, "name": "north"}]}
        return {"items": [{"id": "r1"}]} if path.endswith("/rooms") else {"items": [{"id": 7}]}

    found = read(tree(), building)
    assert [request.url for request in found.session.requests] == [
        f"{BASE}/sites",
        f"{BASE}/sites/1/rooms",
        f"{BASE}/sites/1/rooms/r1/things",
    ]
    assert found.session.asked() == {"n": "north"}
    assert found.ids == ["1:r1:7"]


def test_stored_parents_bring_what_they_kept_of_theirs() -> None:
    stored = Stored({"rooms": [{"id": "r1", "_parent": {"site": {"id": 1, "name": "north"}}}]})
    found = read(tree(), vendor, parents=stored)
    assert [request.url for request in found.session.requests] == [f"{BASE}/sites/1/rooms/r1/things"]
    assert found.ids == ["1:r1:7"]


def test_a_parent_without_its_key_is_an_error() -> None:
    parents = [{"data_type": "sites", "key": "code", "as": "site"}]
    request = {"path": "/sites/${parent.site.code}/things"}
    definition = define({"sites": SITES, "things": child(parents=parents, request=request, id="id")})
    with pytest.raises(UnexpectedShapeError, match="sites has no code"):
        read(definition, vendor)


def test_a_key_that_would_lead_to_another_path_is_refused() -> None:
    stored = Stored({"sites": [{"id": "..", "name": "x"}]})
    found = read_until_error(define({"sites": SITES, "things": child()}), vendor, parents=stored)
    assert isinstance(found.error, UnusableValueError)
    assert found.session.requests == []


def test_a_part_that_a_rule_lets_pass_is_counted_and_the_others_are_read() -> None:
    def partly(request: Request) -> Any:
        return Reply(status=404, body={"code": "GONE"}) if "/1/" in request.url else vendor(request)

    found = read(define({"sites": SITES, "things": child(errors=GONE)}), partly)
    assert found.ids == ["a/b:7"]
    assert (found.skipped, found.full_pass) == (1, False)
    skip = next(page.skipped[0] for page in found.pages if page.skipped)
    assert (skip.endpoint, skip.status, skip.rule) == ("GET /sites/{site.id}/things", 404, "lantern.yaml:1")


def test_a_401_is_never_let_pass() -> None:
    """Even were a rule to say so past the loader, it stands."""
    rules = [{"status": [403, 404], "whole_status": True, "action": "skip_part"}]
    definition = define({"sites": SITES, "things": child(errors=rules)})
    thing = definition.data_types["things"]
    object.__setattr__(thing.errors[0], "statuses", frozenset({401, 404}))

    def refusing(request: Request) -> Any:
        return vendor(request) if request.url.endswith("/sites") else Reply(status=401)

    found = read_until_error(definition, refusing)
    assert "status 401" in str(found.error)


def test_a_hole_among_the_parents_is_a_hole_of_the_child() -> None:
    sites = {**SITES, "pagination": {"type": "cursor", "token": {"from": "next", "in": "query.p"}}, "errors": GONE}

    def broken(request: Request) -> Any:
        if request.url.endswith("/sites"):
            if request.query:
                return Reply(status=404, body={"code": "GONE"})
            return {"items": [{"id": 1, "name": "n"}], "next": "b"}
        return vendor(request)

    found = read(define({"sites": sites, "things": child()}), broken)
    assert found.ids == ["1:7"]
    assert not found.full_pass


def test_parents_stream() -> None:
    """The second page of parents is asked for only after the children of the first were handed over."""
    sites = {**SITES, "pagination": {"type": "cursor", "token": {"from": "next", "in": "query.p"}}}

    def paged(request: Request) -> Any:
        if request.url.endswith("/sites"):
            page = int(dict(request.query).get("p", 0))
            return {
                "items": [{"id": page * 10, "name": "n"}, {"id": page * 10 + 1, "name": "n"}],
                "next": page + 1 if page < 3 else None,
            }
        return {"items": [{"id": 7}]}

    session = FakeSession(paged)
    pages = connect(define({"sites": sites, "things": child()})).pull(session, "things", None)
    next(pages)
    next(pages)
    assert [request.url.endswith("/sites") for request in session.requests].count(True) == 1


# ---- only those that changed


def changed() -> Definition:
    spec = {"field": "at", "start": {"in": "query.since"}}
    parents = [{"data_type": "sites", "key": "id", "as": "site", "only_changed": True}]
    return define({"sites": {**SITES, "incremental": spec}, "things": child(parents=parents)})


def test_only_changed_parents_are_read_from_the_vendor_again() -> None:
    def dated(request: Request) -> Any:
        if request.url.endswith("/sites"):
            return {"items": [{"id": 1, "name": "n", "at": "2026-05-05T00:00:00Z"}]}
        return vendor(request)

    first = read(changed(), dated)
    assert first.full_pass
    second = read(changed(), dated, cursor=first.cursor, now=NOW + timedelta(days=1))
    assert dict(second.session.requests[0].query) == {"since": "2026-05-04T23:59:59Z"}
    assert not second.full_pass


def test_only_changed_parents_are_asked_of_the_store() -> None:
    stored = Stored({"sites": [{"id": 1}]})
    first = read(changed(), vendor, parents=stored)
    assert stored.asked[-1][2] is None
    second = read(changed(), vendor, cursor=first.cursor, parents=stored, now=NOW + timedelta(days=1))
    assert stored.asked[-1][2] == NOW - timedelta(minutes=10)
    assert (first.full_pass, second.full_pass) == (True, False)


def test_a_hole_among_changed_parents_does_not_count_either() -> None:
    pages = {"type": "cursor", "token": {"from": "next", "in": "query.p"}}
    spec = {"field": "at", "start": {"in": "query.since"}}
    parents = [{"data_type": "sites", "key": "id", "as": "site", "only_changed": True}]
    sites = {**SITES, "incremental": spec, "pagination": pages, "errors": GONE}

    def broken(request: Request) -> Any:
        if not request.url.endswith("/sites"):
            return vendor(request)
        if "p" in dict(request.query):
            return Reply(status=404, body={"code": "GONE"})
        return {"items": [{"id": 1, "name": "n", "at": "2026-05-05T00:00:00Z"}], "next": "b"}

    found = read(define({"sites": sites, "things": child(parents=parents)}), broken)
    assert (found.ids, found.cursor) == (["1:7"], None)


def test_a_pass_with_a_hole_does_not_count_for_only_changed() -> None:
    spec = {"field": "at", "start": {"in": "query.since"}}
    parents = [{"data_type": "sites", "key": "id", "as": "site", "only_changed": True}]
    definition = define({"sites": {**SITES, "incremental": spec}, "things": child(parents=parents, errors=GONE)})
    stored = Stored({"sites": [{"id": 1}, {"id": 2}]})

    def partly(request: Request) -> Any:
        return Reply(status=404, body={"code": "GONE"}) if "/2/" in request.url else vendor(request)

    found = read(definition, partly, parents=stored)
    read(definition, vendor, cursor=found.cursor, parents=stored)
    assert stored.asked[-1][2] is None


# ---- lists and batches


def test_lists_make_a_product() -> None:
    thing = {
        **THINGS,
        "request": {"path": "/${each.region}/things", "query": {"kind": "${each.kind}"}},
        "id": ["each.region", "each.kind", "id"],
        "each_of": [{"as": "region", "values": ["eu", "us"]}, {"as": "kind", "values": ["a", "b"]}],
    }
    found = read(define({"things": thing}), lambda _: {"items": [{"id": 1}]})
    assert found.ids == ["eu:a:1", "eu:b:1", "us:a:1", "us:b:1"]
    assert found.payloads[3]["_each"] == {"region": "us", "kind": "b"}
    assert [page.full_pass for page in found.pages] == [False, False, False, True]


@pytest.mark.parametrize(
    ("value", "regions"),
    [
        pytest.param(["eu", "us", "eu"], ["eu", "us"], id="a list, each once"),
        pytest.param("eu, us", ["eu", "us"], id="a text with commas"),
        pytest.param([], [], id="none"),
    ],
)
def test_a_list_may_be_a_setting(value: object, regions: list[str]) -> None:
    thing = {
        **THINGS,
        "request": {"path": "/${each.region}"},
        "id": ["each.region", "id"],
        "each_of": [{"as": "region", "values": "${settings.regions}"}],
    }
    definition = define(
        {"things": thing}, settings={"properties": {"regions": {"type": "array"}}, "required": ["regions"]}
    )
    found = read(definition, lambda _: {"items": [{"id": 1}]}, settings={"regions": value})
    assert found.ids == [f"{region}:1" for region in regions]


def batched(**more: Any) -> Definition:
    thing = {
        **THINGS,
        "request": {"path": "/details", "query": {"ids": "${batch.ids}"}},
        "batch": {"data_type": "sites", "key": "id", "size": 2},
        **more,
    }
    return define({"sites": SITES, "things": thing})


def test_details_are_asked_for_in_batches() -> None:
    stored = Stored({"sites": [{"id": number} for number in range(5)]})

    def details(request: Request) -> Any:
        return {"items": [{"id": number} for number in dict(request.query)["ids"].split(",")]}

    found = read(batched(), details, parents=stored)
    assert [dict(request.query)["ids"] for request in found.session.requests] == ["0,1", "2,3", "4"]
    assert found.ids == ["0", "1", "2", "3", "4"]
    assert found.full_pass


def test_a_cursor_over_batches_moves_only_after_the_last() -> None:
    stored = Stored({"sites": [{"id": number} for number in range(4)]})
    request = {"path": "/details", "query": {"ids": "${batch.ids}", "sort": "at"}}
    definition = batched(request=request, incremental={"field": "at", "start": {"in": "query.since"}, "order": "asc"})
    replies = iter([{"items": [{"id": 1, "at": "2026-05-05T00:00:00Z"}]}, Reply(status=500)])
    found = read_until_error(definition, lambda _: next(replies), parents=stored)
    assert found.error is not None
    assert found.cursor is None
    replies = iter([{"items": [{"id": 1, "at": f"2026-05-0{day}T00:00:00Z"}]} for day in (5, 3)])
    found = read(definition, lambda _: next(replies), parents=stored)
    assert found.cursor is not None
    assert found.cursor["at"] == "2026-05-05T00:00:00+00:00"


def test_two_unrelated_parents_make_a_product() -> None:
    kinds = {**THINGS, "request": {"path": "/kinds"}}
    thing = {
        **THINGS,
        "request": {"path": "/sites/${parent.site.id}/${parent.kind.id}"},
        "id": ["parent.site.id", "parent.kind.id", "id"],
        "parents": [
            {"data_type": "sites", "key": "id", "as": "site"},
            {"data_type": "kinds", "key": "id", "as": "kind"},
        ],
    }
    stored = Stored({"sites": [{"id": 1}, {"id": 2}], "kinds": [{"id": "a"}, {"id": "b"}]})
    found = read(define({"sites": SITES, "kinds": kinds, "things": thing}), vendor, parents=stored)
    assert found.ids == ["1:a:7", "1:b:7", "2:a:7", "2:b:7"]
