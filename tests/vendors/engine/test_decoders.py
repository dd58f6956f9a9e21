import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vendors.decoders import BATCH, UnpackLimits, decode, xml_document
from vendors.definition import Condition, Records, Response, ShapeKind
from vendors.errors import AnswerReportsError, MalformedBodyError, UnexpectedShapeError

SMALL = UnpackLimits(most_bytes=2_000_000, ratio=50, free_bytes=10_000, record_bytes=5_000)


def pieces(body: bytes, size: int = 7) -> Iterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


def decoded(
    body: bytes, *, size: int = 7, records: Records | None = None, limits: UnpackLimits | None = None, **response: Any
) -> list[dict[str, object]]:
    held = Response(**response)
    kept = limits or UnpackLimits()
    batches = decode(pieces(body, size), held, records or Records(), "GET /x", limits=kept)
    return [row for batch in batches for row in batch]


def zipped(**files: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return held.getvalue()


LINES = b'{"id": 1}\n{"id": 2}\r\n\n{"id": 3}'
THREE = [{"id": 1}, {"id": 2}, {"id": 3}]


# ---- formats


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("body", "response", "rows"),
    [
        pytest.param(LINES, {"format": "jsonl"}, THREE, id="lines"),
        pytest.param(b"", {"format": "jsonl"}, [], id="no lines"),
        pytest.param(b"\xef\xbb\xbf" + LINES, {"format": "jsonl"}, THREE, id="lines after a byte order mark"),
        pytest.param(
            b'id,name\r\n1,"a, ""b""\nc"\n2,\n',
            {"format": "csv"},
            [{"id": "1", "name": 'a, "b"\nc'}, {"id": "2", "name": ""}],
            id="csv",
        ),
        pytest.param(
            b"\xef\xbb\xbfid;name\n1;\xc3\xa9\n\n",
            {"format": "csv", "csv_delimiter": ";"},
            [{"id": "1", "name": "é"}],
            id="csv with a mark and another delimiter",
        ),
        pytest.param(b"id,name\n", {"format": "csv"}, [], id="csv with a head alone"),
        pytest.param(b"", {"format": "csv"}, [], id="an empty csv"),
        pytest.param(
            b'<?xml version="1.0"?><r xmlns:x="u"><x:h n="1"><id>1</id><t>a</t><t>b</t></x:h><h><id>2</id></h></r>',
            {"format": "xml", "xml_record": "h"},
            [{"@n": "1", "id": "1", "t": ["a", "b"]}, {"id": "2"}],
            id="xml",
        ),
        pytest.param(
            b'<!DOCTYPE r SYSTEM "https://v.example/r.dtd"><r><h>x</h><h><![CDATA[<y>]]></h><h/></r>',
            {"format": "xml", "xml_record": "h"},
            [{"#text": "x"}, {"#text": "<y>"}, {}],
            id="xml that names a DTD elsewhere, which is not fetched",
        ),
        pytest.param(b' [ {"id": 1} , {"id":2},{"id": 3}] \n', {"format": "json"}, THREE, id="a json list"),
        pytest.param(b"[]", {"format": "json"}, [], id="an empty json list"),
    ],
)
def test_a_format_is_read(body: bytes, response: dict[str, Any], rows: list[Any], size: int) -> None:
    assert decoded(body, size=size, **response) == rows


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("path", "body", "rows"),
    [
        pytest.param(
            "a.b", b'{"x": {"a": [1]}, "a": {"c": 12, "b": [{"id": 1}], "d": 1}, "y": 3.5}', [{"id": 1}], id="deep"
        ),
        pytest.param("a", b'{"n": 12345, "s": "}]\\"", "a": []}', [], id="after numbers and signs in texts"),
        pytest.param("g.*.i", b'{"g": [{"i": [{"id": 1}]}]}', [{"id": 1}], id="a star is read whole"),
        pytest.param('"a.b"', b'{"a.b": [{"id": 1}]}', [{"id": 1}], id="a quoted name is read whole"),
    ],
)
def test_json_is_streamed_from_its_path(path: str, body: bytes, rows: list[Any], size: int) -> None:
    assert decoded(body, size=size, records=Records(path=path), format="json") == rows


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param(b"", MalformedBodyError, id="empty"),
        pytest.param(b'{"a": [{"id": 1}', MalformedBodyError, id="cut off in the list"),
        pytest.param(b'{"a": [{"id": 1}]', MalformedBodyError, id="cut off after the list"),
        pytest.param(b'{"a": [{"id": 1}]}x', MalformedBodyError, id="more after the end"),
        pytest.param(b'{"a": [{"id": 1},]}', MalformedBodyError, id="a comma too many"),
        pytest.param(b'{"a": [{"id": NaN}]}', MalformedBodyError, id="NaN"),
        pytest.param(b'{"a": [{"id": "\xff"}]}', MalformedBodyError, id="not UTF-8"),
        pytest.param(b"<html><body>sign in", MalformedBodyError, id="html"),
        pytest.param(b'{"b": []}', UnexpectedShapeError, id="no list at the path"),
        pytest.param(b'{"a": {"x": 1}}', UnexpectedShapeError, id="an object for a list"),
        pytest.param(b'{"a": [1]}', UnexpectedShapeError, id="a number for a record"),
        pytest.param(b"[]", UnexpectedShapeError, id="a list where an object should be"),
        pytest.param(b'{"error": "denied"}', AnswerReportsError, id="an error in place of the list"),
        pytest.param(b'{"errors": [{"m": 1}], "a": []}', AnswerReportsError, id="an error before the list"),
        pytest.param(b'{"a": [], "errors": [{"m": 1}]}', AnswerReportsError, id="an error after the list"),
    ],
)
def test_json_that_is_not_as_promised(body: bytes, error: type[Exception], size: int) -> None:
    with pytest.raises(error):
        decoded(body, size=size, records=Records(path="a"), format="json")


