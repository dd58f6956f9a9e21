"""An append-only history, written by the tables themselves, and what must be true of it.

The final state does not show what was wrong in between: two runs that overlapped, a verdict that was written over.
Entries are numbered in the order in which the rows they speak of were locked, and vanish with what they speak of where
a transaction is rolled back or lost in a crash. What belongs together is known by its transaction.

The invariants: I1 one run of a connection at a time, also as its vendor sees it; I2 no run without an end, none that
outlives its deadline; I3 what was ended, judged or stored is not written over; I4 runs are numbered without a gap, and
hints are not given again while they are fresh; I5 every slot is run or counted, and nothing runs before its time; I6
every trigger is followed by a run, and none by two; I7 a vendor's limit holds; I8 no secret is shown; I9 nothing leaks,
hangs or breaks.
"""

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

import psycopg

from models.runs import GRACE_S, RETRIES_OF_LOST

_TRIGGERS: Final = """
CREATE TABLE audit (n bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
                    xact xid8 NOT NULL DEFAULT pg_current_xact_id(), what text NOT NULL, connection_id uuid NOT NULL,
                    run_seq bigint, more jsonb);
CREATE INDEX ON audit (xact);
CREATE FUNCTION note_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    INSERT INTO audit (what, connection_id, run_seq) VALUES ('run.delete', OLD.connection_id, OLD.run_seq);
  ELSE
    INSERT INTO audit (what, connection_id, run_seq, more)
    VALUES ('run.' || lower(TG_OP), NEW.connection_id, NEW.run_seq, jsonb_build_object(
      'worker_id', NEW.worker_id, 'trigger', NEW.trigger, 'skipped_slots', NEW.skipped_slots,
      'cred_version', NEW.cred_version, 'scheduled_for', NEW.scheduled_for, 'started_at', NEW.started_at,
      'deadline_at', NEW.deadline_at));
  END IF;
  RETURN NULL;
END $$;
-- executions: the numbers that the vendor gave (turnstile.py), out of the pages' addresses and its failures' bodies.
CREATE FUNCTION note_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO audit (what, connection_id, run_seq, more)
    VALUES ('history.insert', NEW.connection_id, NEW.run_seq, jsonb_build_object(
      'state', NEW.state, 'name', NEW.name, 'reason', NEW.reason, 'worker_id', NEW.worker_id,
      'cred_version', NEW.cred_version, 'started_at', NEW.started_at, 'finished_at', NEW.finished_at,
      'deadline_at', NEW.deadline_at, 'requests', NEW.requests,
      'executions', (SELECT array_agg(DISTINCT m.part[1]) FROM regexp_matches(
         coalesce(NEW.exchanges::text, '') || coalesce(NEW.evidence ->> 'body', ''),
         '(?:after=|"execution": )([0-9]+)', 'g') AS m (part))));
  ELSE
    INSERT INTO audit (what, connection_id, run_seq, more)
    VALUES ('history.' || lower(TG_OP), OLD.connection_id, OLD.run_seq, jsonb_build_object(
      'changed', TG_OP = 'DELETE' OR to_jsonb(OLD) - 'late_result' <> to_jsonb(NEW) - 'late_result'));
  END IF;
  RETURN NULL;
END $$;
CREATE FUNCTION note_health() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit (what, connection_id, run_seq, more)
  VALUES ('health.update', NEW.connection_id, NEW.run_seq, jsonb_build_object(
    'name', NEW.name, 'reason', NEW.reason, 'cred_version', NEW.cred_version));
  RETURN NULL;
END $$;
CREATE FUNCTION note_sched() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit (what, connection_id, more)
  VALUES (TG_ARGV[0], NEW.connection_id, jsonb_build_object(
    'trigger', NEW.requested_trigger, 'now', now(), 'origin', NEW.slot_origin, 'interval_s', NEW.refresh_interval_secs,
    'enabled', NEW.enabled));
  RETURN NULL;
END $$;
CREATE FUNCTION note_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit (what, connection_id, more)
  VALUES ('state', NEW.connection_id, jsonb_build_object('state', NEW.state, 'now', now()));
  RETURN NULL;
END $$;
CREATE FUNCTION note_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit (what, connection_id, run_seq, more)
  VALUES ('record', NEW.connection_id, NEW.changed_seq, jsonb_build_object(
    'id', NEW.record_id, 'execution', NEW.payload -> 'execution', 'account', NEW.payload -> 'account',
    'gone', NEW.gone_at IS NOT NULL));
  RETURN NULL;
END $$;
CREATE TRIGGER audit_run AFTER INSERT OR UPDATE OR DELETE ON run FOR EACH ROW EXECUTE FUNCTION note_run();
CREATE TRIGGER audit_history AFTER INSERT OR UPDATE OR DELETE ON run_history
  FOR EACH ROW EXECUTE FUNCTION note_history();
CREATE TRIGGER audit_health AFTER UPDATE ON health FOR EACH ROW
  WHEN ((OLD.run_seq, OLD.name, OLD.reason, OLD.classified_at)
        IS DISTINCT FROM (NEW.run_seq, NEW.name, NEW.reason, NEW.classified_at))
  EXECUTE FUNCTION note_health();
CREATE TRIGGER audit_born AFTER INSERT ON connection_sched FOR EACH ROW EXECUTE FUNCTION note_sched('born');
CREATE TRIGGER audit_grid AFTER UPDATE OF slot_origin, refresh_interval_secs ON connection_sched FOR EACH ROW
  WHEN ((OLD.slot_origin, OLD.refresh_interval_secs) IS DISTINCT FROM (NEW.slot_origin, NEW.refresh_interval_secs))
  EXECUTE FUNCTION note_sched('grid');
CREATE TRIGGER audit_wish AFTER UPDATE OF requested_trigger ON connection_sched FOR EACH ROW
  WHEN (NEW.requested_trigger IS DISTINCT FROM OLD.requested_trigger) EXECUTE FUNCTION note_sched('wish');
-- Named to come last: the state's own trigger locks the schedule first.
CREATE TRIGGER zz_audit_state AFTER UPDATE OF state ON connection FOR EACH ROW
  WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION note_state();
CREATE TRIGGER audit_record AFTER INSERT OR UPDATE ON record FOR EACH ROW EXECUTE FUNCTION note_record();
"""

