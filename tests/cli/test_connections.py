"""Organizations and connections, from the first word to the last, against living vendors."""

import json
import os
import pty
import re
import subprocess
import sys
from typing import Any
from uuid import UUID, uuid4

import pytest

from cli.exits import Exit
from models import connections, vault
from models.vault import Keyring, generate_key

House = Any  # conftest.House, which --import-mode=importlib cannot import by name


def test_an_organization_is_created_listed_and_found_by_name_id_or_beginning(house: House) -> None:
    created = house.json("organizations", "create", "Umbra")
    assert [each["name"] for each in house.json("organizations", "list")["items"]] == ["Umbra"]
    for name in ("Umbra", created["id"], created["id"][:13]):
        assert house.json("connections", "list", "--org", name)["items"] == []
    unknown = house.run("connections", "list", "--org", "Penumbra")
    assert (unknown.exit_code, "organizations list" in unknown.stderr) == (Exit.NOT_FOUND, True)


def test_an_empty_name_is_refused_with_what_is_wanted(house: House) -> None:
    result = house.run("organizations", "create", "")
    assert result.exit_code == Exit.USAGE
    assert "1 to 200 characters" in result.stderr


def test_added_credentials_are_tried_stored_and_never_shown(house: House) -> None:
    connection_id = house.add("acme_idp", "--identifier", "acme-1", "--interval", "15m", "--timeout", "90s")
    shown = house.ok("connections", "show", connection_id, "--json")
    document = json.loads(shown)
    assert document["vendor"] == "acme_idp"
    assert (document["refresh_interval_secs"], document["timeout_secs"]) == (900, 90)
    assert (document["state"], document["is_active"], document["health"]) == ("ACTIVE", True, None)
    token = house.credentials("acme_idp")["token"]
    assert token not in shown + house.ok("connections", "show", connection_id) + house.ok("connections", "list")
    assert [each["path"] for each in _seen(house, "acme_idp")] == ["/me"]


def test_refused_credentials_are_not_stored(house: House) -> None:
    file = house.credentials_file("acme_idp")
    house.simulator.world.act("acme_idp", "north", "expire_token", {})
    result = house.run(
        "connections", "add", "acme_idp", "--org", house.organization(), "--option", f"port={house.simulator.port}",
        "--credentials-file", file,
    )  # fmt: skip
    assert result.exit_code == Exit.REFUSED
    assert "refused the credentials" in result.stderr
    assert "Nothing was stored" in result.stderr
    assert house.json("connections", "list")["items"] == []


def test_no_test_stores_without_a_call_but_not_what_has_the_wrong_form(house: House) -> None:
    organization = house.organization()
    words = ["connections", "add", "acme_idp", "--org", organization, "--no-test", "--credentials", "-"]
    port = ["--option", f"port={house.simulator.port}"]
    house.ok(*words, *port, stdin='{"token": "acme_north_9"}')
    assert _seen(house, "acme_idp") == []
    wrong = house.run(*words, *port, stdin='{"token": "nonsense"}')
    assert wrong.exit_code == Exit.USAGE
    assert "token" in wrong.stderr
    assert "nonsense" not in wrong.stderr


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        pytest.param(["--credentials", "-"], "{", "not JSON", id="broken JSON"),
        pytest.param(["--credentials", "-"], "[1]", "one JSON object", id="no object"),
        pytest.param(["--credentials", "-"], "{}", "token", id="a credential that is missing"),
        pytest.param(["--credentials", "-"], '{"token": "acme_n_1", "tokn": "x"}', "tokn", id="an unknown credential"),
        pytest.param(["--credentials", '{"token": "s3cr3t"}'], None, "never taken from an argument", id="an argument"),
        pytest.param([], None, "--credentials-file FILE", id="none at all"),
        pytest.param(["--credentials-file", "/nowhere"], None, "No such file", id="a file that is not there"),
        pytest.param(["--option", "port"], '{"token": "acme_n_1"}', "NAME=VALUE", id="an option without a value"),
        pytest.param(["--option", "prt=1"], '{"token": "acme_n_1"}', "did you mean", id="a misspelt option"),
        pytest.param(["--interval", "soon"], None, "no length of time", id="an interval in words"),
        pytest.param(["--interval", "1s"], '{"token": "acme_n_1"}', "refresh interval is", id="too short an interval"),
    ],
)
def test_bad_input_is_usage_and_says_what_to_give(house: House, words: list[str], stdin: str | None, said: str) -> None:
    given = ["connections", "add", "acme_idp", "--org", house.organization(), "--no-test", *words]
    if "--option" not in words:
        given += ["--option", f"port={house.simulator.port}"]
    if stdin is not None and "--credentials" not in words:
        given += ["--credentials", "-"]
    result = house.run(*given, stdin=stdin)
    assert result.exit_code == Exit.USAGE, result.stderr
    assert said.lower() in result.stderr.lower()
    assert "s3cr3t" not in result.output