def test_json_that_nests_without_end_is_refused() -> None:
    with pytest.raises(MalformedBodyError):
        decoded(b'{"a": [' + b"[" * 50_000, size=1000, records=Records(path="a"), format="json")


def test_a_long_record_is_refused_and_not_gathered() -> None:
    endless = iter(lambda: b'{"id": "' + b"x" * 1000, b"")
    with pytest.raises(MalformedBodyError, match="a line of more than"):
        list(decode(endless, Response(format="jsonl"), Records(), "GET /x", limits=SMALL))
    endless = itertools_chain(b'[{"id": "', b"x" * 1000)
    with pytest.raises(MalformedBodyError, match="a value of more than"):
        list(decode(endless, Response(format="json"), Records(), "GET /x", limits=SMALL))
    endless = itertools_chain(b'id\n"', b"x" * 1000)
    with pytest.raises(MalformedBodyError, match="a line of more than"):
        list(decode(endless, Response(format="csv"), Records(), "GET /x", limits=SMALL))
    endless = itertools_chain(b"<r><h>", b"x" * 1000)
    with pytest.raises(MalformedBodyError, match="a record of more than"):
        list(decode(endless, Response(format="xml", xml_record="h"), Records(), "GET /x", limits=SMALL))


def itertools_chain(head: bytes, rest: bytes) -> Iterator[bytes]:
    yield head
    while True:
        yield rest


@pytest.mark.parametrize(
    ("body", "response", "problem"),
    [
        pytest.param(b'{"id": 1}\n{"id": ', {"format": "jsonl"}, "line 2 is no JSON", id="a broken line"),
        pytest.param(b"<html><body>", {"format": "jsonl"}, "line 1 is a page in HTML", id="html for lines"),
        pytest.param(b"id,a\n1\n", {"format": "csv"}, "line 2 has 1 values where there are 2", id="a short line"),
        pytest.param(b'id\n"1', {"format": "csv"}, "is not CSV", id="an open quotation"),
        pytest.param(b"<html>\n", {"format": "csv"}, "in HTML", id="html for csv"),
        pytest.param(b"id\n\xff\n", {"format": "csv"}, "not UTF-8", id="csv in another encoding"),
        pytest.param(b"<r><h></r>", {"format": "xml", "xml_record": "h"}, "not XML", id="broken xml"),
        pytest.param(b"<r><h>1</h>", {"format": "xml", "xml_record": "h"}, "not XML", id="xml cut off"),
        pytest.param(b"<h>" * 300, {"format": "xml", "xml_record": "h"}, "nested deeper", id="xml without end"),
    ],
)
def test_a_body_that_is_broken(body: bytes, response: dict[str, Any], problem: str) -> None:
    with pytest.raises(MalformedBodyError, match=problem):
        decoded(body, **response)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            b'<!DOCTYPE r [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><r><h>&b;</h></r>', id="entities in entities"
        ),
        pytest.param(b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r><h>&x;</h></r>', id="a file"),
        pytest.param(b'<!DOCTYPE r SYSTEM "http://v.example/x.dtd"><r><h>&outer;</h></r>', id="an entity from outside"),
        pytest.param(b"<!DOCTYPE r [<!ELEMENT r ANY>]><r/>", id="a DTD of its own without any"),
        pytest.param(b'<!DOCTYPE r [<!ENTITY % p SYSTEM "http://v.example/x"> %p;]><r/>', id="a parameter entity"),
    ],
)
def test_xml_with_entities_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedBodyError, match="not read"):
        decoded(body, format="xml", xml_record="h")


