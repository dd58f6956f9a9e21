import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import connections, vault
from models.database import Database
from models.errors import (
    KeyringError,
    NotFoundError,
    UnknownKeyError,
    VaultError,
    VaultKeyError,
    VaultSwappedError,
    VaultTamperedError,
)
from models.vault import Keyring

PLAIN = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(range(1, 33))).decode()
CANARY = "s3cr3t-canary"
DOCUMENT = {"api_key": CANARY, "n": 1}


def test_a_generated_key_is_read_back() -> None:
    line = vault.generate_key()
    ring = Keyring.parse(line)
    assert line.startswith(ring.newest.key_id + ":")
    assert vault.generate_key() != line


def test_a_plain_key_has_the_id_that_its_generated_line_would_have() -> None:
    line = vault.generate_key()
    assert Keyring.parse(line.partition(":")[2]).newest == Keyring.parse(line).newest


def test_several_keys_are_read_newest_first() -> None:
    ring = Keyring.parse(f"# the vault's keys\n\n2026:{PLAIN}\n  {OTHER}  \n")
    assert ring.newest.key_id == "2026"
    assert len(ring.keys) == 2
    assert ring.find("2026") == ring.newest
    assert ring.find("gone") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "there is none", id="empty"),
        pytest.param("# only a remark", "there is none", id="a remark"),
        pytest.param(f"{PLAIN}\nnot base64!", "line 2", id="not base64"),
        pytest.param(base64.b64encode(b"short").decode(), "5 bytes where 32", id="short"),
        pytest.param(f"a b:{PLAIN}", "id is 1 to 64", id="an id with a space"),
        pytest.param(f"one:{PLAIN}\none:{OTHER}", "twice", id="the same id twice"),
        pytest.param(f"{PLAIN}\n{PLAIN}", "twice", id="the same key twice"),
        pytest.param(base64.b64encode(bytes(32)).decode(), "one byte repeated", id="zeros"),
    ],
)
def test_a_keyring_that_is_wrong_says_what_is(text: str, said: str) -> None:
    with pytest.raises(KeyringError, match=said) as caught:
        Keyring.parse(text)
    assert PLAIN not in str(caught.value)


def test_no_secret_is_in_any_repr() -> None:
    ring = Keyring.parse(f"k1:{PLAIN}")
    shown = repr(ring) + repr(ring.newest)
    assert PLAIN not in shown
    assert repr(ring.newest.secret) not in shown


RING = Keyring.parse(f"k1:{PLAIN}\nk2:{OTHER}")
ID = UUID(int=5)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text("xyz"), json_values, max_size=4))
def test_what_is_sealed_opens_again(document: dict[str, Any]) -> None:
    assert vault.unseal(RING, ID, "credentials", *vault.seal(RING, ID, "credentials", document)) == document


def test_the_same_document_is_never_sealed_to_the_same_bytes() -> None:
    sealed = {vault.seal(RING, ID, "token", DOCUMENT)[1] for _ in range(200)}
    assert len(sealed) == 200
    assert not any(CANARY.encode() in one for one in sealed)


def test_every_byte_is_guarded() -> None:
    key_id, sealed = vault.seal(RING, ID, "credentials", DOCUMENT)
    for place in range(len(sealed)):
        for bit in (1, 128):
            changed = bytearray(sealed)
            changed[place] ^= bit
            with pytest.raises(VaultError):
                vault.unseal(RING, ID, "credentials", key_id, bytes(changed))


@pytest.mark.parametrize("length", [0, 1, 40, 52])
def test_a_row_that_was_cut_is_told_as_changed(length: int) -> None:
    key_id, sealed = vault.seal(RING, ID, "credentials", DOCUMENT)
    with pytest.raises(VaultTamperedError):
        vault.unseal(RING, ID, "credentials", key_id, sealed[:length])


