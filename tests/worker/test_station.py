import pickle

import pytest

from classifier.vocabulary import HealthName
from models.errors import KeyringError
from tests.worker.conftest import settings_of
from worker.errors import CredentialsRefusedError, VaultNotConfiguredError
from worker.station import Flag, Station


def test_a_station_connects_to_nothing_by_itself() -> None:
    station = Station.of(settings_of())
    assert station.control is station.control
    assert station.catalogue.get("plain").vendor == "plain"
    station.close()


def test_a_station_that_was_closed_while_a_run_was_on_serves_that_run_still(station: Station) -> None:
    """At a worker's end a thread may have a moment left; what it opens then ends with the process."""
    before = station.database
    with before.connection() as db:
        station.close()
        assert db.execute("SELECT 1").fetchone() == (1,)
    with station.database.connection() as db:
        assert db.execute("SELECT 1").fetchone() == (1,)
    assert station.database is not before
    station.close()
    station.close()


def test_a_station_that_is_warm_has_loaded_what_every_run_needs() -> None:
    """The first runs of a worker would else wait for it together, each out of its own budget."""
    station = Station.of(settings_of())
    station.warm_up()
    assert {"catalogue", "dialects", "transport"} <= set(vars(station))
    station.close()


def test_a_child_reads_definitions_though_its_parent_was_reading_one_when_it_was_forked() -> None:
    station = Station.of(settings_of())
    with station.catalogue._lock:  # of a thread that the child does not have
        station.after_fork()
        assert station.catalogue.get("plain").vendor == "plain"
    station.close()


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        pytest.param(None, VaultNotConfiguredError, id="no key"),
        pytest.param("no key at all", KeyringError, id="what is none"),
    ],
)
def test_without_a_vault_key_nothing_can_be_opened(keys: str | None, error: type[Exception]) -> None:
    settings = settings_of().model_copy(update={"vault_keys": None}) if keys is None else settings_of(vault_keys=keys)
    with pytest.raises(error) as raised:
        _ = Station.of(settings).keyring
    assert "key" in str(raised.value)


def test_errors_outlive_pickling() -> None:
    refused = CredentialsRefusedError("acme", "no", HealthName.UNAUTHORIZED, "token_expired")
    for error in (VaultNotConfiguredError(), refused):
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        assert (type(copy), str(copy)) == (type(error), str(error))


def test_a_flag_stays_set() -> None:
    flag = Flag()
    assert not flag.is_set()
    flag.set()
    flag.set()
    assert flag.is_set()