def test_an_unknown_vendor_is_answered_with_the_one_that_was_meant(house: House) -> None:
    result = house.run(
        "connections", "add", "acme_ipd", "--org", house.organization(), "--credentials", "-", stdin="{}"
    )
    assert result.exit_code == Exit.NOT_FOUND
    assert "Did you mean acme_idp?" in result.stderr


def test_without_a_vault_key_nothing_is_stored(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONNECTION_HEALTH_VAULT_KEYS")
    result = house.run(
        "connections", "add", "plain", "--org", house.organization(), "--option", f"port={house.simulator.port}",
        "--credentials", "-", stdin='{"token": "t"}',
    )  # fmt: skip
    assert result.exit_code == Exit.OURS
    assert "vault generate-key" in result.stderr


def test_a_wrong_vault_key_is_our_fault_and_says_which_one_is_missing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id = house.add("acme_idp")
    monkeypatch.setenv("CONNECTION_HEALTH_VAULT_KEYS", generate_key())
    result = house.run("connections", "test", connection_id)
    assert result.exit_code == Exit.OURS
    assert "not among the vault's keys" in result.stderr


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        pytest.param("zzz", Exit.USAGE, "connections list", id="no id"),
        pytest.param("01", Exit.USAGE, "4 characters", id="too short"),
        pytest.param("ffffffff", Exit.NOT_FOUND, "no connection ffffffff", id="nobody begins so"),
        pytest.param(str(uuid4()), Exit.NOT_FOUND, "no connection", id="a whole id that is unknown"),
    ],
)
def test_an_id_that_names_nobody(house: House, text: str, code: Exit, said: str) -> None:
    result = house.run("connections", "show", text)
    assert result.exit_code == code
    assert said in result.stderr


def test_the_beginning_of_an_id_is_enough_where_it_is_the_only_one(house: House) -> None:
    organization = house.organization()
    ids = [house.add("acme_idp", org=organization), house.add("granite_edr", org=organization)]
    shared = ids[0][: [a == b for a, b in zip(*ids, strict=True)].index(False)]
    alone = ids[1][: len(shared) + 1]
    assert house.json("connections", "show", alone)["id"] == ids[1]
    several = house.run("connections", "show", shared)
    assert several.exit_code == Exit.USAGE
    assert "several ids" in several.stderr


def test_a_list_is_filtered_by_everything_that_is_given(house: House) -> None:
    umbra, nova = house.organization("Umbra"), house.organization("Nova")
    sick = house.add("acme_idp", "--identifier", "a", org=umbra)
    well = house.add("granite_edr", "--identifier", "b", org=umbra)
    new = house.add("harbor_crm", org=nova)
    house.simulator.world.act("acme_idp", "north", "expire_token", {})
    house.work(sick)
    house.work(well)
    house.ok("connections", "pause", new)

    def listed(*words: str) -> list[str]:
        return [each["id"] for each in house.json("connections", "list", *words)["items"]]

    assert listed() == [sick, well, new]
    assert listed("--health", "UNAUTHORIZED") == listed("--health", "unauthorized") == [sick]
    assert listed("--owner", "CUSTOMER") == [sick]
    assert listed("--status", "HEALTHY") == [well]
    assert listed("--vendor", "granite_edr", "--org", "Umbra") == [well]
    assert listed("--state", "PAUSED") == listed("--never-run") == [new]
    assert listed("--identifier", "b") == [well]
    assert listed("--vendor", "granite_edr", "--health", "UNAUTHORIZED") == []
    first = house.json("connections", "list", "--limit", "2")
    assert [each["id"] for each in first["items"]] == [sick, well]
    assert listed("--after", first["next_after"]) == [new]


