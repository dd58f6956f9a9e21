"""Whoever reads a list page by page while rows come, go and change misses nothing that stayed, sees nothing twice."""

from contextlib import suppress
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import connections
from models.errors import NotFoundError
from tests.web.conftest import Door, House

CHANGES = st.lists(st.tuples(st.sampled_from(["create", "delete", "rename", "pause"]), st.integers(0, 30)), max_size=4)


def made(door: Door, organization_id: str) -> str:
    with door.database.transaction() as db:
        return str(
            connections.create_connection(
                db,
                door.desk.keyring,
                organization_id=UUID(organization_id),
                vendor="acme_idp",
                credentials={},
                identifier="one",
            ).connection_id
        )


def carry_out(door: Door, organization_id: str, change: str, connection_id: str) -> None:
    if change == "create":
        made(door, organization_id)
        return
    with suppress(NotFoundError), door.database.transaction() as db:  # it may be deleted by now
        if change == "delete":
            connections.delete_connection(db, UUID(connection_id))
        elif change == "pause":
            connections.pause_connection(db, UUID(connection_id))
        else:
            connections.update_connection(db, UUID(connection_id), identifier="another")


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    count=st.integers(1, 9),
    limit=st.integers(1, 4),
    rounds=st.lists(CHANGES, max_size=6),
    params=st.sampled_from(
        [{}, {"sort": "-created_at"}, {"never_run": "true"}, {"state": "ACTIVE"}, {"identifier": "one"}]
    ),
)
def test_pages_neither_skip_nor_double(
    door: Door, count: int, limit: int, rounds: list[list[tuple[str, int]]], params: dict[str, str]
) -> None:
    house = House(door)
    there = [made(door, house.organization_id) for _ in range(count)]
    touched: set[str] = set()
    seen: list[str] = []
    cursor: str | None = None
    for number in range(100):
        asked: dict[str, Any] = {**params, "limit": limit, **({} if cursor is None else {"cursor": cursor})}
        page = house.client.get(f"{house.path}/connections", params=asked)
        assert page.status_code == 200, page.text
        seen += [each["id"] for each in page.json()["items"]]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break
        for change, which in rounds[number] if number < len(rounds) else ():
            of = there[which % count]
            if change != "create":
                touched.add(of)
            if change == "create" or of not in seen or change != "delete":
                carry_out(door, house.organization_id, change, of)
    assert cursor is None
    assert len(seen) == len(set(seen)), "something was seen twice"
    assert set(there) - touched <= set(seen), "something that stayed was not seen"
