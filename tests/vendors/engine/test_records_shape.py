from typing import Any

import pytest

from tests.vendors.engine.fakes import THINGS, Reply, define, read, read_until_error
from vendors.errors import AnswerReportsError, MalformedBodyError, UnexpectedShapeError, VendorError


def things(records: Any, id_path: Any = "id", **more: Any) -> Any:
    return define({"things": {**THINGS, "records": records, "id": id_path, **more}})


@pytest.mark.parametrize(
    ("records", "id_path", "body", "payloads"),
    [
        pytest.param({"path": "a.b"}, "id", {"a": {"b": [{"id": 1}]}}, [{"id": 1}], id="a list at a path"),
        pytest.param({}, "id", [{"id": 1}], [{"id": 1}], id="the whole answer is the list"),
        pytest.param(
            {"path": "groups.*.items"},
            "id",
            {"groups": [{"items": [{"id": 1}]}, {"items": [{"id": 2}]}]},
            [{"id": 1}, {"id": 2}],
            id="a star",
        ),
        pytest.param(
            {"path": "things[?on]"},
            "id",
            {"things": [{"id": 1, "on": True}, {"id": 2}]},
            [{"id": 1, "on": True}],
            id="jmespath",
        ),
        pytest.param(
            {"shape": "object_values"},
            "key",
            {"a": {"x": 1}, "b": {"x": 2}},
            [{"x": 1, "key": "a"}, {"x": 2, "key": "b"}],
            id="an object's values",
        ),
        pytest.param(
            {"path": "names", "shape": "scalars", "value_as": "name"},
            "name",
            {"names": ["a", 2]},
            [{"name": "a"}, {"name": 2}],
            id="plain values",
        ),
        pytest.param(
            {"shape": "columns_rows", "columns": "cols", "rows": "data"},
            "id",
            {"cols": ["id", "n"], "data": [[1, "a"], [2, "b"]]},
            [{"id": 1, "n": "a"}, {"id": 2, "n": "b"}],
            id="columns and rows",
        ),
        pytest.param(
            {"shape": "columns_rows", "columns": "cols", "rows": "data"},
            "id",
            {"cols": [{"name": "id", "type": "int"}], "data": [[1]]},
            [{"id": 1}],
            id="columns that are objects",
        ),
        pytest.param(
            {"path": "hosts", "shape": "nested", "inner": "found.list", "keep": ["meta.host"]},
            ["host", "id"],
            {"hosts": [{"meta": {"host": "h"}, "found": {"list": [{"id": 1}, {"id": 2}]}}]},
            [{"id": 1, "host": "h"}, {"id": 2, "host": "h"}],
            id="nested lists with what is around them",
        ),
        pytest.param({"path": "me", "shape": "single"}, "id", {"me": {"id": 1}}, [{"id": 1}], id="one record"),
        pytest.param(
            {"path": "items", "filter": [{"path": "a", "eq": 1}, {"path": "b", "exists": True}]},
            "id",
            {"items": [{"id": 1, "a": 1, "b": 1}, {"id": 2, "a": 1}, {"id": 3, "a": 2, "b": 1}]},
            [{"id": 1, "a": 1, "b": 1}],
            id="a filter's tests must all hold",
        ),
        pytest.param({"path": "items", "optional": True}, "id", {}, [], id="missing, but optional"),
        pytest.param({"path": "items", "optional": True}, "id", {"items": None}, [], id="null, but optional"),
        pytest.param({"path": "items"}, "id", {"items": []}, [], id="an empty list"),
    ],
)
def test_records_are_found(records: Any, id_path: Any, body: Any, payloads: list[Any]) -> None:
    assert read(things(records, id_path), lambda _: body).payloads == payloads