# A hint that is fresh needs no other. The words stand for `rehint_after_s`.
_HINTS: Final = """
CREATE TRIGGER audit_hint AFTER UPDATE OF hinted_at ON connection_sched FOR EACH ROW
  WHEN (OLD.hinted_at < NEW.hinted_at AND NEW.hinted_at < OLD.hinted_at + make_interval(secs => {fresh_s:.3f}))
  EXECUTE FUNCTION note_sched('hinted again');
"""

_RIGHT_AWAY_S: Final = 0.15
"""How far the clocks of vendor and database, read in two processes, may be apart on a loaded machine."""


def begin(url: str, *, rehint_after_s: float | None = None) -> None:
    """Let the tables of a migrated database write down what happens to them from now on."""
    hints = "" if rehint_after_s is None else _HINTS.format(fresh_s=0.95 * rehint_after_s)
    with psycopg.connect(url, autocommit=True) as db:
        db.execute((_TRIGGERS + hints).encode())


class SeenCall(Protocol):
    """One call as the vendor saw it (`turnstile.Call`)."""

    @property
    def at(self) -> float: ...
    @property
    def account(self) -> str: ...
    @property
    def execution(self) -> int: ...
    @property
    def page(self) -> int: ...


@dataclass(slots=True)
class Run:
    """One run, from its entries. Times in seconds since 1970; finished_at: infinity where it is on.

    finished_at is what the product says, the time at which the transaction began that ended the run; ended_at is when
    that came to the run's row. A transaction may end many runs, and wait before: until then a run is on for everybody.
    """

    seq: int
    worker_id: str
    trigger: str
    cred_version: int
    skipped_slots: int
    scheduled_for: float
    started_at: float
    deadline_at: float
    finished_at: float = float("inf")
    ended_at: float = float("inf")
    state: str = "RUNNING"
    name: str | None = None
    reason: str | None = None
    requests: int = 0
    executions: tuple[int, ...] = ()

    @property
    def has_own_end(self) -> bool:
        """Whether it was ended by whoever ran it, with what came of it."""
        return self.state in {"SUCCEEDED", "FAILED"}


