from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vendors.engine.fakes import NOW, THINGS, Read, Reply, define, read, read_until_error
from vendors.definition import Definition
from vendors.errors import UnexpectedShapeError
from vendors.incremental import MOST_PARTS, CursorBook
from vendors.wire import Request

SINCE = {"in": "query.since"}
BY_CURSOR = {"type": "cursor", "token": {"from": "next", "in": "query.after"}}


def things(**incremental: Any) -> Definition:
    spec = {"field": "at", "start": SINCE, **incremental}
    return define({"things": {**THINGS, "pagination": BY_CURSOR, "incremental": spec}})


def item(number: int, at: str | None) -> dict[str, object]:
    return {"id": number, "at": at}


def state(at: str, field: str = "at") -> dict[str, object]:
    return {"v": 1, "field": field, "at": at}


def at_of(found: Read) -> str | None:
    return None if found.cursor is None else str(found.cursor["at"])


# ---- what is asked for


@pytest.mark.parametrize(
    ("spec", "cursor", "asked"),
    [
        pytest.param({}, None, {}, id="the first run without a default start asks for all"),
        pytest.param({"default_start": "-P30D"}, None, {"since": "2026-05-02T12:00:00Z"}, id="a default start"),
        pytest.param(
            {"default_start": "2026-01-01"}, None, {"since": "2026-01-01T00:00:00Z"}, id="a date to start from"
        ),
        pytest.param(
            {"default_start": "-P30D", "oldest": "-P7D"},
            None,
            {"since": "2026-05-25T12:00:00Z"},
            id="the oldest allowed",
        ),
        pytest.param(
            {}, "2026-05-31T00:00:00+00:00", {"since": "2026-05-30T23:59:59Z"}, id="from the cursor, one second over"
        ),
        pytest.param(
            {"lookback": "PT5M"}, "2026-05-31T00:00:00+00:00", {"since": "2026-05-30T23:54:59Z"}, id="with look-back"
        ),
        pytest.param(
            {"oldest": "-P7D"}, "2026-01-01T00:00:00+00:00", {"since": "2026-05-25T12:00:00Z"}, id="a cursor too old"
        ),
        pytest.param(
            {"start": {"in": "query.since", "format": "epoch_ms"}},
            "2026-05-31T00:00:00+00:00",
            {"since": "1780185599000"},
            id="in milliseconds",
        ),
        pytest.param(
            {"start": {"in": "query.since", "format": "date"}},
            "2026-05-31T08:00:00+00:00",
            {"since": "2026-05-31"},
            id="as a date",
        ),
        pytest.param(
            {"end": {"in": "query.until"}, "default_start": "2026-05-01"},
            None,
            {"since": "2026-05-01T00:00:00Z", "until": "2026-06-01T12:00:00Z"},
            id="with an end",
        ),
    ],
)
def test_a_start_is_asked_for(spec: Any, cursor: str | None, asked: dict[str, str]) -> None:
    found = read(things(**spec), lambda _: {"items": []}, cursor=None if cursor is None else state(cursor))
    assert found.session.asked() == asked


def test_a_start_may_come_from_a_setting() -> None:
    definition = things()
    spec = definition.data_types["things"].incremental
    assert spec is not None
    changed = replace(spec, default_start="${settings.start_date?}")
    definition = replace(
        definition, data_types={"things": replace(definition.data_types["things"], incremental=changed)}
    )
    found = read(definition, lambda _: {"items": []}, settings={"start_date": "2026-02-01"})
    assert found.session.asked() == {"since": "2026-02-01T00:00:00Z"}
    assert read(definition, lambda _: {"items": []}).session.asked() == {}


def test_bounds_go_into_a_body_by_reference() -> None:
    thing = {
        **THINGS,
        "request": {"path": "/s", "json": {"from": '${window.start | date("epoch_s")}', "to": "${window.end}"}},
        "incremental": {"field": "at", "default_start": "2026-05-01"},
    }
    found = read(define({"things": thing}), lambda _: {"items": []})
    assert found.session.requests[0].json == {"from": 1777593600, "to": "2026-06-01T12:00:00Z"}


# ---- where the cursor goes


