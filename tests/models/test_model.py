"""The small model, walked through to its last state, and the real statements driven beside it, step by step."""

import re
from typing import Any, ClassVar
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from classifier.vocabulary import HealthName
from models import connections, runs, vault
from models.database import Statement
from models.runs import FinishedRun, RunKey
from models.vocabulary import RunState, Trigger
from tests.models.small_model import NOBODY, End, Model, State, Step, Worker, explore


def instance(*, workers: int = 2, faults: int = 1, people: int = 1, slots: int = 1) -> State:
    """Return a beginning. people: how often somebody triggers, cancels, pauses, resumes or deletes."""
    return State(workers=(Worker(),) * workers, faults=faults, triggers=people, left=slots)


@pytest.mark.parametrize(
    ("start", "most_runs"),
    [
        pytest.param(instance(faults=2, people=1), 2, id="two workers, two faults, one person's act"),
        pytest.param(instance(faults=1, people=2), 3, id="two workers, three runs, two people's acts"),
        pytest.param(instance(workers=3, faults=1, people=1), 2, id="three workers"),
        pytest.param(instance(faults=1, people=0, slots=3), 2, id="many slots"),
    ],
)
def test_nothing_is_wrong_in_any_state_that_can_be_reached(start: State, most_runs: int) -> None:
    found = explore(Model(), start, runs=most_runs)
    assert found.trace == ()
    assert found.states > 1_000


@pytest.mark.parametrize(
    ("guard", "wrong"),
    [
        pytest.param("fence", "ended twice", id="a finish that asks for no row"),
        pytest.param("self-stop", "two workers call", id="a worker that goes on without a lease"),
        pytest.param("a lost lease costs the identity", "two workers call", id="a lease that comes back to life"),
        pytest.param("who lives is not reaped", "two workers call", id="a reaper that spares nobody"),
        pytest.param("reaper", "for ever", id="no reaper"),
        pytest.param("one run at a time", "two runs are on", id="a claim that does not look whether one is on"),
        pytest.param("a trigger is served at claim", "never comes to rest", id="a trigger that is served never"),
        pytest.param("a finish leaves triggers alone", "never came", id="a trigger served at the end"),
        pytest.param("a pending trigger beats a wait", "never came", id="a wait that passes over a trigger"),
        pytest.param("what was interrupted is due", "nothing says so any more", id="an interrupted run that waits"),
        pytest.param("a hint grows old", "due for ever", id="a hint that is given once"),
        pytest.param("paused is not run", "not active was run", id="a claim of what is paused"),
        pytest.param("deleting ends the run", "a deleted connection is run", id="a delete that leaves the run on"),
        pytest.param("skipped slots are counted", "slots were run or counted", id="slots that are passed over"),
    ],
)
def test_the_walk_sees_each_guard_that_is_taken_out(guard: str, wrong: str) -> None:
    found = explore(Model(guard), instance(faults=2, people=2, slots=2), runs=2)
    assert found.trace, f"without {guard!r} nothing is wrong in {found.states} states"
    assert wrong in found.trace[-1], found.trace


