"""What operators' machines ask, of a door that works and of one that cannot."""

from collections.abc import Callable

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from models.vault import generate_key
from tests.web.conftest import PATIENCE_S, Door, House
from web.desk import Desk
from web.server import Server

Serve = Callable[..., tuple[Server, Desk]]


def asked(server: Server, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{server.port}{path}", timeout=PATIENCE_S)


def test_a_door_that_can_work_is_ready(door: Door) -> None:
    with door.client() as client:
        answered = client.get("/readyz")
    assert answered.status_code == 200
    assert answered.json()["status"] == "ok"
    checks = answered.json()["checks"]
    assert set(checks) == {"database", "migrations", "vault"}
    assert set(checks.values()) <= {"ok", "warning"}  # the tests' server does not wait for its disk


@pytest.mark.parametrize(
    ("settings", "failed"),
    [
        pytest.param({"database_url": "postgresql://nobody:hunter2@127.0.0.1:1/none"}, "database", id="no database"),
        pytest.param({"vault_keys": generate_key()}, "vault", id="a key that opens nothing"),
    ],
)
def test_a_door_that_cannot_work_lives_and_is_not_ready(
    serve: Serve, house: House, settings: dict[str, str], failed: str
) -> None:
    house.connect()  # something that is sealed
    server, _desk = serve(**settings)

    answered = asked(server, "/readyz")

    assert answered.status_code == 503
    assert answered.json()["status"] == "unavailable"
    assert answered.json()["checks"][failed] == "failed"
    assert "hunter2" not in answered.text
    assert asked(server, "/healthz").status_code == 200
    assert asked(server, "/metrics").status_code == 200


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample by its name and labels, as Prometheus reads them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def counted(found: dict[tuple[str, tuple[tuple[str, str], ...]], float], name: str, **labels: str) -> float:
    return found.get((f"connection_health_{name}", tuple(sorted(labels.items()))), 0.0)


def test_metrics_count_requests_by_route_and_connections_by_health(serve: Serve, house: House) -> None:
    made = house.connect()
    house.door.work(made["id"])
    server, _desk = serve()
    url = f"http://127.0.0.1:{server.port}"
    with httpx.Client(base_url=url, headers={"x-api-key": house.door.account_key}, timeout=PATIENCE_S) as client:
        for _ in range(3):
            assert client.get(house.of(made["id"])).status_code == 200
        assert client.get(house.of("not-an-id")).status_code == 422
        assert client.post(f"{house.path}/connections", json={}).status_code == 422
        assert client.request("PROPFIND", "/v1/keys").status_code == 405
        assert client.get(f"/{made['id']}").status_code == 404
        answered = client.get("/metrics")

    assert answered.headers["content-type"].startswith("text/plain")
    found = samples(answered.text)
    route = "/v1/provisioning/organizations/{organization_id}/connections/{connection_id}"
    assert counted(found, "http_requests_total", method="GET", route=route, status="200") == 3
    assert counted(found, "http_requests_total", method="GET", route=route, status="422") == 1
    of_list = route.removesuffix("/{connection_id}")
    assert counted(found, "http_requests_total", method="POST", route=of_list, status="422") == 1
    assert counted(found, "http_requests_total", method="GET", route="(none)", status="404") == 1
    assert sum(value for (name, labels), value in found.items() if dict(labels).get("method") == "other") >= 1
    assert counted(found, "http_request_seconds_count", method="GET", route=route) == 4
    assert counted(found, "http_requests_in_flight") == 1  # this one
    assert counted(found, "connections", health="HEALTHY", resolution_owner="LEEN") >= 1
    # An address in a label would be a counter more for each connection, and tell of customers.
    assert made["id"] not in answered.text
    assert house.organization_id not in answered.text


def test_metrics_say_nothing_of_connections_while_the_database_is_away(serve: Serve) -> None:
    server, _desk = serve(database_url="postgresql://nobody@127.0.0.1:1/none")
    found = samples(asked(server, "/metrics").text)
    assert not [name for name, _ in found if name == "connection_health_connections"]
