"""An append-only history, written by the tables themselves, and what must be true of it.

The final state does not show what was wrong in between: two runs that overlapped, a verdict that was written over.
Entries are numbered in the order in which the rows they speak of were locked, and vanish with what they speak of where
a transaction is rolled back or lost in a crash.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import psycopg

from tests.faults.turnstile import Call

_TRIGGERS: Final = """
CREATE TABLE audit (n bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
                    what text NOT NULL, connection_id uuid NOT NULL, more jsonb NOT NULL);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit (what, connection_id, more)
  VALUES (TG_ARGV[0] || '.' || lower(TG_OP),
          CASE WHEN TG_OP = 'DELETE' THEN OLD.connection_id ELSE NEW.connection_id END,
          CASE WHEN TG_OP = 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END);
  RETURN NULL;
END $$;
CREATE TRIGGER audit_run AFTER INSERT OR UPDATE OR DELETE ON run FOR EACH ROW EXECUTE FUNCTION note('run');
CREATE TRIGGER audit_history AFTER INSERT OR UPDATE OR DELETE ON run_history
  FOR EACH ROW EXECUTE FUNCTION note('history');
CREATE TRIGGER audit_health AFTER UPDATE ON health FOR EACH ROW EXECUTE FUNCTION note('health');
CREATE TRIGGER audit_wish AFTER UPDATE OF requested_trigger ON connection_sched FOR EACH ROW
  WHEN (NEW.requested_trigger IS NOT NULL AND NEW.requested_trigger IS DISTINCT FROM OLD.requested_trigger)
  EXECUTE FUNCTION note('wish');
"""

_VERDICT: Final = ("name", "reason", "cred_version")


def begin(url: str) -> None:
    """Let the tables of a migrated database write down what happens to them from now on."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(_TRIGGERS.encode())


@dataclass(slots=True)
class Story:
    """What one connection's entries say. runs: their beginnings by number; ends: likewise."""

    runs: dict[int, dict[str, Any]] = field(default_factory=dict)
    ends: dict[int, dict[str, Any]] = field(default_factory=dict)
    active: int | None = None
    health_seq: int = 0
    has_open_wish: bool = False

    @property
    def last(self) -> int:
        return max(self.runs, default=0)


@dataclass(slots=True)
class Findings:
    """wrong: broken invariants, a sentence each, by their number; figures: for the report."""

    wrong: list[str] = field(default_factory=list)
    runs: int = 0
    by_state: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    late_results: int = 0
    lateness_s: list[float] = field(default_factory=list)
    zombie_calls: int = 0
    calls: int = 0


def read(
    db: psycopg.Connection[Any], *, sweep_s: float, down: Sequence[tuple[float, float]] = ()
) -> tuple[dict[UUID, Story], Findings]:
    """Read the whole history and hold it against I1 to I6.

    sweep_s: how long after its deadline a run may still be on; down: spans (seconds since 1970) without a database.
    """
    stories: dict[UUID, Story] = defaultdict(Story)
    found = Findings()
    for what, connection_id, at, more in db.execute(
        "SELECT what, connection_id, extract(epoch FROM at)::double precision, more FROM audit ORDER BY n"
    ):
        _ENTRIES[what](stories[connection_id], found, connection_id, at, more)
    for connection_id, story in stories.items():
        for seq, end in story.ends.items():
            began = seconds(story.runs.get(seq, end)["started_at"])
            late_s = seconds(end["finished_at"]) - seconds(end["deadline_at"])
            if late_s > sweep_s and not any(a <= seconds(end["finished_at"]) and b >= began for a, b in down):
                found.wrong.append(f"I2 run {seq} of {connection_id} was on {late_s:.1f} s after its deadline")
            found.lateness_s.append(began - seconds(end["scheduled_for"]))
    found.runs = sum(len(story.ends) for story in stories.values())
    _compare_with_tables(db, stories, found)
    return stories, found


