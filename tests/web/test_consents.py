"""Browsers that come from a vendor's consent page. The whole way is walked in tests/vendors/real/test_consent.py."""

from typing import Any

import pytest

from worker.authorization import CALLBACK_PATH, LINK_PATH

Door = Any  # conftest.Door, which --import-mode=importlib cannot import by name


@pytest.mark.parametrize(
    "query",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"state": "never-given-out", "code": "x"}, id="a forged state"),
        pytest.param({"state": "s", "error": "access_denied", "error_description": "<b>no</b>"}, id="an error"),
        pytest.param(
            {"state": "s", "code": "x", "iss": "https://id.example", "session_state": "y", "scope": "a b"},
            id="what vendors send besides",
        ),
    ],
)
def test_whoever_brings_back_what_was_never_begun_is_told_so_by_a_page(door: Door, query: dict[str, str]) -> None:
    with door.client() as browser:
        answered = browser.get(CALLBACK_PATH, params=query)

    assert answered.status_code == 400
    assert answered.headers["content-type"].startswith("text/html")
    assert "begin it anew" in answered.text
    assert "<b>" not in answered.text


def test_a_link_that_opens_nothing_is_told_so_by_a_page(door: Door) -> None:
    with door.client() as browser:
        answered = browser.get(f"{LINK_PATH}/nonsense", params={"utm_source": "mail"})

    assert answered.status_code == 400
    assert "ask for a new one" in answered.text