@dataclass(slots=True)
class Story:
    """What one connection's entries say. waiting_from: since when slots are owed; wish: the open trigger, and when."""

    runs: dict[int, Run] = field(default_factory=dict)
    active: int | None = None
    state: str = "ACTIVE"
    health_seq: int = 0
    verdict: tuple[str | None, str | None, int | None] | None = None
    wish: str | None = None
    wished_at: float = 0.0
    lost_in_a_row: int = 0
    origin: float = 0.0
    interval_s: float = 0.0
    owed_from: float | None = None
    newest_execution: int = 0
    last: int = 0

    @property
    def ends(self) -> dict[int, Run]:
        """The runs that have ended, by their numbers."""
        return {seq: run for seq, run in self.runs.items() if run.finished_at < float("inf")}


@dataclass(slots=True)
class Findings:
    """wrong: broken invariants, a sentence each, by their number; figures: for the report."""

    wrong: list[str] = field(default_factory=list)
    broken: list[UUID | None] = field(default_factory=list)
    """Whose invariant that was, beside each sentence."""
    runs: int = 0
    by_state: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    late_results: int = 0
    skipped: int = 0
    wishes: int = 0
    answered_after_s: list[float] = field(default_factory=list)
    zombie_calls: int = 0
    unclaimed_executions: int = 0
    calls: int = 0

    def add(self, sentence: str, connection_id: UUID | None = None) -> None:
        """Note a broken invariant."""
        if sentence not in self.wrong[-50:]:
            self.wrong.append(sentence)
            self.broken.append(connection_id)


@dataclass(slots=True)
class _Deed:
    """What one transaction did to one connection."""

    connection_id: UUID
    at: float
    entries: dict[str, list[tuple[int, dict[str, Any]]]] = field(default_factory=lambda: defaultdict(list))

    def only(self, what: str) -> tuple[int, dict[str, Any]] | None:
        return self.entries[what][0] if what in self.entries else None


_Seen = tuple[float, int, list[tuple[Any, ...]]]


