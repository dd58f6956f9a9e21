"""Canaille 0.3, OAuth2 with SCIM: tokens that are kept, renewed, rotated, raced for, revoked and spent."""

import base64
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import pytest
import requests

from classifier.vocabulary import HealthName, ResolutionOwner
from models import vault
from models.history import RunView
from models.vocabulary import Trigger
from tests.system.leaks import Hunt
from tests.system.stack import A_DAY_S, ROOT, Installation, Program
from tests.vendors.real.servers import Server, Servers
from worker import credentials
from worker.errors import CredentialsRefusedError

PEOPLE: Final = 60 + 3
GROUPS: Final = 4
RESOURCE_TYPES: Final = 2
CLIENT: Final = "sync-cc"
REFRESHING: Final = "sync-refresh"
RACERS: Final = 4

_PROBE: Final = """
import os, sys
from uuid import UUID
from worker.credentials import probe_stored
from worker.settings import Settings
from worker.station import Station

station = Station.of(Settings.read(os.environ))
station.catalogue.get("canaille"), station.dialects, station.keyring, station.database.check()
print("ready", flush=True)
sys.stdin.readline()
report = probe_stored(station, UUID(sys.argv[1]))
print(report.is_valid, report.verdict.reason, flush=True)
station.close()
"""


class Canaille:
    """The provider as its accounts and clients see it. All that is secret there is hunted for."""

    def __init__(self, server: Server, hunt: Hunt) -> None:
        self.server, self._hunt = server, hunt
        self.seeded = server.seed()
        for client in self.seeded["clients"].values():
            hunt.add(client_secret=client["client_secret"])
        for account in self.seeded["accounts"].values():
            hunt.add(password=account["password"])

    def options(self, method: str) -> dict[str, object]:
        return {"port": self.server.port_text, "method": method}

    def client(self, name: str, **more: object) -> dict[str, object]:
        return {"client_id": name, "client_secret": self.seeded["clients"][name]["client_secret"], **more}

    def refreshing(self, account: str = "sync-admin") -> dict[str, object]:
        """Return credentials with a refresh token of the account's own, as a customer has them after consent."""
        return self.client(REFRESHING, refresh_token=self.pair(account)["refresh_token"])

    def pair(self, account: str = "sync-admin") -> Mapping[str, Any]:
        in_another_second()
        who = self.seeded["accounts"][account]
        answer = self._post(
            "/oauth/token",
            REFRESHING,
            grant_type="password",
            username=who["username"],
            password=who["password"],
            scope="openid profile",
        )
        found: dict[str, Any] = answer.json()
        self.hide(found)
        return found

    def refresh(self, token: object) -> requests.Response:
        return self._post("/oauth/token", REFRESHING, expect=None, grant_type="refresh_token", refresh_token=str(token))

    def revoke(self, token: object, client: str) -> None:
        self._post("/oauth/revoke", client, token=str(token))

    def hide(self, document: Mapping[str, Any]) -> None:
        self._hunt.add(**{name: document[name] for name in ("access_token", "refresh_token") if document.get(name)})

    def _post(self, path: str, client: str, *, expect: int | None = 200, **form: str) -> requests.Response:
        secret = self.seeded["clients"][client]["client_secret"]
        basic = base64.b64encode(f"{client}:{secret}".encode()).decode()
        answer = requests.post(
            f"{self.seeded['base_url']}{path}", data=form, headers={"Authorization": f"Basic {basic}"}, timeout=30
        )
        assert expect in {None, answer.status_code}, (path, answer.status_code, answer.text[:300])
        return answer


@pytest.fixture(scope="module")
def canaille(servers: Servers, hunt: Hunt) -> Canaille:
    return Canaille(servers.get("canaille"), hunt)


@pytest.fixture(scope="module")
def second_worker(installation: Installation, canaille: Canaille) -> Program:
    """Another worker on the same database, so that either may get any run."""
    return installation.start_worker("--hostname", "second@%h")


def in_another_second() -> None:
    """Wait for the clock's next second: tokens of one account that this server gives out within one can be equal.

    Their times of issue are whole seconds, and its database takes no token twice: then it answers 500.
    """
    now = int(time.time())
    while int(time.time()) == now:
        time.sleep(0.02)


def connected(installation: Installation, given: Mapping[str, object], options: Mapping[str, object]) -> UUID:
    """Create a connection as a customer does: its credentials are tried first."""
    in_another_second()
    connection_id, _ = credentials.create(
        installation.station,
        organization_id=installation.organization_id,
        vendor="canaille",
        credentials=given,
        options=options,
        identifier=None,
        refresh_interval_secs=A_DAY_S,
        timeout_secs=60,
    )
    return connection_id