def _run_insert(story: Story, found: Findings, connection_id: UUID, _at: float, more: dict[str, Any]) -> None:
    seq = more["run_seq"]
    if story.active is not None:
        found.wrong.append(f"I1 run {seq} of {connection_id} began while {story.active} was on")
    if seq != story.last + 1:
        found.wrong.append(f"I4 run {seq} of {connection_id} came after {story.last}")
    story.active = seq
    story.runs[seq] = more
    story.has_open_wish = False


def _run_delete(story: Story, found: Findings, connection_id: UUID, _at: float, more: dict[str, Any]) -> None:
    if story.active != more["run_seq"]:
        found.wrong.append(f"I3 run {more['run_seq']} of {connection_id} was ended while {story.active} was on")
    story.active = None


def _run_update(_story: Story, found: Findings, connection_id: UUID, _at: float, more: dict[str, Any]) -> None:
    found.wrong.append(f"I3 run {more['run_seq']} of {connection_id} was changed while it was on")


def _history_insert(story: Story, found: Findings, connection_id: UUID, _at: float, more: dict[str, Any]) -> None:
    if more["run_seq"] in story.ends:
        found.wrong.append(f"I4 run {more['run_seq']} of {connection_id} ended twice")
    story.ends[more["run_seq"]] = more
    found.by_state[more["state"]] += 1


def _history_update(story: Story, found: Findings, connection_id: UUID, _at: float, more: dict[str, Any]) -> None:
    before = story.ends.get(more["run_seq"], {})
    if {**more, "late_result": None} != {**before, "late_result": None}:
        found.wrong.append(f"I3 run {more['run_seq']} of {connection_id} was changed after its end")
    found.late_results += 1


def _history_delete(_story: Story, found: Findings, connection_id: UUID, _at: float, more: dict[str, Any]) -> None:
    found.wrong.append(f"I3 run {more['run_seq']} of {connection_id} vanished from the history")


def _health_update(story: Story, found: Findings, connection_id: UUID, _at: float, more: dict[str, Any]) -> None:
    if more["run_seq"] < story.health_seq:
        found.wrong.append(f"I3 health of {connection_id} went back from {story.health_seq} to {more['run_seq']}")
    story.health_seq = more["run_seq"]


def _wish_update(story: Story, _found: Findings, _connection_id: UUID, _at: float, _more: dict[str, Any]) -> None:
    story.has_open_wish = True


_ENTRIES: Final = {
    "run.insert": _run_insert,
    "run.delete": _run_delete,
    "run.update": _run_update,
    "history.insert": _history_insert,
    "history.update": _history_update,
    "history.delete": _history_delete,
    "health.update": _health_update,
    "wish.update": _wish_update,
}


def _compare_with_tables(db: psycopg.Connection[Any], stories: dict[UUID, Story], found: Findings) -> None:
    """Hold what the tables show in the end against what the history says they must."""
    shown = db.execute(
        "SELECT s.connection_id, s.run_seq, s.active_seq, s.requested_trigger,"
        "       h.run_seq, h.name, h.reason, h.cred_version"
        "  FROM connection_sched s JOIN health h USING (connection_id)"
    ).fetchall()
    for connection_id, last, active, wish, seq, *verdict in shown:
        story = stories[connection_id]
        judged = max((n for n, end in story.ends.items() if end["name"] is not None), default=0)
        if seq != judged:
            found.wrong.append(f"I3 health of {connection_id} shows run {seq}, the last judged one is {judged}")
        elif judged and verdict != [story.ends[judged][column] for column in _VERDICT]:
            found.wrong.append(f"I3 health of {connection_id} shows {verdict}, run {judged} said otherwise")
        if last != story.last:
            found.wrong.append(f"I4 run_seq of {connection_id} is {last}, the last run was {story.last}")
        if active != story.active:
            found.wrong.append(f"I2 {connection_id} holds run {active}, on is {story.active}")
        for left in story.runs.keys() - story.ends.keys() - {active}:
            found.wrong.append(f"I2 run {left} of {connection_id} has no end")
        if story.has_open_wish and wish is None:
            found.wrong.append(f"I6 a trigger of {connection_id} was never followed by a run")