class Audit:
    """Reads the history as it grows.

    sweep_s: how long after its deadline a run may still be on; numbers: by connection, what its vendor calls the
    account, where that is known; owns_schedule: nobody but the product writes to the schedule, so that what is wanted
    and what is owed can be told from its entries.
    """

    def __init__(
        self, *, sweep_s: float, numbers: Mapping[UUID, object] | None = None, owns_schedule: bool = True
    ) -> None:
        self.sweep_s = sweep_s
        self._owns_schedule = owns_schedule
        self.stories: dict[UUID, Story] = defaultdict(Story)
        self.found = Findings()
        self.down: list[tuple[float, float]] = []
        """Spans, in seconds since 1970, in which the database was away or stood still."""
        self.unattended: list[tuple[float, float]] = []
        """Likewise, in which no worker lived that could have put a run back."""
        self.starved_s = 0.0
        """What the machine may take longer at the moment, because more wants to run than it has cores for."""
        self.until = 0.0
        """Up to this moment everything has been read."""
        self._numbers = numbers or {}
        self._low = 0
        self._known: set[int] = set()

    def read(self, db: psycopg.Connection[Any]) -> set[UUID]:
        """Read what is new and hold it against I1 to I6; return whose it was. db: on autocommit."""
        with db.transaction():
            db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            seen = _seen(db, self._low)
        # What was read may be a claim that has not reached the disk, and a crash would take it back. It comes after
        # everything that was seen, and it waits for the disk: so nothing of that can go any more.
        db.execute("CREATE TABLE IF NOT EXISTS audit_mark (n int)")
        db.execute("INSERT INTO audit_mark VALUES (1)")
        db.execute("DELETE FROM audit_mark")
        return self.take(seen)

    def take(self, seen: _Seen) -> set[UUID]:
        """Hold what was seen against I1 to I6; return whose it was."""
        until, low, entries = seen
        deeds: dict[tuple[int, UUID], _Deed] = {}
        fresh: set[int] = set()
        for xact, what, connection_id, run_seq, at, more in entries:
            if xact in self._known:
                continue
            fresh.add(xact)
            # In the order of their last entries: who waited for a lock has written something before that, and what it
            # waited for comes first all the same.
            deed = deeds.pop((xact, connection_id), None) or _Deed(connection_id, at)
            deeds[xact, connection_id] = deed
            deed.entries[what].append((run_seq, more or {}))
        for deed in deeds.values():
            self._take(deed)
        self._known = {xact for xact in self._known | fresh if xact >= low}
        self._low, self.until = low, until
        return {connection_id for _, connection_id in deeds}

    def look_for_stuck(self) -> None:
        """Hold the runs that are on against I2."""
        for connection_id, story in self.stories.items():
            if story.active is not None:
                run = story.runs[story.active]
                if self._overdue_s(run, self.until) > 0:
                    self._wrong(
                        connection_id, f"I2 run {run.seq} is still on, {self.until - run.started_at:.1f} s long"
                    )

    def compare_with_tables(self, db: psycopg.Connection[Any]) -> None:
        """Hold what the tables show in the end against what the history says they must."""
        shown = db.execute(
            "SELECT s.connection_id, s.run_seq, s.active_seq, s.requested_trigger, s.enabled,"
            "       h.run_seq, h.name, h.reason, h.cred_version"
            "  FROM connection_sched s JOIN health h USING (connection_id)"
        ).fetchall()
        for connection_id, last, active, wish, is_enabled, seq, *verdict in shown:
            story = self.stories[connection_id]
            if (seq, tuple(verdict)) != (story.health_seq, story.verdict or (None, None, None)):
                self._wrong(connection_id, f"I3 health shows run {seq} with {verdict}, not {story.health_seq}")
            if last != story.last:
                self._wrong(connection_id, f"I4 run_seq is {last}, the last run was {story.last}")
            if active != story.active:
                self._wrong(connection_id, f"I2 the schedule holds run {active}, on is {story.active}")
            for run in story.runs.values():
                if run.finished_at == float("inf") and run.seq not in {active, story.active}:
                    self._wrong(connection_id, f"I2 run {run.seq} has no end")
            if wish != story.wish:
                self._wrong(connection_id, f"I6 the schedule holds the trigger {wish}, open is {story.wish}")
            if is_enabled != (story.state == "ACTIVE"):
                self._wrong(connection_id, f"I6 it is enabled: {is_enabled}, though it is {story.state}")

    # --- one transaction ---------------------------------------------------------------------------------------------

    def _wrong(self, connection_id: UUID, what: str) -> None:
        invariant, _, words = what.partition(" ")
        self.found.add(f"{invariant} {connection_id}: {words}", connection_id)

    def _take(self, deed: _Deed) -> None:
        story = self.stories[deed.connection_id]
        for what in sorted(deed.entries, key=_ORDER.index):
            for seq, more in deed.entries[what]:
                _TAKES[what](self, deed, story, seq, more)

    def _born(self, deed: _Deed, story: Story, _seq: int, more: dict[str, Any]) -> None:
        story.wish, story.wished_at = more["trigger"], deed.at
        story.state = "ACTIVE" if more["enabled"] else "PENDING"
        self._grid(deed, story, 0, more)

    def _grid(self, _deed: _Deed, story: Story, _seq: int, more: dict[str, Any]) -> None:
        story.origin, story.interval_s = seconds(more["origin"]), more["interval_s"]
        story.owed_from = seconds(more["now"])

    def _begun(self, deed: _Deed, story: Story, seq: int, more: dict[str, Any]) -> None:
        wrong = self._wrong
        run = story.runs[seq] = Run(
            seq=seq,
            worker_id=more["worker_id"],
            trigger=more["trigger"],
            cred_version=more["cred_version"],
            skipped_slots=more["skipped_slots"],
            scheduled_for=seconds(more["scheduled_for"]),
            started_at=seconds(more["started_at"]),
            deadline_at=seconds(more["deadline_at"]),
        )
        if story.active is not None:
            wrong(deed.connection_id, f"I1 run {seq} began while {story.active} was on")
        if seq != story.last + 1:
            wrong(deed.connection_id, f"I4 run {seq} came after {story.last}")
        if story.state != "ACTIVE":
            wrong(deed.connection_id, f"I6 run {seq} began though the connection is {story.state}")
        before = story.runs.get(story.last)
        was_lost = before is not None and before.state == "LOST"
        if run.trigger == "RECOVERY" and was_lost and story.lost_in_a_row > RETRIES_OF_LOST:
            wrong(deed.connection_id, f"I2 run {seq} is made at once after {story.lost_in_a_row} that were lost")
        if self._owns_schedule:
            self._compare_with_schedule(deed, story, run)
        self.found.skipped += run.skipped_slots
        if story.wish is not None:
            self.found.answered_after_s.append(run.started_at - story.wished_at)
        story.active, story.last, story.owed_from = seq, max(seq, story.last), run.started_at

    def _compare_with_schedule(self, deed: _Deed, story: Story, run: Run) -> None:
        """Hold a run that begins against what was wanted and what was owed."""
        wrong = self._wrong
        if run.trigger != (story.wish or "SCHEDULED"):
            wrong(deed.connection_id, f"I6 run {run.seq} is {run.trigger}, and what was asked for was {story.wish}")
        served = any(more["trigger"] is None for _, more in deed.entries.get("wish", ()))
        if story.wish is not None and not served:
            wrong(deed.connection_id, f"I6 run {run.seq} left the trigger standing that it answers: it comes again")
        if run.started_at < run.scheduled_for:
            wrong(deed.connection_id, f"I5 run {run.seq} began before it was due")
        if story.owed_from is not None and story.interval_s:
            slots = _slot(story, run.started_at) - _slot(story, story.owed_from)
            if run.skipped_slots != max(0, slots - 1):
                wrong(deed.connection_id, f"I5 run {run.seq} counts {run.skipped_slots} of {slots - 1} skipped slots")

    def _ended(self, deed: _Deed, story: Story, seq: int, _more: dict[str, Any]) -> None:
        if story.active != seq:
            self._wrong(deed.connection_id, f"I3 run {seq} was ended while {story.active} was on")
        if "history.insert" not in deed.entries:
            self._wrong(deed.connection_id, f"I3 run {seq} vanished without a record")
        story.active = None

    def _recorded(self, deed: _Deed, story: Story, seq: int, more: dict[str, Any]) -> None:
        run, wrong = story.runs.get(seq), self._wrong
        if run is None or run.finished_at != float("inf") or ("run.delete" not in deed.entries):
            wrong(deed.connection_id, f"I3 run {seq} was recorded, though it was not on")
            return
        if more["worker_id"] != run.worker_id:
            wrong(deed.connection_id, f"I3 run {seq} is recorded for another worker than it ran on")
        run.state, run.name, run.reason = more["state"], more["name"], more["reason"]
        run.finished_at, run.requests = seconds(more["finished_at"]), more["requests"]
        run.ended_at = max(run.finished_at, deed.at)
        run.executions = tuple(int(number) for number in more["executions"] or ())
        self.found.runs += 1
        self.found.by_state[run.state] += 1
        story.lost_in_a_row = story.lost_in_a_row + 1 if run.state == "LOST" else story.lost_in_a_row
        story.lost_in_a_row = 0 if run.has_own_end else story.lost_in_a_row
        if run.name is not None and "health.update" not in deed.entries and "DELETED" not in self._states(deed, story):
            wrong(deed.connection_id, f"I3 the verdict of run {seq} is not the connection's health")
        if self._overdue_s(run, run.finished_at) > 0:
            wrong(
                deed.connection_id,
                f"I2 run {seq} ended {run.state} ({run.reason}) after {run.finished_at - run.started_at:.1f} s,"
                f" its budget being {run.deadline_at - GRACE_S - run.started_at:g}",
            )

    def _states(self, deed: _Deed, story: Story) -> set[str]:
        return {story.state} | {more["state"] for _, more in deed.entries.get("state", ())}

    def _judged(self, deed: _Deed, story: Story, seq: int, more: dict[str, Any]) -> None:
        if seq <= story.health_seq:
            self._wrong(deed.connection_id, f"I3 health went from run {story.health_seq} to {seq}")
        told = (more["name"], more["reason"], more["cred_version"])
        end = deed.only("history.insert")
        if (
            end is None
            or end[0] != seq
            or told != tuple(end[1][column] for column in ("name", "reason", "cred_version"))
        ):
            self._wrong(deed.connection_id, f"I3 health says {told} of run {seq}, and that was not its end")
        if story.state == "DELETED":
            self._wrong(deed.connection_id, f"I3 health follows run {seq} though the connection was deleted")
        story.health_seq, story.verdict = seq, told

    def _wished(self, deed: _Deed, story: Story, _seq: int, more: dict[str, Any]) -> None:
        if more["trigger"] is None and "run.insert" not in deed.entries and self._owns_schedule:
            self._wrong(deed.connection_id, f"I6 the trigger {story.wish} was dropped without a run")
        if story.wish is None and more["trigger"] is not None:
            self.found.wishes += 1
            story.wished_at = deed.at
        story.wish = more["trigger"]

    def _moved(self, _deed: _Deed, story: Story, _seq: int, more: dict[str, Any]) -> None:
        if more["state"] == "ACTIVE":
            story.owed_from = seconds(more["now"])
            if story.wish is not None:
                story.wished_at = story.owed_from
        story.state = more["state"]

    def _landed(self, deed: _Deed, story: Story, seq: int, more: dict[str, Any]) -> None:
        if seq != story.active:
            self._wrong(deed.connection_id, f"I3 record {more['id']} was written by run {seq}; on was {story.active}")
        number = self._numbers.get(deed.connection_id)
        if number is not None and more["account"] not in {None, number}:
            self._wrong(deed.connection_id, f"I3 record {more['id']} is that of account {more['account']}")
        execution = more["execution"]
        if isinstance(execution, int) and not more["gone"]:
            if execution < story.newest_execution:
                self._wrong(deed.connection_id, f"I3 record {more['id']} went back to execution {execution}")
            story.newest_execution = max(execution, story.newest_execution)

    def _overdue_s(self, run: Run, at: float) -> float:
        """Return by how much a run has outlived what it may, which is more where the database was away meanwhile."""
        away_s = sum(
            min(at, until) - max(run.started_at, since) + 2 * _AFTER_AWAY_S
            for since, until in (*self.down, *self.unattended)
            if since <= at and until + _AFTER_AWAY_S >= run.started_at
        )
        return at - run.deadline_at - self.sweep_s - self.starved_s - max(0.0, away_s)

    def _changed(self, deed: _Deed, _story: Story, seq: int, _more: dict[str, Any]) -> None:
        self._wrong(deed.connection_id, f"I3 run {seq} was changed while it was on")

    def _rewritten(self, deed: _Deed, _story: Story, seq: int, more: dict[str, Any]) -> None:
        if more["changed"]:
            self._wrong(deed.connection_id, f"I3 run {seq} was changed after its end")
        self.found.late_results += 1

    def _hinted_again(self, deed: _Deed, _story: Story, _seq: int, _more: dict[str, Any]) -> None:
        self._wrong(deed.connection_id, "I4 a hint was given again though it was fresh")