@pytest.mark.parametrize(
    ("records", "body", "problem"),
    [
        pytest.param({"path": "items"}, {"data": []}, "items, where the records should be, is missing", id="missing"),
        pytest.param({"path": "items"}, {"items": None}, "items, where the records should be, is null", id="null"),
        pytest.param({"path": "items"}, {"items": {"1": {"id": 1}}}, "items is no list", id="an object for a list"),
        pytest.param({"path": "items"}, {"items": [{"id": 1}, 7]}, "record 2 at items is no object", id="a number"),
        pytest.param({"path": "g.*.items"}, {"g": [{"items": []}, {}]}, "is missing", id="one group without"),
        pytest.param({"shape": "object_values"}, {"a": 1}, "no object", id="a plain value in an object"),
        pytest.param({"shape": "object_values"}, {"a": {"key": "b"}}, "choose another `key_as`", id="a taken name"),
        pytest.param({"path": "v", "shape": "scalars"}, {"v": [{}]}, "else than plain values", id="an object in plain"),
        pytest.param(
            {"shape": "columns_rows", "columns": "c", "rows": "r"},
            {"c": ["id"], "r": [[1, 2]]},
            "row 1 at r has not 1",
            id="a row of another length",
        ),
        pytest.param(
            {"shape": "columns_rows", "columns": "c", "rows": "r"},
            {"c": ["id", "id"], "r": []},
            "different names",
            id="two columns of one name",
        ),
        pytest.param(
            {"path": "g", "shape": "nested", "inner": "i", "keep": ["id"]},
            {"g": [{"id": 1, "i": [{"id": 2}]}]},
            "write over",
            id="keep would write over",
        ),
        pytest.param(
            {"path": "g", "shape": "nested", "inner": "i", "keep": ["x"]},
            {"g": [{"i": [{"id": 2}]}]},
            "`keep` names",
            id="keep names nothing",
        ),
        pytest.param({"path": "g", "shape": "nested", "inner": "i"}, {"g": [{}]}, "i is missing", id="no inner list"),
        pytest.param({"path": "me", "shape": "single"}, {"me": [1]}, "me is no object", id="a list for one record"),
    ],
)
def test_another_shape_is_an_error_that_names_the_place(records: Any, body: Any, problem: str) -> None:
    found = read_until_error(things(records), lambda _: body)
    assert isinstance(found.error, UnexpectedShapeError)
    assert problem in str(found.error)
    assert found.ids == []


# ---- ids


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("a-1", "a-1", id="text"),
        pytest.param(7, "7", id="a number"),
        pytest.param(7.0, "7", id="a whole number with a point"),
        pytest.param(0, "0", id="zero"),
    ],
)
def test_an_id_becomes_text(value: object, text: str) -> None:
    assert read(define(), lambda _: {"items": [{"id": value}]}).ids == [text]
    deeper = things({"path": "items"}, "meta.id")
    assert read(deeper, lambda _: {"items": [{"meta": {"id": value}}]}).ids == [text]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        pytest.param({}, "the id at id of record 2 of the page is missing", id="missing"),
        pytest.param({"id": None}, "is null", id="null"),
        pytest.param({"id": ""}, "is an empty text", id="empty"),
        pytest.param({"id": True}, "neither a text nor a whole number", id="a flag"),
        pytest.param({"id": [1]}, "neither a text nor a whole number", id="a list"),
        pytest.param({"id": 1.5}, "not exact", id="a fraction"),
        pytest.param({"id": 1e300}, "not exact", id="a number beyond what is exact"),
    ],
)
def test_an_id_that_cannot_be_used_is_named(row: dict[str, object], problem: str) -> None:
    found = read_until_error(define(), lambda _: {"items": [{"id": 1}, row]})
    assert isinstance(found.error, UnexpectedShapeError)
    assert problem in str(found.error)


def test_ids_of_several_members_stay_apart() -> None:
    definition = things({"path": "items"}, ["a", "b"])
    items = [{"a": "x:y", "b": "z"}, {"a": "x", "b": "y:z"}, {"a": "x\\", "b": ":y"}, {"a": "x", "b": "y"}]
    ids = read(definition, lambda _: {"items": items}).ids
    assert len(set(ids)) == 4
    assert ids[3] == "x:y"


