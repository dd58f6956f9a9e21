"""Running a connection, and what is said of its runs and its health."""

import json
from typing import Any

import pytest

from cli.exits import Exit

House = Any  # conftest.House, which --import-mode=importlib cannot import by name

FAULTS = {
    "UNAUTHORIZED": ("unauthorized", Exit.CUSTOMER_MUST_ACT),
    "RATE_LIMIT_EXCEEDED": ("quota", Exit.PLATFORM_MUST_ACT),
    "VENDOR_CLIENT_ERROR": ("gone", Exit.PLATFORM_MUST_ACT),
    "VENDOR_SERVER_ERROR": ("unavailable", Exit.VENDOR_MUST_ACT),
    "INTERNAL_ERROR": ("odd_shape", Exit.PLATFORM_MUST_ACT),
    "EXECUTION_TIMEOUT": ("drip", Exit.PLATFORM_MUST_ACT),
}


@pytest.fixture
def sick(house: House) -> str:
    """A connection that may read one data type of two."""
    connection_id = str(house.add("cedar_cloud"))
    house.simulator.world.act("cedar_cloud", "north", "revoke", {"scopes": ["findings.read"]})
    house.work(connection_id)
    return connection_id


def test_sync_asks_for_a_run_and_says_which(house: House) -> None:
    connection_id = house.add("acme_idp")
    assert house.json("sync", connection_id) == {"connection_id": connection_id, "run_seq": 1}
    again = house.json("sync", connection_id)
    assert again["run_seq"] == 1, "two clicks before a run make one run"


def test_sync_waits_for_a_healthy_end(house: House, worker: None) -> None:
    connection_id = house.add("acme_idp")
    run = house.json("sync", connection_id, "--wait")
    assert (run["state"], run["name"]) == ("SUCCEEDED", "HEALTHY")
    assert run["records"]["new"] + run["records"]["unchanged"] == 1300


@pytest.mark.parametrize(("name", "kind", "code"), [(name, *rest) for name, rest in FAULTS.items()])
def test_the_exit_code_of_a_wait_tells_who_must_act(
    house: House, worker: None, name: str, kind: str, code: Exit
) -> None:
    connection_id = house.add("acme_idp", "--timeout", "2s")
    house.simulator.world.set_fault({"vendor": "acme_idp", "kind": kind, "wait_s": 3600 if kind != "drip" else 0.1})
    result = house.run("sync", connection_id, "--wait", "--json")
    assert json.loads(result.stdout)["name"] == name
    assert result.exit_code == code


def test_a_wait_that_nobody_answers_times_out(house: House) -> None:
    result = house.run("sync", house.add("acme_idp"), "--wait", "--timeout", "0s")
    assert result.exit_code == Exit.WAIT_TIMED_OUT
    assert "did not come within 0s" in result.stderr


def test_runs_are_listed_newest_first_in_pages(house: House) -> None:
    connection_id = house.add("acme_idp")
    for _ in range(3):
        house.work(connection_id)
    page = house.json("runs", "list", connection_id, "--limit", "2")
    assert [run["run_seq"] for run in page["items"]] == [3, 2]
    rest = house.json("runs", "list", connection_id, "--before", str(page["next_before"]))
    assert [run["run_seq"] for run in rest["items"]] == [1]
    assert rest["next_before"] is None


def test_a_run_shows_its_exchanges_its_rule_and_its_evidence(house: House, sick: str) -> None:
    run = house.json("runs", "show", sick, "1")
    assert run["rule"]
    assert run["evidence"]["status"] == 403
    assert [each["status"] for each in run["exchanges"]].count(403) == 1
    text = house.ok("runs", "show", sick)
    for words in ("# Exchanges", "GET /cedar_cloud/findings", "# Evidence", "insufficient_scope", run["rule"]):
        assert words in text


def test_nothing_that_is_shown_holds_the_token(house: House, sick: str) -> None:
    token = house.credentials("cedar_cloud")["token"]
    shown = [
        house.ok("runs", "show", sick, *words) + house.ok("health", "explain", sick, *words)
        for words in ((), ("--json",))
    ]
    assert token not in "".join(shown)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("9",), "has no run 9", id="a number that never was"),
        pytest.param((), "has never run", id="before the first run"),
    ],
)
def test_a_run_that_is_not_there(house: House, words: tuple[str, ...], said: str) -> None:
    result = house.run("runs", "show", house.add("acme_idp"), *words)
    assert result.exit_code == Exit.NOT_FOUND
    assert said in result.stderr


def test_explain_goes_from_evidence_to_the_next_step(house: House, sick: str) -> None:
    document = house.json("health", "explain", sick)
    assert document["health"]["name"] == "UNAUTHORIZED"
    assert document["health"]["details"] == [
        {"data_export_type": "findings", "endpoint": "GET /findings", "name": "UNAUTHORIZED", "reason": "scope_missing"}
    ]
    assert next(step["rule"] for step in document["rules_asked"] if step["fired"]) == document["rule"]
    assert [each["name"] for each in document["data_types"]] == ["HEALTHY", "UNAUTHORIZED"]
    assert document["resolution_owner"] == "CUSTOMER"
    assert document["next_step"]
    text = house.ok("health", "explain", sick)
    parts = ["# Evidence", "# Rule", document["rule"], "# Data types and precedence", "# Who must act", "the customer"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_explain_reads_a_long_answer_as_the_run_did(house: House) -> None:
    connection_id = house.add("steady_assets")
    house.work(connection_id)
    told = house.ok("health", "explain", connection_id)
    assert "the rules of today say" not in told
    assert len(told) < 5000, "a page of the customer's data is not poured out"


def test_explain_before_the_first_run_says_so(house: House) -> None:
    connection_id = house.add("acme_idp")
    assert "nothing to explain" in house.ok("health", "explain", connection_id)
    assert house.json("health", "explain", connection_id)["health"] is None


def test_history_shows_each_change_and_what_was_before(house: House) -> None:
    connection_id = house.add("granite_edr")
    house.work(connection_id)
    fault = house.simulator.world.set_fault({"vendor": "granite_edr", "kind": "gone"})
    house.work(connection_id)
    house.simulator.world.clear_faults(fault.id)
    house.work(connection_id)
    house.work(connection_id)
    changes = house.json("health", "history", connection_id)["items"]
    assert [(each["name"], each["previous_name"], each["run_seq"]) for each in changes] == [
        ("HEALTHY", "VENDOR_CLIENT_ERROR", 3),
        ("VENDOR_CLIENT_ERROR", "HEALTHY", 2),
        ("HEALTHY", None, 1),
    ]


def test_waiting_for_a_health_ends_when_it_comes(house: House, worker: None) -> None:
    connection_id = house.add("acme_idp")
    assert house.json("health", "wait", connection_id)["health"]["name"] == "HEALTHY"
    late = house.run("health", "wait", connection_id, "--for", "unauthorized", "--timeout", "0s")
    assert late.exit_code == Exit.WAIT_TIMED_OUT


def test_a_platform_is_called_by_its_own_name(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    connection_id = house.add("granite_edr")
    house.simulator.world.set_fault({"vendor": "granite_edr", "kind": "gone"})
    house.work(connection_id)
    monkeypatch.setenv("CONNECTION_HEALTH_PLATFORM_NAME", "Umbra Sync")
    assert "Umbra Sync" in house.ok("connections", "list")
    assert house.json("connections", "show", connection_id)["health"]["resolution_owner"] == "LEEN"
