from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vendors.engine.fakes import BASE, THINGS, Reply, Vendor, define, read, read_until_error
from vendors.definition import Definition
from vendors.errors import PaginationError
from vendors.pagination import PageSizes, TokenMemory, next_link
from vendors.wire import Request

BY_CURSOR = {"type": "cursor", "token": {"from": "next", "in": "query.after"}}
BY_OFFSET = {"type": "offset", "token": {"in": "query.offset"}, "size": {"value": 100, "in": "query.limit"}}
BY_PAGE = {"type": "page", "token": {"in": "query.page"}, "size": {"value": 100, "in": "query.per_page"}, "start": 1}
BY_URL = {"type": "next_url", "token": {"from": "next"}}
BY_LINK = {"type": "link_header"}


def things(pagination: dict[str, Any], **more: Any) -> Any:
    return define({"things": {**THINGS, "pagination": pagination, **more}})


def rows(start: int, count: int) -> list[dict[str, int]]:
    return [{"id": number} for number in range(start, start + count)]


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def in_turn(*replies: Any) -> Vendor:
    """Answer with each reply in turn; asking for more than there are is an error of the test."""
    left = list(replies)
    return lambda _: left.pop(0)


# ---- where each kind goes, and where it ends


def test_no_pagination_is_one_request() -> None:
    found = read(define(), in_turn({"items": rows(0, 3)}))
    assert found.ids == numbers(3)
    assert len(found.session.requests) == 1
    assert found.full_pass


def test_a_page_number_counts_up_to_an_empty_page() -> None:
    found = read(things(BY_PAGE), in_turn({"items": rows(0, 2)}, {"items": rows(2, 2)}, {"items": []}))
    assert found.ids == numbers(4)
    assert [dict(request.query) for request in found.session.requests] == [
        {"per_page": "100", "page": str(number)} for number in (1, 2, 3)
    ]


def test_a_first_page_may_be_asked_for_without_its_number() -> None:
    found = read(things({**BY_PAGE, "first_sent": False}), in_turn({"items": rows(0, 1)}, {"items": []}))
    assert [dict(request.query).get("page") for request in found.session.requests] == [None, "2"]


def test_an_offset_counts_what_came_and_not_what_was_asked_for() -> None:
    """The vendor silently cuts the size to 40."""

    def vendor(request: Request) -> Any:
        at = int(dict(request.query)["offset"])
        return {"items": rows(at, min(40, 90 - at))}

    found = read(things(BY_OFFSET), vendor)
    assert found.ids == numbers(90)
    assert [dict(request.query)["offset"] for request in found.session.requests] == ["0", "40", "80", "90"]


def test_an_offset_counts_groups_and_not_what_they_hold() -> None:
    records = {"path": "groups", "shape": "nested", "inner": "items"}
    groups = [{"items": rows(0, 5)}, {"items": rows(5, 5)}]
    found = read(things(BY_OFFSET, records=records), in_turn({"groups": groups}, {"groups": []}))
    assert found.session.asked()["offset"] == "2"


def test_an_offset_counts_what_a_filter_drops() -> None:
    records = {"path": "items", "filter": [{"path": "kind", "eq": "user"}]}
    items = [{"id": 1, "kind": "user"}, {"id": 2, "kind": "robot"}]
    found = read(things(BY_OFFSET, records=records), in_turn({"items": items}, {"items": []}))
    assert (found.ids, found.session.asked()["offset"]) == (["1"], "2")


def test_a_total_ends_without_another_request() -> None:
    found = read(things({**BY_OFFSET, "total": "meta.total"}), in_turn({"items": rows(0, 3), "meta": {"total": "3"}}))
    assert len(found.session.requests) == 1


def test_a_total_may_come_with_the_first_page_only() -> None:
    replies = ({"items": rows(0, 2), "total": 4}, {"items": rows(2, 2)})
    assert read(things({**BY_OFFSET, "total": "total"}), in_turn(*replies)).ids == numbers(4)


def test_a_total_that_never_comes_is_an_error() -> None:
    with pytest.raises(PaginationError, match="no number at total"):
        read(things({**BY_OFFSET, "total": "total"}), in_turn({"items": rows(0, 2)}))


def test_a_cursor_goes_on_to_the_page_without_a_token() -> None:
    found = read(things(BY_CURSOR), in_turn({"items": rows(0, 2), "next": "b"}, {"items": rows(2, 1), "next": None}))
    assert found.ids == numbers(3)
    assert [dict(request.query) for request in found.session.requests] == [{}, {"after": "b"}]


