"""`connection-health keys`."""

import json
import re

import pytest

from cli.exits import Exit
from models import api_keys
from models.database import Database
from tests.cli.conftest import House


def opens(house: House, text: str) -> bool:
    database = Database(house.environ["CONNECTION_HEALTH_DATABASE_URL"])
    try:
        with database.connection() as db:
            return api_keys.find_key(db, text) is not None
    finally:
        database.close()


def test_a_key_is_shown_once_listed_without_its_text_and_revoked(house: House) -> None:
    result = house.run("keys", "create", "dashboard")
    text = result.stdout.strip()
    assert re.fullmatch(r"chk_[0-9a-f]{64}", text)
    assert "not shown again" in result.stderr
    assert opens(house, text)

    listed = house.ok("keys", "list")
    assert text not in listed
    assert f"…{text[-4:]}" in listed
    key = house.json("keys", "list")["items"][0]
    assert (key["name"], key["scope"], key["organization_id"]) == ("dashboard", "read", None)
    assert text not in json.dumps(key)

    assert "revoked" in house.ok("keys", "revoke", key["id"])
    assert not opens(house, text)
    assert house.json("keys", "revoke", key["id"])["revoked_at"] is not None  # once more does no harm


def test_a_key_of_one_organization_ends_when_it_is_said(house: House) -> None:
    organization = house.organization()

    made = house.json("keys", "create", "sync", "--scope", "write", "--org", "Umbra", "--expires", "90d")
    assert (made["organization_id"], made["scope"]) == (organization, "write")
    assert made["expires_at"] > made["created_at"]
    house.ok("keys", "create", "other")
    assert [key["id"] for key in house.json("keys", "list", "--org", "Umbra")["items"]] == [made["id"]]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param(("create", "x", "--org", "nobody"), Exit.NOT_FOUND, id="of an unknown organization"),
        pytest.param(("create", ""), Exit.USAGE, id="without a name"),
        pytest.param(("create", "x", "--scope", "root"), Exit.USAGE, id="of an unknown scope"),
        pytest.param(("revoke", "dashboard"), Exit.USAGE, id="revoked by its name"),
        pytest.param(("revoke", "00000000-0000-0000-0000-000000000000"), Exit.NOT_FOUND, id="that is not there"),
    ],
)
def test_a_key_that_cannot_be_is_refused(house: House, words: tuple[str, ...], code: Exit) -> None:
    result = house.run("keys", *words)

    assert result.exit_code == code, result.stderr
    assert result.stderr
