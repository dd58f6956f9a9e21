"""The short way to a handler, and the long one: answers are the same on both."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from fastapi.routing import APIRoute

from tests.web.conftest import Door, House
from web.api.consents import router as consents
from web.app import make_app
from web.desk import Desk
from web.server import Server


@pytest.fixture
def long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing take the short way."""
    monkeypatch.setattr("web.api.route.Plan.knows", lambda _dependant: False)


def test_all_that_has_no_body_takes_the_short_way(door: Door) -> None:
    routes = [route for route in make_app(door.desk).state.api_routes if isinstance(route, APIRoute)]
    long = {route.path for route in routes if getattr(route, "lean", None) is None and route.body_field is None}
    assert long == {route.path for route in consents.routes if isinstance(route, APIRoute)}
    assert len(routes) > 30


PATHS = [
    pytest.param("/v1/provisioning/connections?health=UNAUTHORIZED&limit=3", id="a list"),
    pytest.param("/v1/provisioning/connections?limit=x&health=ILL&since=soon", id="three mistakes"),
    pytest.param("/v1/provisioning/connections?helth=UNAUTHORIZED", id="an unknown parameter"),
    pytest.param("/v1/provisioning/connections?offset=-1", id="out of bounds"),
    pytest.param("/v1/provisioning/organizations/nonsense/connections", id="no id"),
    pytest.param(
        f"/v1/provisioning/organizations/{uuid4()}/connections?limit=0", id="no such organization, and a mistake"
    ),
    pytest.param("{of}/jobs/0", id="a number too low"),
    pytest.param("{of}/records", id="a missing parameter"),
    pytest.param("{of}", id="a connection"),
    pytest.param("{of}/", id="a slash too many"),
    pytest.param("/v1/key", id="the key itself"),
]


@pytest.mark.parametrize("path", PATHS)
def test_the_long_way_answers_the_same(
    door: Door, house: House, serve: Callable[..., tuple[Server, Desk]], path: str, request: pytest.FixtureRequest
) -> None:
    made = house.connect()
    path = path.replace("{of}", house.of(made["id"]))
    short = house.client.get(path)
    request.getfixturevalue("long_way")
    server, _desk = serve()
    with door.client(door.account_key, host=house.client.base_url.netloc.decode()) as client:
        long = client.get(f"http://127.0.0.1:{server.port}{path}")

    assert (long.status_code, told(long.json())) == (short.status_code, told(short.json()))
    assert set(long.headers) == set(short.headers)


def told(document: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in document.items() if name not in {"request_id", "last_used_at"}}
