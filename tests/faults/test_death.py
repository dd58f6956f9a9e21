"""Workers that die or freeze in the middle of a run."""

import json
import os
import resource
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from classifier.vocabulary import HealthName
from models import runs
from models.vocabulary import RunState, Trigger
from tests.faults import audit
from tests.faults.between import CLAIM, FINISH, LAND, BetweenPostgres, Strike, Then
from tests.faults.conftest import LEASE_S, SWEEP_S, Drill, children_of, signal_group, tell
from tests.faults.turnstile import Call, Reply
from tests.system.stack import Program, until


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


@pytest.mark.soak
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


PAGE: Final = "COMMIT"
# At which statement of a run its worker dies, and whether that leaves a run without an end.
MOMENTS: Final = {
    "before the claim": (CLAIM, Then.CUT, False),
    "after the claim": (CLAIM, Then.CUT_AFTER, True),
    "before a page is stored": (PAGE, Then.CUT, True),
    "after a page is stored": (PAGE, Then.CUT_AFTER, True),
    "before its end is stored": (FINISH, Then.CUT, True),
    "after its end is stored": (FINISH, Then.CUT_AFTER, False),
}


@pytest.mark.parametrize(
    "pool",
    [
        pytest.param("threads", id="a worker", marks=pytest.mark.soak),
        pytest.param("prefork", id="a child of a prefork pool", marks=pytest.mark.soak),
    ],
)
def test_a_death_at_any_statement_of_a_run_loses_and_doubles_nothing(
    new_wire: Callable[[], BetweenPostgres], drill: Drill, repetitions: int, pool: str
) -> None:
    """Each worker has its own way to the database, which kills it at one statement of its first run."""
    accounts: dict[str, UUID] = {}
    noticed: list[float] = []
    for turn in range(repetitions):
        doomed = [_doomed(drill, new_wire(), pool, words, then) for words, then, _ in MOMENTS.values()]
        for number in range(len(MOMENTS)):
            account = f"account-{turn}-{number}"
            accounts[account] = drill.connect(account)
        for strike in doomed:
            strike.wait()
        if pool == "threads":
            drill.worker("-c", "2", rehint_after_s=5)
        for connection_id in accounts.values():
            drill.wait_for_runs(connection_id, 1, RunState.SUCCEEDED)
        for program in drill.installation.programs:
            program.kill()

    states = [state for connection_id in accounts.values() for state in drill.states(connection_id)]
    with drill.installation.database.transaction() as db:
        stories, found = audit.read(db, sweep_s=LEASE_S + 2 * SWEEP_S)
        noticed += [
            row[0]
            for row in db.execute(
                b"SELECT extract(epoch FROM h.finished_at - w.lease_until)::float8 + %s"
                b"  FROM run_history h JOIN worker w USING (worker_id) WHERE h.state = 'LOST'",
                (LEASE_S,),
            )
        ]
    audit.compare_with_vendor(drill.turnstile.log, stories, accounts, found)
    lost = sum(is_lost for *_, is_lost in MOMENTS.values()) * repetitions
    tell(
        f"{len(MOMENTS) * repetitions} deaths of {pool} at {len(MOMENTS)} statements: {len(states)} runs, "
        f"{states.count(RunState.LOST)} LOST, put back at most {max(noticed):.1f} s after the last renewal "
        f"({LEASE_S + SWEEP_S:g} s are allowed), calls by zombies {found.zombie_calls}"
    )
    assert states.count(RunState.LOST) == lost
    assert states.count(RunState.SUCCEEDED) == len(accounts)
    assert found.wrong == []


def _doomed(drill: Drill, wire: BetweenPostgres, pool: str, words: str, then: Then) -> Strike:
    arguments = ("--pool", "prefork", "-c", "1") if pool == "prefork" else ("-c", "1")
    worker = drill.worker(*arguments, database_url=wire.url(drill.installation), rehint_after_s=5)
    victim = _child_of(worker) if pool == "prefork" else worker.pid
    kill = partial(os.kill, victim, signal.SIGKILL)
    return wire.strike(Strike(words=words, of=LAND if words == PAGE else "", then=then, call=kill))