class House:
    """The real thing: a connection and workers of its own in a real database. Time is moved by moving what is stored.

    Leases, intervals and deadlines are an hour long, so that nothing moves by itself while the test runs.
    """

    def __init__(self, db: psycopg.Connection[Any], workers: int) -> None:
        self.db = db
        self.keyring = vault.Keyring.parse(vault.generate_key())
        organization = connections.create_organization(db, "An organization")
        self.connection_id = connections.create_connection(
            db,
            self.keyring,
            organization_id=organization.organization_id,
            vendor=f"vendor-{uuid4().hex[:8]}",
            credentials=None,
            refresh_interval_secs=3600,
            timeout_secs=3600,
        ).connection_id
        self._set("requested_trigger = NULL, slot_at = now() + interval '30 min'")
        self._set("slot_origin = slot_at")
        self.identities = [self._registered() for _ in range(workers)]
        self.hands: list[RunKey | None] = [None] * workers
        self.verdicts = 0

    def _registered(self) -> UUID:
        worker_id = uuid4()
        runs.register_worker(self.db, worker_id, host="test", pid=1, lease_s=3600)
        return worker_id

    def _set(self, change: str) -> None:
        statement = f"UPDATE connection_sched SET {change} WHERE connection_id = %s"  # noqa: S608 - the test's own words
        self.db.execute(statement.encode(), (self.connection_id,))

    def _forget(self) -> None:
        """Leave nothing for the next example's reaper and dispatcher."""
        self.db.execute("DELETE FROM run WHERE connection_id = %s", (self.connection_id,))
        self._set("enabled = FALSE")

    # Steps, by the names that the model gives them.

    def apply(self, step: Step) -> None:
        name, number = step
        act = getattr(self, "do_" + name.replace(" ", "_").replace("-", "_"))
        act() if number == NOBODY else act(number)

    def do_slot_comes(self) -> None:
        """Move the schedule to where its next slot has just come; what waits for something else waits on."""
        by = "(SELECT s.slot_at - now() + interval '1 s' + interval '1 h' * {} FROM connection_sched s WHERE {})"
        which = f"s.connection_id = '{self.connection_id}'"
        # How many slots have come and wait is what the distance of slot_at to the past says.
        waiting = "greatest(0, ceil(extract(epoch FROM now() - s.slot_at) / 3600))"
        shift = by.format(waiting, which)
        self._set(
            f"slot_origin = slot_origin - {shift}, next_due_at = CASE WHEN next_due_at = slot_at "
            f"THEN next_due_at - {shift} ELSE next_due_at END, slot_at = slot_at - {shift}"
        )

    def do_wait_ends(self) -> None:
        self._set("next_due_at = now()")

    def do_hint_grows_old(self) -> None:
        self._set("hinted_at = now() - interval '61 s'")

    def do_hint(self) -> None:
        taken = runs.take_due(self.db, limit=10)
        assert self.connection_id in {due.connection_id for due in taken}

    def do_hint_is_lost(self) -> None:
        """Nothing in the database knows of it."""

    def do_hint_is_doubled(self) -> None:
        """Likewise."""

    def do_reap(self) -> None:
        runs.reap(self.db)

    def do_renew(self, number: int) -> None:
        if not runs.renew_lease(self.db, self.identities[number], lease_s=3600):
            self.identities[number] = self._registered()
        elif self.hands[number] not in runs.running_of(self.db, self.identities[number]):
            self.hands[number] = None

    def do_take_hint(self, number: int) -> None:
        leased = self.db.execute(
            "SELECT lease_until > now() FROM worker WHERE worker_id = %s", (self.identities[number],)
        ).fetchone()
        if leased == (True,):
            run = runs.claim(self.db, self.connection_id, worker_id=self.identities[number])
            self.hands[number] = None if run is None else run.key
        else:
            # It would not try; that it would get nothing is what the statement is asked here.
            assert runs.claim(self.db, self.connection_id, worker_id=self.identities[number]) is None
            runs.unhint(self.db, [self.connection_id])

    def do_finish(self, number: int, next_in_s: float | None = None) -> None:
        key, self.hands[number] = self.hands[number], None
        assert key is not None
        self.verdicts += 1
        result = FinishedRun(
            state=RunState.FAILED,
            name=HealthName.VENDOR_SERVER_ERROR,
            reason=f"verdict-{self.verdicts}",
            rule="r",
            sentence="s",
            next_step="n",
            next_in_s=next_in_s,
        )
        done = runs.finish(self.db, key, result)
        assert done == (runs.ended_as(self.db, key) is RunState.FAILED)
        assert not runs.finish(self.db, key, result), "a finish was taken twice"

    def do_finish_and_wait(self, number: int) -> None:
        self.do_finish(number, next_in_s=36_000)

    def do_stop_itself(self, number: int) -> None:
        self.do_drain(number)

    def do_drain(self, number: int) -> None:
        key, self.hands[number] = self.hands[number], None
        assert key is not None
        runs.interrupt(self.db, key, reason="drain")

    def do_deadline_passes(self, _number: int) -> None:
        self.db.execute("UPDATE run SET deadline_at = now() WHERE connection_id = %s", (self.connection_id,))
        runs.reap(self.db)

    def do_crash(self, number: int) -> None:
        self.hands[number] = None

    def do_freeze(self, number: int) -> None:
        """Nothing in the database knows of it."""

    def do_thaw(self, number: int) -> None:
        """Likewise."""

    def do_restart(self, number: int) -> None:
        self.identities[number] = self._registered()

    def do_lease_ends(self, number: int) -> None:
        self.db.execute(
            "UPDATE worker SET lease_until = now() - interval '1 s' WHERE worker_id = %s", (self.identities[number],)
        )

    def do_trigger(self) -> None:
        runs.trigger(self.db, self.connection_id, Trigger.MANUAL)

    def do_cancel(self) -> None:
        running = connections.get_connection(self.db, self.connection_id)
        assert running is not None
        assert running.active_run is not None
        assert runs.cancel(self.db, self.connection_id, running.active_run.run_seq)

    def do_pause(self) -> None:
        connections.pause_connection(self.db, self.connection_id)

    def do_resume(self) -> None:
        connections.resume_connection(self.db, self.connection_id)

    def do_delete(self) -> None:
        assert connections.delete_connection(self.db, self.connection_id)

    # What the tables say, in the model's words.

    def seen(self) -> dict[str, object]:
        """Return what can be compared with the model's state."""
        found = self.db.execute(
            "SELECT s.run_seq, s.active_seq, s.requested_trigger IS NOT NULL, s.enabled, s.crash_streak, "
            "       COALESCE(s.hinted_at > now() - interval '60 s', FALSE), c.state, h.run_seq, h.reason, "
            "       CASE WHEN s.next_due_at <= now() THEN 'now' WHEN s.next_due_at = s.slot_at THEN 'slot' "
            "            ELSE 'wait' END, "
            "       greatest(0, ceil(extract(epoch FROM now() - s.slot_at) / 3600))::integer "
            "  FROM connection_sched s JOIN connection c USING (connection_id) JOIN health h USING (connection_id) "
            " WHERE connection_id = %s",
            (self.connection_id,),
        ).fetchone()
        assert found is not None
        rows = self.db.execute(
            "SELECT run_seq, worker_id, skipped_slots FROM run WHERE connection_id = %s", (self.connection_id,)
        ).fetchall()
        ended = self.db.execute(
            "SELECT run_seq, state, reason, skipped_slots FROM run_history WHERE connection_id = %s ORDER BY run_seq",
            (self.connection_id,),
        ).fetchall()
        return {
            "run_seq": found[0],
            "active": found[1],
            "wanted": found[2],
            "enabled": found[3],
            "streak": found[4],
            "hinted": found[5],
            "connection": found[6].lower(),
            "health": found[7],
            "due": found[9],
            "owed": found[10],
            "rows": sorted((seq, worker_id in self.identities) for seq, worker_id, _ in rows),
            "ends": {seq: state for seq, state, _, _ in ended},
            "shown": found[8],
            "last verdict": next((reason for seq, _, reason, _ in reversed(ended) if seq == found[7]), None),
        }


