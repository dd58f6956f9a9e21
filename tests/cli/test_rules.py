"""`rules replay`: what today's rules, or new ones, would say of past runs. Real runs in a real PostgreSQL."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cli.exits import Exit
from models.database import driver_url

House = Any  # conftest.House, which --import-mode=importlib cannot import by name

DIALECT = """
family: acme_idp
vendors: [acme_idp]
documentation: https://vendor.example/errors
rules:
  - id: resting
    when: {status: [503]}
    reason: maintenance
    name: VENDOR_SERVER_ERROR
    source: https://vendor.example/errors#503
    example: {status: 503}
"""


@pytest.fixture
def proposed(tmp_path: Path) -> Path:
    folder = tmp_path / "proposed"
    folder.mkdir()
    (folder / "acme_idp.yaml").write_text(DIALECT)
    return folder


def write(house: House, statement: str, *values: object) -> None:
    with psycopg.connect(driver_url(house.environ["CONNECTION_HEALTH_DATABASE_URL"]), autocommit=True) as db:
        db.execute(statement.encode(), values)


def ran_with(house: House, kind: str, vendor: str = "acme_idp") -> str:
    connection_id = str(house.add(vendor))
    fault = house.simulator.world.set_fault({"vendor": vendor, "kind": kind})
    house.work(connection_id)
    house.simulator.world.clear_faults(fault.id)
    return connection_id


def replayed(house: House, *words: str) -> tuple[int, Any]:
    result = house.run("rules", "replay", "--json", *words)
    assert result.exit_code in (Exit.OK, Exit.NOT_PASSED), result.stderr
    return result.exit_code, json.loads(result.stdout)


def test_the_rules_that_judged_a_run_say_the_same_again(house: House) -> None:
    for kind in ("unauthorized", "unavailable", "quota", "gone", "odd_shape"):
        ran_with(house, kind)
    code, document = replayed(house)
    assert (code, document["changes"]) == (Exit.OK, [])
    assert document["summary"]["runs"] == document["summary"]["replayed"] == 5
    assert "5" in house.ok("rules", "replay")


def test_a_verdict_that_would_change_is_told_with_what_it_was(house: House) -> None:
    connection_id = ran_with(house, "unauthorized")
    write(house, "UPDATE run_history SET name = 'VENDOR_CLIENT_ERROR', reason = 'bad_request', rule = 'status.400'")
    code, document = replayed(house)
    assert code == Exit.NOT_PASSED
    [change] = document["changes"]
    assert (change["connection_id"], change["run_seq"], change["vendor"]) == (connection_id, 1, "acme_idp")
    before, after = change["before"], change["after"]
    assert (before["name"], before["owner"], before["reason"]) == ("VENDOR_CLIENT_ERROR", "LEEN", "bad_request")
    assert (after["name"], after["owner"]) == ("UNAUTHORIZED", "CUSTOMER")
    assert change["changed"] == ["name", "owner", "reason"]
    assert document["summary"]["changed_by_kind"] == {"name": 1, "owner": 1, "reason": 1, "retry_at": 0}
    result = house.run("rules", "replay")
    assert result.exit_code == Exit.NOT_PASSED
    line = result.stdout.splitlines()[0].split("\t")
    assert line[2:5] == [connection_id, "1", "VENDOR_CLIENT_ERROR LEEN bad_request"]
    assert line[5].startswith("UNAUTHORIZED CUSTOMER ")
    assert "would change\t1" in result.stdout


def test_a_folder_that_is_not_live_is_told_apart_from_the_rules_of_today(house: House, proposed: Path) -> None:
    ran_with(house, "unavailable")
    ran_with(house, "gone")
    assert replayed(house)[0] == Exit.OK
    code, document = replayed(house, "--rules-dir", str(proposed))
    assert code == Exit.NOT_PASSED
    [change] = document["changes"]
    assert change["after"]["rule"] == "dialect.acme_idp.resting"
    assert (change["changed"], change["cause"]) == (["reason"], "folder")
    assert document["summary"]["changed_by_cause"] == {"rules": 0, "folder": 1}
    write(house, "UPDATE run_history SET reason = 'odd' WHERE name = 'VENDOR_CLIENT_ERROR'")
    causes = [change["cause"] for change in replayed(house, "--rules-dir", str(proposed))[1]["changes"]]
    assert sorted(causes) == ["folder", "rules"]


def test_a_folder_of_ones_own_vendors_may_be_named_as_a_whole(house: House, proposed: Path) -> None:
    ran_with(house, "unavailable")
    (proposed / "dialects").mkdir()
    (proposed / "acme_idp.yaml").rename(proposed / "dialects" / "acme_idp.yaml")
    assert replayed(house, "--rules-dir", str(proposed))[0] == Exit.NOT_PASSED


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        pytest.param(None, Exit.USAGE, "holds no dialects", id="an empty folder"),
        pytest.param(DIALECT.replace("maintenance", "siesta"), Exit.REFUSED, "'siesta' is no reason", id="a bad rule"),
    ],
)
def test_a_folder_that_cannot_be_read_says_what_to_do(
    house: House, tmp_path: Path, text: str | None, code: Exit, said: str
) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    if text is not None:
        (folder / "a.yaml").write_text(text)
    result = house.run("rules", "replay", "--rules-dir", str(folder))
    assert (result.exit_code, said in result.stderr) == (code, True), result.stderr


def test_what_cannot_be_judged_again_is_counted_by_its_reason(house: House) -> None:
    healthy, spent, stopped = (str(house.add("acme_idp")) for _ in range(3))
    for connection_id in (healthy, spent, stopped):
        house.work(connection_id)
    write(
        house,
        "UPDATE run_history SET state = 'LOST', name = 'EXECUTION_TIMEOUT', reason = 'budget_spent', "
        "rule = 'own.budget_spent', evidence = NULL WHERE connection_id = %s",
        spent,
    )
    write(
        house,
        "UPDATE run_history SET state = 'INTERRUPTED', name = NULL, reason = 'draining', rule = NULL "
        "WHERE connection_id = %s",
        stopped,
    )
    code, document = replayed(house)
    assert code == Exit.OK
    assert document["summary"]["not_replayable"] == {
        "no_verdict": 1,
        "own_side": 1,
        "healthy_body": 1,
        "own_exception": 0,
    }
    told = house.ok("rules", "replay")
    assert "not replayable\t3" in told
    assert "no body is kept of a healthy answer\t1" in told


def test_vendor_since_and_limit_narrow_what_is_judged(house: House) -> None:
    ran_with(house, "unavailable")
    ran_with(house, "unavailable")
    ran_with(house, "gone", "granite_edr")
    assert replayed(house, "--vendor", "granite_edr")[1]["summary"]["runs"] == 1
    assert replayed(house, "--limit", "2")[1]["summary"]["runs"] == 2
    assert replayed(house, "--since", "0s")[1]["summary"]["runs"] == 0
    result = house.run("rules", "replay", "--since", "soon")
    assert (result.exit_code, "7d" in result.stderr or "1d" in result.stderr) == (Exit.USAGE, True)


def test_another_time_to_come_back_is_a_change_and_a_few_seconds_are_not(house: House) -> None:
    ran_with(house, "quota")
    write(
        house,
        "UPDATE run_history SET retry_at = finished_at + interval '65 s', "
        "evidence = jsonb_set(evidence, '{headers,retry-after}', '\"60\"')",
    )
    assert replayed(house)[0] == Exit.OK
    write(house, "UPDATE run_history SET retry_at = retry_at + interval '5 min'")
    code, document = replayed(house)
    assert (code, [change["changed"] for change in document["changes"]]) == (Exit.NOT_PASSED, [["retry_at"]])


def test_another_rule_for_the_same_verdict_changes_nothing(house: House) -> None:
    ran_with(house, "gone")
    write(house, "UPDATE run_history SET rule = 'words.since_renamed'")
    code, document = replayed(house)
    assert (code, document["summary"]["unchanged_by_another_rule"]) == (Exit.OK, 1)


def test_the_help_says_what_the_exit_codes_mean(house: House) -> None:
    assert "Exit code 0: none would. 5: at least one would." in " ".join(house.ok("rules", "replay", "--help").split())
    assert "5 a check did not pass" in " ".join(house.ok("--help").split())
