import pytest

from vendors import bodies
from vendors.bodies import parse_json
from vendors.errors import MalformedBodyError


def test_a_page_of_more_values_than_memory_can_hold_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_COUNTED_FROM_BYTES", 10)
    monkeypatch.setattr(bodies, "MOST_VALUES", 5)
    assert parse_json(b"[{},{},{},{},{},{}]", "GET /x") == [{}] * 6
    with pytest.raises(MalformedBodyError, match="more than 5 values"):
        parse_json(b"[{},{},{},{},{},{},{}]", "GET /x")


def test_a_small_page_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MOST_VALUES", 0)
    assert parse_json(b"[1, 2]", "GET /x") == [1, 2]