ENDED_AS = {
    End.FINISHED: "FAILED",
    End.LOST: "LOST",
    End.LATE: "LOST",
    End.INTERRUPTED: "INTERRUPTED",
    End.CANCELLED: "CANCELLED",
}


def expected(state: State, seen: dict[str, object]) -> dict[str, object]:
    """Return what the tables must say in a state of the model."""
    return {
        "run_seq": state.run_seq,
        "active": state.active,
        "wanted": state.wanted,
        "enabled": state.enabled,
        "streak": state.streak,
        "hinted": state.hinted,
        "connection": state.connection,
        "health": state.health,
        "due": state.due.value,
        "owed": max(0, state.slots - state.slot + 1),
        "rows": sorted((held.seq, not held.old) for _, held in state.rows),
        "ends": {seq: ENDED_AS[end] for seq, end in enumerate(state.ends, 1) if end is not End.OPEN},
        "shown": seen["last verdict"],
        "last verdict": seen["last verdict"],
    }


# Drawn from by weight: most of what happens is work, and a connection that is deleted has nothing more to tell.
WORK = ("take hint", "take hint", "hint", "hint", "finish", "finish and wait", "stop itself", "renew", "reap", "reap")
TIME = ("slot comes", "wait ends", "wait ends", "hint grows old", "lease ends", "lease ends", "thaw", "restart")
TROUBLE = ("crash", "freeze", "lease ends", "hint is lost", "hint is doubled", "drain", "deadline passes")
PEOPLE = ("trigger",) * 8 + ("cancel",) * 2 + ("resume",) * 8 + ("pause",) * 2 + ("delete",)