_AFTER_AWAY_S: Final = 5.0
_CALLS_ON_FOR_S: Final = 15.0
"""How long after a crash of the server the runs of lost claims may go on: it is away, and then a renewal tells them."""

_TAKES: Final[dict[str, Callable[[Audit, _Deed, Story, int, dict[str, Any]], None]]] = {
    "born": Audit._born,
    "grid": Audit._grid,
    "record": Audit._landed,
    "run.update": Audit._changed,
    "run.delete": Audit._ended,
    "history.insert": Audit._recorded,
    "history.update": Audit._rewritten,
    "history.delete": Audit._rewritten,
    "health.update": Audit._judged,
    "run.insert": Audit._begun,
    "wish": Audit._wished,
    "state": Audit._moved,
    "hinted again": Audit._hinted_again,
}
"""In the order in which one transaction's entries are taken: an end before what follows from it."""
_ORDER: Final = list(_TAKES)


def _seen(db: psycopg.Connection[Any], low: int) -> _Seen:
    """Return the database's clock, the oldest transaction that is not over, and all entries from `low` on."""
    found = db.execute(
        "SELECT extract(epoch FROM clock_timestamp())::double precision,"
        "       pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
    ).fetchone()
    assert found is not None
    entries = db.execute(
        "SELECT xact::text::bigint, what, connection_id, run_seq, extract(epoch FROM at)::double precision, more"
        "  FROM audit WHERE xact >= %s::text::xid8 ORDER BY n",
        (str(low),),
    ).fetchall()
    return found[0], found[1], entries