def test_off_a_terminal_a_list_is_a_line_a_connection_with_whole_ids(house: House) -> None:
    connection_id = house.add("acme_idp")
    lines = house.ok("connections", "list").splitlines()
    assert [line.split("\t")[:3] for line in lines] == [[connection_id, "Umbra", "acme_idp"]]


def test_an_empty_list_says_so_beside_the_output(house: House) -> None:
    result = house.run("connections", "list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No connections yet.\n")


def test_an_update_changes_what_is_given_and_nothing_else(house: House) -> None:
    connection_id = house.add("acme_idp", "--identifier", "old")
    before = house.json("connections", "show", connection_id)
    house.ok("connections", "update", connection_id, "--interval", "2h")
    after = house.json("connections", "show", connection_id)
    assert after["refresh_interval_secs"] == 7200
    assert after["identifier"] == "old"
    assert (after["timeout_secs"], after["state"]) == (before["timeout_secs"], before["state"])
    house.ok("connections", "update", connection_id, "--identifier", "")
    assert house.json("connections", "show", connection_id)["identifier"] is None
    nothing = house.run("connections", "update", connection_id)
    assert (nothing.exit_code, "nothing to change" in nothing.stderr) == (Exit.USAGE, True)


def test_new_credentials_heal_a_connection_and_refused_ones_leave_the_old(house: House) -> None:
    connection_id = house.add("acme_idp")
    house.simulator.world.act("acme_idp", "north", "expire_token", {})
    house.work(connection_id)
    assert house.run("health", "show", connection_id).exit_code == Exit.CUSTOMER_MUST_ACT
    refused = house.run(
        "connections", "update", connection_id, "--credentials", "-", stdin='{"token": "acme_north_77"}'
    )
    assert refused.exit_code == Exit.REFUSED
    changed = house.json(
        "connections", "update", connection_id, "--credentials-file", house.credentials_file("acme_idp")
    )
    assert changed["test"]["is_valid"] is True
    house.work(connection_id)
    assert house.run("health", "show", connection_id).exit_code == Exit.OK


def test_a_changed_option_is_added_to_the_others(house: House) -> None:
    connection_id = _plain(house, "records=3")
    house.ok("connections", "update", connection_id, "--option", "page_size=2")
    with house.station() as station, station.control.connection() as db:
        view = connections.get_connection(db, UUID(connection_id))
    assert view is not None
    assert view.options == {"port": house.simulator.port, "records": 3, "page_size": 2}


def test_a_paused_connection_is_not_run_until_it_is_resumed(house: House) -> None:
    connection_id = house.add("acme_idp")
    assert house.json("connections", "pause", connection_id)["state"] == "PAUSED"
    refused = house.run("sync", connection_id)
    assert refused.exit_code == Exit.NOT_FOUND
    assert "resumed first" in refused.stderr
    assert house.json("connections", "resume", connection_id)["state"] == "ACTIVE"
    house.work(connection_id)
    assert house.json("connections", "show", connection_id)["health"]["name"] == "HEALTHY"