class Together(RuleBasedStateMachine):
    """The model and the real statements, one step at a time: they must come out at the same place."""

    db: ClassVar[psycopg.Connection[Any]]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.state = instance(workers=3, faults=1_000, people=1_000, slots=1_000)
        self.house = House(self.db, workers=3)

    @rule(data=st.data())
    def something_happens(self, data: st.DataObject) -> None:
        possible: dict[str, list[tuple[Step, State]]] = {}
        for step, to in self.model.steps(self.state):
            if to != self.state:
                possible.setdefault(step[0], []).append((step, to))
        kind = data.draw(st.sampled_from([WORK, WORK, WORK, TIME, TROUBLE, PEOPLE]))
        names = [name for name in kind if name in possible] or [name for name in (*WORK, *TIME) if name in possible]
        if names:
            step, self.state = data.draw(st.sampled_from(possible[data.draw(st.sampled_from(names))]))
            self.house.apply(step)

    @invariant()
    def both_are_at_the_same_place(self) -> None:
        seen = self.house.seen()
        assert seen == expected(self.state, seen)

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert list(self.model.faults_of(self.state)) == []

    def teardown(self) -> None:
        self.house._forget()


def walk_together(database_url: str, *, examples: int, steps: int = 50) -> None:
    """Drive model and statements side by side, so many times. Raises at the first step that leads them apart."""
    with psycopg.connect(database_url, autocommit=True) as db:

        class Walk(Together):
            pass

        Walk.db = db
        run_state_machine_as_test(
            Walk,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                derandomize=True,  # the same walks at each call: a failure comes again
                phases=(Phase.generate,),
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_the_statements_go_where_the_model_goes(fresh_database_url: str) -> None:
    walk_together(fresh_database_url, examples=50)


def walk_along(database_url: str, *script: Step) -> None:
    """Drive both along a way that is given. Raises at the first step that leads them apart."""
    model, state = Model(), instance(faults=9, people=9, slots=9)
    with psycopg.connect(database_url, autocommit=True) as db:
        house = House(db, workers=len(state.workers))
        for step in script:
            state = dict(model.steps(state))[step]
            house.apply(step)
            seen = house.seen()
            assert seen == expected(state, seen), f"after {step[0]}"


LATE_FINISH: tuple[Step, ...] = (
    ("hint", NOBODY),
    ("take hint", 0),
    ("freeze", 0),
    ("lease ends", 0),
    ("reap", NOBODY),
    ("hint", NOBODY),
    ("take hint", 1),
    ("thaw", 0),
    ("finish", 0),
    ("finish", 1),
)
TWO_HINTS: tuple[Step, ...] = (
    ("hint", NOBODY),
    ("hint is doubled", NOBODY),
    ("take hint", 0),
    ("slot comes", NOBODY),
    ("take hint", 1),
)
A_SWEEP: tuple[Step, ...] = (("hint", NOBODY), ("take hint", 0), ("reap", NOBODY))


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(LATE_FINISH, id="a frozen worker finishes what was reaped and is run by another"),
        pytest.param(TWO_HINTS, id="two hints, and a slot that comes between"),
        pytest.param(A_SWEEP, id="a sweep while all is well"),
    ],
)
def test_the_statements_go_along(fresh_database_url: str, script: tuple[Step, ...]) -> None:
    walk_along(fresh_database_url, *script)