def test_a_record_that_comes_twice_on_a_page_is_kept_once_as_it_came_last() -> None:
    found = read(define(), lambda _: {"items": [{"id": 1, "v": "old"}, {"id": 2}, {"id": 1, "v": "new"}]})
    assert [dict(payload) for payload in found.payloads] == [{"id": 1, "v": "new"}, {"id": 2}]
    assert found.pages[0].counts == {"repeated": 1}


# ---- bodies


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        pytest.param("", "an empty body", id="empty"),
        pytest.param("  \n", "an empty body", id="blank"),
        pytest.param('{"items": [', "not JSON", id="cut off"),
        pytest.param('{"items": []}{"items": []}', "not JSON", id="two documents"),
        pytest.param('{"items": [{"id": NaN}]}', "not JSON", id="NaN"),
        pytest.param(b'{"items": [{"id": "\xe9"}]}', "not JSON", id="not UTF-8"),
        pytest.param("[" * 100_000 + "]" * 100_000, "not JSON", id="nested without end"),
        pytest.param("<!doctype html><html><body>sign in", "in HTML", id="a sign-in page"),
        pytest.param("Service Unavailable", "not JSON", id="a word"),
    ],
)
def test_a_body_that_is_no_json_is_the_vendors_fault(body: Any, problem: str) -> None:
    found = read_until_error(define(), lambda _: Reply(body=body))
    assert isinstance(found.error, MalformedBodyError)
    assert problem in str(found.error)


def test_a_byte_order_mark_is_let_pass() -> None:
    assert read(define(), lambda _: Reply(body=b"\xef\xbb\xbf" + b'{"items": [{"id": 1}]}')).ids == ["1"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"items": [{"id": 1}], "errors": [{"message": "x"}]}, id="errors beside data, as of GraphQL"),
        pytest.param({"items": [], "errors": {"code": 5}}, id="errors that are an object"),
        pytest.param({"error": {"code": "AUTH"}}, id="an error"),
        pytest.param({"items": [], "error": "denied"}, id="an error in words"),
        pytest.param({"ok": False, "items": []}, id="not ok"),
        pytest.param({"success": False}, id="no success"),
        pytest.param({"success": "false", "items": []}, id="no success in words"),
        pytest.param({"status": "error", "message": "x"}, id="no records, and a status that says error"),
    ],
)
def test_a_success_status_that_reports_an_error(body: Any) -> None:
    found = read_until_error(define(), lambda _: body)
    assert type(found.error) is AnswerReportsError
    assert found.ids == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"items": [{"id": 1}], "errors": []}, id="an empty list of errors"),
        pytest.param({"items": [{"id": 1}], "errors": 0}, id="a count of errors"),
        pytest.param({"items": [{"id": 1}], "error": None}, id="no error"),
        pytest.param({"items": [{"id": 1}], "error": False}, id="an error that is false"),
        pytest.param({"items": [{"id": 1}], "ok": True, "success": True}, id="all well"),
        pytest.param({"items": [{"id": 1, "error": "x", "ok": False}]}, id="rows are never read"),
        pytest.param({"items": [{"id": 1}], "status": "error"}, id="a bare status beside records is data"),
    ],
)
def test_a_body_that_reports_no_error(body: Any) -> None:
    assert read(define(), lambda _: body).ids == ["1"]


def test_a_member_that_holds_the_records_is_data_whatever_its_name() -> None:
    assert read(things({"path": "errors"}), lambda _: {"errors": [{"id": 1}]}).ids == ["1"]
    single = things({"shape": "single"})
    assert read(single, lambda _: {"id": 1, "error": "of the record"}).ids == ["1"]


def test_an_error_in_place_of_a_record_is_still_seen() -> None:
    found = read_until_error(things({"shape": "object_values"}, "key"), lambda _: {"error": "denied"})
    assert type(found.error) is AnswerReportsError


@pytest.mark.parametrize("status", [301, 302, 304, 400, 401, 403, 404, 422, 429, 500, 503])
def test_other_statuses_stand_as_refused(status: int) -> None:
    found = read_until_error(define(), lambda _: Reply(status=status, body={"items": [{"id": 1}]}))
    assert isinstance(found.error, VendorError)
    assert f"status {status}" in str(found.error)
    assert found.ids == []
