"""Invitations: what a token opens, once, for a while."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import jwt
import psycopg
import pytest

from models import connections, invites
from models.database import Database
from models.errors import InvalidValueError, InviteRefusedError, NotFoundError
from models.invites import Invite
from models.vault import Keyring, generate_key

Db = psycopg.Connection[Any]
OLD, NEW = generate_key(), generate_key()
KEYRING = Keyring.parse(OLD)


@pytest.fixture
def organization_id(db: Db) -> UUID:
    return connections.create_organization(db, "Umbra").organization_id


def made(db: Db, organization_id: UUID, **more: Any) -> Invite:
    return invites.create_invite(db, organization_id=organization_id, created_by="key:1", **more)


def test_a_token_opens_what_its_row_allows(db: Db, organization_id: UUID) -> None:
    invite = made(db, organization_id, vendor="acme_idp", identifier="x", options={"port": 1})

    token = invites.token_of(KEYRING, invite)
    assert invites.open_invite(db, KEYRING, token) == invite
    assert invites.token_of(KEYRING, invite) == token
    assert jwt.decode(token, options={"verify_signature": False})["vendors"] == ["acme_idp"]


def test_a_token_outlives_the_rotation_of_the_vaults_key(db: Db, organization_id: UUID) -> None:
    token = invites.token_of(KEYRING, made(db, organization_id))

    assert invites.open_invite(db, Keyring.parse(f"{NEW}\n{OLD}"), token)
    with pytest.raises(InviteRefusedError):
        invites.open_invite(db, Keyring.parse(NEW), token)


def test_used_revoked_and_expired_tokens_open_nothing_and_do_not_say_why(db: Db, organization_id: UUID) -> None:
    used, revoked, expired, orphaned = (made(db, organization_id) for _ in range(4))
    invites.use_invite(db, used.invite_id, uuid4())
    assert invites.revoke_invite(db, organization_id, revoked.invite_id)
    assert not invites.revoke_invite(db, organization_id, used.invite_id)
    assert not invites.revoke_invite(db, uuid4(), orphaned.invite_id)
    db.execute("UPDATE invite SET expires_at = now() - interval '1 s' WHERE invite_id = %s", (expired.invite_id,))
    said = set()
    for each in (used, revoked, expired):
        with pytest.raises(InviteRefusedError) as refused:
            invites.open_invite(db, KEYRING, invites.token_of(KEYRING, each))
        said.add(str(refused.value))
        with pytest.raises(InviteRefusedError):
            invites.use_invite(db, each.invite_id, uuid4())
    assert len(said) == 1
    connections.delete_organization(db, organization_id)
    with pytest.raises(InviteRefusedError):
        invites.open_invite(db, KEYRING, invites.token_of(KEYRING, orphaned))


@pytest.mark.parametrize("algorithm", ["none", "HS512"])
def test_a_token_signed_otherwise_opens_nothing(db: Db, organization_id: UUID, algorithm: str) -> None:
    invite = made(db, organization_id)
    claims = jwt.decode(invites.token_of(KEYRING, invite), options={"verify_signature": False})
    key = "" if algorithm == "none" else "k" * 64
    forged = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": KEYRING.newest.key_id})

    with pytest.raises(InviteRefusedError):
        invites.open_invite(db, KEYRING, forged)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"vendor": "x", "connection_id": uuid4()}, id="for a vendor and a connection"),
        pytest.param({"expiry_secs": 0}, id="of no time"),
        pytest.param({"expiry_secs": 10**9}, id="of too long a time"),
        pytest.param({"identifier": ""}, id="with an empty identifier"),
    ],
)
def test_an_invitation_that_cannot_be_is_refused(db: Db, organization_id: UUID, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        made(db, organization_id, **wrong)


def test_an_invitation_is_only_for_an_organizations_own_connection(db: Db, organization_id: UUID) -> None:
    other = connections.create_organization(db, "Other").organization_id
    connection_id = connections.create_connection(
        db, KEYRING, organization_id=other, vendor="acme_idp", credentials={}
    ).connection_id

    for of, connection in ((organization_id, connection_id), (other, uuid4())):
        with pytest.raises(NotFoundError):
            made(db, of, connection_id=connection)
    with pytest.raises(NotFoundError):
        made(db, uuid4())
    assert made(db, other, connection_id=connection_id).connection_id == connection_id
    assert [each.connection_id for each in invites.list_invites(db, other)] == [connection_id]


@pytest.fixture
def database(fresh_database_url: str) -> Iterator[Database]:
    opened = Database(fresh_database_url)
    yield opened
    opened.close()


def test_of_many_who_use_it_at_the_same_time_one_does(database: Database) -> None:
    with database.transaction() as db:
        invite = made(db, connections.create_organization(db, "Umbra").organization_id)
    ready = Barrier(6)

    def use(_number: int) -> bool:
        ready.wait()
        try:
            with database.transaction() as db:
                invites.use_invite(db, invite.invite_id, uuid4())
        except InviteRefusedError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(use, range(6))) == 1