@pytest.mark.parametrize("absent", [None, "", False, "  "])
def test_a_token_that_says_nothing_ends(absent: object) -> None:
    assert read(things(BY_CURSOR), in_turn({"items": rows(0, 1), "next": absent})).ids == ["0"]


def test_a_cursor_in_a_header_goes_into_a_body() -> None:
    pagination = {"type": "cursor", "token": {"from": "header.X-Next", "in": "json.page.after"}}
    definition = things(pagination, request={"path": "/things", "method": "POST", "json": {"page": {"size": 5}}})
    found = read(
        definition, in_turn(Reply(body={"items": rows(0, 1)}, headers={"X-Next": "n1"}), {"items": rows(1, 1)})
    )
    assert [request.json for request in found.session.requests] == [
        {"page": {"size": 5}},
        {"page": {"size": 5, "after": "n1"}},
    ]


def test_a_token_is_cut_out_of_a_url() -> None:
    pagination = {"type": "cursor", "token": {"from": "links.next", "in": "query.after", "param": "cur"}}
    first = {"items": rows(0, 1), "links": {"next": "/v9/things?limit=1&cur=a%2Fb"}}
    found = read(things(pagination), in_turn(first, {"items": rows(1, 1), "links": {"next": None}}))
    assert found.session.asked() == {"after": "a/b"}


def test_a_url_without_the_parameter_is_an_error() -> None:
    pagination = {"type": "cursor", "token": {"from": "next", "in": "query.after", "param": "cur"}}
    with pytest.raises(PaginationError, match="no parameter cur"):
        read(things(pagination), in_turn({"items": rows(0, 1), "next": "/v9/things?page=2"}))


@pytest.mark.parametrize(
    ("following", "asked_for"),
    [
        pytest.param("/v1/things?p=2", f"{BASE}/things", id="from the root"),
        pytest.param("things?p=2", f"{BASE}/things", id="beside"),
        pytest.param("?p=2", f"{BASE}/things", id="the query alone"),
        pytest.param(f"{BASE}/other?p=2", f"{BASE}/other", id="absolute"),
        pytest.param({"href": "/v1/things?p=2"}, f"{BASE}/things", id="in an object"),
        pytest.param("http://api.lantern.example/v1/things?p=2", f"{BASE}/things", id="by http behind a TLS proxy"),
    ],
)
def test_a_next_url_is_followed_at_home(following: object, asked_for: str) -> None:
    definition = things(BY_URL, request={"path": "/things", "query": {"a": 1}, "headers": {"X-Kind": "k"}})
    found = read(definition, in_turn({"items": rows(0, 1), "next": following}, {"items": rows(1, 1), "next": None}))
    second = found.session.requests[1]
    assert (second.url, dict(second.query)) == (asked_for, {"p": "2"})
    assert second.headers["X-Kind"] == "k"
    assert second.auth_headers == {"Authorization": "Bearer t0ken"}


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/v1/things?p=2",
        "https://api.lantern.example:8443/v1/things",
        "http://api.lantern.example:8080/v1/things",
        "//evil.example/things",
        "https://api.lantern.example@evil.example/",
        "file:///etc/passwd",
        "https://api.lantern.example.evil.example/",
    ],
)
def test_a_next_url_that_leads_elsewhere_is_an_error_and_nothing_is_sent(elsewhere: str) -> None:
    found = read_until_error(things(BY_URL), in_turn({"items": rows(0, 1), "next": elsewhere}))
    assert isinstance(found.error, PaginationError)
    assert len(found.session.requests) == 1


def test_a_link_header_is_followed() -> None:
    link = f'<{BASE}/things?p=2>; rel="next", <{BASE}/things?p=9>; rel="last"'
    found = read(
        things(BY_LINK), in_turn(Reply(body={"items": rows(0, 1)}, headers={"Link": link}), {"items": rows(1, 1)})
    )
    assert found.ids == numbers(2)
    assert found.session.asked() == {"p": "2"}


@pytest.mark.parametrize(
    ("header", "target"),
    [
        pytest.param('<https://a.example/?p=2>; rel="next"', "https://a.example/?p=2", id="quoted"),
        pytest.param("<https://a.example/?p=2>;rel=next", "https://a.example/?p=2", id="bare"),
        pytest.param('<https://a.example/?a,b;c>; rel="next"', "https://a.example/?a,b;c", id="commas inside"),
        pytest.param('<x>; title="a, b; rel=next"; rel="prev", <y>; rel="next last"', "y", id="among others"),
        pytest.param('<x>; REL="Next"', "x", id="any case"),
        pytest.param('<x>; rel="prev"', None, id="only another"),
        pytest.param("garbage", None, id="garbage"),
        pytest.param("<" * 5000, None, id="long garbage"),
        pytest.param("<x>" + "; a=b" * 3000, None, id="many parameters"),
    ],
)
def test_next_link(header: str, target: str | None) -> None:
    assert next_link(header) == target


