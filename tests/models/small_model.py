"""A small model of one connection, its runs and some workers: what each statement does, without a database.

It serves two purposes. All states that a small instance can reach are walked, and what must hold is looked at in each
(`explore`). And the real statements are driven beside it, step by step, and must come out at the same place.

Time is what may happen next, not a number: a slot of the grid comes, a wait ends, a lease ends, a hint grows old. A
worker holds a lease and executes at most one run; one that lost its lease takes another identity, and what belongs to
the former one is `old`. A guard that is named in `without` is left out, to see that something else then breaks.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

RETRIES: Final = 3


class Due(StrEnum):
    """When the connection is due: now; with the next slot of its grid; when a wait of its own ends."""

    NOW = "now"
    SLOT = "slot"
    WAIT = "wait"


class End(StrEnum):
    """How a run ended. LATE: its deadline passed while its worker lived, so its worker may still be at it."""

    OPEN = "open"
    FINISHED = "finished"
    LOST = "lost"
    LATE = "late"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"


JUDGED: Final = frozenset({End.FINISHED, End.LOST, End.LATE})
"""Ends that come with a verdict."""


class Held(NamedTuple):
    """A run of a worker's: in the table `run`, or in its hands. old: of an identity that the worker had before."""

    seq: int
    old: bool = False


class Worker(NamedTuple):
    """One process. mode: up, frozen, dead; leased: its present identity holds a lease."""

    mode: str = "up"
    leased: bool = True
    hands: Held | None = None
    rows: tuple[Held, ...] = ()

    @property
    def may_call(self) -> bool:
        """Whether it would make the next call of the run in its hands."""
        return self.mode == "up" and self.leased and self.hands is not None and not self.hands.old


class State(NamedTuple):
    """Everything at one moment. asked, unheeded and owed are not stored anywhere: they are what must not be forgotten.

    slots: how many slots have come; slot: number of the first one that no run has answered for; answered: slots that
    were run or counted as skipped; asked: a run is wanted that starts after now; faults, triggers, left: what may still
    happen to it.
    """

    workers: tuple[Worker, ...]
    connection: str = "active"
    due: Due = Due.NOW
    wanted: bool = False
    hinted: bool = False
    hints: int = 0
    run_seq: int = 0
    active: int | None = None
    streak: int = 0
    ends: tuple[End, ...] = ()
    health: int = 0
    slots: int = 0
    slot: int = 1
    answered: int = 0
    asked: bool = False
    faults: int = 0
    triggers: int = 0
    left: int = 0
    wrong: str = ""

    @property
    def enabled(self) -> bool:
        """Whether it may be run."""
        return self.connection == "active"

    @property
    def rows(self) -> tuple[tuple[int, Held], ...]:
        """The runs in the table, each with the number of its worker."""
        return tuple((number, held) for number, worker in enumerate(self.workers) for held in worker.rows)


Step = tuple[str, int]
"""What happens, and the number of the worker that it happens to (-1: to none)."""

NOBODY: Final = -1


