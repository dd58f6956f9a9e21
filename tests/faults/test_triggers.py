"""People who click, change and delete while a connection runs, many at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from uuid import UUID

import psycopg
import pytest

from classifier.vocabulary import HealthName
from models import connections, runs
from models.vocabulary import ConnectionState, RunState, Trigger
from tests.faults.conftest import LEASE_S, Drill, tell
from tests.faults.turnstile import Call, Reply
from tests.system.stack import until

CLIENTS: Final = 20
CLICKS: Final = 1000
REFUSED: Final = Reply(401, b'{"error": "invalid_token"}', {"content-type": "application/json"})


def test_a_thousand_clicks_by_twenty_clients_make_two_runs(drill: Drill) -> None:
    """Those before a run begins are served by it, though they held its row; those while it is on ask for one more."""
    drill.worker()
    connection_id = drill.connect_and_run("north")
    drill.turnstile.hold("north")
    together = threading.Barrier(CLIENTS)

    def click(_client: int) -> None:
        with psycopg.connect(drill.installation.database_url, autocommit=True) as db:
            together.wait(30)
            for _ in range(CLICKS // CLIENTS // 2):
                assert runs.trigger(db, connection_id, Trigger.MANUAL)

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(click, range(CLIENTS)))
        drill.turnstile.wait_for("north", calls=3)
        list(clients.map(click, range(CLIENTS)))
    drill.turnstile.let_through("north")
    drill.wait_for_runs(connection_id, 3)
    witness = drill.connect_and_run("witness")

    made = len(drill.states(connection_id)) - 1
    tell(f"{CLICKS} clicks by {CLIENTS} clients at once: {made} runs")
    assert made == 2
    assert drill.turnstile.executions("north") == 3
    assert drill.installation.view(connection_id).requested_trigger is None
    assert drill.states(witness) == [RunState.SUCCEEDED]


def test_credentials_that_change_twice_during_a_run_make_one_run_with_the_last(drill: Drill) -> None:
    drill.worker()
    drill.turnstile.answer = _refused_unless("third")
    drill.turnstile.hold("first")
    connection_id = drill.connect("first")
    drill.turnstile.wait_for("first")
    _replace(drill, connection_id, "second")
    _replace(drill, connection_id, "third")
    drill.turnstile.let_through("first")

    after = drill.installation.run_after(connection_id, 1)
    before = drill.installation.run_after(connection_id, 0)
    drill.connect_and_run("third")  # time for a run too many to begin

    assert (before.name, before.cred_version) == (HealthName.UNAUTHORIZED, 1)
    assert (after.trigger, after.name, after.cred_version) == (Trigger.CREDENTIALS, HealthName.HEALTHY, 3)
    assert len(drill.states(connection_id)) == 2
    assert drill.turnstile.calls("second") == []
    health = drill.installation.health(connection_id)
    assert (health.name, health.superseded) == (HealthName.HEALTHY, False)


def test_credentials_that_change_while_the_run_of_the_former_change_is_on(drill: Drill) -> None:
    """Each change is followed by a run that begins after it, and the last one's verdict stands."""
    drill.worker()
    drill.turnstile.answer = _refused_unless("third")
    connection_id = drill.connect("first")
    assert drill.installation.run_after(connection_id, 0).name is HealthName.UNAUTHORIZED
    drill.turnstile.hold("second")
    _replace(drill, connection_id, "second")
    drill.turnstile.wait_for("second")
    _replace(drill, connection_id, "third")
    drill.turnstile.let_through("second")

    last = drill.installation.run_after(connection_id, 2)

    assert [drill.installation.run_after(connection_id, n).cred_version for n in range(3)] == [1, 2, 3]
    assert (last.trigger, last.name) == (Trigger.CREDENTIALS, HealthName.HEALTHY)
    assert drill.installation.health(connection_id).name is HealthName.HEALTHY


def test_a_connection_that_is_paused_during_a_run_keeps_its_verdict_and_runs_no_more(drill: Drill) -> None:
    drill.worker()
    connection_id = drill.connect_and_run("north")
    drill.run_in_its_middle("north", connection_id)
    with drill.installation.database.transaction() as db:
        connections.pause_connection(db, connection_id)
        assert not runs.trigger(db, connection_id, Trigger.MANUAL)
        db.execute(b"UPDATE connection_sched SET next_due_at = now() WHERE connection_id = %s", (connection_id,))
    drill.turnstile.let_through("north")
    drill.wait_for_runs(connection_id, 2)
    drill.connect_and_run("witness")

    assert drill.states(connection_id) == [RunState.SUCCEEDED] * 2
    assert drill.installation.health(connection_id).run_seq == 2
    with drill.installation.database.transaction() as db:
        connections.resume_connection(db, connection_id)
    assert drill.installation.run_after(connection_id, 2).state is RunState.SUCCEEDED