def test_scim_counts_from_one_up_to_the_total() -> None:
    definition = things({"type": "scim", "size": {"value": 2, "in": "query.count"}}, records={"path": "Resources"})
    replies = [{"Resources": rows(at, 2), "totalResults": 4} for at in (0, 2)]
    found = read(definition, in_turn(*replies))
    assert found.ids == numbers(4)
    assert [dict(request.query) for request in found.session.requests] == [
        {"startIndex": "1", "count": "2"},
        {"startIndex": "3", "count": "2"},
    ]


def test_the_last_record_names_the_next_page() -> None:
    pagination = {"type": "last_record", "token": {"from": "id", "in": "query.since_id"}}
    found = read(things(pagination), in_turn({"items": rows(0, 2)}, {"items": rows(2, 1)}, {"items": []}))
    assert [dict(request.query) for request in found.session.requests] == [{}, {"since_id": "1"}, {"since_id": "2"}]


# ---- has-more flags


def test_a_flag_that_is_false_ends_although_there_is_a_token() -> None:
    pagination = {**BY_CURSOR, "more": "has_more"}
    assert read(things(pagination), in_turn({"items": rows(0, 1), "next": "b", "has_more": False})).ids == ["0"]


def test_a_flag_that_is_missing_is_an_error() -> None:
    pagination = {**BY_CURSOR, "more": "has_more"}
    with pytest.raises(PaginationError, match="no has_more"):
        read(things(pagination), in_turn({"items": rows(0, 1), "next": None}))


def test_a_flag_that_promises_more_without_a_token_is_an_error() -> None:
    pagination = {**BY_CURSOR, "more": "has_more"}
    with pytest.raises(PaginationError, match="names none"):
        read(things(pagination), in_turn({"items": rows(0, 1), "next": None, "has_more": True}))


def test_a_flag_may_mark_the_last_page() -> None:
    pagination = {**BY_PAGE, "last": "meta.last"}
    replies = [{"items": rows(at, 1), "meta": {"last": at == 1}} for at in (0, 1)]
    assert read(things(pagination), in_turn(*replies)).ids == numbers(2)


def test_more_after_an_empty_page_cannot_move_an_offset() -> None:
    pagination = {**BY_OFFSET, "more": "has_more"}
    with pytest.raises(PaginationError, match="cannot move on"):
        read(things(pagination), in_turn({"items": [], "has_more": True}))


# ---- what would never end, or end too soon


def test_a_token_that_was_used_before_is_an_error() -> None:
    replies = [{"items": rows(at, 1), "next": token} for at, token in ((0, "b"), (1, "c"), (2, "b"))]
    with pytest.raises(PaginationError, match="read before"):
        read(things(BY_CURSOR), in_turn(*replies))


def test_a_page_that_names_itself_is_an_error() -> None:
    found = read_until_error(things(BY_URL), in_turn({"items": rows(0, 3), "next": "/v1/things"}))
    assert isinstance(found.error, PaginationError)
    assert len(found.session.requests) == 1


def test_an_empty_page_that_names_itself_is_the_end() -> None:
    found = read(things(BY_URL), in_turn({"items": rows(0, 1), "next": "?p=2"}, {"items": [], "next": "?p=2"}))
    assert found.ids == ["0"]


def test_the_same_page_twice_is_an_error() -> None:
    """The counter goes to a place that the vendor does not read."""
    found = read_until_error(things(BY_PAGE), lambda _: {"items": rows(0, 3)})
    assert isinstance(found.error, PaginationError)
    assert "twice in a row" in str(found.error)
    assert len(found.session.requests) == 2


def test_an_empty_page_in_between_does_not_end_a_cursor() -> None:
    replies = ({"items": rows(0, 1), "next": "b"}, {"items": [], "next": "c"}, {"items": rows(1, 1), "next": None})
    assert read(things(BY_CURSOR), in_turn(*replies)).ids == numbers(2)


def test_an_empty_page_with_the_token_that_was_sent_is_the_end() -> None:
    found = read(things(BY_CURSOR), in_turn({"items": rows(0, 1), "next": "b"}, {"items": [], "next": "b"}))
    assert found.ids == ["0"]
    assert found.full_pass


