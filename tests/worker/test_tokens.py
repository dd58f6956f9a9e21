import threading
from collections.abc import Mapping

import psycopg
import pytest

from models import authorizations, connections, vault
from tests.worker.conftest import connect
from worker.station import Station
from worker.tokens import MemoryTokens, VaultTokens


def keeper(station: Station, *, cred_version: int = 1) -> VaultTokens:
    return VaultTokens(
        connection_id=connect(station, "plain", {"token": "a-token-of-a-test"}, {"port": 1}),
        cred_version=cred_version,
        database=station.database,
        token_locks=station.token_locks,
        keyring=station.keyring,
    )


def renewed(tokens: VaultTokens, made: list[str]) -> Mapping[str, object]:
    """What an authenticator does: look under the lock whether somebody was faster, else renew and keep."""
    with tokens.exclusive() as lock:
        found = lock.load()
        if found is None:
            made.append("renewed")
            lock.save({"access_token": f"token-{len(made)}"})
            found = lock.load()
    assert found is not None
    return found


def test_of_many_that_find_a_token_missing_one_renews_it(station: Station) -> None:
    tokens, made, got = keeper(station), list[str](), list[object]()
    together = threading.Barrier(8)

    def ask() -> None:
        together.wait(10)
        got.append(renewed(tokens, made))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert made == ["renewed"]
    assert got == [{"access_token": "token-1"}] * 8


def test_a_token_is_kept_before_it_is_used(station: Station) -> None:
    tokens = keeper(station)
    with tokens.exclusive() as lock:
        lock.save({"access_token": "new"})
        assert tokens.load() == {"access_token": "new"}, "seen by others while the lock's block goes on"


def test_a_renewal_that_failed_keeps_nothing_and_lets_go_of_the_lock(station: Station) -> None:
    tokens = keeper(station)
    with pytest.raises(RuntimeError), tokens.exclusive():
        raise RuntimeError
    assert tokens.load() is None
    assert renewed(tokens, []) == {"access_token": "token-1"}


def test_a_token_of_older_credentials_never_replaces_a_newer_one(station: Station) -> None:
    tokens = keeper(station)
    with station.database.transaction() as db:
        version = connections.replace_credentials(
            db, station.keyring, tokens.connection_id, {"token": "other-credentials"}
        )
        vault.store_token(db, station.keyring, tokens.connection_id, {"access_token": "newer"}, cred_version=version)

    with tokens.exclusive() as lock:
        lock.save({"access_token": "older"})

    assert tokens.load() == {"access_token": "newer"}


def test_a_token_stands_sealed_in_the_table(station: Station) -> None:
    tokens = keeper(station)
    renewed(tokens, [])
    with psycopg.connect(station.settings.database_url.get_secret_value()) as db:
        rows = db.execute("SELECT c::text, encode(sealed, 'escape') FROM credential c").fetchall()
    assert len(rows) == 2
    assert "token-1" not in str(rows)


def test_tokens_of_a_test_stay_in_memory() -> None:
    tokens = MemoryTokens()
    assert tokens.load() is None
    with tokens.exclusive() as lock:
        lock.save({"access_token": "a"})
    assert tokens.load() == tokens.document == {"access_token": "a"}
    assert "access_token" not in repr(tokens)


def test_a_run_that_began_before_a_new_consent_keeps_what_renews_it(station: Station) -> None:
    """Else the pair that the vendor takes from now on would be lost, and with it the connection."""
    tokens = keeper(station)  # of a run that opened version 1
    with station.database.transaction() as db:
        consent = {"for": "an application", "access_token": "a1", "refresh_token": "r1"}
        assert authorizations.complete(db, station.keyring, tokens.connection_id, consent) == 2

    with tokens.exclusive() as lock:
        assert lock.load() == consent
        lock.save({**consent, "access_token": "a2", "refresh_token": "r2"})
    kept = tokens.load()
    assert kept is not None
    assert kept["refresh_token"] == "r2"

    with tokens.exclusive() as lock:
        lock.save({"for": "another application", "access_token": "a3", "refresh_token": "r3"})
    assert tokens.load() == kept

    with tokens.exclusive() as lock:
        connections.delete_connection(lock.db, tokens.connection_id)
        lock.save({**kept, "access_token": "a4"})
    assert tokens.load() is None
