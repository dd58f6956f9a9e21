"""Runs that a person stops."""

from uuid import UUID

import pytest

from models import runs
from models.vocabulary import RunState, Scope
from tests.web.conftest import Door, House


@pytest.fixture
def on(house: House) -> tuple[str, runs.RunKey]:
    """A connection that was healthy, and its second run, which is on."""
    made = house.connect()
    house.door.work(made["id"])
    station = house.door.station
    with station.database.transaction() as db:
        run = runs.claim(db, UUID(made["id"]), worker_id=station.lease.worker_id, due_only=False)
    assert run is not None
    return made["id"], run.key


def test_a_run_that_is_on_is_stopped_and_says_nothing_of_health(house: House, on: tuple[str, runs.RunKey]) -> None:
    connection_id, key = on
    before = house.client.get(house.of(connection_id, "/health")).json()
    assert before["running_run_seq"] == 2

    answered = house.client.post(house.of(connection_id, "/jobs/2/cancel"))

    assert answered.status_code == 200
    assert (answered.json()["state"], answered.json()["name"]) == (RunState.CANCELLED, None)
    after = house.client.get(house.of(connection_id, "/health")).json()
    assert after["running_run_seq"] is None
    assert after["health"] == before["health"]
    with house.door.database.connection() as db:
        assert not runs.is_current(db, key)  # so its worker lets go of it
    listed = house.client.get(house.of(connection_id, "/jobs")).json()["items"]
    assert [(each["run_seq"], each["state"]) for each in listed] == [(2, "CANCELLED"), (1, "SUCCEEDED")]
    entry = house.client.get("/v1/audit", params={"organization_id": house.organization_id}).json()["items"][0]
    assert (entry["action"], entry["changes"]) == ("run.cancelled", {"run_seq": 2})
    house.door.work(connection_id)
    assert house.client.get(house.of(connection_id, "/health")).json()["health"]["run_seq"] == 3


def test_what_is_not_on_is_not_stopped(house: House, on: tuple[str, runs.RunKey]) -> None:
    connection_id, _ = on
    assert house.client.post(house.of(connection_id, "/jobs/2/cancel")).status_code == 200
    for run_seq, state in ((1, "SUCCEEDED"), (2, "CANCELLED")):
        again = house.client.post(house.of(connection_id, f"/jobs/{run_seq}/cancel"))
        assert again.status_code == 409
        assert state in again.json()["detail"]
    assert house.client.post(house.of(connection_id, "/jobs/3/cancel")).status_code == 404
    assert house.client.post(house.of(connection_id, "/jobs/0/cancel")).status_code == 422


def test_who_may_only_read_stops_nothing(door: Door, house: House, on: tuple[str, runs.RunKey]) -> None:
    connection_id, _ = on
    with door.client(door.key(Scope.READ)) as reader:
        assert reader.post(house.of(connection_id, "/jobs/2/cancel")).status_code == 403
    assert house.client.get(house.of(connection_id, "/health")).json()["running_run_seq"] == 2


def test_a_stop_that_is_sent_again_is_answered_as_before(house: House, on: tuple[str, runs.RunKey]) -> None:
    connection_id, _ = on
    path, once = house.of(connection_id, "/jobs/2/cancel"), {"idempotency-key": f"stop-{connection_id}"}
    first, again = house.client.post(path, headers=once), house.client.post(path, headers=once)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