def expire(installation: Installation, canaille: Canaille, connection_id: UUID) -> Mapping[str, Any]:
    """Let the stored access token be over, as it will be in ten days; return the document as it is now."""
    kept = installation.stored(connection_id, "token")
    assert kept
    canaille.hide(kept)
    now = time.time()
    expired = {**kept, "obtained_at": now - 100.0, "expires_at": now - 10.0}
    with installation.database.transaction() as db:
        vault.store(db, installation.station.keyring, connection_id, "token", expired)
    in_another_second()
    return expired


def token_calls(run: RunView) -> list[dict[str, Any]]:
    return [exchange for exchange in run.exchanges if exchange["phase"] == "token"]


def test_the_first_sync_stores_everything_and_the_second_needs_no_token_and_finds_nothing_new(
    installation: Installation, canaille: Canaille
) -> None:
    connection_id = connected(installation, canaille.client(CLIENT), canaille.options("client"))

    first = installation.run_after(connection_id, 0)

    assert (first.name, first.reason) == (HealthName.HEALTHY, "ok")
    assert len(installation.record_ids(connection_id, "users")) == PEOPLE
    assert len(installation.record_ids(connection_id, "groups")) == GROUPS
    assert len(installation.record_ids(connection_id, "resource_types")) == RESOURCE_TYPES
    assert first.records_new == PEOPLE + GROUPS + RESOURCE_TYPES
    assert token_calls(first) == []  # the one that the test of the credentials brought is good for ten days

    second = installation.run_now(connection_id)

    assert second.name is HealthName.HEALTHY
    assert (second.records_new, second.records_changed) == (0, 0)
    assert second.records_unchanged == first.records_new
    assert token_calls(second) == []
    canaille.hide(installation.stored(connection_id, "token"))


def test_an_access_token_that_was_revoked_is_got_anew_within_the_run(
    installation: Installation, canaille: Canaille
) -> None:
    connection_id = connected(installation, canaille.client(CLIENT), canaille.options("client"))
    installation.run_after(connection_id, 0)
    revoked = installation.stored(connection_id, "token")
    canaille.hide(revoked)
    canaille.revoke(revoked["access_token"], CLIENT)

    run = installation.run_now(connection_id)

    assert run.name is HealthName.HEALTHY
    assert [exchange["status"] for exchange in run.exchanges[:3]] == [401, 200, 200]
    assert len(token_calls(run)) == 1
    renewed = installation.stored(connection_id, "token")
    canaille.hide(renewed)
    assert renewed["access_token"] != revoked["access_token"]


def test_a_wrong_client_secret_is_the_customers_to_mend(installation: Installation, canaille: Canaille) -> None:
    wrong = {**canaille.client(CLIENT), "client_secret": "certainly-not-the-secret"}
    options = canaille.options("client")

    with pytest.raises(CredentialsRefusedError):
        connected(installation, wrong, options)
    connection_id = installation.connect("canaille", wrong, options)
    run = installation.run_after(connection_id, 0)

    assert (run.name, run.reason) == (HealthName.UNAUTHORIZED, "client_invalid")
    assert installation.health(connection_id).owner is ResolutionOwner.CUSTOMER
    assert run.evidence is not None
    assert (run.evidence["phase"], run.evidence["status"]) == ("token", 401)
    assert "invalid_client" in run.evidence["body"]
    assert run.requests == 1  # with a wrong secret no second call is of use, and many could lock the client


def test_a_rotated_refresh_token_is_kept_over_two_runs_in_a_row(installation: Installation, canaille: Canaille) -> None:
    given = canaille.refreshing()
    connection_id = connected(installation, given, canaille.options("refresh"))
    installation.run_after(connection_id, 0)
    seen = [given["refresh_token"], expire(installation, canaille, connection_id)["refresh_token"]]

    for _ in range(2):
        run = installation.run_now(connection_id)
        assert run.name is HealthName.HEALTHY
        assert [call["status"] for call in token_calls(run)] == [200]
        assert len(installation.record_ids(connection_id, "users")) == PEOPLE
        seen.append(expire(installation, canaille, connection_id)["refresh_token"])

    assert len(set(seen)) == len(seen)  # a new one each time, each good for once
    assert installation.stored(connection_id, "credentials") == given  # what the customer entered stays as it was


