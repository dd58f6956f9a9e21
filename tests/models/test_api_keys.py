"""Keys of the HTTP API: what opens, what does not any more, and what is kept of them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from models import api_keys, connections
from models.errors import InvalidValueError, NotFoundError
from models.vocabulary import Scope

Db = psycopg.Connection[Any]


def made(db: Db, **more: Any) -> tuple[api_keys.ApiKey, str]:
    return api_keys.create_key(
        db, **{"name": "k", "scope": Scope.READ, "organization_id": None, "created_by": "command", **more}
    )


def test_a_key_is_found_by_its_text_of_which_nothing_is_kept(db: Db) -> None:
    key, text = made(db)

    found = api_keys.find_key(db, text)
    assert found is not None
    assert found.key_id == key.key_id
    stored = db.execute("SELECT to_jsonb(k)::text FROM api_key k").fetchone()
    assert stored is not None
    assert text not in stored[0]
    assert text[4:-4] not in stored[0]
    assert len(text) == 4 + 64


@pytest.mark.parametrize("text", ["", "chk_", "chk_" + "0" * 64, "chk_" + "0" * 63 + "\n", "x" * 10_000, "chk_\0"])
def test_what_is_no_key_opens_nothing(db: Db, text: str) -> None:
    made(db)

    assert api_keys.find_key(db, text) is None


def test_a_revoked_an_expired_and_a_deleted_organizations_key_open_nothing(db: Db) -> None:
    organization_id = connections.create_organization(db, "Umbra").organization_id
    revoked, revoked_text = made(db)
    _, expired = made(db, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    _, orphaned = made(db, organization_id=organization_id)
    assert api_keys.find_key(db, orphaned) is not None
    connections.delete_organization(db, organization_id)

    assert api_keys.revoke_key(db, revoked.key_id)
    assert not api_keys.revoke_key(db, revoked.key_id)
    assert [api_keys.find_key(db, text) for text in (revoked_text, expired, orphaned)] == [None, None, None]
    assert len(api_keys.list_keys(db)) == 3  # they are still listed


def test_use_is_noted_once_a_minute(db: Db) -> None:
    key, text = made(db)
    api_keys.find_key(db, text)
    first = api_keys.get_key(db, key.key_id)
    assert first is not None
    assert first.last_used_at is not None
    db.execute("UPDATE api_key SET last_used_at = now() - interval '59 seconds'")
    before = api_keys.get_key(db, key.key_id)
    api_keys.find_key(db, text)
    assert api_keys.get_key(db, key.key_id) == before


def test_keys_are_listed_by_age_and_organization(db: Db) -> None:
    organization_id = connections.create_organization(db, "Umbra").organization_id
    keys = [made(db, organization_id=of)[0].key_id for of in (None, organization_id, organization_id)]

    assert [key.key_id for key in api_keys.list_keys(db)] == keys
    assert [key.key_id for key in api_keys.list_keys(db, after=keys[0], limit=1)] == [keys[1]]
    assert [key.key_id for key in api_keys.list_keys(db, organization_id=organization_id)] == keys[1:]


def test_a_key_that_cannot_be_is_refused(db: Db) -> None:
    with pytest.raises(NotFoundError):
        made(db, organization_id=uuid4())
    for wrong in ({"name": ""}, {"requests_per_minute": 0}):
        with db.transaction(), pytest.raises(InvalidValueError), db.transaction():
            made(db, **wrong)
