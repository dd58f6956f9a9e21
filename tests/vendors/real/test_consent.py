"""Canaille 0.3 as an OAuth2 authorization server: a customer consents in a browser, and the connection lives on it."""

import json
import threading
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
import requests

from classifier.vocabulary import HealthName, ResolutionOwner
from models import authorizations
from models.history import RunView
from models.vocabulary import ConnectionState, Trigger
from tests.system.leaks import Hunt
from tests.system.stack import A_DAY_S, Installation, Program, until
from tests.vendors.real.consent_page import APPLICATION, Browser, registered
from tests.vendors.real.servers import Server, Servers
from tests.vendors.real.test_canaille import GROUPS, PEOPLE, Canaille, expire, in_another_second, token_calls
from vendors.consent import challenge_of, new_verifier
from web.desk import Desk
from web.server import make_server
from worker import authorization, credentials
from worker.authorization import Arrival
from worker.errors import AttemptRefusedError, CodeRefusedError, ConsentDeniedError
from worker.station import Station

PUBLIC_URL: Final = "http://127.0.0.1:9"
CALLBACK: Final = f"{PUBLIC_URL}{authorization.CALLBACK_PATH}"
RACERS: Final = 4


@pytest.fixture(scope="module")
def server(servers: Servers) -> Server:
    return servers.get("canaille")


@pytest.fixture(scope="module")
def application(server: Server) -> dict[str, str]:
    server.seed()
    return registered(server, CALLBACK)


@pytest.fixture(scope="module")
def extra_settings(application: dict[str, str]) -> dict[str, object]:
    return {"public_url": PUBLIC_URL, "oauth_apps": json.dumps({"canaille": application})}


@pytest.fixture(scope="module")
def canaille(server: Server, hunt: Hunt, application: dict[str, str]) -> Canaille:
    hunt.add(client_secret=application["client_secret"])
    return Canaille(server, hunt)


@pytest.fixture(scope="module")
def second_worker(installation: Installation, canaille: Canaille) -> Program:
    """Another worker on the same database, so that either may get any run."""
    return installation.start_worker("--hostname", "second@%h")


@pytest.fixture
def door(installation: Installation) -> Iterator[str]:
    """The HTTP API, on a port of its own."""
    desk = Desk.of(installation.new_station(http_port=0).settings)
    server = make_server(desk)
    thread = threading.Thread(target=server.run, name="web", daemon=True)
    thread.start()
    until(lambda: server.started, "the HTTP API listens")
    yield f"http://127.0.0.1:{server.port}"
    server.should_exit = True
    thread.join(60)


@pytest.fixture
def browser(canaille: Canaille) -> Browser:
    return Browser(callback=CALLBACK, account=canaille.seeded["accounts"]["sync-admin"])


def pending(installation: Installation, canaille: Canaille, **urls: str) -> UUID:
    """Create a connection as a door does: nothing can be tried before somebody consents."""
    connection_id, report = credentials.create(
        installation.station,
        organization_id=installation.organization_id,
        vendor="canaille",
        credentials={},
        options={**canaille.options("consent"), **({"oauth2_redirect_urls": urls} if urls else {})},
        identifier=None,
        refresh_interval_secs=A_DAY_S,
        timeout_secs=60,
    )
    assert report is None
    return connection_id


def there_and_back(station: Station, connection_id: UUID, browser: Browser, answer: str = "accept") -> dict[str, str]:
    """Return what the customer's browser brings to the callback."""
    in_another_second()
    departure = authorization.authorize_url(station, connection_id)
    return browser.visit(departure.url, answer=answer)


def arrived(station: Station, back: dict[str, str], **more: Any) -> Arrival:
    known: dict[str, Any] = {name: back.get(name) for name in ("state", "code", "error", "error_description")}
    return authorization.finish(station, **known, **more)


def authorized(installation: Installation, canaille: Canaille, browser: Browser) -> tuple[UUID, RunView]:
    """Return a connection that was authorized, and its first run."""
    connection_id = pending(installation, canaille)
    arrived(installation.station, there_and_back(installation.station, connection_id, browser))
    run = installation.run_after(connection_id, 0)
    canaille.hide(installation.stored(connection_id, "token"))
    return connection_id, run


