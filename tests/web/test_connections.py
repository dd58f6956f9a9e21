"""Connections over HTTP: create, get, list, change, delete."""

import time
from uuid import uuid4

import pytest

from models import history
from tests.web.conftest import ORGANIZATIONS, Door, House

BAD = {"token": "acme_north_999"}


def test_a_connection_is_created_run_and_shown(house: House) -> None:
    made = house.connect(identifier="north")

    assert made["state"] == "ACTIVE"
    assert made["is_active"]
    assert made["health"] is None
    assert made["refresh_interval_secs"] == 14_400
    assert made["timeout_secs"] == 3_600
    house.door.work(made["id"])
    shown = house.client.get(house.of(made["id"])).json()
    assert shown["health"]["name"] == "HEALTHY"
    assert house.client.get(shown["health"]["evidence_url"]).json()["run_seq"] == 1


def test_credentials_that_the_vendor_refuses_create_nothing(house: House) -> None:
    answered = house.client.post(f"{house.path}/connections", json={**house.body(), "credentials": BAD})

    assert answered.status_code == 422
    assert answered.headers["content-type"] == "application/problem+json"
    problem = answered.json()
    assert "acme_idp refused the credentials" in problem["detail"]
    assert "401" in problem["detail"]
    assert problem["errors"][0]["pointer"] == "/credentials"
    assert problem["verdict"]["name"] == "UNAUTHORIZED"
    assert house.client.get(f"{house.path}/connections").json()["items"] == []


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        pytest.param({"credentials": {}}, "/credentials/token", id="a credential is missing"),
        pytest.param({"credentials": {"tokn": "x"}}, "/credentials/tokn", id="an unknown credential"),
        pytest.param({"options": {"port": "x"}}, "/options/port", id="an option of the wrong form"),
        pytest.param({"vendor": "acme_ipd"}, "/vendor", id="an unknown vendor"),
        pytest.param({"refresh_interval_secs": 1}, "/refresh_interval_secs", id="too short an interval"),
        pytest.param({"refresh_interval_secs": "900"}, "/refresh_interval_secs", id="text for a number"),
        pytest.param({"credentails": {}}, "/credentails", id="a misspelt member"),
        pytest.param({"identifier": ""}, "/identifier", id="an empty identifier"),
        pytest.param({"identifier": "a\0b"}, "/identifier", id="a NUL"),
    ],
)
def test_what_is_wrong_with_a_body_is_pointed_at(house: House, changed: dict[str, object], pointer: str) -> None:
    answered = house.client.post(f"{house.path}/connections", json={**house.body(), **changed})

    assert answered.status_code == 422, answered.text
    assert pointer in [fault.get("pointer") for fault in answered.json()["errors"]]


def test_the_wires_capitals_name_a_vendor_too(house: House) -> None:
    assert house.client.post(f"{house.path}/connections", json={**house.body(), "vendor": "ACME_IDP"}).json()[
        "vendor"
    ] == ("acme_idp")


def test_unauthorized_connections_are_found_mended_and_heal(house: House) -> None:
    world = house.door.simulator.world
    account = f"a{uuid4().hex[:8]}"
    sick, well = house.connect(account=account), house.connect()
    world.act("acme_idp", account, "expire_token", {})
    for each in (sick, well):
        house.door.work(each["id"])

    found = house.client.get("/v1/provisioning/connections", params={"health": "UNAUTHORIZED", "limit": 1000}).json()
    assert sick["id"] in [each["id"] for each in found["items"]]
    own = house.client.get(f"{house.path}/connections", params={"health": "UNAUTHORIZED"}).json()
    assert [each["id"] for each in own["items"]] == [sick["id"]]
    assert own["items"][0]["health"]["resolution_owner"] == "CUSTOMER"

    refused = house.client.patch(house.of(sick["id"]), json={"credentials": BAD})
    assert refused.status_code == 422
    assert house.client.get(house.of(sick["id"])).json()["health"]["superseded"] is False

    mended = house.client.patch(house.of(sick["id"]), json={"credentials": house.credentials(account=account)})
    assert mended.status_code == 200, mended.text
    assert mended.json()["health"]["superseded"] is True
    house.door.work(sick["id"])
    health = house.client.get(house.of(sick["id"], "/health")).json()["health"]
    assert (health["name"], health["run_seq"]) == ("HEALTHY", 2)
    with house.door.database.connection() as db:
        runs = history.list_runs(db, sick["id"])
    assert runs[0].trigger == "CREDENTIALS"