def test_the_cursor_is_the_latest_time_and_comes_with_the_last_page() -> None:
    replies = iter(
        [
            {"items": [item(1, "2026-05-02T00:00:00Z"), item(2, "2026-05-09T00:00:00Z")], "next": "b"},
            {"items": [item(3, "2026-05-05T00:00:00Z")]},
        ]
    )
    found = read(things(), lambda _: next(replies))
    assert [page.cursor is not None for page in found.pages] == [False, True]
    assert at_of(found) == "2026-05-09T00:00:00+00:00"


def test_the_first_run_without_a_start_is_a_full_pass_and_later_ones_are_not() -> None:
    vendor = {"items": [item(1, "2026-05-02T00:00:00Z")]}
    first = read(things(), lambda _: vendor)
    assert first.full_pass
    assert not read(things(), lambda _: vendor, cursor=first.cursor).full_pass
    assert not read(things(default_start="-P30D"), lambda _: vendor).full_pass


def test_an_order_lets_the_cursor_move_page_by_page() -> None:
    replies = iter(
        [
            {"items": [item(1, "2026-05-02T00:00:00Z"), item(2, "2026-05-03T00:00:00Z")], "next": "b"},
            Reply(status=500),
        ]
    )
    request = {"path": "/things", "query": {"sort": "at"}}
    thing = {**THINGS, "request": request, "pagination": BY_CURSOR}
    definition = define({"things": {**thing, "incremental": {"field": "at", "start": SINCE, "order": "asc"}}})
    found = read_until_error(definition, lambda _: next(replies))
    assert found.error is not None
    assert at_of(found) == "2026-05-03T00:00:00+00:00"


def test_an_order_that_does_not_hold_takes_the_cursor_back() -> None:
    replies = iter(
        [
            {"items": [item(1, "2026-05-20T00:00:00Z")], "next": "b"},
            {"items": [item(2, "2026-05-02T00:00:00Z")], "next": "c"},
            Reply(status=500),
        ]
    )
    before = state("2026-05-01T00:00:00+00:00")
    found = read_until_error(ascending(), lambda _: next(replies), cursor=before)
    assert found.error is not None
    assert [page.cursor and page.cursor["at"] for page in found.pages] == [
        "2026-05-20T00:00:00+00:00",
        "2026-05-01T00:00:00+00:00",
    ]


def ascending() -> Definition:
    request = {"path": "/things", "query": {"sort": "at"}}
    spec = {"field": "at", "start": SINCE, "order": "asc"}
    return define({"things": {**THINGS, "request": request, "pagination": BY_CURSOR, "incremental": spec}})


@pytest.mark.parametrize("order", [None, "asc"])
def test_a_time_that_has_not_come_does_not_carry_the_cursor_along(order: str | None) -> None:
    items = [item(1, "2026-05-02T00:00:00Z"), item(2, "2099-01-01T00:00:00Z")]
    definition = ascending() if order else things()
    assert at_of(read(definition, lambda _: {"items": items})) == "2026-05-02T00:00:00+00:00"


def test_only_times_that_have_not_come_leave_the_cursor() -> None:
    found = read(
        things(), lambda _: {"items": [item(1, "2099-01-01T00:00:00Z")]}, cursor=state("2026-05-01T00:00:00+00:00")
    )
    assert at_of(found) == "2026-05-01T00:00:00+00:00"


def test_a_cursor_from_the_future_is_brought_back_to_now() -> None:
    found = read(things(), lambda _: {"items": []}, cursor=state("2099-01-01T00:00:00+00:00"))
    assert found.session.asked() == {"since": "2026-06-01T11:59:59Z"}
    assert at_of(found) == NOW.isoformat()


def test_the_cursor_never_goes_back() -> None:
    found = read(
        things(), lambda _: {"items": [item(1, "2020-05-02T00:00:00Z")]}, cursor=state("2026-05-01T00:00:00+00:00")
    )
    assert at_of(found) == "2026-05-01T00:00:00+00:00"


def test_nothing_read_leaves_the_cursor() -> None:
    found = read(things(), lambda _: {"items": []}, cursor=state("2026-05-01T00:00:00+00:00"))
    assert [page.cursor for page in found.pages] == [None]


