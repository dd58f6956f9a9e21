import json
from collections import UserDict
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.documents import DEEPEST, canonical, clean_text, stored

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("document", "text"),
    [
        pytest.param({"b": 1, "a": {"d": 1, "c": 2}}, '{"a":{"c":2,"d":1},"b":1}', id="keys are sorted at every level"),
        pytest.param({"a": "x\x00y"}, '{"a":"x\ufffdy"}', id="NUL"),
        pytest.param({"a": "\\u0000"}, '{"a":"\\\\u0000"}', id="a backslash and u0000 are six harmless characters"),
        pytest.param({"\x00": 1}, '{"\ufffd":1}', id="NUL in a key"),
        pytest.param({"a": "\ud800"}, '{"a":"\ufffd"}', id="half a character"),
        pytest.param({"a": float("nan"), "b": float("-inf")}, '{"a":null,"b":null}', id="not a number"),
        pytest.param({"a": 2**200}, f'{{"a":{2**200}}}', id="a huge integer stays"),
        pytest.param({"a": 10**100_001}, '{"a":"an integer of 332197 bits"}', id="an absurd integer is told of"),
        pytest.param({1: "x", None: 2}, '{"1":"x","null":2}', id="keys that are no text"),
        pytest.param(MappingProxyType({"a": (1, 2)}), '{"a":[1,2]}', id="another mapping"),
        pytest.param({"a": UserDict({"b": 1})}, '{"a":{"b":1}}', id="a mapping within"),
        pytest.param(
            {"t": datetime(2026, 1, 2, tzinfo=UTC), "u": UUID(int=1), "n": 2**70},
            f'{{"n":{2**70},"t":"2026-01-02T00:00:00+00:00","u":"00000000-0000-0000-0000-000000000001"}}',
            id="times and ids",
        ),
    ],
)
def test_what_is_stored(document: Any, text: str) -> None:
    assert canonical(document).decode() == text
    assert stored(document) == text


def test_none_is_no_document() -> None:
    assert stored(None) is None


def test_an_object_that_json_cannot_say_is_refused() -> None:
    with pytest.raises(TypeError):
        canonical({"a": object(), "n": 2**70})


def test_what_is_nested_too_deeply_is_cut() -> None:
    document: dict[str, Any] = {}
    for _ in range(DEEPEST * 4):
        document = {"a": document}
    assert b"too deeply nested" in canonical(document)


def test_clean_text_leaves_other_text_alone() -> None:
    assert clean_text("züricħ\n\t\U0001f600") == "züricħ\n\t\U0001f600"


@given(anything)
def test_equal_documents_have_equal_bytes_and_parse_again(document: Any) -> None:
    text = canonical({"x": document})
    assert canonical({"x": document}) == text
    assert canonical(json.loads(text)) == text or b"e+" in text or b"E" in text or b"." in text


def test_postgresql_takes_every_document(db: psycopg.Connection[Any]) -> None:
    @given(anything)
    def takes(document: Any) -> None:
        assert db.execute("SELECT %s::jsonb IS NOT NULL", (stored({"x": document}),)).fetchone() == (True,)

    takes()
