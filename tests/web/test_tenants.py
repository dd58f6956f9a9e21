"""Two organizations, each with a key: whatever one asks of what is the other's, it is as if that were not there.

The requests are made from the schema, so an operation that is added is tried without a word here.
"""

import re
from collections.abc import Iterator
from typing import Any, Final
from uuid import uuid4

import pytest

from models.vocabulary import Scope
from tests.web.conftest import Door, House

_NO_KEY: Final = ("/healthz", "/readyz", "/metrics", "/v1/connectors", "/v1/oauth2/")
_BODIES: Final[dict[str, dict[str, Any]]] = {
    "NewConnection": {"vendor": "acme_idp", "credentials": {"token": "acme_north_1"}, "options": {"port": 9}},
    "ConnectionChange": {"identifier": "taken"},
    "NewInvite": {"vendor": "acme_idp"},
    "NewOrganization": {"name": "taken"},
    "NewKey": {"name": "taken", "scope": "read"},
    "TokenGiven": {"token": "x"},
}
_QUERIES: Final = {"data_export_type": "users"}


def operations(door: Door) -> Iterator[tuple[str, str, dict[str, Any]]]:
    with door.client() as client:
        document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if not path.startswith(_NO_KEY):
                yield method.upper(), path, operation


def body_of(operation: dict[str, Any]) -> dict[str, Any] | None:
    if "requestBody" not in operation:
        return None
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return _BODIES[schema["$ref"].rpartition("/")[2]]


def params_of(operation: dict[str, Any]) -> dict[str, str]:
    return {
        each["name"]: _QUERIES[each["name"]]
        for each in operation.get("parameters", ())
        if each["in"] == "query" and each.get("required")
    }


@pytest.fixture
def theirs(door: Door) -> dict[str, str]:
    """What the other organization has, by the name of a path's parameter."""
    house = House(door, "Theirs")
    made = house.connect(identifier="secret of theirs")
    door.work(made["id"])
    invite = house.client.post(f"{house.path}/connection-invite-tokens", json={"vendor": "acme_idp"}).json()
    key = house.client.post(
        "/v1/keys", json={"name": "theirs", "scope": "admin", "organization_id": house.organization_id}
    ).json()
    return {
        "organization_id": house.organization_id,
        "connection_id": made["id"],
        "invite_id": invite["id"],
        "key_id": key["id"],
        "run_seq": "1",
    }


def test_nothing_of_another_organization_can_be_seen_or_changed(door: Door, theirs: dict[str, str]) -> None:
    ours = House(door, "Ours")
    own_connection = ours.connect()["id"]
    tried = 0
    with door.client(door.key(Scope.ADMIN, ours.organization_id)) as client:
        for method, path, operation in operations(door):
            names = re.findall(r"{(\w+)}", path)
            if not names:
                continue
            # Each id of theirs under our own organization, and all of theirs together.
            for mixed in (theirs, {**theirs, "organization_id": ours.organization_id}):
                if set(names) == {"organization_id"} and mixed["organization_id"] == ours.organization_id:
                    continue
                address = path.format(**mixed)
                answered = client.request(method, address, json=body_of(operation), params=params_of(operation))
                expected = 401 if path.endswith("/validate") else 404
                assert answered.status_code == expected, f"{method} {address}: {answered.status_code} {answered.text}"
                for value in theirs.values():
                    assert value == "1" or value not in answered.text
                tried += 1
    assert tried >= 40
    with door.client(door.account_key) as client:
        shown = client.get(f"/v1/provisioning/organizations/{theirs['organization_id']}/connections").json()["items"]
        assert [(each["id"], each["identifier"]) for each in shown] == [(theirs["connection_id"], "secret of theirs")]
        assert client.get(f"/v1/keys/{theirs['key_id']}").json()["revoked_at"] is None
    assert ours.client.get(ours.of(own_connection)).status_code == 200


def test_lists_hold_nothing_of_another_organization(door: Door, theirs: dict[str, str]) -> None:
    ours = House(door, "Ours")
    listed = 0
    with door.client(door.key(Scope.ADMIN, ours.organization_id)) as client:
        for method, path, operation in operations(door):
            if method != "GET" or "{" in path:
                continue
            questions: list[dict[str, str]] = [{}]
            names = {each["name"] for each in operation.get("parameters", ())}
            questions += [{name: theirs[name]} for name in ("organization_id", "connection_id") if name in names]
            for params in questions:
                answered = client.get(path, params=params)
                assert answered.status_code == 200, f"{path}: {answered.text}"
                for name, value in theirs.items():
                    assert name == "run_seq" or value not in answered.text, f"{path} {params}"
                listed += 1
        counted = client.get("/v1/provisioning/connection-counts").json()
        assert counted["total"] == 0
        organizations = client.get("/v1/provisioning/organizations").json()["items"]
        assert [each["id"] for each in organizations] == [ours.organization_id]
    assert listed >= 6


@pytest.mark.parametrize("scope", [Scope.READ, Scope.WRITE])
def test_a_key_does_what_its_scope_allows_and_no_more(door: Door, scope: Scope) -> None:
    house = House(door)
    connection_id = house.connect()["id"]
    known = {
        "organization_id": house.organization_id,
        "connection_id": connection_id,
        "invite_id": str(uuid4()),
        "key_id": str(uuid4()),
        "run_seq": "999",
    }
    admin_only = ("/v1/keys", "/v1/audit")
    refused: set[str] = set()
    with door.client(door.key(scope)) as client:
        for method, path, operation in operations(door):
            if path.endswith("/validate"):
                continue
            is_write = method != "GET" or path.endswith(("/test", "/connection-invite-tokens"))
            is_admin = path.startswith(admin_only) or (
                method in {"POST", "DELETE"} and re.fullmatch(r"/v1/provisioning/organizations(/{\w+})?", path)
            )
            if not is_admin and not (is_write and scope is Scope.READ):
                continue
            answered = client.request(
                method, path.format(**known), json=body_of(operation), params=params_of(operation)
            )
            assert answered.status_code == 403, f"{method} {path}: {answered.status_code}"
            refused.add(f"{method} {path}")
    assert len(refused) >= (14 if scope is Scope.READ else 7)
    assert house.client.get(house.of(connection_id)).json()["identifier"] is None


@pytest.mark.parametrize("key", [None, "", "chk_" + "0" * 64, "nonsense", "chk_" + "é" * 64])
def test_without_a_good_key_nothing_is_opened(door: Door, key: str | None) -> None:
    headers = {} if key is None else {b"x-api-key": key.encode()}
    known = dict.fromkeys(("organization_id", "connection_id", "invite_id", "key_id"), str(uuid4())) | {"run_seq": "1"}
    with door.client() as client:
        for method, path, operation in operations(door):
            if path.endswith("/validate"):
                continue
            answered = client.request(
                method, path.format(**known), json=body_of(operation), params=params_of(operation), headers=headers
            )
            assert answered.status_code == 401, f"{method} {path}: {answered.status_code} {answered.text}"
            assert answered.headers["content-type"] == "application/problem+json"