def test_a_consent_makes_a_pending_connection_active_and_healthy(
    installation: Installation, canaille: Canaille, browser: Browser, hunt: Hunt
) -> None:
    station = installation.station
    connection_id = pending(installation, canaille, success="https://app.example/done?from=us")
    assert installation.view(connection_id).state is ConnectionState.PENDING

    in_another_second()
    departure = authorization.authorize_url(station, connection_id)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(departure.url).query).items()}
    assert (
        asked.items()
        >= {
            "response_type": "code",
            "client_id": APPLICATION,
            "redirect_uri": CALLBACK,
            "scope": "openid profile",
            "code_challenge_method": "S256",
            "prompt": "consent",
        }.items()
    )
    back = browser.visit(departure.url)
    hunt.add(code=back["code"], state=back["state"])
    arrival = arrived(station, back)

    assert (arrival.connection_id, arrival.was_pending) == (connection_id, True)
    assert arrival.redirect_url == f"https://app.example/done?from=us&connection_id={connection_id}"
    run = installation.run_after(connection_id, 0)
    view = installation.view(connection_id)
    assert (view.state, run.trigger, run.name) == (ConnectionState.ACTIVE, Trigger.CREDENTIALS, HealthName.HEALTHY)
    assert len(installation.record_ids(connection_id, "users")) == PEOPLE
    assert len(installation.record_ids(connection_id, "groups")) == GROUPS
    assert token_calls(run) == []  # the token that the consent brought is the one in use
    kept = installation.stored(connection_id, "token")
    canaille.hide(kept)
    assert "id_token" not in kept
    with installation.database.connection() as db:
        outlook = authorizations.outlook(db, connection_id)
    assert outlook is not None
    assert outlook.access_token_expires_at is not None
    assert (outlook.refresh_token_expires_at, outlook.lapses_at) == (None, None)  # Canaille does not say


def test_a_customer_follows_the_link_of_the_connection_and_comes_back_over_http(
    installation: Installation, canaille: Canaille, browser: Browser, door: str
) -> None:
    station = installation.station
    connection_id = pending(installation, canaille)
    link = authorization.link_of(station, installation.view(connection_id))
    assert link is not None
    in_another_second()
    here = requests.Session()

    def get(url: str, session: requests.Session, query: dict[str, str] | None = None) -> requests.Response:
        reached = url.replace(PUBLIC_URL, door)  # what a proxy in front of the service does
        return session.get(reached, params=query, allow_redirects=False, timeout=60)

    departed = get(link, here)
    back = browser.visit(departed.headers["location"])
    assert "iss" in back  # RFC 9207: more comes back than what was asked for
    elsewhere = get(CALLBACK, requests.Session(), back)
    arrived_at = get(CALLBACK, here, back)
    again, gone = get(CALLBACK, here, back), get(link, here)

    statuses = [answer.status_code for answer in (departed, elsewhere, arrived_at, again, gone)]
    assert statuses == [303, 400, 200, 400, 400]
    assert installation.run_after(connection_id, 0).name is HealthName.HEALTHY
    canaille.hide(installation.stored(connection_id, "token"))