def test_processes_that_race_for_one_refresh_token_lose_neither_it_nor_the_connection(
    installation: Installation, canaille: Canaille, second_worker: Program
) -> None:
    connection_id = connected(installation, canaille.refreshing(), canaille.options("refresh"))
    installation.run_after(connection_id, 0)
    spent = expire(installation, canaille, connection_id)["refresh_token"]
    racers = [_racer(installation, connection_id) for _ in range(RACERS)]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        before = installation.request_run(connection_id)  # and a worker takes part
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        results = [racer.communicate(timeout=60) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    run = installation.run_after(connection_id, before)

    assert [out.strip() for out, _ in results] == ["True ok"] * RACERS, results
    assert run.name is HealthName.HEALTHY
    won = expire(installation, canaille, connection_id)
    assert won["refresh_token"] != spent
    assert canaille.refresh(spent).status_code == 400  # it was used, and once only
    again = installation.run_now(connection_id)
    assert (again.name, [call["status"] for call in token_calls(again)]) == (HealthName.HEALTHY, [200])


def _racer(installation: Installation, connection_id: UUID) -> subprocess.Popen[str]:
    """Start a process that tries the stored credentials once it is told to, as `connections test` does."""
    return subprocess.Popen(
        [sys.executable, "-c", _PROBE, str(connection_id)],
        cwd=ROOT,
        env=installation.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_threads_of_one_process_that_race_renew_once(installation: Installation, canaille: Canaille) -> None:
    connection_id = connected(installation, canaille.refreshing(), canaille.options("refresh"))
    installation.run_after(connection_id, 0)
    expire(installation, canaille, connection_id)
    at_once = threading.Barrier(RACERS)
    reports: list[credentials.ProbeReport] = []

    def probe() -> None:
        at_once.wait(30)
        reports.append(credentials.probe_stored(installation.station, connection_id))

    racers = [threading.Thread(target=probe) for _ in range(RACERS)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)

    assert [report.is_valid for report in reports] == [True] * RACERS
    phases = [exchange["phase"] for report in reports for exchange in report.exchanges]
    assert phases.count("token") == 1
    canaille.hide(installation.stored(connection_id, "token"))


def test_a_spent_refresh_token_is_told_at_the_token_endpoint_and_new_consent_heals(
    installation: Installation, canaille: Canaille
) -> None:
    given = canaille.refreshing()
    options = canaille.options("refresh")
    in_another_second()
    canaille.hide(canaille.refresh(given["refresh_token"]).json())
    connection_id = installation.connect("canaille", given, options)

    run = installation.run_after(connection_id, 0)

    assert (run.name, run.reason) == (HealthName.UNAUTHORIZED, "grant_invalid")
    assert run.evidence is not None
    assert (run.evidence["phase"], run.evidence["status"]) == ("token", 400)
    assert run.requests == 1

    fresh = canaille.refreshing()
    in_another_second()
    credentials.replace(installation.station, connection_id, vendor="canaille", credentials=fresh, options=options)
    healed = installation.run_after(connection_id, run.run_seq)

    assert (healed.trigger, healed.name) == (Trigger.CREDENTIALS, HealthName.HEALTHY)
    kept = installation.stored(connection_id, "token")
    canaille.hide(kept)
    assert kept["refresh_token"] != fresh["refresh_token"]  # the live test used that one up; its successor was kept


def test_a_pair_that_was_revoked_is_the_customers_to_mend(installation: Installation, canaille: Canaille) -> None:
    connection_id = connected(installation, canaille.refreshing(), canaille.options("refresh"))
    installation.run_after(connection_id, 0)
    kept = installation.stored(connection_id, "token")
    canaille.hide(kept)
    canaille.revoke(kept["refresh_token"], REFRESHING)

    run = installation.run_now(connection_id)

    assert run.name is HealthName.UNAUTHORIZED
    assert run.evidence is not None
    assert run.evidence["phase"] == "token"


def test_an_account_that_may_not_see_groups_fails_that_data_type_alone(
    installation: Installation, canaille: Canaille
) -> None:
    connection_id = connected(installation, canaille.refreshing("sync-users-only"), canaille.options("refresh"))

    run = installation.run_after(connection_id, 0)

    assert (run.name, run.reason) == (HealthName.UNAUTHORIZED, "permission_missing")
    assert [(d["data_export_type"], d["endpoint"], d["name"]) for d in run.details] == [
        ("groups", "GET /Groups", "UNAUTHORIZED")
    ]
    assert len(installation.record_ids(connection_id, "users")) == PEOPLE
    assert len(installation.record_ids(connection_id, "resource_types")) == RESOURCE_TYPES
    canaille.hide(installation.stored(connection_id, "token"))


def test_a_server_that_ended_is_the_vendors_to_mend_and_the_token_outlives_it(
    installation: Installation, canaille: Canaille
) -> None:
    connection_id = connected(installation, canaille.refreshing(), canaille.options("refresh"))
    installation.run_after(connection_id, 0)
    expire(installation, canaille, connection_id)
    canaille.server.end()
    try:
        down = installation.run_now(connection_id)
    finally:
        canaille.server.start()
    back = installation.run_now(connection_id)

    assert (down.name, down.reason) == (HealthName.VENDOR_SERVER_ERROR, "connection_refused")
    assert back.name is HealthName.HEALTHY
    assert [call["status"] for call in token_calls(back)] == [200]
    canaille.hide(installation.stored(connection_id, "token"))


def test_no_secret_got_out(installation: Installation, canaille: Canaille, hunt: Hunt) -> None:
    connection_id = connected(installation, canaille.refreshing(), canaille.options("refresh"))
    installation.run_after(connection_id, 0)
    canaille.hide(installation.stored(connection_id, "token"))

    assert hunt.leaks() == []