def test_a_connection_that_is_paused_and_resumed_during_a_run_goes_on_as_it_was(drill: Drill) -> None:
    """The run that is on answers for it: its verdict is of after the pause. Who wants another one asks for it."""
    drill.worker()
    connection_id = drill.connect_and_run("north")
    drill.run_in_its_middle("north", connection_id)
    for _ in range(5):
        with drill.installation.database.transaction() as db:
            connections.pause_connection(db, connection_id)
        with drill.installation.database.transaction() as db:
            connections.resume_connection(db, connection_id)
    drill.turnstile.let_through("north")
    drill.wait_for_runs(connection_id, 2)
    drill.connect_and_run("witness")

    assert drill.states(connection_id) == [RunState.SUCCEEDED] * 2
    assert drill.turnstile.executions("north") == 2
    assert drill.installation.run_now(connection_id).state is RunState.SUCCEEDED


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(None, id="that would have found it well", marks=pytest.mark.soak),
        pytest.param(REFUSED, id="that would have found it refused"),
        pytest.param(Reply(0), id="that would have found the vendor away", marks=pytest.mark.soak),
    ],
)
def test_no_health_comes_from_a_run_after_its_connection_was_deleted(drill: Drill, reply: Reply | None) -> None:
    worker = drill.worker()
    connection_id = drill.connect_and_run("north")
    drill.run_in_its_middle("north", connection_id)
    drill.turnstile.answer = lambda call: reply if call.account == "north" else None
    with drill.installation.database.transaction() as db:
        runs.trigger(db, connection_id, Trigger.MANUAL)
        assert connections.delete_connection(db, connection_id)
        assert not runs.trigger(db, connection_id, Trigger.MANUAL)
    drill.turnstile.let_through("north")
    until(lambda: "run.stopped" in worker.log or "run.fenced" in worker.log, "the worker learns of it")
    drill.connect_and_run("witness")

    view = drill.installation.view(connection_id)
    assert (view.state, view.active_run) == (ConnectionState.DELETED, None)
    assert drill.states(connection_id) == [RunState.SUCCEEDED, RunState.CANCELLED]
    assert (drill.installation.health(connection_id).run_seq, _events_after(drill, connection_id)) == (1, 0)
    late = [call.at - _deleted_at(drill, connection_id) for call in drill.turnstile.calls("north")][3:]
    assert max(late, default=0.0) < LEASE_S  # what is repeated before the worker hears of it, with its next renewal
    assert drill.installation.stored(connection_id, "credentials") == {}


def test_deletes_and_clicks_at_once_leave_no_run_behind(drill: Drill) -> None:
    """Twenty connections, each clicked, changed and deleted at the same moment: what is gone stays gone."""
    worker = drill.worker()
    accounts = {f"account-{n}": drill.connect(f"account-{n}") for n in range(20)}
    drill.turnstile.wait_for("account-0")

    def act(number: int) -> None:
        connection_id = accounts[f"account-{number // 2}"]
        with psycopg.connect(drill.installation.database_url) as db:
            if number % 2:
                for _ in range(20):
                    runs.trigger(db, connection_id, Trigger.MANUAL)
                    db.commit()
            else:
                assert connections.delete_connection(db, connection_id)

    with ThreadPoolExecutor(10) as clients:
        list(clients.map(act, range(40)))
    drill.connect_and_run("witness")

    with drill.installation.database.transaction() as db:
        left = db.execute(
            b"SELECT count(*) FROM run r JOIN connection c USING (connection_id) WHERE c.state = 'DELETED'"
        ).fetchone()
        due = db.execute(
            b"SELECT count(*) FROM connection_sched s JOIN connection c USING (connection_id)"
            b" WHERE c.state = 'DELETED' AND (s.enabled OR s.active_seq IS NOT NULL)"
        ).fetchone()
    assert (left, due) == ((0,), (0,))
    assert "Traceback" not in worker.log


def _refused_unless(good: str) -> Callable[[Call], Reply | None]:
    return lambda call: None if call.account == good else REFUSED


def _replace(drill: Drill, connection_id: UUID, token: str) -> None:
    with drill.installation.database.transaction() as db:
        connections.replace_credentials(db, drill.installation.station.keyring, connection_id, {"token": token})


def _deleted_at(drill: Drill, connection_id: UUID) -> float:
    with drill.installation.database.transaction() as db:
        found = db.execute(
            b"SELECT extract(epoch FROM deleted_at)::float8 FROM connection WHERE connection_id = %s", (connection_id,)
        ).fetchone()
    assert found is not None
    return float(found[0])


def _events_after(drill: Drill, connection_id: UUID) -> int:
    """Count the changes of health that came after the deletion."""
    with drill.installation.database.transaction() as db:
        found = db.execute(
            b"SELECT count(*) FROM health_history h JOIN connection c USING (connection_id)"
            b" WHERE c.connection_id = %s AND h.changed_at > c.deleted_at",
            (connection_id,),
        ).fetchone()
    assert found is not None
    return int(found[0])