def test_deleting_asks_first_and_destroys_the_credentials(house: House) -> None:
    connection_id = house.add("acme_idp")
    refused = house.run("connections", "delete", connection_id)
    assert (refused.exit_code, "--yes" in refused.stderr) == (Exit.REFUSED, True)
    house.ok("connections", "delete", connection_id, "--yes")
    assert house.json("connections", "list")["items"] == []
    keyring = Keyring.parse(house.environ["CONNECTION_HEALTH_VAULT_KEYS"])
    with house.station() as station, station.control.connection() as db:
        assert vault.load(db, keyring, UUID(connection_id), "credentials") is None
    again = house.run("connections", "delete", connection_id, "--yes")
    assert again.exit_code == Exit.NOT_FOUND


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param(None, Exit.OK, id="healthy"),
        pytest.param("unauthorized", Exit.CUSTOMER_MUST_ACT, id="the customer"),
        pytest.param("unavailable", Exit.VENDOR_MUST_ACT, id="the vendor"),
        pytest.param("gone", Exit.PLATFORM_MUST_ACT, id="we"),
    ],
)
def test_a_test_tells_by_its_exit_code_who_must_act(house: House, fault: str | None, code: Exit) -> None:
    connection_id = house.add("acme_idp")
    if fault is not None:
        house.simulator.world.set_fault({"vendor": "acme_idp", "kind": fault, "wait_s": 3600})
    result = house.run("connections", "test", connection_id, "--json")
    assert result.exit_code == code
    assert json.loads(result.stdout)["is_valid"] is (code is Exit.OK)


def test_other_credentials_are_tried_without_being_stored(house: House) -> None:
    connection_id = house.add("acme_idp")
    other = house.run("connections", "test", connection_id, "--credentials", "-", stdin='{"token": "acme_south_9"}')
    assert other.exit_code == Exit.CUSTOMER_MUST_ACT
    assert house.run("connections", "test", connection_id).exit_code == Exit.OK


def test_a_test_of_a_rotating_token_keeps_what_it_renewed(house: House) -> None:
    connection_id = house.add("tidal_mail")
    house.simulator.world.clock.advance(3600)
    for _ in range(2):
        assert house.run("connections", "test", connection_id).exit_code == Exit.OK
    house.work(connection_id)
    assert house.json("connections", "show", connection_id)["health"]["name"] == "HEALTHY"


def test_at_a_terminal_credentials_are_asked_for_and_secrets_are_not_echoed(house: House) -> None:
    organization, own = house.organization(), house.credentials("harbor_crm")
    words = ["connections", "add", "harbor_crm", "--org", organization, "--option", f"port={house.simulator.port}"]
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", *words],
        stdin=end, stdout=subprocess.PIPE, stderr=end, text=True, env={**os.environ, **house.environ},
    )  # fmt: skip
    os.close(end)
    shown = b""
    for label, answer in (("Client ID", own["client_id"]), ("Client secret", own["client_secret"])):
        while label.encode() + b":" not in shown:
            shown += os.read(terminal, 1000)
        os.write(terminal, answer.encode() + b"\n")
    stdout, _ = process.communicate(timeout=60)
    shown += os.read(terminal, 10_000)
    os.close(terminal)
    assert process.returncode == 0, shown
    assert re.fullmatch(r"[0-9a-f-]{36}\n", stdout)
    assert own["client_secret"].encode() not in shown


def test_with_redis_away_a_run_is_asked_for_all_the_same(house: House) -> None:
    connection_id = house.add("acme_idp")
    away = {**os.environ, **house.environ, "CONNECTION_HEALTH_REDIS_URL": "redis://127.0.0.1:1"}
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", "sync", connection_id, "--json"],
        capture_output=True, text=True, env=away, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["run_seq"] == 1
    assert "hint_not_sent" in ended.stderr
    house.work(connection_id)
    assert house.json("runs", "list", connection_id)["items"][0]["name"] == "HEALTHY"


def _plain(house: House, *options: str) -> str:
    words = [word for option in (f"port={house.simulator.port}", *options) for word in ("--option", option)]
    given = ("connections", "add", "plain", "--org", house.organization(), "--credentials", "-", *words)
    return str(house.ok(*given, stdin='{"token": "any"}')).strip()


def _seen(house: House, vendor: str) -> list[dict[str, object]]:
    return [each.state() for each in house.simulator.world.requests(vendor=vendor)]