def read(
    db: psycopg.Connection[Any], *, sweep_s: float, down: Sequence[tuple[float, float]] = ()
) -> tuple[dict[UUID, Story], Findings]:
    """Read the whole history of a drill once and hold it against I1 to I6. Drills write to the schedule themselves.

    sweep_s: how long after its deadline a run may still be on; down: spans (seconds since 1970) without a database.
    """
    audit = Audit(sweep_s=sweep_s, owns_schedule=False)
    audit.down += down
    audit.take(_seen(db, 0))
    audit.compare_with_tables(db)
    return audit.stories, audit.found


def count_slots(db: psycopg.Connection[Any], stories: Mapping[UUID, Story], found: Findings) -> int:
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
        for before, now in itertools.pairwise(runs[seq] for seq in sorted(runs)):
            slots = (now.started_at - origin) // interval_s - (before.started_at - origin) // interval_s
            skipped += now.skipped_slots
            if now.skipped_slots != max(0, slots - 1):
                told = f"I5 {connection_id}: run {now.seq} counts {now.skipped_slots} of {slots - 1:g} skipped slots"
                found.add(told, connection_id)
    return skipped


# --- the vendor's side -----------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Comparison:
    """One connection's runs, by their numbers at the vendor (claimed) and in order, and its calls by execution.

    crashes: when the server was killed, in seconds since 1970; learns_within_s: see compare_with_vendor.
    """

    connection_id: UUID
    order: Sequence[Run]
    claimed: Mapping[int, Run]
    spans: Mapping[int, Sequence[SeenCall]]
    found: Findings
    crashes: Sequence[float]
    slack_s: float
    learns_within_s: float

    def wrong(self, what: str) -> None:
        invariant, _, words = what.partition(" ")
        self.found.add(f"{invariant} {self.connection_id}: {words}", self.connection_id)

    def look(self) -> None:
        """Look at each execution, and at each with the next."""
        owners: dict[int, Run | None] = {}
        for execution, span in sorted(self.spans.items(), key=lambda item: item[1][0].at):
            run = owners[execution] = self.claimed.get(execution) or self._run_at(span[0].at)
            if run is None:
                self._look_at_unclaimed(execution, span)
            else:
                self._look_at(execution, span, run)
        for earlier, later in itertools.pairwise(owners):
            self._look_for_overlap(earlier, later, owners)

    def _look_at(self, execution: int, span: Sequence[SeenCall], run: Run) -> None:
        if span[0].at < run.started_at - self.slack_s:
            self.wrong(f"I3 run {run.seq} tells of what execution {execution} saw before it began")
        late = sum(call.at > run.ended_at + self.slack_s for call in span)
        self.found.zombie_calls += late
        if run.state == "CANCELLED":  # whoever runs it hears of that with its next renewal
            late = sum(call.at > run.ended_at + self.learns_within_s for call in span)
        if late and run.has_own_end:
            self.wrong(f"I1 execution {execution} went on after the verdict of run {run.seq}")
        elif late > 1:
            self.wrong(f"I1 execution {execution} made {late} calls after run {run.seq} had ended")

    def _look_at_unclaimed(self, execution: int, span: Sequence[SeenCall]) -> None:
        """Say whether an execution that began outside every run may be: by a crash that took its claim, or a zombie."""
        first = span[0].at
        self.found.unclaimed_executions += 1
        self.found.zombie_calls += len(span)
        if any(first - _CALLS_ON_FOR_S <= crash <= first + 4 for crash in self.crashes):
            return
        before = any(run.ended_at < first and not run.has_own_end for run in self.order)
        if not before or len(span) > 1:
            self.wrong(f"I1 execution {execution} of {len(span)} calls stands for no run")

    def _look_for_overlap(self, earlier: int, later: int, owners: Mapping[int, Run | None]) -> None:
        run, following = owners[earlier], owners[later]
        second = self.spans[later][0].at
        overlaps = [call.at for call in self.spans[earlier] if call.at > second]
        if not overlaps or run is None or following is None or min(overlaps) > run.ended_at - self.slack_s:
            return
        is_zombies = following is run and len(self.spans[later]) == 1 and later not in self.claimed and run.executions
        if not is_zombies:
            self.wrong(f"I1 executions {earlier} and {later} overlap")

    def _run_at(self, at: float) -> Run | None:
        """Return the run that was on at a moment, the newest where the slack leaves a choice."""
        for run in reversed(self.order):
            if run.started_at - self.slack_s <= at <= run.ended_at + self.slack_s:
                return run
        return None