class Model:
    """The steps. without: guards that are left out, by name."""

    def __init__(self, *without: str) -> None:
        self._without = frozenset(without)

    def _guarded(self, guard: str) -> bool:
        return guard not in self._without

    # What the statements do.

    def _with(self, state: State, number: int, **changed: Any) -> State:
        worker = state.workers[number]._replace(**changed)
        return state._replace(workers=(*state.workers[:number], worker, *state.workers[number + 1 :]))

    def trigger(self, state: State) -> State:
        """Ask for a run that starts after this."""
        if not state.enabled:
            return state
        idle = state.active is None
        return state._replace(
            wanted=True,
            due=Due.NOW if idle else state.due,
            hinted=state.hinted and state.wanted,
            asked=True,
        )

    def claim(self, state: State, number: int) -> State:
        """Make the next run this worker's."""
        worker = state.workers[number]
        free = state.active is None or not self._guarded("one run at a time")
        enabled = state.enabled or not self._guarded("paused is not run")
        if not (free and enabled and state.due is Due.NOW and worker.leased):
            return state
        seq = state.run_seq + 1
        wrong = state.wrong or ("" if state.enabled else "a connection that is not active was run")
        answered = max(0, state.slots - state.slot + 1)
        taken = state._replace(
            run_seq=seq,
            active=seq,
            hinted=False,
            wanted=state.wanted and not self._guarded("a trigger is served at claim"),
            due=Due.SLOT,
            slot=max(state.slot, state.slots + 1),
            answered=state.answered + (answered if self._guarded("skipped slots are counted") else min(answered, 1)),
            ends=(*state.ends, End.OPEN),
            asked=False,
            wrong=wrong,
        )
        held = Held(seq)
        return self._with(taken, number, hands=held, rows=(*worker.rows, held))

    def _regular(self, state: State) -> Due:
        return Due.NOW if state.slot <= state.slots else Due.SLOT

    def _end(self, state: State, number: int, held: Held, end: End) -> State:
        """Take the run's row away, and go on to schedule, history and health."""
        rows = tuple(each for each in state.workers[number].rows if each != held)
        recorded = state.ends[held.seq - 1]
        wrong = state.wrong or ("" if recorded is End.OPEN else f"run {held.seq} ended twice")
        ended = self._with(state, number, rows=rows)._replace(
            ends=(*state.ends[: held.seq - 1], end, *state.ends[held.seq :]),
            wrong=wrong,
        )
        if ended.active == held.seq or not self._guarded("fence"):
            ended = ended._replace(active=None)
        if end in JUDGED and state.connection != "deleted":
            ended = ended._replace(health=held.seq)
        return ended

    def finish(self, state: State, number: int, *, wait: bool = False) -> State:
        """End the run in this worker's hands with a verdict. Refused where its row is gone."""
        held = state.workers[number].hands
        assert held is not None
        state = self._with(state, number, hands=None)
        if self._guarded("fence") and held not in state.workers[number].rows:
            return state
        ended = self._end(state, number, held, End.FINISHED)
        wanted = ended.wanted and self._guarded("a finish leaves triggers alone")
        due = Due.WAIT if wait else self._regular(ended)
        if wanted and self._guarded("a pending trigger beats a wait"):
            due = Due.NOW
        return ended._replace(due=due, wanted=wanted, streak=0)

    def interrupt(self, state: State, number: int) -> State:
        """End the run in this worker's hands without a verdict: due at once."""
        held = state.workers[number].hands
        assert held is not None
        state = self._with(state, number, hands=None)
        if held not in state.workers[number].rows:
            return state
        ended = self._end(state, number, held, End.INTERRUPTED)
        if not self._guarded("what was interrupted is due"):
            return ended._replace(due=self._regular(ended), hinted=False, asked=True)
        return ended._replace(due=Due.NOW, wanted=True, hinted=False, asked=True)

    def cancel(self, state: State) -> State:
        """End the run that is on because a person says so."""
        number, held = state.rows[0]
        ended = self._end(state, number, held, End.CANCELLED)
        return ended._replace(due=Due.NOW if ended.wanted else self._regular(ended), hinted=False)

    def reap(self, state: State, *, late: int | None = None) -> State:
        """End the runs of leases that have ended, and the one whose deadline has passed."""
        for number, held in state.rows:
            worker = state.workers[number]
            alive = worker.leased and not held.old and self._guarded("who lives is not reaped")
            if alive and held.seq != late:
                continue
            ended = self._end(state, number, held, End.LATE if alive else End.LOST)
            again = state.streak < RETRIES or not self._guarded("quarantine")
            wanted = ended.wanted or again
            state = ended._replace(
                streak=state.streak + 1,
                wanted=wanted,
                asked=ended.asked or again,
                due=Due.NOW if wanted else self._regular(ended),
                hinted=False,
            )
        return state

    def hint(self, state: State) -> State:
        """Take what is due and unhinted, and send a hint."""
        return state._replace(hinted=True, hints=min(2, state.hints + 1))

    def is_hintable(self, state: State) -> bool:
        """Whether a dispatcher would find the connection."""
        return state.enabled and state.active is None and state.due is Due.NOW and not state.hinted

    def take_hint(self, state: State, number: int) -> State:
        """Take a message: claim, or where no lease is held let it be given again."""
        state = state._replace(hints=state.hints - 1)
        if state.workers[number].leased:
            return self.claim(state, number)
        return state._replace(hinted=False)

    def renew(self, state: State, number: int) -> State:
        """Renew the lease, and let go of what was taken from us; or begin anew under another identity."""
        worker = state.workers[number]
        hands = worker.hands
        if worker.leased:
            return self._with(state, number, hands=hands if hands in worker.rows else None)
        if not self._guarded("a lost lease costs the identity"):
            return self._with(state, number, leased=True)
        return self._with(
            state,
            number,
            leased=True,
            hands=None if hands is None else hands._replace(old=True),
            rows=tuple(held._replace(old=True) for held in worker.rows),
        )

    def restart(self, state: State, number: int) -> State:
        """Start the process again, under another identity."""
        rows = tuple(held._replace(old=True) for held in state.workers[number].rows)
        return self._with(state, number, mode="up", leased=True, hands=None, rows=rows)

    def slot_comes(self, state: State) -> State:
        """Let the next slot of the grid come."""
        due = Due.NOW if state.due is Due.SLOT else state.due
        return state._replace(slots=state.slots + 1, due=due)

    def pause(self, state: State) -> State:
        """Pause: a run that is on goes to its end."""
        return state._replace(connection="paused", hinted=False)

    def resume(self, state: State) -> State:
        """Resume: due at once; slots of the pause are not owed."""
        owed = max(0, state.slots - state.slot + 1)
        return state._replace(
            connection="active",
            hinted=False,
            due=Due.NOW,
            slot=state.slots + 1,
            answered=state.answered + owed,
            asked=state.asked or state.active is None,  # a run that is on is the run at once
        )

    def delete(self, state: State) -> State:
        """Delete: its run is cancelled, and it is never run again."""
        if state.rows and self._guarded("deleting ends the run"):
            state = self.cancel(state)
        return state._replace(connection="deleted", hinted=False)

    # What may happen.

    def steps(self, state: State) -> Iterator[tuple[Step, State]]:
        """Return everything that may happen next, and where it leads."""
        yield from self._of_the_house(state)
        for number, worker in enumerate(state.workers):
            yield from self._of_a_worker(state, number, worker)
        yield from self._of_people(state)

    def _of_the_house(self, state: State) -> Iterator[tuple[Step, State]]:
        if state.left:
            yield ("slot comes", NOBODY), self.slot_comes(state._replace(left=state.left - 1))
        if state.due is Due.WAIT:
            yield ("wait ends", NOBODY), state._replace(due=Due.NOW)
        if state.hinted and self._guarded("a hint grows old"):
            yield ("hint grows old", NOBODY), state._replace(hinted=False)
        if any(worker.mode == "up" for worker in state.workers):
            if self.is_hintable(state):
                yield ("hint", NOBODY), self.hint(state)
            if self._guarded("reaper"):
                yield ("reap", NOBODY), self.reap(state)
        if state.hints and state.faults:
            spent = state._replace(faults=state.faults - 1)
            yield ("hint is lost", NOBODY), spent._replace(hints=state.hints - 1)
            yield ("hint is doubled", NOBODY), spent._replace(hints=min(2, state.hints + 1))

    def _of_a_worker(self, state: State, number: int, worker: Worker) -> Iterator[tuple[Step, State]]:
        if worker.mode == "up":
            yield from self._of_one_that_is_up(state, number, worker)
            return
        if worker.leased:
            yield ("lease ends", number), self._with(state, number, leased=False)
        if worker.mode == "frozen":
            yield ("thaw", number), self._with(state, number, mode="up")
        elif not worker.leased:  # who starts sooner is one more worker
            yield ("restart", number), self.restart(state, number)

    def _of_one_that_is_up(self, state: State, number: int, worker: Worker) -> Iterator[tuple[Step, State]]:
        spent = state._replace(faults=state.faults - 1)
        yield ("renew", number), self.renew(state, number)
        if worker.hands is None and state.hints:
            yield ("take hint", number), self.take_hint(state, number)
        if worker.hands is not None:
            yield ("finish", number), self.finish(state, number)
            yield ("finish and wait", number), self.finish(state, number, wait=True)
            if not worker.may_call and self._guarded("self-stop"):
                yield ("stop itself", number), self.interrupt(state, number)
        if state.faults:
            if worker.hands is not None:
                yield ("drain", number), self.interrupt(spent, number)
            if worker.hands in worker.rows and worker.hands and not worker.hands.old:
                yield ("deadline passes", number), self.reap(spent, late=worker.hands.seq)
            yield ("crash", number), self._with(spent, number, mode="dead", hands=None)
            yield ("freeze", number), self._with(spent, number, mode="frozen")
            if worker.leased:
                yield ("lease ends", number), self._with(spent, number, leased=False)

    def _of_people(self, state: State) -> Iterator[tuple[Step, State]]:
        if not state.triggers or state.connection == "deleted":
            return
        spent = state._replace(triggers=state.triggers - 1)
        yield ("trigger", NOBODY), self.trigger(spent)
        if state.rows:
            yield ("cancel", NOBODY), self.cancel(spent)
        if state.connection == "active":
            yield ("pause", NOBODY), self.pause(spent)
        else:
            yield ("resume", NOBODY), self.resume(spent)
        yield ("delete", NOBODY), self.delete(spent)

    # What must hold.

    def faults_of(self, state: State) -> Iterator[str]:
        """Return what is wrong with a state, a sentence each."""
        if state.wrong:
            yield state.wrong
        rows = state.rows
        if len(rows) > 1:
            yield "two runs are on"
        if {state.active} - {None} != {held.seq for _, held in rows}:
            yield f"the schedule holds run {state.active}, on are {[held.seq for _, held in rows]}"
        still_open = {seq for seq, end in enumerate(state.ends, 1) if end is End.OPEN}
        if still_open != {held.seq for _, held in rows} or len(state.ends) != state.run_seq:
            yield f"run_seq {state.run_seq} has gaps: {state.ends}"
        if state.health != max((seq for seq, end in enumerate(state.ends, 1) if end in JUDGED), default=0):
            yield f"health is of run {state.health}, ended are {state.ends}"
        if state.asked and state.enabled and not (state.wanted or (state.due is Due.NOW and state.active is None)):
            yield "a run was asked for, and nothing says so any more"
        if state.answered != state.slot - 1:
            yield f"{state.answered} of {state.slot - 1} slots were run or counted"
        if state.connection == "deleted" and rows:
            yield "a deleted connection is run"
        calling = [worker.hands for worker in state.workers if self._calls(worker)]
        excused = {End.CANCELLED, End.LATE}  # told with the next renewal, a quarter of a lease later
        if sum(state.ends[held.seq - 1] not in excused for held in calling if held) > 1:
            yield "two workers call the vendor for one connection"

    def _calls(self, worker: Worker) -> bool:
        if self._guarded("self-stop"):
            return worker.may_call
        return worker.mode == "up" and worker.hands is not None

    # What must come.

    def onward(self, state: State) -> State | None:
        """Return what follows where nothing more goes wrong and nobody asks for anything; None at rest."""
        for allowed in self._quiet(state):
            if allowed != state:
                return allowed
        return None

    def _quiet(self, state: State) -> Iterator[State]:
        numbers = range(len(state.workers))
        for number in numbers:
            worker = state.workers[number]
            if worker.mode != "up" and worker.leased:
                yield self._with(state, number, leased=False)
        up = [number for number in numbers if state.workers[number].mode == "up"]
        if not up:
            yield self.restart(state, 0) if state.workers[0].mode == "dead" else self._with(state, 0, mode="up")
        for number in up:
            yield from self._quiet_worker(state, number)
        if self._guarded("reaper"):
            yield self.reap(state)
        for number in up:
            if state.workers[number].hands is not None:
                yield self.finish(state, number)
        if state.hints and up:
            yield self.take_hint(state, up[0])
        yield from self._quiet_schedule(state)

    def _quiet_worker(self, state: State, number: int) -> Iterator[State]:
        worker = state.workers[number]
        if worker.hands is not None and not worker.may_call and self._guarded("self-stop"):
            yield self.interrupt(state, number)
        yield self.renew(state, number)

    def _quiet_schedule(self, state: State) -> Iterator[State]:
        if state.due is Due.WAIT:
            yield state._replace(due=Due.NOW)
        if state.enabled and state.active is None and state.due is Due.NOW:
            if state.hinted and self._guarded("a hint grows old"):
                yield state._replace(hinted=False)
            if not state.hinted:
                yield self.hint(state)

    def unfinished(self, state: State) -> Iterator[str]:
        """Return what is still to be done in a state that is at rest."""
        if state.rows or state.active is not None:
            yield "a run is on for ever"
        if state.enabled and state.due is Due.NOW:
            yield "the connection is due for ever"
        if state.enabled and state.asked:
            yield "a run was asked for and never came"
        if state.enabled and state.slot <= state.slots:
            yield "a slot was never answered"
        if any(worker.hands is not None for worker in state.workers if worker.mode == "up"):
            yield "a worker is at a run for ever"


