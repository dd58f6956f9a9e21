"""Tables, vault, settings and the catalogue."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from cli.exits import Exit
from models.database import SCHEMA_REVISION
from models.vault import Keyring, generate_key

House = Any  # conftest.House, which --import-mode=importlib cannot import by name
Bare = Callable[..., Result]

DEFINITIONS = Path(__file__).parents[2] / "simulator" / "definitions"


@pytest.fixture
def empty(bare: Bare, empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Bare:
    monkeypatch.setenv("CONNECTION_HEALTH_DATABASE_URL", empty_database_url)
    monkeypatch.setenv("CONNECTION_HEALTH_REDIS_URL", "redis://127.0.0.1:1")
    return bare


def test_an_empty_database_is_told_and_migrated_once(empty: Bare) -> None:
    missing = empty("connections", "list")
    assert missing.exit_code == Exit.OURS
    assert "connection-health db migrate" in missing.stderr
    assert empty("db", "status").exit_code == Exit.OURS
    first, again = (json.loads(empty("db", "migrate", "--json").stdout) for _ in range(2))
    assert (first["before"], first["after"]) == (None, SCHEMA_REVISION)
    assert (again["before"], again["after"]) == (SCHEMA_REVISION, SCHEMA_REVISION)
    status = empty("db", "status", "--json")
    assert (status.exit_code, json.loads(status.stdout)["ok"]) == (0, True)
    assert empty("connections", "list").exit_code == 0


def test_a_key_is_made_without_any_setting(bare: Bare) -> None:
    key = bare("vault", "generate-key").stdout
    assert Keyring.parse(key).newest


def test_rotation_seals_everything_anew_and_the_old_key_may_go(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    organization = house.organization()
    ids = [house.add(vendor, org=organization) for vendor in ("acme_idp", "granite_edr")]
    old, new = house.environ["CONNECTION_HEALTH_VAULT_KEYS"], generate_key()
    monkeypatch.setenv("CONNECTION_HEALTH_VAULT_KEYS", f"{new}\n{old}")
    assert house.json("vault", "rotate") == {"done": 2, "left": 0, "failed": []}
    assert house.json("vault", "rotate") == {"done": 0, "left": 0, "failed": []}
    monkeypatch.setenv("CONNECTION_HEALTH_VAULT_KEYS", new)
    for connection_id in ids:
        assert house.run("connections", "test", connection_id).exit_code == 0


def test_a_rotation_without_the_old_key_is_incomplete_and_says_what_to_do(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add("acme_idp")
    monkeypatch.setenv("CONNECTION_HEALTH_VAULT_KEYS", generate_key())
    result = house.run("vault", "rotate")
    assert result.exit_code == Exit.OURS
    assert "keep the older keys" in result.stderr
    assert "not among the vault's keys" in result.stderr


def test_settings_show_their_origin_and_no_secret(house: House, tmp_path: Path) -> None:
    shown = house.ok("config", "show", "--json")
    rows = {each["name"]: each for each in json.loads(shown)["settings"]}
    assert rows["database_url"]["value"] == "set, not shown"
    assert rows["database_url"]["origin"] == "environment"
    assert rows["concurrency"]["origin"] == "default"
    for secret in ("DATABASE_URL", "REDIS_URL", "VAULT_KEYS"):
        assert house.environ[f"CONNECTION_HEALTH_{secret}"] not in shown


def test_a_setting_that_is_missing_is_shown_as_missing(bare: Bare) -> None:
    result = bare("config", "show", "--json")
    assert result.exit_code == Exit.USAGE
    rows = {each["name"]: each for each in json.loads(result.stdout)["settings"]}
    assert rows["redis_url"]["origin"] == "missing"


def test_the_settings_of_a_local_stack_are_found_where_nothing_else_is_said(bare: Bare, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.toml").write_text('database_url = "postgresql://x/x"\nredis_url = "redis://x"\n')
    (home / "vault.keys").write_text(generate_key())
    rows = {each["name"]: each for each in json.loads(bare("config", "show", "--json").stdout)["settings"]}
    assert rows["database_url"]["origin"] == str(home / "config.toml")
    assert rows["vault_keys"]["value"] == "set, not shown"
    elsewhere = bare("config", "show", "--json", CONNECTION_HEALTH_DATABASE_URL="postgresql://y/y")
    assert elsewhere.exit_code == Exit.USAGE, "half a configuration is not mixed with another one"


def test_a_local_stack_that_does_not_run_is_told_as_that(bare: Bare, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.toml").write_text('database_url = "postgresql://127.0.0.1:1/x"\nredis_url = "redis://x"\n')
    (home / "vault.keys").write_text(generate_key())
    result = bare("connections", "list")
    assert result.exit_code == Exit.OURS
    assert f"nothing is running in {home}: start it with `connection-health up`" in result.stderr


def test_vendors_are_listed_with_those_of_ones_own(bare: Bare) -> None:
    ours = {each["vendor"] for each in json.loads(bare("vendors", "list", "--json").stdout)["items"]}
    both = json.loads(bare("vendors", "list", "--json", CONNECTION_HEALTH_VENDORS_DIR=str(DEFINITIONS)).stdout)["items"]
    assert ours
    assert {each["vendor"] for each in both} == ours | {path.stem for path in DEFINITIONS.glob("*.yaml")}


def test_a_broken_definition_is_listed_as_broken(bare: Bare, tmp_path: Path) -> None:
    (tmp_path / "broken_one.yaml").write_text("vendor: broken_one\n")
    result = bare("vendors", "list", "--json", CONNECTION_HEALTH_VENDORS_DIR=str(tmp_path))
    assert result.exit_code == Exit.OURS
    assert "broken_one cannot be used" in result.stderr
    listed = {each["vendor"]: each for each in json.loads(result.stdout)["items"]}
    assert listed["broken_one"]["broken"]


def test_a_vendor_shows_what_it_needs(bare: Bare) -> None:
    result = bare("vendors", "show", "harbor_crm", "--json", CONNECTION_HEALTH_VENDORS_DIR=str(DEFINITIONS))
    document = json.loads(result.stdout)
    secret = document["schema"]["properties"]["credentials"]["properties"]["client_secret"]
    assert secret["writeOnly"] is True
    assert document["data_types"][0]["endpoint"] == "GET /contacts"
    text = bare("vendors", "show", "harbor_crm").stdout
    for words in ("client_secret", "secret", "GET /contacts"):
        assert words in text


def test_an_unknown_vendor_is_answered_with_the_one_that_was_meant(bare: Bare) -> None:
    result = bare("vendors", "show", "harbour_crm", CONNECTION_HEALTH_VENDORS_DIR=str(DEFINITIONS))
    assert (result.exit_code, "harbor_crm" in result.stderr) == (Exit.NOT_FOUND, True)


def test_definitions_that_are_fine_have_nothing_said_of_them(bare: Bare) -> None:
    result = bare("vendors", "check", str(DEFINITIONS), "--json")
    assert result.exit_code == 0, result.stdout
    assert json.loads(result.stdout)["findings"] == []


def test_a_fault_in_a_definition_has_its_line_and_a_remedy(bare: Bare, tmp_path: Path) -> None:
    file = tmp_path / "acme_idp.yaml"
    file.write_text((DEFINITIONS / "acme_idp.yaml").read_text().replace("type: bearer", "type: barer"))
    result = bare("vendors", "check", str(file))
    assert result.exit_code == Exit.REFUSED
    assert f"error: {file}:" in result.stdout
    assert "bearer" in result.stdout
    assert "1 faults in 1 files" in result.stderr or "faults" in result.stderr


@pytest.mark.parametrize(
    "name",
    [pytest.param("acme_ipd.yaml", id="a misspelt file"), pytest.param("empty", id="an empty folder")],
)
def test_nothing_to_check_is_not_found(bare: Bare, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "acme_idp.yaml").touch()
    result = bare("vendors", "check", str(tmp_path / name))
    assert result.exit_code == Exit.NOT_FOUND
    assert ("acme_idp.yaml" in result.stderr) is (name != "empty")