def compare_with_vendor(
    calls: Iterable[SeenCall],
    stories: Mapping[UUID, Story],
    accounts: Mapping[str, UUID],
    found: Findings,
    *,
    crashes: Sequence[float] = (),
    slack_s: float = _RIGHT_AWAY_S,
    learns_within_s: float = 3.0,
) -> None:
    """Hold what the vendor saw against I1 and I3. accounts: every name that a connection ever called itself by.

    learns_within_s: how long a run that a person cancelled may go on, for its worker learns of that by asking.

    An execution may outlive its run only where the run was taken from its worker, and then by the one call that was
    past the last check; those calls are counted as a zombie's. Where no run stands for an execution, its claim was lost
    in a crash of the server (crashes: seconds since 1970), and the worker learns of that with its next renewal.
    """
    by_connection: dict[UUID, dict[int, list[SeenCall]]] = defaultdict(lambda: defaultdict(list))
    for call in calls:
        if call.account in accounts:
            by_connection[accounts[call.account]][call.execution].append(call)
            found.calls += 1
    for connection_id, spans in by_connection.items():
        order = sorted(stories[connection_id].runs.values(), key=lambda run: run.started_at)
        _Comparison(
            connection_id=connection_id,
            order=order,
            claimed={number: run for run in order for number in run.executions},
            spans=spans,
            found=found,
            crashes=crashes,
            slack_s=slack_s,
            learns_within_s=learns_within_s,
        ).look()


def worst_window(moments: Iterable[float], window_s: float) -> int:
    """Return the most that fall into any window. moments: in order."""
    inside: list[float] = []
    worst = start = 0
    for moment in moments:
        inside.append(moment)
        while moment - inside[start] >= window_s:
            start += 1
        worst = max(worst, len(inside) - start)
    return worst


def _slot(story: Story, at: float) -> int:
    return int((at - story.origin) // story.interval_s)


def seconds(text: str) -> float:
    """Return a moment of the audit in seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


def clock(at: float) -> str:
    """Return a moment as people read it, UTC."""
    return time.strftime("%H:%M:%S", time.gmtime(at)) + f"{at % 1:.3f}"[1:]
