"""Workers that die or freeze in the middle of a run."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from classifier.vocabulary import HealthName
from models import runs
from models.vocabulary import RunState, Trigger
from tests.faults.conftest import LEASE_S, SWEEP_S, Drill, children_of, signal_group, tell
from tests.system.stack import until


def test_a_run_whose_worker_is_killed_is_lost_told_and_made_again_at_once(
    drill: Drill, record_property: Callable[[str, object], None]
) -> None:
    survivor_free, victim = drill.worker("-c", "1"), drill.worker("-c", "1")
    connection_id = drill.connect_and_run("north")
    drill.run_in_its_middle("north", connection_id)
    running = drill.running(connection_id)
    assert running is not None
    with drill.installation.database.transaction() as db:
        row = db.execute(b"SELECT pid FROM worker WHERE worker_id = %s", (running.worker_id,)).fetchone()
    assert row is not None
    victim, survivor = (victim, survivor_free) if victim.pid == row[0] else (survivor_free, victim)

    victim.kill()
    killed_at = time.time()
    drill.turnstile.let_through("north")
    lost = drill.ended(connection_id, RunState.LOST)
    again = drill.installation.run_after(connection_id, lost.run_seq)

    assert (lost.name, lost.reason) == (HealthName.INTERNAL_ERROR, "worker_lost")
    assert (again.trigger, again.state) == (Trigger.RECOVERY, RunState.SUCCEEDED)
    assert drill.installation.health(connection_id).name is HealthName.HEALTHY
    assert survivor.is_alive
    noticed_s = lost.finished_at.timestamp() - killed_at if lost.finished_at else 0.0
    again_s = again.started_at.timestamp() - killed_at
    record_property("noticed_s", round(noticed_s, 1))
    record_property("again_s", round(again_s, 1))
    tell(f"killed: noticed after {noticed_s:.1f} s of at most {LEASE_S + SWEEP_S:g}, run again after {again_s:.1f} s")
    # By the database's clock: a lease, a sweep, and what a loaded machine takes on top.
    assert noticed_s < 2 * (LEASE_S + SWEEP_S)


def test_a_connection_that_kills_every_worker_waits_for_its_regular_slot(drill: Drill) -> None:
    drill.worker()
    neighbour = drill.connect_and_run("neighbour")
    poison = drill.connect_and_run("poison")
    drill.turnstile.hold("poison")
    drill.installation.request_run(poison)
    for deaths in range(1, 5):
        drill.turnstile.wait_for("poison", calls=2 + deaths)
        running = [program for program in drill.installation.programs if program.is_alive]
        drill.worker()
        running[0].kill()
        drill.wait_for_runs(poison, deaths, RunState.LOST)

    view = drill.installation.view(poison)
    health = drill.installation.health(poison)
    assert (health.name, health.reason) == (HealthName.INTERNAL_ERROR, "worker_lost")
    assert health.sentence is not None
    assert "not tried again before its regular time" in health.sentence
    assert (view.next_due_at - health.classified_at).total_seconds() > 60
    assert drill.installation.run_now(neighbour).state is RunState.SUCCEEDED
    assert drill.states(poison).count(RunState.LOST) == 4


def test_a_worker_that_was_frozen_for_longer_than_its_lease_stops_its_runs(drill: Drill) -> None:
    frozen = drill.worker()
    connection_id = drill.connect_and_run("north")
    drill.run_in_its_middle("north", connection_id)
    asked = drill.turnstile.calls("north")[-1].execution
    first = drill.running(connection_id)

    frozen.signal(signal.SIGSTOP)
    other = drill.worker()
    drill.turnstile.let_through("north")
    lost = drill.ended(connection_id, RunState.LOST)
    again = drill.installation.run_after(connection_id, lost.run_seq)
    frozen.signal(signal.SIGCONT)
    frozen.wait_for_log("worker.lease_lost")
    frozen.wait_for_log("run.stopped")
    drill.turnstile.hold("north")  # whoever still asks is caught here
    after = drill.installation.view(connection_id)

    assert first is not None
    assert lost.run_seq == first.run_seq
    assert [call.page for call in drill.turnstile.calls("north") if call.execution == asked] == [1]
    assert after.run_seq == again.run_seq
    assert drill.installation.health(connection_id).run_seq == again.run_seq
    assert drill.installation.health(connection_id).name is HealthName.HEALTHY
    other.stop()
    drill.turnstile.let_through("north")
    assert drill.installation.run_now(connection_id).state is RunState.SUCCEEDED  # by the one that was frozen


@pytest.mark.usefixtures("_plugin")
def test_a_frozen_worker_makes_not_one_more_call_after_its_lease(drill: Drill) -> None:
    """Code that calls and calls, and stores nothing in between that would tell it of its fence."""
    frozen = drill.worker()
    drill.turnstile.hold("keep_calling")
    connection_id = drill.connect("any", vendor="gripped", options={"how": "keep_calling"}, timeout_secs=600)
    (first,) = drill.turnstile.wait_for("keep_calling")

    frozen.signal(signal.SIGSTOP)
    other = drill.worker()
    drill.ended(connection_id, RunState.LOST)
    other.kill()
    drill.turnstile.let_through("keep_calling")
    drill.turnstile.hold("keep_calling")  # whoever still calls is seen, and goes no further
    frozen.signal(signal.SIGCONT)
    frozen.wait_for_log("run.stopped")

    assert [call.page for call in drill.turnstile.calls("keep_calling") if call.execution == first.execution] == [1]


@pytest.mark.usefixtures("_plugin")
def test_an_end_that_comes_too_late_changes_nothing(drill: Drill) -> None:
    """Everything is read and stored; before the worker tells so, its run is taken from it and the next one is on."""
    worker = drill.worker(lease_s=120)  # so that its next renewal, which would tell it, is half a minute away
    connection_id = drill.connect("any", vendor="gripped", options={"how": "dawdle"}, timeout_secs=60)
    worker.wait_for_log("all is read and nothing told")
    with drill.installation.database.transaction() as db:
        assert runs.cancel(db, connection_id, 1)
    drill.installation.request_run(connection_id)

    worker.wait_for_log("run.fenced")
    running, before = drill.running(connection_id), drill.states(connection_id)
    second = drill.installation.run_after(connection_id, 1)

    assert running is not None
    assert (running.run_seq, before) == (2, [RunState.CANCELLED])
    assert (second.run_seq, second.state) == (2, RunState.SUCCEEDED)
    assert worker.log.count("run.fenced") == 1
    assert drill.installation.health(connection_id).run_seq == 2


def test_a_prefork_pool_runs_connections_and_the_death_of_a_child_is_noticed(drill: Drill) -> None:
    worker = drill.worker("--pool", "prefork", "-c", "2")
    connection_id = drill.connect_and_run("north")
    neighbour = drill.connect_and_run("south")
    drill.run_in_its_middle("north", connection_id)
    running = drill.running(connection_id)
    assert running is not None
    with drill.installation.database.transaction() as db:
        row = db.execute(b"SELECT pid FROM worker WHERE worker_id = %s", (running.worker_id,)).fetchone()
    assert row is not None
    assert row[0] in children_of(worker.pid)

    os.kill(row[0], signal.SIGKILL)
    drill.turnstile.let_through("north")
    lost = drill.ended(connection_id, RunState.LOST)

    assert (lost.run_seq, lost.reason) == (running.run_seq, "worker_lost")
    assert drill.installation.run_after(connection_id, lost.run_seq).state is RunState.SUCCEEDED
    assert drill.installation.run_now(neighbour).state is RunState.SUCCEEDED
    assert worker.is_alive


def test_a_prefork_pool_reaps_on_beats_tick_and_gives_runs_back_when_its_group_is_signalled(drill: Drill) -> None:
    worker = drill.worker("--pool", "prefork", "-c", "2")
    connection_id = drill.connect_and_run("north")
    drill.installation.celery("call", "worker.reap")
    drill.installation.celery("call", "worker.dispatch_due")
    drill.run_in_its_middle("north", connection_id)

    signal_group(worker, signal.SIGTERM)
    interrupted = drill.ended(connection_id, RunState.INTERRUPTED)
    until(lambda: not worker.is_alive, "the worker ends", more=lambda: worker.log[-4000:])
    drill.turnstile.let_through("north")
    drill.worker()

    assert interrupted.reason == "draining"
    assert drill.installation.run_after(connection_id, interrupted.run_seq).state is RunState.SUCCEEDED
    assert "closed" not in worker.log  # what a child closes of what it inherited, its parent would have lost
