"""JupyterHub 5 behind its own proxy, and behind nginx: scopes, a token that dies half-way, a hub that goes away."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import pytest
import requests

from classifier.vocabulary import HealthName, ResolutionOwner
from models.history import RunView
from models.vocabulary import RunState, Trigger
from tests.system.leaks import Hunt
from tests.system.stack import A_DAY_S, Installation, until
from tests.vendors.real.between import Between
from tests.vendors.real.servers import Server, Servers
from worker import credentials
from worker.errors import CredentialsRefusedError

USERS: Final = {f"user{number:03d}" for number in range(1, 230)} | {"auditor"}
GROUPS: Final = {f"team{number:02d}" for number in range(1, 12)} | {"auditors"}
SERVICES: Final = {"seed"}
EVERYTHING: Final = ("list:users", "read:users", "list:groups", "read:groups", "list:services", "read:services")
NO_GROUPS: Final = ("list:users", "read:users", "list:services", "read:services")
PAGE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token of the account `auditor`."""

    id: str
    value: str

    @property
    def credentials(self) -> dict[str, object]:
        return {"token": self.value}


class Hub:
    """The hub as its administrator sees it. Every token that it gives out is hunted for."""

    def __init__(self, server: Server, hunt: Hunt) -> None:
        self.server, self._hunt = server, hunt
        seeded = server.seed()
        self._base_url, self._admin = seeded["base_url"], seeded["admin_token"]
        hunt.add(admin_token=self._admin)
        for name, token in seeded["tokens"].items():
            hunt.add(**{name: token["token"]})

    @property
    def options(self) -> dict[str, object]:
        return {"port": self.server.port_text}

    def token(self, *scopes: str, expires_in_s: int | None = None) -> Token:
        body = {"note": "tests", "scopes": list(scopes), "expires_in": expires_in_s}
        made = self._call("POST", "/users/auditor/tokens", body).json()
        self._hunt.add(token=made["token"])
        return Token(id=made["id"], value=made["token"])

    def revoke(self, token: Token) -> None:
        self._call("DELETE", f"/users/auditor/tokens/{token.id}")

    def is_dead(self, token: Token) -> bool:
        headers = {"Authorization": f"token {token.value}"}
        return requests.get(f"{self._base_url}/user", headers=headers, timeout=30).status_code == 403

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> requests.Response:
        headers = {"Authorization": f"token {self._admin}"}
        answer = requests.request(method, self._base_url + path, json=body, headers=headers, timeout=30)
        answer.raise_for_status()
        return answer


@pytest.fixture(scope="module")
def hub(servers: Servers, hunt: Hunt) -> Hub:
    return Hub(servers.get("jupyterhub"), hunt)


@pytest.fixture(scope="module")
def front(servers: Servers, hub: Hub) -> Server:
    """An nginx before the hub that can be broken, and limits nobody."""
    return servers.get("front", str(hub.server.port), rate="6000r/m")


def connected(installation: Installation, hub: Hub, token: Token) -> UUID:
    """Create a connection as a customer does: its credentials are tried first."""
    connection_id, report = credentials.create(
        installation.station,
        organization_id=installation.organization_id,
        vendor="jupyterhub",
        credentials=token.credentials,
        options=hub.options,
        identifier=None,
        refresh_interval_secs=A_DAY_S,
        timeout_secs=60,
    )
    assert report is not None
    assert report.is_valid
    return connection_id


