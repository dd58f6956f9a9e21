"""`connection-health doctor`: what it prints and how it ends. What each check sees is in tests/worker/checks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from cli.exits import Exit
from worker.checks.examination import CHECKS

House = Any  # conftest.House, which --import-mode=importlib cannot import by name
Bare = Callable[..., Result]

WELL = ("migrations", "broker", "queue", "clocks", "vault")


def only(*names: str) -> list[str]:
    return [word for name in names for word in ("--only", name)]


def test_what_is_well_ends_with_0(house: House) -> None:
    document = house.json("doctor", *only(*WELL))
    assert (document["state"], [each["name"] for each in document["checks"]]) == ("ok", list(WELL))
    assert all(each["state"] == "ok" and each["remedy"] is None for each in document["checks"])
    assert document["checks"][0]["values"]["revision"]


def test_a_failure_ends_with_5_and_says_what_to_do(house: House) -> None:
    result = house.run("doctor", *only("workers", "queue"))
    assert result.exit_code == Exit.NOT_PASSED
    name, state, measured, remedy = result.stdout.splitlines()[0].split("\t")
    assert (name, state, measured) == ("workers", "failed", "0 alive on 0 machines")
    assert "celery -A worker worker" in remedy
    assert "1 ok, 1 failed" in result.stderr


@pytest.mark.parametrize(
    ("words", "code"), [pytest.param([], 0, id="as it is"), pytest.param(["--strict"], Exit.NOT_PASSED, id="--strict")]
)
def test_a_warning_ends_with_5_only_where_it_is_asked_to(house: House, words: list[str], code: int) -> None:
    result = house.run("doctor", *only("beat"), *words)
    assert "warning" in result.stdout
    assert result.exit_code == code


def test_every_check_is_made_and_no_secret_is_shown(house: House) -> None:
    house.add("acme_idp")
    shown = house.run("doctor", "--json").stdout
    assert [each["name"] for each in json.loads(shown)["checks"]] == list(CHECKS)
    for secret in ("DATABASE_URL", "REDIS_URL", "VAULT_KEYS"):
        assert house.environ[f"CONNECTION_HEALTH_{secret}"] not in shown


def test_without_a_database_everything_else_is_still_looked_at(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTION_HEALTH_DATABASE_URL", "postgresql://nobody:hush-hush@127.0.0.1:1/none")
    result = house.run("doctor", "--json", *only("database", "broker", "definitions"))
    found = {each["name"]: each for each in json.loads(result.stdout)["checks"]}
    assert (result.exit_code, found["database"]["state"]) == (Exit.NOT_PASSED, "failed")
    assert {found["broker"]["state"], found["definitions"]["state"]} == {"ok"}
    assert "hush" not in result.stdout + result.stderr


def test_a_local_stack_that_does_not_run_is_told_as_that(bare: Bare, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.toml").write_text(
        'database_url = "postgresql://127.0.0.1:1/x"\nredis_url = "redis://127.0.0.1:1"\n'
    )
    (home / "vault.keys").write_text("")
    result = bare("doctor", *only("database"))
    assert result.exit_code == Exit.NOT_PASSED
    assert f"{home}: `connection-health up` starts" in result.stderr


def test_an_unknown_check_is_answered_with_the_one_that_was_meant(house: House) -> None:
    result = house.run("doctor", *only("worker"))
    assert (result.exit_code, "Did you mean workers?" in result.stderr) == (Exit.USAGE, True)


def test_without_settings_it_says_which_are_missing(bare: Bare) -> None:
    result = bare("doctor")
    assert (result.exit_code, "CONNECTION_HEALTH_DATABASE_URL is not set" in result.stderr) == (Exit.USAGE, True)
