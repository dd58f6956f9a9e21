import pickle
from pathlib import Path
from typing import Any

import pytest

from worker.settings import PREFIX, Settings, SettingsError

SECRET = "hunter2-the-password"
NEEDED = {
    PREFIX + "DATABASE_URL": f"postgresql://us:{SECRET}@127.0.0.1/db",
    PREFIX + "REDIS_URL": "redis://127.0.0.1:6379/0",
}


def problems_of(environ: dict[str, str], **flags: Any) -> str:
    with pytest.raises(SettingsError) as raised:
        Settings.read(environ, **flags)
    assert SECRET not in str(raised.value) + repr(raised.value)
    return str(raised.value)


def test_a_flag_beats_the_environment_that_beats_the_file_that_beats_the_default(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("concurrency = 3\ndrain_s = 5\nplatform_name = 'Of the file'\n")
    environ = {**NEEDED, PREFIX + "CONFIG": str(file), PREFIX + "CONCURRENCY": "7", PREFIX + "DRAIN_S": "9"}

    settings = Settings.read(environ, concurrency=11, drain_s=None)

    assert settings.concurrency == 11
    assert settings.drain_s == 9
    assert settings.platform_name == "Of the file"
    assert settings.lease_s == 20


def test_a_secret_can_come_from_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("  the key \n")

    settings = Settings.read({**NEEDED, PREFIX + "VAULT_KEYS_FILE": str(tmp_path / "key")})

    assert settings.vault_keys is not None
    assert settings.vault_keys.get_secret_value() == "the key"


def test_what_others_read_is_no_unknown_key() -> None:
    assert Settings.read({**NEEDED, PREFIX + "HOME": "/anywhere", "PATH": "/bin"}).concurrency == 64


@pytest.mark.parametrize(
    ("more", "words"),
    [
        pytest.param({"CONCURENCY": "3"}, "did you mean concurrency?", id="a misspelt key"),
        pytest.param({"WHATEVER_ELSE": "3"}, "CONNECTION_HEALTH_WHATEVER_ELSE is no setting", id="an unknown key"),
        pytest.param({"CONCURRENCY_FILE": "x"}, "CONCURRENCY_FILE is no setting", id="_FILE is for secrets alone"),
        pytest.param({"CONCURRENCY": "many"}, "concurrency (environment)", id="no number"),
        pytest.param({"CONCURRENCY": "0"}, "greater than or equal to 1", id="too small a number"),
        pytest.param({"LEASE_S": "nan"}, "lease_s (environment)", id="not a number"),
        pytest.param({"LOG_FORMAT": "xml"}, "'json' or 'console'", id="no such choice"),
        pytest.param({"REDIS_URL": "http://x"}, "must begin with redis://", id="no Redis"),
        pytest.param({"DATABASE_URL": f"mysql://u:{SECRET}@h/d"}, "must begin with postgresql://", id="no PostgreSQL"),
        pytest.param({"EGRESS_CANARIES": "nowhere"}, "egress_canaries (environment)", id="no host and port"),
        pytest.param({"ALLOW_LOOPBACK_VENDORS": "perhaps"}, "allow_loopback_vendors (environment)", id="no boolean"),
        pytest.param({"VAULT_KEYS_FILE": "/no/such/file"}, "cannot read /no/such/file: No such file", id="no file"),
        pytest.param({"VAULT_KEYS": "a", "VAULT_KEYS_FILE": "/dev/null"}, "keep one", id="both ways of a secret"),
        pytest.param({"CONFIG": "/no/such/file"}, "cannot read /no/such/file", id="no settings file"),
    ],
)
def test_what_cannot_be_used_is_named_and_what_to_do(more: dict[str, str], words: str) -> None:
    assert words in problems_of({**NEEDED, **{PREFIX + name: value for name, value in more.items()}})


def test_every_problem_is_told_at_once() -> None:
    told = problems_of({PREFIX + "CONCURRENCY": "0"})

    assert "DATABASE_URL is not set" in told
    assert "REDIS_URL is not set" in told
    assert "concurrency" in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("concurrency = ", "is not TOML", id="no TOML"),
        pytest.param("concurency = 3", "did you mean concurrency?", id="a misspelt key"),
        pytest.param("concurrency = 'many'", "settings.toml)", id="a bad value names its file"),
        pytest.param("[worker]\nconcurrency = 3", "worker is no setting", id="a table"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "settings.toml").write_text(text)
    assert words in problems_of({**NEEDED, PREFIX + "CONFIG": str(tmp_path / "settings.toml")})


def test_neither_settings_nor_their_errors_show_a_secret() -> None:
    settings = Settings.read({**NEEDED, PREFIX + "VAULT_KEYS": SECRET})

    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()
    error = SettingsError(("one", "two"))
    assert pickle.loads(pickle.dumps(error)).problems == error.problems  # noqa: S301 - our own bytes


@pytest.mark.parametrize(
    ("given", "broker", "client"),
    [
        pytest.param("redis://h:1/2", "redis://h:1/2", "redis://h:1/2", id="TCP"),
        pytest.param("unix:///a/b.sock", "redis+socket:///a/b.sock?virtual_host=0", "unix:///a/b.sock", id="a socket"),
        pytest.param(
            "unix:///a/b.sock?db=3", "redis+socket:///a/b.sock?virtual_host=3", "unix:///a/b.sock?db=3", id="a database"
        ),
        pytest.param(
            "redis+socket:///a/b.sock?virtual_host=3",
            "redis+socket:///a/b.sock?virtual_host=3",
            "unix:///a/b.sock?db=3",
            id="as Celery writes it",
        ),
    ],
)
def test_a_redis_url_is_given_to_each_in_its_own_form(given: str, broker: str, client: str) -> None:
    settings = Settings.read({**NEEDED, PREFIX + "REDIS_URL": given})

    assert (settings.broker_url, settings.redis_client_url) == (broker, client)