def compare_with_vendor(
    calls: Sequence[Call],
    stories: dict[UUID, Story],
    accounts: dict[str, UUID],
    found: Findings,
    *,
    slack_s: float = 0.15,
) -> None:
    """Hold what the vendor saw against I1. accounts: every name that a connection ever called itself by.

    An execution may outlive its run only where the run was taken from its worker, and then by the one call that was
    past the last check; those calls are counted as a zombie's. Where no run stands for an execution, its claim was lost
    in a crash of the server, and the worker learns of that with its next renewal.
    """
    by_connection: dict[UUID, list[Call]] = defaultdict(list)
    for call in calls:
        if call.account in accounts:
            by_connection[accounts[call.account]].append(call)
    found.calls = len(calls)
    for connection_id, made in by_connection.items():
        story = stories[connection_id]
        spans: dict[int, list[float]] = defaultdict(list)
        for call in made:
            spans[call.execution].append(call.at)
        _look_for_late_calls(connection_id, story, spans, found, slack_s)
        _look_for_overlaps(connection_id, story, spans, found, slack_s)


def _look_for_late_calls(
    connection_id: UUID, story: Story, spans: dict[int, list[float]], found: Findings, slack_s: float
) -> None:
    for execution, at in spans.items():
        seq = _run_at(story, min(at), slack_s)
        if seq is None:
            found.zombie_calls += len(at)
        elif seq in story.ends:
            end = story.ends[seq]
            late = sum(moment > seconds(end["finished_at"]) + slack_s for moment in at)
            found.zombie_calls += late
            if late and end["state"] in {"SUCCEEDED", "FAILED"}:
                found.wrong.append(f"I1 execution {execution} of {connection_id} went on after its own verdict")
            if late > 1:
                found.wrong.append(f"I1 execution {execution} of {connection_id} made {late} calls after its end")


def _look_for_overlaps(
    connection_id: UUID, story: Story, spans: dict[int, list[float]], found: Findings, slack_s: float
) -> None:
    order = sorted(spans, key=lambda execution: min(spans[execution]))
    for earlier, later in itertools.pairwise(order):
        overlaps = [moment for moment in spans[earlier] if moment > min(spans[later])]
        end = story.ends.get(_run_at(story, min(spans[earlier]), slack_s) or 0)
        if overlaps and end is not None and min(overlaps) <= seconds(end["finished_at"]) - slack_s:
            found.wrong.append(f"I1 executions {earlier} and {later} of {connection_id} overlap")


def count_slots(db: psycopg.Connection[Any], stories: dict[UUID, Story], found: Findings) -> int:
    """Hold the skipped slots against I5: of the slots between two runs, one is run and the rest are counted.

    Returns how many were skipped in all.
    """
    skipped = 0
    grid = db.execute(
        "SELECT connection_id, extract(epoch FROM slot_origin)::double precision, refresh_interval_secs "
        "FROM connection_sched"
    ).fetchall()
    for connection_id, origin, interval_s in grid:
        runs = stories[connection_id].runs
        for seq in sorted(runs)[1:]:
            before, now = (seconds(runs[n]["started_at"]) for n in (seq - 1, seq))
            slots = (now - origin) // interval_s - (before - origin) // interval_s
            skipped += runs[seq]["skipped_slots"]
            if runs[seq]["skipped_slots"] != max(0, slots - 1):
                counted = runs[seq]["skipped_slots"]
                found.wrong.append(f"I5 run {seq} of {connection_id} counts {counted} of {slots - 1:g} skipped slots")
    return skipped


def _run_at(story: Story, at: float, slack_s: float) -> int | None:
    """Return the run that was on at a moment."""
    for seq in sorted(story.runs, reverse=True):
        began = seconds(story.runs[seq]["started_at"])
        ended = seconds(story.ends[seq]["finished_at"]) if seq in story.ends else float("inf")
        if began - slack_s <= at <= ended + slack_s:
            return seq
    return None


def seconds(text: str) -> float:
    """Return a moment of the audit in seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()
