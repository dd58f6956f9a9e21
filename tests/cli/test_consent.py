"""Connections that a customer authorizes at the vendor, by command."""

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import pytest
from pytest_httpserver import HTTPServer

from cli import connections
from cli.exits import Exit
from worker import authorization
from worker.settings import Settings
from worker.station import Station

House = Any  # conftest.House, which --import-mode=importlib cannot import by name


_SETTINGS: Final = {
    "CONNECTION_HEALTH_PUBLIC_URL": "https://health.example",
    "CONNECTION_HEALTH_OAUTH_APPS": '[canaille]\nclient_id = "us"\nclient_secret = "our-secret"',
}


@pytest.fixture(autouse=True)
def _reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _SETTINGS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def waiting(house: House, httpserver: HTTPServer) -> str:
    """A connection that waits for its customer's consent."""
    httpserver.expect_request("/oauth/token").respond_with_json({"access_token": "an-access-token", "expires_in": 3600})
    given = ["--option", f"port={httpserver.port}", "--option", "method=consent", "--identifier", "acme"]
    result = house.run("connections", "add", "canaille", "--org", house.organization(), *given)
    assert result.exit_code == 0, result.stderr
    assert "waits for its customer's consent" in result.stderr
    return str(result.stdout.strip())


def consent(house: House, connection_id: str) -> None:
    """Do what the browser and the HTTP API do."""
    at = Station.of(Settings.read({**house.environ, **_SETTINGS}))
    url = authorization.authorize_url(at, UUID(connection_id)).url
    state = url.partition("&state=")[2].partition("&")[0]
    authorization.finish(at, state=state, code="a-code")
    at.close()


def test_a_connection_that_waits_for_consent_is_added_without_credentials_and_has_a_link(
    house: House, waiting: str
) -> None:
    document = house.json("connections", "show", waiting)
    link = house.ok("connections", "authorize", waiting).strip()

    assert (document["state"], document["authorization"]) == ("PENDING", None)
    assert link.startswith("https://health.example/v1/oauth2/authorize/")
    assert house.json("connections", "authorize", waiting) == {
        "id": waiting,
        "oauth2_authorize_url": link,
        "state": "PENDING",
    }


def test_waiting_ends_with_the_consent(house: House, waiting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def until(look: Callable[[], bool | None], **_: object) -> bool | None:
        assert look() is None
        consent(house, waiting)
        return look()

    monkeypatch.setattr(connections, "until", until)

    assert house.json("connections", "authorize", waiting, "--wait")["state"] == "ACTIVE"


def test_waiting_in_vain_times_out(house: House, waiting: str) -> None:
    result = house.run("connections", "authorize", waiting, "--wait", "--timeout", "0")

    assert result.exit_code == Exit.WAIT_TIMED_OUT
    assert result.stdout.startswith("https://health.example/")


def test_access_that_ends_is_shown_and_listed_beforehand(house: House, waiting: str) -> None:
    consent(house, waiting)
    shown = house.json("connections", "show", waiting)["authorization"]

    assert shown["lapses_at"] == shown["access_token_expires_at"] is not None  # there is nothing to renew it with
    assert [each["id"] for each in house.json("connections", "lapsing")["items"]] == [waiting]
    assert "acme" in house.ok("connections", "lapsing", "--within", "2h")
    assert house.json("connections", "lapsing", "--within", "10m")["items"] == []
    assert house.json("connections", "lapsing", "--org", house.organization("Penumbra"))["items"] == []
    assert "access ends" in house.ok("connections", "show", waiting)


def test_a_vendor_without_a_consent_page_is_refused(house: House) -> None:
    result = house.run("connections", "authorize", house.add("acme_idp"))

    assert (result.exit_code, "enter its credentials" in result.stderr) == (Exit.REFUSED, True)


@pytest.mark.parametrize("name", ["PUBLIC_URL", "OAUTH_APPS"])
def test_what_the_operator_has_to_set_is_named(
    house: House, waiting: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(f"CONNECTION_HEALTH_{name}")
    result = house.run("connections", "authorize", waiting)

    assert result.exit_code == Exit.OURS
    assert f"CONNECTION_HEALTH_{name}" in result.stderr


def test_applications_are_shown_to_nobody(house: House) -> None:
    shown = house.ok("config", "show", "--json")

    assert "oauth_apps" in shown
    assert "our-secret" not in shown
