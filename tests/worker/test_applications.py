import re
from pathlib import Path
from typing import Any

import pytest

from tests.worker.conftest import settings_of
from worker.applications import Application, parse_applications
from worker.settings import Settings, SettingsError
from worker.station import Station

BOTH = """
[hubspot]
client_id = " an-id "
client_secret = "a-secret-of-ours"

[public_one]
client_id = "another"
"""


def test_applications_are_read_from_toml_and_from_json() -> None:
    found = parse_applications(BOTH)

    assert found == {
        "hubspot": Application(client_id="an-id", client_secret="a-secret-of-ours"),
        "public_one": Application(client_id="another"),
    }
    assert "a-secret" not in repr(found)
    assert found["public_one"].as_scope() == {"client_id": "another"}
    assert parse_applications('{"hubspot": {"client_id": "an-id", "client_secret": "a-secret-of-ours"}}') == {
        "hubspot": found["hubspot"]
    }
    assert parse_applications("") == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("s3cret", "neither TOML nor JSON", id="no TOML"),
        pytest.param("{s3cret", "neither TOML nor JSON", id="no JSON"),
        pytest.param('hubspot = "s3cret"', "hubspot should be a table", id="no table"),
        pytest.param('[Hub-Spot]\nclient_id = "s3cret"', "is no vendor's name", id="no name"),
        pytest.param('[hubspot]\nclient_secret = "s3cret"', "has no client_id", id="no id"),
        pytest.param('[hubspot]\nclient_id = ""', "has no client_id", id="an empty id"),
        pytest.param('[hubspot]\nclient_id = "x"\nclient_secret = 5', "no text", id="a number"),
        pytest.param('[hubspot]\nclient_id = "x"\nsecret = "s3cret"', "takes client_id", id="a misspelt member"),
    ],
)
def test_what_is_wrong_with_an_application_is_told_without_what_stands_there(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as refused:
        parse_applications(text)
    assert "s3cret" not in str(refused.value)
    with pytest.raises(SettingsError) as unusable:
        settings_of(oauth_apps=text)
    assert told in str(unusable.value)
    assert "s3cret" not in str(unusable.value)


def test_applications_may_stand_in_a_file_of_their_own_or_among_the_settings(tmp_path: Path) -> None:
    environ = {"CONNECTION_HEALTH_DATABASE_URL": "postgresql://x", "CONNECTION_HEALTH_REDIS_URL": "redis://x"}
    apps, config = tmp_path / "apps.toml", tmp_path / "settings.toml"
    apps.write_text(BOTH)
    config.write_text('[oauth_apps.hubspot]\nclient_id = "an-id"\nclient_secret = "a-secret-of-ours"\n')
    for more in ({"OAUTH_APPS_FILE": str(apps)}, {"CONFIG": str(config)}, {"OAUTH_APPS": BOTH}):
        read = Settings.read({**environ, **{f"CONNECTION_HEALTH_{name}": value for name, value in more.items()}})
        assert "a-secret" not in repr(read)
        station = Station.of(read)
        assert station.applications["hubspot"].client_secret == "a-secret-of-ours"
        station.close()


def test_a_definition_gets_its_own_application_and_no_other(offline: Station) -> None:
    made = Station.of(settings_of(oauth_apps=BOTH, vendors_dir=None))
    expected: dict[str, Any] = {"hubspot": {"client_id": "an-id", "client_secret": "a-secret-of-ours"}}
    for vendor in ("hubspot", "gitlab", "okta"):
        assert made.application(made.catalogue.get(vendor)) == expected.get(vendor, {})
    made.close()
    assert offline.applications == {}