def part_of(run: RunView, data_type: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(part for part in run.data_types if part["data_type"] == data_type)
    return found


def test_the_first_sync_stores_everything_and_the_second_finds_nothing_new(
    installation: Installation, hub: Hub
) -> None:
    connection_id = connected(installation, hub, hub.token(*EVERYTHING))

    first = installation.run_after(connection_id, 0)

    assert (first.state, first.name, first.reason) == (RunState.SUCCEEDED, HealthName.HEALTHY, "ok")
    assert installation.record_ids(connection_id, "users") == USERS
    assert installation.record_ids(connection_id, "groups") == GROUPS
    assert installation.record_ids(connection_id, "services") == SERVICES
    assert first.records_new == len(USERS) + len(GROUPS) + len(SERVICES)
    assert first.requests == 3 + 1 + 1
    assert [part["ended"] for part in first.data_types] == [True, True, True]

    second = installation.run_now(connection_id)

    assert second.name is HealthName.HEALTHY
    assert (second.records_new, second.skipped_slots) == (0, 0)
    # Our own reading is an activity of the account, and the hub tells when its accounts were last active.
    assert installation.record_ids(connection_id, "users", changed_by=second.run_seq) <= {"auditor"}
    assert second.records_changed <= 1
    assert second.records_changed + second.records_unchanged == first.records_new


def test_a_call_by_celery_itself_runs_a_connection_that_is_not_due(installation: Installation, hub: Hub) -> None:
    connection_id = connected(installation, hub, hub.token(*EVERYTHING))
    first = installation.run_after(connection_id, 0)

    message = json.dumps({"connection_id": str(connection_id)})
    installation.celery("call", "worker.sync_connection", "--kwargs", message)

    second = installation.run_after(connection_id, first.run_seq)
    assert (second.trigger, second.name) == (Trigger.MANUAL, HealthName.HEALTHY)


def test_a_token_that_is_revoked_between_two_pages_is_told_by_the_call_that_met_it(
    installation: Installation, hub: Hub
) -> None:
    token = hub.token(*EVERYTHING)
    passed: list[str] = []

    def revoke_after_the_first_page(path: str) -> None:
        passed.append(path)
        if path.startswith("/hub/api/users") and len(passed) == 1:
            hub.revoke(token)

    with Between(hub.server.port, revoke_after_the_first_page) as between:
        connection_id = installation.connect("jupyterhub", token.credentials, {"port": str(between.port)})
        run = installation.run_after(connection_id, 0)

    health = installation.health(connection_id)
    assert (health.name, health.owner) == (HealthName.UNAUTHORIZED, ResolutionOwner.CUSTOMER)
    evidence = health.evidence
    assert evidence is not None
    assert evidence["status"] == 403
    assert f"offset={PAGE}" in evidence["url"]
    assert evidence["url"].partition("?")[0].endswith("/hub/api/users")
    assert "Missing or invalid credentials." in evidence["body"]
    assert next(detail["data_export_type"] for detail in health.details) == "users"
    assert len(installation.record_ids(connection_id, "users")) == PAGE  # the page that came while it was good
    assert part_of(run, "users")["ended"] is False


def test_a_token_that_expired_is_unauthorized(installation: Installation, hub: Hub) -> None:
    token = hub.token(*EVERYTHING, expires_in_s=1)
    until(lambda: hub.is_dead(token), "the token expires")

    connection_id = installation.connect("jupyterhub", token.credentials, hub.options)

    run = installation.run_after(connection_id, 0)
    assert (run.state, run.name) == (RunState.FAILED, HealthName.UNAUTHORIZED)
    assert run.evidence is not None
    assert run.evidence["status"] == 403


def test_wrong_new_credentials_change_nothing_and_good_ones_heal_at_once(installation: Installation, hub: Hub) -> None:
    dead, good = hub.token(*EVERYTHING), hub.token(*EVERYTHING)
    connection_id = connected(installation, hub, dead)
    healthy = installation.run_after(connection_id, 0)
    hub.revoke(dead)
    broken = installation.run_now(connection_id)
    assert (healthy.name, broken.name) == (HealthName.HEALTHY, HealthName.UNAUTHORIZED)
    before = installation.view(connection_id)
    wrong = "0123456789abcdef-wrong-token"
    replace = {"vendor": "jupyterhub", "options": hub.options}

    with pytest.raises(CredentialsRefusedError) as refused:
        credentials.replace(installation.station, connection_id, credentials={"token": wrong}, **replace)  # type: ignore[arg-type]  # one of them is no mapping

    assert wrong not in str(refused.value)
    after = installation.view(connection_id)
    assert (after.cred_version, after.next_due_at, after.requested_trigger) == (
        before.cred_version,
        before.next_due_at,
        None,
    )
    assert installation.stored(connection_id, "credentials") == dead.credentials

    credentials.replace(installation.station, connection_id, credentials=good.credentials, **replace)  # type: ignore[arg-type]

    healed = installation.run_after(connection_id, broken.run_seq)
    assert (healed.trigger, healed.name) == (Trigger.CREDENTIALS, HealthName.HEALTHY)
    assert healed.cred_version == before.cred_version + 1
    assert installation.stored(connection_id, "credentials") == good.credentials


def test_a_missing_scope_fails_its_own_data_type_alone(installation: Installation, hub: Hub) -> None:
    connection_id = connected(installation, hub, hub.token(*NO_GROUPS))

    run = installation.run_after(connection_id, 0)

    assert (run.name, run.reason) == (HealthName.UNAUTHORIZED, "scope_missing")
    assert [(d["data_export_type"], d["endpoint"], d["name"], d["reason"]) for d in run.details] == [
        ("groups", "GET /groups", "UNAUTHORIZED", "scope_missing")
    ]
    assert run.evidence is not None
    assert "list:groups" in run.evidence["body"]
    assert installation.record_ids(connection_id, "users") == USERS
    assert installation.record_ids(connection_id, "services") == SERVICES
    assert installation.record_ids(connection_id, "groups") == set()
    # What works goes on at the usual pace: no account is locked by reading what it may read.
    assert installation.view(connection_id).next_due_at - _finished(run) <= timedelta(seconds=A_DAY_S)


def _finished(run: RunView) -> Any:
    assert run.finished_at is not None
    return run.finished_at


def _due_after(installation: Installation, connection_id: UUID, run: RunView) -> timedelta:
    wait: timedelta = installation.view(connection_id).next_due_at - _finished(run)
    return wait


Check = Callable[[timedelta], bool]


@pytest.mark.parametrize(
    ("switch", "name", "reasons", "is_due_well"),
    [
        pytest.param(
            "maintenance503",
            HealthName.VENDOR_SERVER_ERROR,
            {"maintenance", "unavailable"},
            lambda wait: timedelta(seconds=119) <= wait <= timedelta(seconds=121),
            id="maintenance of 120 s: the next run is due when it is over",
        ),
        pytest.param(
            "maintenance200",
            HealthName.VENDOR_SERVER_ERROR,
            {"maintenance", "outage_page"},
            lambda wait: timedelta(seconds=45) <= wait <= timedelta(seconds=61),
            id="a maintenance page with 200 is not data",
        ),
        pytest.param(
            "unauthorized",
            HealthName.UNAUTHORIZED,
            {"unauthorized", "credentials_invalid"},
            lambda wait: wait >= timedelta(seconds=A_DAY_S),
            id="a bare 401 page: probed rarely",
        ),
        pytest.param(
            "forbidden",
            HealthName.UNAUTHORIZED,
            {"forbidden", "permission_missing"},
            lambda wait: wait >= timedelta(seconds=A_DAY_S),
            id="a bare 403 page",
        ),
        pytest.param(
            "closed",
            HealthName.VENDOR_SERVER_ERROR,
            {"connection_lost"},
            lambda wait: timedelta(seconds=45) <= wait <= timedelta(seconds=61),
            id="a connection that is closed without an answer",
        ),
    ],
)
def test_what_stands_before_a_server_decides_who_must_act(
    *,
    switch: str,
    name: HealthName,
    reasons: set[str],
    is_due_well: Check,
    installation: Installation,
    hub: Hub,
    front: Server,
) -> None:
    token = hub.token(*EVERYTHING)
    with front.switched(switch):
        connection_id = installation.connect("jupyterhub", token.credentials, {"port": front.port_text})
        run = installation.run_after(connection_id, 0)

    assert run.name is name
    assert run.reason in reasons
    assert is_due_well(_due_after(installation, connection_id, run))
    assert installation.run_now(connection_id).name is HealthName.HEALTHY


def test_a_short_wait_that_the_vendor_asks_for_is_sat_out_within_the_run(
    installation: Installation, hub: Hub, front: Server
) -> None:
    token = hub.token(*EVERYTHING)
    log = front.state / "access.log"
    seen = log.stat().st_size
    with front.switched("retry429"):
        connection_id = installation.connect("jupyterhub", token.credentials, {"port": front.port_text})
        until(lambda: b'" 429 ' in log.read_bytes()[seen:], "the front refuses a call")

    run = installation.run_after(connection_id, 0)

    assert run.name is HealthName.HEALTHY
    refused, repeated = run.exchanges[:2]
    assert (refused["status"], refused["decision"]) == (429, "rate_limited")
    assert (repeated["status"], repeated["attempt"]) == (200, 2)
    assert 5_000 <= repeated["waited_ms"] < 7_000
    assert installation.record_ids(connection_id, "users") == USERS


def test_a_spent_limit_ends_the_run_and_keeps_what_was_read(
    installation: Installation, hub: Hub, front: Server, servers: Servers
) -> None:
    # Six calls at once, then one a minute; nginx names no wait.
    narrow = servers.get("narrow", str(hub.server.port), rate="1r/m", programs_of=front)
    connection_id = installation.connect("jupyterhub", hub.token(*EVERYTHING).credentials, {"port": narrow.port_text})
    whole = installation.run_after(connection_id, 0)

    limited = installation.run_now(connection_id)

    assert whole.name is HealthName.HEALTHY
    assert (limited.name, limited.reason) == (HealthName.RATE_LIMIT_EXCEEDED, "rate_limit")
    assert installation.health(connection_id).owner is ResolutionOwner.LEEN
    assert timedelta(seconds=45) <= _due_after(installation, connection_id, limited) <= timedelta(seconds=61)
    # A limit holds for the account, so the data types that are left are not tried against the same wall.
    assert [part["attempted"] for part in limited.data_types] == [True, False, False]


def test_a_hub_that_ended_is_the_vendors_to_mend_and_its_return_is_seen(installation: Installation, hub: Hub) -> None:
    connection_id = connected(installation, hub, hub.token(*EVERYTHING))
    assert installation.run_after(connection_id, 0).name is HealthName.HEALTHY
    hub.server.end()
    try:
        down = installation.run_now(connection_id)
    finally:
        hub.server.start()
    back = installation.run_now(connection_id)

    assert (down.name, down.reason) == (HealthName.VENDOR_SERVER_ERROR, "unavailable")
    assert down.evidence is not None
    assert down.evidence["status"] == 503
    assert {exchange["status"] for exchange in down.exchanges} == {503}
    assert back.name is HealthName.HEALTHY
    assert installation.health(connection_id).previous_name is HealthName.VENDOR_SERVER_ERROR


def test_no_secret_got_out(installation: Installation, hub: Hub, hunt: Hunt) -> None:
    installation.run_after(connected(installation, hub, hub.token(*EVERYTHING)), 0)

    assert hunt.leaks() == []