def test_an_error_before_the_end_leaves_the_cursor() -> None:
    replies = iter([{"items": [item(1, "2026-05-20T00:00:00Z")], "next": "b"}, Reply(status=500)])
    found = read_until_error(things(), lambda _: next(replies))
    assert found.ids == ["1"]
    assert found.cursor is None


@pytest.mark.parametrize("action", ["skip_part", "empty"])
def test_a_hole_holds_the_cursor(action: str) -> None:
    rules = [{"status": [404], "body": {"path": "code", "eq": "GONE"}, "action": action}]
    definition = things()
    thing = {**THINGS, "pagination": BY_CURSOR, "incremental": {"field": "at", "start": SINCE}, "errors": rules}
    definition = define({"things": thing})
    replies = iter(
        [{"items": [item(1, "2026-05-20T00:00:00Z")], "next": "b"}, Reply(status=404, body={"code": "GONE"})]
    )
    found = read(definition, lambda _: next(replies))
    assert (found.ids, found.cursor, found.skipped, found.full_pass) == (["1"], None, 1, False)


def test_a_state_of_another_member_or_version_is_not_used() -> None:
    for cursor in (state("2026-05-01T00:00:00+00:00", field="created"), {"v": 99, "field": "at", "at": "2026-05-01"}):
        assert read(things(), lambda _: {"items": []}, cursor=cursor).session.asked() == {}


@pytest.mark.parametrize(
    ("formats", "value", "at"),
    [
        pytest.param(["epoch_s"], 1777593600, "2026-05-01T00:00:00+00:00", id="seconds"),
        pytest.param(
            ["epoch_ms", "iso8601"], "2026-05-01T00:00:00Z", "2026-05-01T00:00:00+00:00", id="the second format"
        ),
        pytest.param(["iso8601"], "2026-05-01T02:00:00+02:00", "2026-05-01T00:00:00+00:00", id="another zone"),
        pytest.param(["%d/%m/%Y %H:%M"], "01/05/2026 10:30", "2026-05-01T10:30:00+00:00", id="a pattern"),
    ],
)
def test_records_write_times_in_many_ways(formats: list[str], value: Any, at: str) -> None:
    assert at_of(read(things(formats=formats), lambda _: {"items": [{"id": 1, "at": value}]})) == at


def test_a_time_in_no_known_format_is_an_error() -> None:
    with pytest.raises(UnexpectedShapeError, match="at is no time in iso8601"):
        read(things(), lambda _: {"items": [item(1, "yesterday")]})


def test_records_without_a_time_are_kept_and_counted() -> None:
    """As users of a server who have never been active."""
    found = read(things(), lambda _: {"items": [item(1, None), {"id": 2}, item(3, "2026-05-01T00:00:00Z")]})
    assert found.ids == ["1", "2", "3"]
    assert found.pages[0].counts == {"without_time": 2}


# ---- windows


def test_windows_cover_the_time_up_to_now_without_a_gap() -> None:
    definition = things(window="P10D", end={"in": "query.until"}, default_start="2026-05-01")
    found = read(definition, lambda _: {"items": []})
    asked = [dict(request.query) for request in found.session.requests]
    assert [(each["since"], each["until"]) for each in asked] == [
        ("2026-05-01T00:00:00Z", "2026-05-11T00:00:00Z"),
        ("2026-05-10T23:59:59Z", "2026-05-21T00:00:00Z"),
        ("2026-05-20T23:59:59Z", "2026-05-31T00:00:00Z"),
        ("2026-05-30T23:59:59Z", "2026-06-01T12:00:00Z"),
    ]


def test_each_window_moves_the_cursor_to_its_end_even_where_it_was_empty() -> None:
    definition = things(window="P10D", end={"in": "query.until"}, default_start="2026-05-01")
    replies = iter([{"items": []}, {"items": [item(1, "2026-05-12T00:00:00Z")]}, Reply(status=500)])
    found = read_until_error(definition, lambda _: next(replies))
    assert at_of(found) == "2026-05-21T00:00:00+00:00"


def test_the_last_window_does_not_trust_our_clock() -> None:
    """The vendor's clock may be behind, and its newest records not there yet."""
    definition = things(window="P10D", end={"in": "query.until"}, default_start="2026-05-25")
    assert at_of(read(definition, lambda _: {"items": []})) == "2026-06-01T11:50:00+00:00"