def test_each_fault_has_its_own_error() -> None:
    key_id, sealed = vault.seal(RING, ID, "credentials", DOCUMENT)
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    cases: list[tuple[type[VaultError], Keyring, UUID, str, str, bytes]] = [
        (UnknownKeyError, Keyring.parse(f"k2:{OTHER}"), ID, "credentials", key_id, sealed),
        (VaultKeyError, Keyring.parse(f"k1:{OTHER}"), ID, "credentials", key_id, sealed),
        (VaultKeyError, RING, ID, "credentials", "k2", sealed),
        (VaultSwappedError, RING, uuid4(), "credentials", key_id, sealed),
        (VaultSwappedError, RING, ID, "token", key_id, sealed),
        (VaultTamperedError, RING, ID, "credentials", key_id, changed),
    ]
    for kind, ring, connection_id, what, used, bytes_ in cases:
        with pytest.raises(kind) as caught:
            vault.unseal(ring, connection_id, what, used, bytes_)
        assert type(caught.value) is kind
        assert CANARY not in str(caught.value)


def test_an_older_key_still_opens() -> None:
    sealed = vault.seal(Keyring.parse(f"k2:{OTHER}"), ID, "credentials", DOCUMENT)
    assert vault.unseal(RING, ID, "credentials", *sealed) == DOCUMENT


# --- in the database


def test_credentials_are_stored_and_loaded(world: Any) -> None:
    connection = world.connection(credentials=DOCUMENT)
    assert vault.load(world.db, world.keyring, connection.connection_id, "credentials") == DOCUMENT
    assert vault.load(world.db, world.keyring, connection.connection_id, "token") is None
    vault.store(world.db, world.keyring, connection.connection_id, "credentials", {"api_key": "other"})
    assert vault.load(world.db, world.keyring, connection.connection_id, "credentials") == {"api_key": "other"}
    with pytest.raises(NotFoundError):
        vault.store(world.db, world.keyring, uuid4(), "credentials", DOCUMENT)


def test_a_row_that_is_moved_to_another_connection_does_not_open(world: Any) -> None:
    mine, other = world.connection(), world.connection(credentials=DOCUMENT)
    world.db.execute(
        "UPDATE credential m SET sealed = o.sealed, key_id = o.key_id FROM credential o "
        "WHERE m.connection_id = %s AND o.connection_id = %s",
        (mine.connection_id, other.connection_id),
    )
    with pytest.raises(VaultSwappedError):
        vault.load(world.db, world.keyring, mine.connection_id, "credentials")


def test_no_table_holds_a_credential_in_the_clear(world: Any) -> None:
    connection = world.connection(credentials=DOCUMENT)
    vault.store_token(world.db, world.keyring, connection.connection_id, {"access_token": CANARY}, cred_version=1)
    for (table,) in world.db.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    ).fetchall():
        found = world.db.execute(
            f"SELECT count(*) FROM {table} t WHERE t::text LIKE %s OR t::text LIKE %s".encode(),  # noqa: S608 - names from the catalogue
            (f"%{CANARY}%", f"%{CANARY.encode().hex()}%"),
        ).fetchone()
        assert found == (0,), table


def test_a_token_of_older_credentials_is_not_stored(world: Any) -> None:
    connection_id = world.connection().connection_id
    assert vault.store_token(world.db, world.keyring, connection_id, {"t": 1}, cred_version=1)
    connections.replace_credentials(world.db, world.keyring, connection_id, {"api_key": "new"})
    assert vault.load(world.db, world.keyring, connection_id, "token") is None
    assert not vault.store_token(world.db, world.keyring, connection_id, {"t": 1}, cred_version=1)
    assert vault.store_token(world.db, world.keyring, connection_id, {"t": 2}, cred_version=2)
    assert vault.drop_token(world.db, connection_id)
    assert not vault.drop_token(world.db, connection_id)


def test_a_deleted_connection_keeps_no_credentials(world: Any) -> None:
    connection_id = world.connection().connection_id
    connections.delete_connection(world.db, connection_id)
    assert vault.load(world.db, world.keyring, connection_id, "credentials") is None
    assert not vault.store_token(world.db, world.keyring, connection_id, {"t": 1}, cred_version=1)