def test_a_change_is_partial(house: House) -> None:
    made = house.connect(identifier="one")
    of = house.of(made["id"])

    paused = house.client.patch(of, json={"state": "PAUSED"}).json()
    assert (paused["state"], paused["identifier"]) == ("PAUSED", "one")
    changed = house.client.patch(of, json={"identifier": "two", "state": None}).json()
    assert (changed["state"], changed["identifier"]) == ("PAUSED", "two")
    assert house.client.patch(of, json={"identifier": None}).json()["identifier"] is None
    assert house.client.patch(of, json={"refresh_interval_secs": 900}).json()["refresh_interval_secs"] == 900
    assert house.client.patch(of, json={}).json()["state"] == "PAUSED"
    assert house.client.patch(of, json={"state": "ACTIVE"}).json()["is_active"] is True


@pytest.mark.parametrize("state", ["DELETED", "PENDING", "ASLEEP"])
def test_a_state_that_cannot_be_set_is_refused(house: House, state: str) -> None:
    made = house.connect()

    assert house.client.patch(house.of(made["id"]), json={"state": state}).status_code == 422


def test_where_calls_go_is_changed_only_together_with_the_credentials(house: House) -> None:
    made = house.connect()
    of = house.of(made["id"])
    elsewhere = {"options": {"port": 9}}

    refused = house.client.patch(of, json=elsewhere)
    assert refused.status_code == 422
    assert "decides where calls go" in refused.json()["detail"]
    same = {"options": {"port": house.door.simulator.port}}
    assert house.client.patch(of, json=same).status_code == 200
    assert house.client.patch(of, json={**same, "credentials": house.credentials()}).status_code == 200


def test_a_change_meant_for_an_older_connection_is_refused(house: House) -> None:
    made = house.connect()
    of = house.of(made["id"])
    first = house.client.get(of).headers["etag"]
    house.door.work(made["id"])
    assert house.client.get(of).headers["etag"] == first  # a run changes nothing of it

    second = house.client.patch(of, json={"identifier": "two"}, headers={"if-match": first}).headers["etag"]
    assert second != first
    for stale in (
        house.client.patch(of, json={"identifier": "three"}, headers={"if-match": first}),
        house.client.patch(of, json={"credentials": house.credentials()}, headers={"if-match": first}),
        house.client.delete(of, headers={"if-match": first}),
    ):
        assert stale.status_code == 412
    third = house.client.patch(of, json={"credentials": house.credentials()}, headers={"if-match": second})
    assert third.status_code == 200
    assert third.headers["etag"] not in (first, second)
    assert house.client.delete(of, headers={"if-match": f'"other", {third.headers["etag"]}'}).status_code == 204


def test_a_deleted_connection_is_not_there_any_more(house: House) -> None:
    made = house.connect()
    of = house.of(made["id"])

    assert house.client.delete(of).status_code == 204
    for answered in (
        house.client.delete(of),
        house.client.get(of),
        house.client.patch(of, json={}),
        house.client.post(f"{of}/sync"),
        house.client.post(f"{of}/test"),
        house.client.get(f"{of}/health/explain"),
    ):
        assert answered.status_code == 404
    assert house.client.get(f"{house.path}/connections").json()["items"] == []
    shown = house.client.get(f"{house.path}/connections", params={"state": "DELETED"}).json()
    assert [each["id"] for each in shown["items"]] == [made["id"]]