def test_a_hole_in_a_window_is_not_passed_by_later_windows() -> None:
    rules = [{"status": [404], "body": {"path": "code", "eq": "GONE"}, "action": "empty"}]
    spec = {
        "field": "at",
        "start": SINCE,
        "end": {"in": "query.until"},
        "window": "P10D",
        "default_start": "2026-05-01",
    }
    definition = define({"things": {**THINGS, "incremental": spec, "errors": rules}})
    replies = iter(
        [
            {"items": [item(1, "2026-05-02T00:00:00Z")]},
            Reply(status=404, body={"code": "GONE"}),
            {"items": [item(2, "2026-05-22T00:00:00Z")]},
            {"items": [item(3, "2026-06-01T00:00:00Z")]},
        ]
    )
    found = read(definition, lambda _: next(replies))
    assert found.ids == ["1", "2", "3"]
    assert at_of(found) == "2026-05-11T00:00:00+00:00"


# ---- filtered by us


def test_what_is_older_than_the_start_is_dropped() -> None:
    definition = filtered(None)
    items = [item(1, "2026-05-01T00:00:00Z"), item(2, "2026-05-20T00:00:00Z"), item(3, None)]
    found = read(definition, lambda _: {"items": items}, cursor=state("2026-05-10T00:00:00+00:00"))
    assert found.ids == ["2", "3"]
    assert found.pages[0].counts == {"older": 1, "without_time": 1}
    assert not found.full_pass


def filtered(order: str | None) -> Definition:
    spec: dict[str, Any] = {"field": "at", "filter": "client"}
    request: dict[str, Any] = {"path": "/things"}
    if order is not None:
        spec["order"] = order
        request["query"] = {"sort": "-at"}
    return define({"things": {**THINGS, "request": request, "pagination": BY_CURSOR, "incremental": spec}})


def test_newest_first_stops_at_the_first_page_that_reaches_back() -> None:
    replies = iter(
        [
            {"items": [item(1, "2026-05-20T00:00:00Z"), item(2, "2026-05-12T00:00:00Z")], "next": "b"},
            {"items": [item(3, "2026-05-11T00:00:00Z"), item(4, "2026-05-01T00:00:00Z")], "next": "c"},
        ]
    )
    found = read(filtered("desc"), lambda _: next(replies), cursor=state("2026-05-10T00:00:00+00:00"))
    assert found.ids == ["1", "2", "3"]
    assert at_of(found) == "2026-05-20T00:00:00+00:00"


def test_newest_first_moves_the_cursor_only_at_the_end() -> None:
    replies = iter([{"items": [item(1, "2026-05-20T00:00:00Z")], "next": "b"}, Reply(status=500)])
    found = read_until_error(filtered("desc"), lambda _: next(replies), cursor=state("2026-05-10T00:00:00+00:00"))
    assert found.error is not None
    assert at_of(found) == "2026-05-10T00:00:00+00:00"


def test_a_vendor_that_does_not_keep_the_order_is_read_to_the_end() -> None:
    replies = iter(
        [
            {"items": [item(1, "2026-05-01T00:00:00Z"), item(2, "2026-05-20T00:00:00Z")], "next": "b"},
            {"items": [item(3, "2026-05-21T00:00:00Z")]},
        ]
    )
    found = read(filtered("desc"), lambda _: next(replies), cursor=state("2026-05-10T00:00:00+00:00"))
    assert found.ids == ["2", "3"]


def test_records_of_the_cursors_own_second_are_read_again() -> None:
    found = read(
        filtered(None),
        lambda _: {"items": [item(1, "2026-05-10T00:00:00Z")]},
        cursor=state("2026-05-10T00:00:00+00:00"),
    )
    assert found.ids == ["1"]


# ---- parts


def each_region() -> dict[str, Any]:
    return {
        **THINGS,
        "request": {"path": "/${each.region}/things"},
        "id": ["each.region", "id"],
        "each_of": [{"as": "region", "values": ["eu", "us"]}],
        "incremental": {"field": "at", "start": SINCE},
        "errors": [{"status": [404], "body": {"path": "code", "eq": "GONE"}, "action": "skip_part"}],
    }


