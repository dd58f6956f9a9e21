"""A client made only from Leen's documented shapes does its work here; and invitations, which are its way in."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from uuid import UUID, uuid4

import jwt
import pytest

from tests.web.conftest import Door, House
from tests.web.leen_client import LeenClient, LeenError

CONNECTION: Final[dict[str, type | tuple[type, ...]]] = {
    "id": str, "organization_id": str, "vendor": str, "is_active": bool, "refresh_interval_secs": int,
    "timeout_secs": int, "state": str, "created_at": str, "updated_at": str,
}  # fmt: skip
HEALTH: Final = ("name", "status", "description", "resolution_owner", "details")


@pytest.fixture
def leen(door: Door) -> Iterator[LeenClient]:
    made = LeenClient(f"{door.url}/v1", door.account_key)
    yield made
    made.close()


def is_connection(found: dict[str, Any]) -> bool:
    for name, kind in CONNECTION.items():
        assert isinstance(found[name], kind), name
    assert UUID(found["id"])
    assert found["identifier"] is None or isinstance(found["identifier"], str)
    assert "oauth2_authorize_url" in found
    assert "options" not in found
    assert "credentials" not in found
    return True


def test_it_lists_filters_tests_patches_and_reads_health(leen: LeenClient, door: Door) -> None:
    house = House(door)
    organization_id = leen.create_organization("Acme")
    account = f"l{uuid4().hex[:8]}"
    vendors = {each["vendor"]: each for each in leen.connectors()}
    assert {"vendor", "vendor_name", "logo_url", "category"} <= set(vendors["acme_idp"])

    made = leen.create_connection(organization_id, house.body(account=account, identifier="mine"))
    assert is_connection(made)
    assert (made["refresh_interval_secs"], made["timeout_secs"]) == (14_400, 3_600)
    assert leen.test_connection(organization_id, made["id"])[0] is True

    door.simulator.world.act("acme_idp", account, "expire_token", {})
    door.work(made["id"])
    is_valid, message = leen.test_connection(organization_id, made["id"])
    assert is_valid is False
    assert message
    sick = leen.list_connections(organization_id, health="UNAUTHORIZED")
    assert [each["id"] for each in sick] == [made["id"]]
    health = sick[0]["health"]
    assert {name: health[name] for name in HEALTH[:4]} == {
        "name": "UNAUTHORIZED",
        "status": "UNHEALTHY",
        "description": "Connection is unauthorized",
        "resolution_owner": "CUSTOMER",
    }
    assert set(health["details"][0]) >= {"data_export_type", "endpoint"}

    with pytest.raises(LeenError) as refused:
        leen.update_connection(organization_id, made["id"], credentials={"token": "acme_x_999"}, identifier="mine")
    assert refused.value.status == 422
    assert "refused" in refused.value.detail
    changed = leen.update_connection(
        organization_id, made["id"], credentials=house.credentials(account=account), identifier="mine"
    )
    assert is_connection(changed)
    door.work(made["id"])
    healed = leen.get_connection(organization_id, made["id"])
    assert healed["organization_name"] == "Acme"
    assert (healed["health"]["name"], healed["health"]["details"]) == ("HEALTHY", None)
    assert healed["health"]["description"] == "Connection is healthy"
    assert len(leen.jobs(organization_id, made["id"])) == 2
    leen.delete_connection(organization_id, made["id"])
    with pytest.raises(LeenError) as gone:
        leen.get_connection(organization_id, made["id"])
    assert gone.value.status == 404


def test_a_paused_connection_is_not_woken_by_a_change_without_a_state(leen: LeenClient, house: House) -> None:
    made = house.connect(identifier="x")
    leen.update_connection(house.organization_id, made["id"], state="PAUSED", identifier="x")

    assert leen.update_connection(house.organization_id, made["id"], identifier="y")["state"] == "PAUSED"


def test_an_invite_token_makes_one_connection(leen: LeenClient, house: House) -> None:
    of = house.organization_id
    port = house.door.simulator.port
    token = leen.invite(of, vendor="acme_idp", identifier="invited", options={"port": port})
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["organization_id"], claims["vendors"]) == (of, ["acme_idp"])

    form = leen.validate_invite(of, token)
    assert (form["vendor"], form["credentialsType"]) == ("acme_idp", "SECRETS")
    assert form["dataSchema"]["properties"]["token"]["password"] is True
    assert form["uiSchema"]["elements"][0]["scope"] == "#/properties/token"
    assert form["settingsSchema"] is None  # the invitation settles the port

    with pytest.raises(LeenError) as other:
        leen.create_invited(of, token, {"vendor": "harbor_crm", "credentials": {}})
    assert other.value.status == 403
    body = {"vendor": "acme_idp", "credentials": house.credentials(), "options": {"port": 1}}
    made = leen.create_invited(of, token, body)
    assert made["identifier"] == "invited"
    with pytest.raises(LeenError) as used:
        leen.create_invited(of, token, body)
    with pytest.raises(LeenError) as over:
        leen.validate_invite(of, token)
    for each in (used.value, over.value):
        assert (each.status, each.detail) == (401, "Invalid or expired connection invite token.")


def test_an_invite_token_mends_its_connection_and_no_other(leen: LeenClient, house: House) -> None:
    of, (made, other) = house.organization_id, (house.connect(), house.connect())
    token = leen.invite(of, connection_id=made["id"])

    with pytest.raises(LeenError) as elsewhere:
        leen.update_invited(of, other["id"], token, house.credentials())
    assert elsewhere.value.status == 404
    with pytest.raises(LeenError):
        leen.update_invited(of, made["id"], token, {"token": "acme_x_999"})
    assert leen.update_invited(of, made["id"], token, house.credentials())["id"] == made["id"]
    with pytest.raises(LeenError) as used:
        leen.update_invited(of, made["id"], token, house.credentials())
    assert used.value.status == 401


def test_an_invite_token_that_is_used_twice_at_once_makes_one_connection(leen: LeenClient, house: House) -> None:
    of = house.organization_id
    token = leen.invite(of, vendor="acme_idp", options={"port": house.door.simulator.port})
    body = {"vendor": "acme_idp", "credentials": house.credentials()}

    def use(_number: int) -> int:
        try:
            leen.create_invited(of, token, body)
        except LeenError as error:
            return error.status
        return 200

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(use, range(6))) == [200, 401, 401, 401, 401, 401]
    assert len(leen.list_connections(of)) == 1


def test_an_invite_token_is_listed_without_its_text_and_revoked(leen: LeenClient, house: House) -> None:
    token = leen.invite(house.organization_id, vendor="acme_idp")
    path = f"{house.path}/connection-invite-tokens"

    listed = house.client.get(path).json()["items"]
    assert token not in str(listed)
    assert house.client.delete(f"{path}/{listed[0]['id']}").status_code == 204
    assert house.client.delete(f"{path}/{listed[0]['id']}").status_code == 404
    with pytest.raises(LeenError):
        leen.validate_invite(house.organization_id, token)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("x", id="one letter"),
        pytest.param("a.b.c", id="three parts"),
        pytest.param(jwt.encode({"jti": str(uuid4()), "exp": 9e9}, "k" * 32), id="signed by another"),
    ],
)
def test_a_token_of_somebodys_own_opens_nothing(leen: LeenClient, house: House, token: str) -> None:
    with pytest.raises(LeenError) as refused:
        leen.validate_invite(house.organization_id, token)
    assert refused.value.status == 401