@pytest.mark.parametrize("there", [False, True], ids=["no token yet", "a token is there"])
def test_of_fifty_who_renew_a_token_one_does(committed: Any, database: Database, there: bool) -> None:
    connection_id = committed.connection().connection_id
    if there:
        vault.store_token(committed.db, committed.keyring, connection_id, {"token": "old"}, cred_version=1)

    def renew(number: int) -> int:
        with database.transaction() as db:
            document = vault.lock_token(db, committed.keyring, connection_id)
            if document is not None and document["token"] != "old":
                return 0
            vault.store_token(db, committed.keyring, connection_id, {"token": number}, cred_version=1)
            return 1

    with ThreadPoolExecutor(10) as threads:
        assert sum(threads.map(renew, range(50))) == 1


def test_new_credentials_wait_for_a_renewal_and_win(committed: Any, fresh_database_url: str) -> None:
    connection_id = committed.connection().connection_id
    with psycopg.connect(fresh_database_url) as renewing:
        vault.lock_token(renewing, committed.keyring, connection_id)
        with ThreadPoolExecutor(1) as thread:
            replaced = thread.submit(
                connections.replace_credentials, committed.db, committed.keyring, connection_id, {"api_key": "new"}
            )
            assert vault.store_token(renewing, committed.keyring, connection_id, {"t": "old"}, cred_version=1)
            renewing.commit()
            assert replaced.result(timeout=30) == 2
    assert vault.load(committed.db, committed.keyring, connection_id, "token") is None


# --- rotation


def sealed_with(committed: Any) -> dict[str, int]:
    return dict(committed.db.execute("SELECT key_id, count(*) FROM credential GROUP BY key_id").fetchall())


def test_rotation_seals_everything_anew_and_may_be_begun_again(committed: Any, database: Database) -> None:
    ids = [committed.connection(credentials={"n": number}).connection_id for number in range(25)]
    old = committed.keyring
    newest = vault.generate_key()
    ring = Keyring((Keyring.parse(newest).newest, *old.keys))
    steps = vault.rotate(database, ring, batch=4)
    first = next(steps)
    assert (first.done, first.left) == (4, 21)
    del steps  # as if the process had died here
    last = [*vault.rotate(database, ring, batch=4)][-1]
    assert (last.done, last.left, last.failed) == (21, 0, ())
    assert sealed_with(committed) == {ring.newest.key_id: 25}
    only_new = Keyring.parse(newest)
    assert [vault.load(committed.db, only_new, one, "credentials") for one in ids] == [{"n": n} for n in range(25)]
    assert [*vault.rotate(database, ring)][-1].done == 0


def test_rotation_tells_of_what_it_cannot_open_and_goes_on(committed: Any, database: Database) -> None:
    bad = committed.connection().connection_id
    committed.connection()
    committed.db.execute("UPDATE credential SET sealed = sealed || '\\x00'::bytea WHERE connection_id = %s", (bad,))
    ring = Keyring((Keyring.parse(vault.generate_key()).newest, *committed.keyring.keys))
    last = [*vault.rotate(database, ring, batch=1)][-1]
    assert (last.done, last.left) == (1, 1)
    (reason,) = last.failed
    assert str(bad) in reason


def test_rotation_passes_over_a_row_that_is_in_use_and_comes_back_to_it(
    committed: Any, database: Database, fresh_database_url: str
) -> None:
    busy = committed.connection().connection_id
    committed.connection()
    ring = Keyring((Keyring.parse(vault.generate_key()).newest, *committed.keyring.keys))
    with psycopg.connect(fresh_database_url) as renewing:
        vault.lock_token(renewing, committed.keyring, busy)
        steps = vault.rotate(database, ring)
        first = next(steps)
        assert (first.done, first.left) == (1, 1)
        renewing.commit()
        assert [*steps][-1].left == 0