def test_each_part_has_its_own_cursor_and_a_hole_in_one_holds_only_that() -> None:
    definition = define({"things": each_region()})

    def vendor(request: Request) -> Any:
        return {"items": [item(1, "2026-05-02T00:00:00Z" if "/eu/" in request.url else "2026-05-09T00:00:00Z")]}

    first = read(definition, vendor)
    assert first.ids == ["eu:1", "us:1"]
    assert first.cursor is not None
    assert sorted(first.cursor["parts"].values()) == ["2026-05-02T00:00:00+00:00", "2026-05-09T00:00:00+00:00"]  # type: ignore[attr-defined] # JSON

    def later(request: Request) -> Any:
        if "/eu/" in request.url:
            return Reply(status=404, body={"code": "GONE"})
        return {"items": [item(2, "2026-05-20T00:00:00Z")]}

    second = read(definition, later, cursor=first.cursor)
    assert [dict(request.query)["since"] for request in second.session.requests] == [
        "2026-05-01T23:59:59Z",
        "2026-05-08T23:59:59Z",
    ]
    assert second.cursor is not None
    assert sorted(second.cursor["parts"].values()) == ["2026-05-02T00:00:00+00:00", "2026-05-20T00:00:00+00:00"]  # type: ignore[attr-defined] # JSON
    assert not second.full_pass


def test_the_state_of_many_parts_is_bounded_and_written_seldom() -> None:
    definition = define({"things": each_region()})
    spec = definition.data_types["things"].incremental
    book = CursorBook(spec, None, is_parted=True)
    writes = 0
    for index in range(MOST_PARTS + 500):
        book.move(f"part{index}", NOW)
        writes += book.due() is not None
    parts = book.document()["parts"]
    assert isinstance(parts, dict)
    assert len(parts) == MOST_PARTS
    assert writes < 1000
    assert book.start("part3") == NOW
    assert book.start(f"part{MOST_PARTS + 1}") is None


def test_parts_that_are_gone_are_forgotten() -> None:
    definition = define({"things": each_region()})
    book = CursorBook(definition.data_types["things"].incremental, None, is_parted=True)
    book.move("old", NOW)
    book.move("new", NOW)
    book.visit("new")
    book.finish(is_whole=True, read_at=None, parents=None)
    assert book.document()["parts"] == {"new": NOW.isoformat()}


# ---- nothing is lost, whatever fails where

START = datetime(2026, 5, 1, tzinfo=UTC)


@settings(deadline=None, max_examples=150)
@given(
    minutes=st.lists(st.integers(0, 400), min_size=1, max_size=25),
    order=st.sampled_from(["asc", "none"]),
    failures=st.lists(st.integers(0, 30), max_size=4),
    size=st.integers(1, 6),
    exclusive=st.booleans(),
)
def test_runs_that_break_anywhere_read_every_record_in_the_end(
    minutes: list[int], order: str, failures: list[int], size: int, *, exclusive: bool
) -> None:
    """No cursor stands beyond a record that was not handed over: by page in order, else last."""
    stored = [item(index, (START + timedelta(minutes=minute)).isoformat()) for index, minute in enumerate(minutes)]
    if order == "asc":
        stored.sort(key=lambda each: str(each["at"]))
    definition = things() if order == "none" else ascending()
    handed: set[str] = set()
    cursor: Any = None
    for failing in [*failures, None]:
        count = iter(range(1000))

        def vendor(request: Request, failing: int | None = failing, count: Any = count) -> Any:
            if next(count) == failing:
                return Reply(status=500)
            asked = dict(request.query)
            since = datetime.fromisoformat(asked["since"]) if "since" in asked else datetime.min.replace(tzinfo=UTC)
            fitting = [
                each
                for each in stored
                if (datetime.fromisoformat(str(each["at"])) > since)
                or (not exclusive and datetime.fromisoformat(str(each["at"])) == since)
            ]
            at = int(asked.get("after", 0))
            following = at + size < len(fitting)
            return {"items": fitting[at : at + size], "next": at + size if following else None}

        found = read_until_error(definition, vendor, cursor=cursor)
        handed |= set(found.ids)
        cursor = found.cursor
        if order == "asc" and cursor is not None:
            passed = {str(each["id"]) for each in stored if str(each["at"]) < str(cursor["at"])}
            assert passed <= handed
    assert handed == {str(each["id"]) for each in stored}