def test_a_code_is_of_no_use_without_the_verifier_that_its_attempt_sealed(
    installation: Installation, canaille: Canaille, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id = pending(installation, canaille)
    with monkeypatch.context() as patched:
        patched.setattr(authorization, "challenge_of", lambda _: challenge_of(new_verifier()))
        back = there_and_back(installation.station, connection_id, browser)

    with pytest.raises(CodeRefusedError) as refused:
        arrived(installation.station, back)

    assert (refused.value.owner, refused.value.verdict.reason) == (ResolutionOwner.CUSTOMER, "grant_invalid")
    assert refused.value.verdict.evidence is not None
    assert "invalid_grant" in refused.value.verdict.evidence.body.decode()
    assert installation.view(connection_id).state is ConnectionState.PENDING
    assert not installation.stored(connection_id, "token")


def test_what_came_back_counts_once_and_from_its_own_browser_alone(
    installation: Installation, canaille: Canaille, browser: Browser
) -> None:
    station = installation.station
    connection_id = pending(installation, canaille, error="https://app.example/oh")
    in_another_second()
    departure = authorization.authorize_url(station, connection_id, browser="cookie of this one")
    back = browser.visit(departure.url)

    with pytest.raises(AttemptRefusedError, match="not begun here"):
        arrived(station, {**back, "state": back["state"][::-1]})
    with pytest.raises(AttemptRefusedError, match="not in this browser"):
        arrived(station, back, browser="cookie of another")
    arrived(station, back, browser="cookie of this one")
    with pytest.raises(AttemptRefusedError, match="finished before") as replayed:
        arrived(station, back, browser="cookie of this one")

    assert replayed.value.redirect_url is not None
    assert replayed.value.redirect_url.startswith("https://app.example/oh?error=attempt_refused")
    assert installation.run_after(connection_id, 0).name is HealthName.HEALTHY
    canaille.hide(installation.stored(connection_id, "token"))


def test_a_code_that_was_spent_elsewhere_brings_nothing(
    installation: Installation, canaille: Canaille, browser: Browser
) -> None:
    first, second = pending(installation, canaille), pending(installation, canaille)
    back = there_and_back(installation.station, first, browser)
    other = there_and_back(installation.station, second, browser)
    arrived(installation.station, back)

    with pytest.raises(CodeRefusedError) as refused:
        arrived(installation.station, {**other, "code": back["code"]})

    assert refused.value.verdict.reason == "grant_invalid"
    assert installation.view(second).state is ConnectionState.PENDING
    canaille.hide(installation.stored(first, "token"))


def test_a_no_at_the_consent_page_is_the_customers_and_stores_nothing(
    installation: Installation, canaille: Canaille, browser: Browser
) -> None:
    connection_id = pending(installation, canaille, error="https://app.example/oh")
    back = there_and_back(installation.station, connection_id, browser, answer="deny")
    assert back["error"] == "access_denied"

    with pytest.raises(ConsentDeniedError) as denied:
        arrived(installation.station, back)

    assert (denied.value.owner, denied.value.said) == (ResolutionOwner.CUSTOMER, "access_denied")
    assert denied.value.redirect_url is not None
    assert "error=consent_denied" in denied.value.redirect_url
    assert installation.view(connection_id).state is ConnectionState.PENDING
    with pytest.raises(AttemptRefusedError):
        arrived(installation.station, {**back, "code": "late", "error": ""})


def test_a_consent_that_was_taken_back_is_told_and_another_one_heals(
    installation: Installation, canaille: Canaille, browser: Browser
) -> None:
    connection_id, first = authorized(installation, canaille, browser)
    assert first.name is HealthName.HEALTHY
    browser.revoke_consent(canaille.seeded["base_url"])

    run = installation.run_now(connection_id)

    assert run.name is HealthName.UNAUTHORIZED
    assert installation.health(connection_id).owner is ResolutionOwner.CUSTOMER
    assert run.evidence is not None
    assert run.evidence["phase"] == "token"
    assert "invalid_grant" in run.evidence["body"]
    assert installation.view(connection_id).state is ConnectionState.ACTIVE

    back = there_and_back(installation.station, connection_id, browser)
    arrival = arrived(installation.station, back)
    healed = installation.run_after(connection_id, run.run_seq)

    assert not arrival.was_pending
    assert (healed.trigger, healed.name) == (Trigger.CREDENTIALS, HealthName.HEALTHY)
    canaille.hide(installation.stored(connection_id, "token"))


def test_a_working_connection_keeps_its_token_until_another_one_is_there(
    installation: Installation, canaille: Canaille, browser: Browser
) -> None:
    connection_id, _ = authorized(installation, canaille, browser)
    before = installation.stored(connection_id, "token")
    back = there_and_back(installation.station, connection_id, browser)
    assert installation.run_now(connection_id).name is HealthName.HEALTHY
    assert installation.stored(connection_id, "token") == before

    seq = installation.view(connection_id).run_seq
    arrived(installation.station, back)

    assert installation.run_after(connection_id, seq).name is HealthName.HEALTHY
    after = installation.stored(connection_id, "token")
    canaille.hide(after)
    assert after["access_token"] != before["access_token"]


def test_the_token_is_renewed_over_runs_each_time_with_another_refresh_token(
    installation: Installation, canaille: Canaille, browser: Browser
) -> None:
    connection_id, _ = authorized(installation, canaille, browser)
    seen = [expire(installation, canaille, connection_id)["refresh_token"]]

    for _ in range(2):
        run = installation.run_now(connection_id)
        assert run.name is HealthName.HEALTHY
        assert [call["status"] for call in token_calls(run)] == [200]
        seen.append(expire(installation, canaille, connection_id)["refresh_token"])

    assert len(set(seen)) == len(seen)


def test_two_workers_and_many_threads_renew_it_once(
    installation: Installation, canaille: Canaille, browser: Browser, second_worker: Program
) -> None:
    connection_id, _ = authorized(installation, canaille, browser)
    spent = expire(installation, canaille, connection_id)["refresh_token"]
    at_once = threading.Barrier(RACERS)
    reports: list[credentials.ProbeReport] = []

    def probe() -> None:
        at_once.wait(30)
        reports.append(credentials.probe_stored(installation.station, connection_id))

    racers = [threading.Thread(target=probe) for _ in range(RACERS)]
    before = installation.request_run(connection_id)
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    run = installation.run_after(connection_id, before)

    assert [report.is_valid for report in reports] == [True] * RACERS
    assert run.name is HealthName.HEALTHY
    phases = [exchange["phase"] for report in reports for exchange in report.exchanges]
    assert phases.count("token") + len(token_calls(run)) == 1
    kept = installation.stored(connection_id, "token")
    canaille.hide(kept)
    assert kept["refresh_token"] != spent


def test_an_account_that_may_not_see_groups_is_told_by_the_test_of_each_data_type(
    installation: Installation, canaille: Canaille
) -> None:
    narrow = Browser(callback=CALLBACK, account=canaille.seeded["accounts"]["sync-users-only"])
    connection_id, run = authorized(installation, canaille, narrow)

    report = credentials.probe_stored(installation.station, connection_id)

    assert (run.name, run.reason) == (HealthName.UNAUTHORIZED, "permission_missing")
    assert report.is_valid
    assert [(each.name, each.is_ok, each.endpoint) for each in report.data_types] == [
        ("users", True, "GET /Users"),
        ("groups", False, "GET /Groups"),
    ]
    assert report.message == "The vendor took the credentials, but they do not open groups."


def test_a_vendor_that_is_away_while_a_customer_comes_back_is_not_the_customers_fault(
    installation: Installation, canaille: Canaille, browser: Browser
) -> None:
    connection_id = pending(installation, canaille)
    back = there_and_back(installation.station, connection_id, browser)
    canaille.server.end()
    try:
        with pytest.raises(CodeRefusedError) as refused:
            arrived(installation.station, back)
    finally:
        canaille.server.start()

    assert (refused.value.owner, refused.value.verdict.reason) == (ResolutionOwner.VENDOR, "connection_refused")
    arrived(installation.station, there_and_back(installation.station, connection_id, browser))
    assert installation.run_after(connection_id, 0).name is HealthName.HEALTHY
    canaille.hide(installation.stored(connection_id, "token"))


def test_an_application_that_the_operator_entered_wrongly_is_the_operators_to_mend(
    installation: Installation, canaille: Canaille, browser: Browser
) -> None:
    connection_id = pending(installation, canaille)
    back = there_and_back(installation.station, connection_id, browser)
    wrong = {"canaille": {"client_id": APPLICATION, "client_secret": "certainly-not-the-secret"}}
    station = installation.new_station(oauth_apps=json.dumps(wrong))
    try:
        with pytest.raises(CodeRefusedError) as refused:
            arrived(station, back)
    finally:
        station.close()

    assert refused.value.owner is ResolutionOwner.LEEN
    assert refused.value.verdict.evidence is not None
    assert (refused.value.verdict.reason, refused.value.verdict.evidence.status) == ("application", 401)
    assert refused.value.exchanges


def test_no_secret_got_out(installation: Installation, canaille: Canaille, browser: Browser, hunt: Hunt) -> None:
    authorized(installation, canaille, browser)

    assert hunt.leaks() == []