CLAIM = "_CLAIM_UNLIMITED"
BY_KEY = r"DELETE FROM run r WHERE r\.connection_id = \$(\d+) AND r\.run_seq = \$\d+ AND r\.worker_id = \$\d+"
UNSERVED = (
    r"CASE WHEN s\.requested_trigger IS NOT NULL THEN least\(s\.next_due_at, now\(\)\)\s+ELSE (COALESCE\(.+?\)) END"
)


@pytest.mark.parametrize(
    ("statement", "guard", "instead", "script"),
    [
        pytest.param("_FINISH", BY_KEY, r"DELETE FROM run r WHERE r.connection_id = $\1", LATE_FINISH, id="the fence"),
        pytest.param("_FINISH", UNSERVED, r"\1", (), id="a pending trigger beats a wait"),
        pytest.param(
            "_FINISH",
            "crash_streak = 0",
            "crash_streak = 0, requested_trigger = NULL",
            (),
            id="a finish serves no trigger",
        ),
        pytest.param(
            "_FINISH", r"h\.run_seq < (e\.run_seq|\$\d+)", r"h.run_seq > \1", (), id="health follows the newer run"
        ),
        pytest.param(CLAIM, r"AND s\.active_seq IS NULL", "", TWO_HINTS, id="one run at a time"),
        pytest.param(CLAIM, r"AND s\.enabled", "", (), id="what is paused is not run"),
        pytest.param(
            CLAIM, r"\(s\.next_due_at <= now\(\) OR NOT \$\d+\)", "TRUE", (), id="a hint says only where to look"
        ),
        pytest.param(CLAIM, r"AND w\.lease_until > now\(\)", "", (), id="no claim without a lease"),
        pytest.param(
            CLAIM, "requested_trigger = NULL", "crash_streak = crash_streak", (), id="a claim serves the trigger"
        ),
        pytest.param(
            "_TRIGGER", r"AND s\.enabled", "AND s.enabled AND s.active_seq IS NULL", (), id="clicks during a run"
        ),
        pytest.param(
            "_TAKE_DUE", r"OR s\.hinted_at < now\(\) - make_interval\(secs => \$\d+\)", "", (), id="hints grow old"
        ),
        pytest.param("_REAP", r"w\.lease_until <= now\(\) OR ", "", (), id="the dead are reaped"),
        pytest.param("_REAP", r"w\.lease_until <= now\(\) OR ", "TRUE OR ", A_SWEEP, id="the living are not reaped"),
        pytest.param(
            "_INTERRUPT",
            r"COALESCE\(s\.requested_trigger, 'RECOVERY'\)",
            "s.requested_trigger",
            (),
            id="RECOVERY is told",
        ),
    ],
)
def test_the_walk_sees_each_guard_that_is_taken_out_of_a_statement(  # noqa: PLR0917 - fixtures, and a table's columns
    fresh_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
    guard: str,
    instead: str,
    script: tuple[Step, ...],
) -> None:
    """script: the way to where it shows, for what walks at random seldom come across."""
    whole: Statement = getattr(runs, statement)
    mutant = Statement("")
    mutant.names = whole.names
    changed, places = re.subn(guard, instead, whole.sql.decode(), flags=re.DOTALL)
    assert places, f"{statement} reads otherwise by now: say anew how its guard is taken out"
    mutant.sql = changed.encode()
    monkeypatch.setattr(runs, statement, mutant)

    with pytest.raises((AssertionError, psycopg.Error)):
        walk_along(fresh_database_url, *script) if script else walk_together(fresh_database_url, examples=50)