def test_ever_new_tokens_on_empty_pages_end_but_prove_nothing() -> None:
    count = iter(range(100))
    found = read(things(BY_CURSOR), lambda _: {"items": [], "next": f"t{next(count)}"})
    assert len(found.session.requests) < 20
    assert not found.full_pass


def test_a_short_page_ends_only_where_the_definition_says_so() -> None:
    assert len(read(things(BY_OFFSET), in_turn({"items": rows(0, 3)}, {"items": []})).session.requests) == 2
    short = {**BY_OFFSET, "stop": "short_page"}
    assert len(read(things(short), in_turn({"items": rows(0, 3)})).session.requests) == 1


def test_a_size_that_the_vendor_cuts_is_no_short_page() -> None:
    def vendor(request: Request) -> Any:
        at = int(dict(request.query)["offset"])
        return {"items": rows(at, min(50, 120 - at))}

    found = read(things({**BY_OFFSET, "stop": "short_page"}), vendor)
    assert found.ids == numbers(120)
    assert len(found.session.requests) == 3


def test_sizes_learn_from_all_parts() -> None:
    sizes = PageSizes()
    assert not sizes.is_end(50, 100)
    assert sizes.is_end(49, 100)
    assert not sizes.is_end(50, 100)
    assert not sizes.is_end(100, 100)
    assert sizes.is_end(99, 100)


def test_no_content_is_an_empty_last_page() -> None:
    found = read(things({**BY_CURSOR, "more": "has_more"}), in_turn(Reply(status=204)))
    assert (found.ids, found.full_pass) == ([], True)


def test_remembered_tokens_are_bounded_and_long_circles_are_still_found() -> None:
    memory = TokenMemory(size=8)
    circle = [f"t{index}" for index in range(100)]
    steps = 0
    while not memory.has_seen(circle[steps % 100]):
        steps += 1
        assert steps < 1000
    assert len(memory._recent) <= 9


# ---- every record exactly once, whatever the sizes


def sized(definition: Definition, size: int) -> Definition:
    """The same definition with another page size: loading one for each example would take a minute."""
    thing = definition.data_types["things"]
    pagination = replace(thing.pagination, size_value=size)
    return replace(definition, data_types={"things": replace(thing, pagination=pagination)})


SIZES = st.integers(min_value=1, max_value=60)


@settings(deadline=None)
@given(
    total=st.integers(0, 200), size=SIZES, cut=SIZES, kind=st.sampled_from(["page", "offset", "scim", "last_record"])
)
def test_counters_read_every_record_once(total: int, size: int, cut: int, kind: str) -> None:
    per_page = min(size, cut)

    def vendor(request: Request) -> Any:
        asked = dict(request.query)
        at = {
            "page": lambda: (int(asked["at"]) - 1) * per_page,
            "offset": lambda: int(asked["at"]),
            "scim": lambda: int(asked["startIndex"]) - 1,
            "last_record": lambda: int(asked.get("at", -1)) + 1,
        }[kind]()
        return {"items": rows(at, max(min(per_page, total - at), 0)), "totalResults": total}

    pagination: dict[str, Any] = {"type": kind, "size": {"value": 1, "in": "query.limit"}}
    if kind != "scim":
        pagination["token"] = {"in": "query.at", **({"from": "id"} if kind == "last_record" else {})}
    if kind == "page":
        pagination["start"] = 1
    found = read(sized(things(pagination), size), vendor)
    assert found.ids == numbers(total)
    assert found.full_pass


@settings(deadline=None)
@given(total=st.integers(0, 300), size=st.integers(10, 120), cut=st.integers(10, 120))
def test_short_pages_lose_nothing_where_the_size_is_cut(total: int, size: int, cut: int) -> None:
    def vendor(request: Request) -> Any:
        at = int(dict(request.query)["offset"])
        return {"items": rows(at, max(min(size, cut, total - at), 0))}

    assert read(sized(things({**BY_OFFSET, "stop": "short_page"}), size), vendor).ids == numbers(total)


@settings(deadline=None)
@given(pages=st.lists(st.integers(0, 5), max_size=12), by_url=st.booleans())
def test_tokens_read_every_record_once_with_empty_pages_between(pages: list[int], *, by_url: bool) -> None:
    def vendor(request: Request) -> Any:
        index = int(dict(request.query).get("p", 0))
        following = index + 1 < len(pages)
        token = f"/v1/things?p={index + 1}" if by_url else index + 1
        count = pages[index] if pages else 0
        return {"items": rows(sum(pages[:index]), count), "next": token if following else None}

    pagination = BY_URL if by_url else {"type": "cursor", "token": {"from": "next", "in": "query.p"}}
    assert read(things(pagination), vendor).ids == numbers(sum(pages))
