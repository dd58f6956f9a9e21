"""The audit: who changed what, newest first, and only what one may see."""

from typing import Any
from uuid import uuid4

import psycopg

from models import audit
from models.audit import Actor

Db = psycopg.Connection[Any]


def test_changes_are_listed_newest_first_by_connection_organization_and_all(db: Db) -> None:
    organizations, connection_id = [uuid4(), uuid4()], uuid4()
    actor = Actor(name="key:1", request_id="r", remote_address="127.0.0.1")
    for number, of in enumerate((organizations[0], organizations[1], organizations[0])):
        audit.write_entry(
            db,
            actor,
            f"act.{number}",
            organization_id=of,
            connection_id=connection_id if number == 2 else None,
            changes={"name": "a\0b"},
        )

    everything = audit.list_entries(db)
    assert [entry.action for entry in everything] == ["act.2", "act.1", "act.0"]
    assert everything[0].changes == {"name": "a\ufffdb"}
    assert (everything[0].actor, everything[0].request_id) == ("key:1", "r")
    assert [e.action for e in audit.list_entries(db, organization_id=organizations[0])] == ["act.2", "act.0"]
    assert [e.action for e in audit.list_entries(db, connection_id=connection_id)] == ["act.2"]
    assert [e.action for e in audit.list_entries(db, before=everything[0].entry_id, limit=1)] == ["act.1"]


def test_an_entry_goes_with_the_transaction_of_its_change(fresh_database_url: str) -> None:
    with psycopg.connect(fresh_database_url) as db:
        audit.write_entry(db, Actor(name="command"), "act")
        db.rollback()
        assert audit.list_entries(db) == []