def _order(worker: Worker) -> tuple[object, ...]:
    return worker.mode, worker.leased, worker.hands or (), worker.rows


def canonical(state: State) -> State:
    """Return the state with its workers in order: which of them it is makes no difference."""
    return state._replace(workers=tuple(sorted(state.workers, key=_order)))


@dataclass(frozen=True, slots=True)
class Explored:
    """What a walk found. trace: the steps to the first thing that is wrong, and what it is; empty where nothing is."""

    states: int
    steps: int
    trace: tuple[str, ...]


_LONGEST_QUIET: Final = 60


def explore(model: Model, start: State, *, runs: int) -> Explored:
    """Walk every state that can be reached with up to so many runs, breadth first; stop at the first that is wrong."""
    start = canonical(start)
    came_from: dict[State, tuple[State, Step] | None] = {start: None}
    comes_to_rest: set[State] = set()
    waiting = deque([start])
    taken = 0
    while waiting:
        state = waiting.popleft()
        wrong = next(model.faults_of(state), None) or _never_done(model, state, comes_to_rest)
        if wrong is not None:
            return Explored(len(came_from), taken, (*_trace(came_from, state), wrong))
        for step, after in model.steps(state):
            taken += 1
            following = canonical(after)
            if following.run_seq <= runs and following not in came_from:
                came_from[following] = (state, step)
                waiting.append(following)
    return Explored(len(came_from), taken, ())


def _never_done(model: Model, state: State, comes_to_rest: set[State]) -> str | None:
    """Follow the quiet way from a state on. None where it comes to rest with nothing left to do."""
    passed: list[State] = []
    at: State | None = state
    while at is not None and at not in comes_to_rest:
        passed.append(at)
        if len(passed) > _LONGEST_QUIET:
            return "it never comes to rest"
        at = model.onward(at)
    if at is None:
        left = next(model.unfinished(passed[-1]), None)
        if left is not None:
            return left
    comes_to_rest.update(passed)
    return None


def _trace(came_from: dict[State, tuple[State, Step] | None], state: State) -> list[str]:
    trace: list[str] = []
    at = came_from[state]
    while at is not None:
        trace.append(at[1][0])
        at = came_from[at[0]]
    return trace[::-1]
