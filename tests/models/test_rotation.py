"""A new key for what is sealed besides credentials: nobody who is on the way, or asks again, notices."""

from collections.abc import Iterator
from typing import Any

import pytest

from models import authorizations, connections, repeatables, rotation, vault
from models.database import Database
from models.errors import UnknownKeyError
from models.repeatables import FirstRequest, FormerAnswer
from models.vault import Keyring, generate_key

OLD = Keyring.parse(generate_key())
NEW = Keyring.parse(generate_key())
BOTH = Keyring((NEW.newest, *OLD.keys))


@pytest.fixture
def database(fresh_database_url: str) -> Iterator[Database]:
    made = Database(fresh_database_url, max_size=2)
    yield made
    made.close()


def connected(db: Any) -> Any:
    organization_id = connections.create_organization(db, "o").organization_id
    return connections.create_connection(
        db, OLD, organization_id=organization_id, vendor="acme", credentials={"token": "t"}
    ).connection_id


def kept(db: Any, name: str) -> None:
    first = repeatables.begin(db, OLD, actor="key:1", idempotency_key=name, request=b"r")
    assert isinstance(first, FirstRequest)
    repeatables.finish(db, OLD, first, status=200, body={"made": name})


def test_who_is_on_the_way_or_asks_again_needs_no_older_key(database: Database) -> None:
    with database.transaction() as db:
        connection_id = connected(db)
        begun = [authorizations.begin(db, OLD, connection_id, {"verifier": str(n)}) for n in range(5)]
        authorizations.take(db, OLD, begun[4].state)
        for n in range(5):
            kept(db, f"k-{n}")

    last = [*rotation.rotate(database, BOTH, batch=2)][-1]

    assert (last.done, last.left, last.failed) == (1 + 4 + 5, 0, ())
    with database.transaction() as db:
        for n in range(4):
            assert authorizations.take(db, NEW, begun[n].state).document == {"verifier": str(n)}
        for n in range(5):
            again = repeatables.begin(db, NEW, actor="key:1", idempotency_key=f"k-{n}", request=b"r")
            assert isinstance(again, FormerAnswer)
            assert again.body == {"made": f"k-{n}"}
        assert vault.load(db, NEW, connection_id, "credentials") == {"token": "t"}
    assert [*rotation.rotate(database, BOTH)][-1].done == 0


def test_what_cannot_be_opened_is_left_and_counted(database: Database) -> None:
    lost = Keyring.parse(generate_key())
    with database.transaction() as db:
        connection_id = connected(db)
        begun = authorizations.begin(db, lost, connection_id, {"verifier": "x"})
        kept(db, "k")

    last = [*rotation.rotate(database, BOTH)][-1]

    assert (last.done, last.left) == (2, 1)
    with database.transaction() as db:
        with pytest.raises(UnknownKeyError):
            authorizations.take(db, BOTH, begun.state)
        db.execute("UPDATE authorization_attempt SET expires_at = now() - interval '1 s'")
    assert [*rotation.rotate(database, BOTH)][-1].left == 0