def test_two_columns_of_one_name_are_an_error() -> None:
    with pytest.raises(UnexpectedShapeError, match="the same name"):
        decoded(b"id,id\n1,2\n", format="csv")


def test_a_filter_and_a_path_hold_for_lines_too() -> None:
    records = Records(path="row", filter=(Condition(path="on", eq=True),))
    body = b'{"row": {"id": 1, "on": true}}\n{"row": [{"id": 2, "on": false}, {"id": 3, "on": true}]}\n'
    assert [row["id"] for row in decoded(body, records=records, format="jsonl")] == [1, 3]


def test_a_shape_of_its_own_is_read_whole() -> None:
    records = Records(path="v", shape=ShapeKind.SCALARS)
    assert decoded(b'{"v": [1, 2]}', records=records, format="json") == [{"value": 1}, {"value": 2}]


def test_batches_are_no_longer_than_a_page() -> None:
    body = b"\n".join(b'{"id": %d}' % number for number in range(2 * BATCH + 5))
    lengths = [len(batch) for batch in decode(pieces(body, 4000), Response(format="jsonl"), Records(), "GET /x")]
    assert lengths == [BATCH, BATCH, 5]


def test_a_whole_xml_page_becomes_an_object() -> None:
    body = b"<LIST><ITEM><ID>1</ID></ITEM><WARNING><URL>https://v.example/?p=2</URL></WARNING></LIST>"
    assert xml_document(body, "GET /x") == {"LIST": {"ITEM": {"ID": "1"}, "WARNING": {"URL": "https://v.example/?p=2"}}}


# ---- packing


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_gzip_is_unpacked_whatever_its_pieces(size: int) -> None:
    assert decoded(gzip.compress(LINES), size=size, format="jsonl", compression="gzip") == THREE
    several = gzip.compress(b'{"id": 1}\n') + gzip.compress(b'{"id": 2}\n{"id": 3}') + b"\0" * 9
    assert decoded(several, size=size, format="jsonl", compression="gzip") == THREE


def test_what_was_unpacked_on_the_way_passes() -> None:
    assert decoded(LINES, format="jsonl", compression="gzip") == THREE


def test_zip_holds_several_files_each_with_its_own_head() -> None:
    body = zipped(**{"a.csv": b"id\n1\n", "b.csv": b"id\n2\n", "__MACOSX/._a.csv": b"junk"})
    assert decoded(body, format="csv", compression="zip") == [{"id": "1"}, {"id": "2"}]


@pytest.mark.parametrize(
    ("body", "compression", "problem"),
    [
        pytest.param(gzip.compress(LINES)[:-9], "gzip", "ends in the middle", id="gzip cut off"),
        pytest.param(b"\x1f\x8b" + b"junk" * 9, "gzip", "is broken", id="gzip that is none"),
        pytest.param(gzip.compress(LINES)[:-6] + b"abcdef", "gzip", "is broken", id="gzip with a wrong checksum"),
        pytest.param(b"PK no zip", "zip", "no zip archive", id="zip that is none"),
        pytest.param(zipped(a=LINES * 50)[:-40], "zip", "no zip archive", id="zip cut off"),
        pytest.param(
            zipped(a=LINES).replace(b"\x00\x00\x08\x00", b"\x01\x00\x08\x00", 2), "zip", "password", id="locked"
        ),
    ],
)
def test_packing_that_is_broken(body: bytes, compression: str, problem: str) -> None:
    with pytest.raises(MalformedBodyError, match=problem):
        decoded(body, format="jsonl", compression=compression)


@pytest.mark.parametrize("compression", ["gzip", "zip"])
def test_a_bomb_is_stopped_by_its_ratio(compression: str) -> None:
    bomb = (b" " * 100 + b"\n") * 15_000
    body = gzip.compress(bomb) if compression == "gzip" else zipped(a=bomb)
    with pytest.raises(MalformedBodyError, match="times its size"):
        decoded(body, size=4096, limits=SMALL, format="jsonl", compression=compression)


def test_what_unpacks_to_too_much_is_stopped() -> None:
    lines = b"\n".join(json.dumps({"id": number, "x": str(number * 7919)}).encode() for number in range(90_000))
    with pytest.raises(MalformedBodyError, match="more than 2000000 bytes"):
        decoded(gzip.compress(lines), size=4096, limits=SMALL, format="jsonl", compression="gzip")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=6), VALUES, max_size=4), max_size=12),
    size=st.integers(1, 200),
    indent=st.sampled_from([None, 2]),
)
def test_streamed_json_is_what_a_parser_reads(rows: list[dict[str, object]], size: int, indent: int | None) -> None:
    body = json.dumps({"head": {"a": [1, 2]}, "rows": rows, "tail": 1}, indent=indent).encode()
    assert decoded(body, size=size, records=Records(path="rows"), format="json") == rows