def test_a_list_is_read_page_by_page_both_ways(house: House) -> None:
    made = [house.connect(identifier=str(number))["id"] for number in range(5)]
    path = f"{house.path}/connections"

    by_cursor, cursor = [], None
    while True:
        page = house.client.get(path, params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        by_cursor += [each["id"] for each in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert by_cursor == made
    part = house.client.get(path, params={"limit": 2, "offset": 3}).json()
    assert [each["id"] for each in part["items"]] == made[3:]
    assert (part["total"], part["count"]) == (5, 2)
    backwards = house.client.get(path, params={"sort": "-created_at"}).json()
    assert [each["id"] for each in backwards["items"]] == made[::-1]


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"helth": "HEALTHY"}, id="a misspelt filter"),
        pytest.param({"health": "healthy"}, id="an unknown health"),
        pytest.param([("health", "HEALTHY"), ("health", "UNAUTHORIZED")], id="a filter twice"),
        pytest.param({"limit": "0"}, id="no items"),
        pytest.param({"limit": "1001"}, id="too many items"),
        pytest.param({"offset": "10001"}, id="too deep an offset"),
        pytest.param({"cursor": "nonsense"}, id="a cursor of somebody's own"),
        pytest.param({"cursor": "AAAAAAAAAAAA"}, id="bytes for a cursor"),
        pytest.param({"identifier": "a\0"}, id="a NUL"),
        pytest.param({"since": "yesterday"}, id="a word for a time"),
        pytest.param({"since": "2026-01-01T00:00:00"}, id="a time without an offset"),
        pytest.param({"sort": "name"}, id="an unknown order"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(house: House, params: dict[str, str]) -> None:
    answered = house.client.get(f"{house.path}/connections", params=params)

    assert answered.status_code == 422, answered.text
    assert answered.json()["errors"][0]["detail"]


def test_a_cursor_is_refused_with_other_filters(house: House) -> None:
    for _ in range(2):
        house.connect()
    path = f"{house.path}/connections"
    cursor = house.client.get(path, params={"limit": 1}).json()["next_cursor"]

    answered = house.client.get(path, params={"limit": 1, "cursor": cursor, "vendor": "acme_idp"})
    assert answered.status_code == 422
    assert "other filters" in answered.json()["detail"]
    assert house.client.get(path, params={"limit": 5, "cursor": cursor}).status_code == 200


def test_filters_find_what_they_say(house: House) -> None:
    made = house.connect(identifier="x-1")
    other = house.connect(identifier="x-2")
    house.door.work(made["id"])
    path = f"{house.path}/connections"

    def found(**params: str) -> list[str]:
        answered = house.client.get(path, params=params)
        assert answered.status_code == 200, answered.text
        return [each["id"] for each in answered.json()["items"]]

    assert found(identifier="x-2") == [other["id"]]
    assert found(never_run="true") == [other["id"]]
    assert found(status="HEALTHY") == [made["id"]]
    assert found(resolution_owner="LEEN") == [made["id"]]
    assert found(vendor="ACME_IDP", state="ACTIVE") == [made["id"], other["id"]]
    assert found(since="2020-01-01T00:00:00Z") == [made["id"]]
    assert found(sort="-since") == [made["id"]]
    assert found(reason="no_such_reason") == []
    assert found(health="UNAUTHORIZED") == []


def test_counts_add_up(house: House) -> None:
    made = house.connect()
    house.connect()
    house.door.work(made["id"])

    counted = house.client.get(f"{house.path}/connection-counts").json()
    assert counted["total"] == 2
    assert counted["by_health"]["HEALTHY"] == 1
    assert counted["by_status"] == {"HEALTHY": 1, "UNHEALTHY": 0}
    assert counted["never_run"] == 1
    everywhere = house.client.get("/v1/provisioning/connection-counts").json()
    assert everywhere["total"] >= 2


def test_the_same_request_again_gets_the_same_answer_and_does_nothing(house: House) -> None:
    path, key = f"{house.path}/connections", {"idempotency-key": str(uuid4())}
    body = house.body()

    first = house.client.post(path, json=body, headers=key)
    again = house.client.post(path, json=body, headers=key)
    assert again.status_code == first.status_code == 200
    assert again.json() == first.json()
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    assert len(house.client.get(path).json()["items"]) == 1
    other = house.client.post(path, json={**body, "identifier": "other"}, headers=key)
    assert other.status_code == 422
    assert "Idempotency-Key" in other.json()["detail"]


def test_a_refused_request_may_be_sent_again_with_the_same_key(house: House) -> None:
    path, key = f"{house.path}/connections", {"idempotency-key": str(uuid4())}
    body = house.body()

    assert house.client.post(path, json={**body, "credentials": BAD}, headers=key).status_code == 422
    assert house.client.post(path, json=body, headers=key).status_code == 200


def test_a_vendor_that_cannot_be_asked_is_not_taken_for_a_refusal(house: House) -> None:
    answered = house.client.post(f"{house.path}/connections", json={**house.body(), "options": {"port": 9}})

    assert answered.status_code == 422
    assert "could not be tested" in answered.json()["detail"]


@pytest.mark.parametrize(
    "organization",
    [
        pytest.param("01a20d13-6e95-7560-85c7-90b81ced64de", id="one that never was"),
        pytest.param("00000000-0000-0000-0000-000000000000", id="none"),
    ],
)
def test_an_organization_that_is_not_there_is_not_found(door: Door, organization: str) -> None:
    with door.client(door.account_key) as client:
        for path in (
            "",
            "/connections",
            "/connection-counts",
            "/connection-invite-tokens",
            f"/connections/{organization}",
        ):
            assert client.get(f"{ORGANIZATIONS}/{organization}{path}").status_code == 404, path
        assert client.get(f"{ORGANIZATIONS}/not-an-id").status_code == 422


def test_times_are_told_in_utc(house: House) -> None:
    made = house.connect()

    assert made["created_at"].endswith("Z")
    assert made["created_at"][:4] == time.strftime("%Y", time.gmtime())