def _child_of(worker: Program) -> int:
    """Return the only child, once it takes runs."""
    worker.wait_for_log("ready.")
    return until(lambda: children_of(worker.pid), "there is a child")[0]


FREEZES: Final[dict[str, Callable[[Program, int], list[int]]]] = {
    "the main process": lambda worker, _child: [worker.pid],
    "the child": lambda _worker, child: [child],
    "the whole group": lambda worker, child: [worker.pid, child],
}


@pytest.mark.soak
@pytest.mark.parametrize("who", list(FREEZES))
def test_whoever_of_a_prefork_pool_is_frozen_only_its_own_runs_are_lost(drill: Drill, who: str) -> None:
    worker = drill.worker("--pool", "prefork", "-c", "1", rehint_after_s=5)
    connection_id = drill.connect_and_run("north")
    drill.run_in_its_middle("north", connection_id)
    first = drill.running(connection_id)
    assert first is not None
    child = _child_of(worker)
    asked = drill.turnstile.calls("north")[-1].execution

    frozen = FREEZES[who](worker, child)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    other = drill.worker()
    if child in frozen:
        drill.turnstile.let_through("north")
        lost = drill.ended(connection_id, RunState.LOST)
        ended_at = lost.finished_at
        again = drill.installation.run_after(connection_id, lost.run_seq)
    else:
        time.sleep(LEASE_S + SWEEP_S)  # the fault itself: whoever could take the run away has had the time to
        assert drill.running(connection_id) == first
        drill.turnstile.let_through("north")
        again, ended_at = drill.installation.run_after(connection_id, first.run_seq - 1), None
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    other.stop()
    drill.turnstile.let_through("north")
    last = drill.installation.run_now(connection_id)

    late = [
        call
        for call in drill.turnstile.calls("north")
        if call.execution == asked and ended_at is not None and call.at > ended_at.timestamp()
    ]
    tell(f"frozen for longer than the lease, {who}: calls after the lease ended {len(late)}")
    assert (again.state, last.state) == (RunState.SUCCEEDED, RunState.SUCCEEDED)
    assert len(late) == 0
    assert drill.installation.health(connection_id).run_seq == last.run_seq


@pytest.mark.soak
def test_a_worker_without_memory_ends_its_runs_or_itself_and_the_next_goes_on(drill: Drill) -> None:
    """As a container's limit does it, only that the kernel says no instead of killing."""
    rows = [{"id": str(n), "filler": "x" * 1000} for n in range(20_000)]
    big = json.dumps({"items": rows, "next": None}).encode()

    def answer(call: Call) -> Reply | None:
        return Reply(200, big, {"content-type": "application/json"}) if call.account == "big" else None

    worker = drill.worker("-c", "4")
    neighbour = drill.connect_and_run("neighbour")
    drill.turnstile.answer = answer
    _limit_memory(worker, more_bytes=24 << 20)
    big_id = drill.connect("big")
    until(
        lambda: drill.states(big_id) or not worker.is_alive, "the run or its worker ends", more=drill.installation.logs
    )
    died = not worker.is_alive
    if not died:
        worker.kill()
    drill.worker()
    drill.wait_for_runs(big_id, 1, RunState.SUCCEEDED) if died else drill.installation.run_now(big_id)

    tell(f"no memory in mid-run: the worker {'died' if died else 'lived'}, runs {drill.states(big_id)}")
    assert drill.states(big_id)[-1] is RunState.SUCCEEDED
    assert drill.installation.run_now(neighbour).state is RunState.SUCCEEDED


def _limit_memory(program: Program, *, more_bytes: int) -> None:
    """Let a program have only so much more address space than it has now (Linux)."""
    pages = int(Path(f"/proc/{program.pid}/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + more_bytes
    resource.prlimit(program.pid, resource.RLIMIT_AS, (limit, limit))
