"""The programs of a soak: started, started again, signalled; and what must be true of each of them and of its log."""

import importlib.util
import os
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psycopg

from tests.faults.audit import Audit
from tests.faults.programs import ForkedProgram, Nursery
from tests.system.stack import Installation, Program

LEASE_S: Final = 3.0
HARD_AFTER_S: Final = 5
DEAD_MAN_S: Final = 10
DEGRADED_AFTER_S: Final = 2
REHINT_AFTER_S: Final = 6
MOST_FILES: Final = 250
MOST_THREADS: Final = 150
STUCK_CODE: Final = 70
GONE_CODE: Final = 3
_LONG_AGO_S: Final = 240.0
_CLOCKS_S: Final = (0, 0, 3600, -3600, 86_400)
_STARTS_WITHIN_S: Final = 45.0
_STUCK_WITHIN_S: Final = 60.0
_PRESSURE: Final = Path("/proc/pressure/cpu")
_STARVED_ABOVE: Final = 90.0
"""Of a hundred seconds, those in which somebody waited for a core."""
_STARVED_S: Final = 10.0
_NAMES: Final = re.compile(r"connection_id=(\S+?)\s.*run_seq=(\d+)|run_seq=(\d+).*connection_id=(\S+)")
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_TRACEBACK: Final = "Traceback (most recent call last)"
_CELERYS_OWN: Final = ("WorkerLostError", "WorkerShutdown", "RestartFreqExceeded")
"""What Celery tells, with a traceback, of a child that was killed, one that ends with its parent, and a broker away."""


@dataclass(slots=True)
class Sample:
    """What a process held at a moment. age_s: since its start."""

    age_s: float
    memory_mb: float
    files: int
    threads: int


@dataclass(slots=True, eq=False)
class Member:
    """One program. frozen: spans in seconds since 1970; told_at: when it was asked to end, killed_at: likewise."""

    program: Program
    role: str
    place: int
    pool: str
    began: float
    clock_s: int = 0
    frozen: list[tuple[float, float]] = field(default_factory=list)
    told_at: float | None = None
    killed_at: float | None = None
    ended_at: float | None = None
    read_to: int = 0
    samples: list[Sample] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)

    @property
    def is_alive(self) -> bool:
        return self.program.is_alive

    @property
    def is_frozen(self) -> bool:
        return bool(self.frozen) and self.frozen[-1][1] == float("inf")

    def children(self) -> list[int]:
        """The processes that it started."""
        pid = self.program.pid
        try:
            found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            return []
        self.pids.update(found)
        return found

    def lived_from_to(self, since: float, until: float) -> bool:
        """Say whether it lived and went on all this time."""
        ends = [one for one in (self.ended_at, self.killed_at, self.told_at) if one is not None]
        stood_still = any(a < until and b > since for a, b in self.frozen)
        return self.is_alive and not stood_still and not any(end < until for end in ends)

    def was_frozen_for_s(self) -> float:
        """Return the longest time it stood still."""
        return max((until - since for since, until in self.frozen), default=0.0)

    def signal(self, number: int) -> None:
        """Signal its whole group."""
        if self.is_alive:
            os.killpg(self.program.pid, number)


class Fleet:
    """All programs of one installation, and what is wrong with them (wrong)."""

    def __init__(
        self,
        installation: Installation,
        *,
        lossy_url: str,
        seed: int,
        children: int,
        audit: Audit,
        secret: str,
        may_get_stuck: Mapping[UUID, str],
    ) -> None:
        self.installation, self.audit = installation, audit
        self.members: list[Member] = []
        self.ends: Counter[str] = Counter()
        self.secret = secret
        self.may_get_stuck = may_get_stuck
        """Connections whose code may cost a process, with what it does."""
        self.stuck_at: dict[str, float] = {}
        """When a run of such code was last asked for."""
        self.starved_at = 0.0
        self.wronged = 0
        self._wronged_until = 0.0
        self.felt: Counter[bool] = Counter()
        """How often the machine was found pressed, and how often not."""
        self.fenced: list[tuple[Member, UUID, int]] = []
        self._lossy_url, self._children = lossy_url, children
        self._lot = random.Random(seed)  # noqa: S311 - breaks things at random, guards nothing
        self._faketime = _faketime()
        self._nurseries: dict[int, Nursery] = {}
        """By how far their programs' clocks are off, in seconds."""
        self.servers_away: list[tuple[float, float]] = []
        """Spans without PostgreSQL or Redis: a program that starts then ends."""

    @property
    def is_starved(self) -> bool:
        """Whether the machine had more to do than it could within the last minute or so."""
        return time.time() - self.starved_at < _STUCK_WITHIN_S

    def feel(self) -> None:
        """Feel how hard the machine is pressed (Linux): what only a clock can tell is judged the milder then."""
        pressed = _PRESSURE.read_text(encoding="ascii") if _PRESSURE.exists() else ""
        found = re.search(r"some avg10=([\d.]+)", pressed)
        is_pressed = found is not None and float(found[1]) > _STARVED_ABOVE
        self.felt[is_pressed] += 1
        if is_pressed:
            self.starved_at = time.time()
        self.audit.starved_s = _STARVED_S if self.is_starved else 0.0

    def alive(self, *roles: str) -> list[Member]:
        return [member for member in self.members if member.role in roles and member.is_alive]

    def fill(self, workers: int, beats: int) -> None:
        """Start what is missing."""
        for role, count in (("worker", workers), ("beat", beats)):
            here = {member.place for member in self.alive(role)}
            for place in range(count):
                if place not in here:
                    self.start(role, place)

    def start(self, role: str, place: int) -> Member:
        """Start a program. Of three workers one is a prefork pool, and one reaches PostgreSQL by a lossy way."""
        arguments: tuple[str, ...] = ()
        settings: dict[str, Any] = {}
        pool = "threads"
        if role == "worker":
            arguments = ("--without-mingle", "--without-gossip")
            if place % 3 == 2:
                pool = "prefork"
                arguments += ("--pool", "prefork", "-c", str(self._children))
            if place % 3 == 1:
                settings["database_url"] = self._lossy_url
        clock_s = self._lot.choice(_CLOCKS_S) if self._faketime else 0
        programs = self.installation.programs
        name = f"{role}-{sum(one.name.startswith(role) for one in programs) + 1}"
        program = ForkedProgram(
            self._nursery(clock_s),
            name,
            ["-A", "worker", role, *arguments],
            self.installation.environment(**settings),
            self.installation.folder,
        )
        programs.append(program)
        member = Member(program, role, place, pool if role == "worker" else "-", time.time(), clock_s)
        member.pids.add(program.pid)
        self.members.append(member)
        return member

    def _nursery(self, clock_s: int) -> Nursery:
        if clock_s not in self._nurseries:
            wrong = {
                "LD_PRELOAD": str(self._faketime),
                "FAKETIME": f"{clock_s:+d}s",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                # Else each wait for the interpreter's lock returns at once: four times the CPU for the same work.
                "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            }
            self._nurseries[clock_s] = Nursery({**os.environ, **(wrong if clock_s else {})})
        return self._nurseries[clock_s]

    @property
    def roots(self) -> list[int]:
        """The processes that all programs descend from."""
        return [nursery.pid for nursery in self._nurseries.values()]

    def close(self) -> None:
        """End the nurseries. For when all programs have ended."""
        for nursery in self._nurseries.values():
            nursery.close()

    # --- what must be true of them -----------------------------------------------------------------------------------

    def look(self, db: psycopg.Connection[Any]) -> None:
        """Look at ends and logs, and for processes that hang. db: on autocommit."""
        for member in self.members:
            if member.ended_at is None and not member.is_alive:
                member.ended_at = time.time()
                self._look_at_end(member)
            self._read_log(member)
        self._look_for_the_hanging(db)

    def look_for_absence(self, db: psycopg.Connection[Any]) -> None:
        """Tell the audit when nobody was there to put a run back: dead, starting, frozen or on the way out."""
        ready = dict(
            db.execute("SELECT pid, extract(epoch FROM min(started_at))::double precision FROM worker GROUP BY pid")
        )
        now = time.time()
        there: list[tuple[float, float]] = []
        for member in self.members:
            since = ready.get(member.program.pid)
            if since is None:
                continue
            until = min(one for one in (member.ended_at, member.killed_at, member.told_at, now) if one is not None)
            for stopped, went_on in member.frozen:
                there.append((since, min(stopped, until)))
                since = went_on
            there.append((since, until))
        spans, at = [], min((member.began for member in self.members), default=now)
        for since, until in sorted(there):
            if since > at:
                spans.append((at, since))
            at = max(at, until)
        self.audit.unattended = [*spans, (at, now)] if now - at > 1 else spans

    def _look_at_end(self, member: Member) -> None:
        code = member.program._process.returncode
        self.ends[f"{member.role} {code}"] += 1
        if not self._may_have_ended(member, code):
            self._wrong(f"I9 {member.program.name} ended by itself with code {code}")

    def _may_have_ended(self, member: Member, code: int) -> bool:
        """Say whether a program may have ended so, by what was done to it."""
        ended = member.ended_at or time.time()
        was_told = member.told_at is not None
        stood_still = bool(member.frozen)
        found_nobody = any(a <= member.began + _STARTS_WITHIN_S and b >= member.began for a, b in self.servers_away)
        base_away = any(until > ended - _STUCK_WITHIN_S for _, until in self.audit.down)
        reasons = {
            0: was_told,
            -15: was_told,
            -9: member.killed_at is not None,
            -14: stood_still or self.is_starved or self._lately("hold_the_interpreter", ended),
            STUCK_CODE: stood_still or base_away or self.is_starved or self._lately("wait_in_c", ended),
            GONE_CODE: "exit_at_once" in self.stuck_at,
            1: was_told or found_nobody or (member.pool == "prefork" and self._lately("child_killed", ended)),
        }
        return reasons.get(code, False)

    def _lately(self, how: str, at: float) -> bool:
        return at - self.stuck_at.get(how, 0.0) < _LONG_AGO_S

    def _read_log(self, member: Member) -> None:
        try:
            with member.program.log_path.open("rb") as log:
                log.seek(member.read_to)
                raw = log.read()
        except OSError:
            return
        whole, newline, _ = raw.rpartition(b"\n")
        member.read_to += len(whole) + len(newline)
        text = _COLOURS.sub("", whole.decode("utf-8", "replace"))
        if self.secret in text:
            self._wrong(f"I8 a secret stands in the log of {member.program.name}")
        if _TRACEBACK in text:
            for told in _tracebacks(text):
                if not any(word in told for word in _CELERYS_OWN):
                    self._wrong(f"I9 {member.program.name} broke: {told}")
        for line in text.splitlines():
            self._read_line(member, line)

    def _read_line(self, member: Member, line: str) -> None:
        name = member.program.name
        if "run.stuck" in line or "run.fenced" in line:
            found = _NAMES.search(line + " ")
            if found is None:
                return
            connection_id, seq = UUID(found[1] or found[4]), int(found[2] or found[3])
            if "run.fenced" in line:
                self.fenced.append((member, connection_id, seq))
            elif not self._may_be_stuck(member, connection_id):
                self._wrong(f"I2 run {seq} of {connection_id} got stuck and cost {name} its life", connection_id)
        elif "worker.drained" in line and "interrupted=0" not in line:
            codes = any(self._lately(how, time.time()) for how in ("wait_in_c", "hold_the_interpreter"))
            told_at = member.told_at or 0.0
            was_away = any(until > told_at - 15 for _, until in self.servers_away)
            if not codes and not member.frozen and not was_away and not self.is_starved:
                self._wrong(f"I9 {name} was told to end, and its runs had to be ended from outside")
        elif "Unrecoverable error" in line and not any(word in line for word in _CELERYS_OWN):
            self._wrong(f"I9 {name} ended by an error: {line[:200]}")

    def _may_be_stuck(self, member: Member, connection_id: UUID) -> bool:
        """Say whether a run may cost its process: by its code, or where it or the database stood still meanwhile."""
        does = self.may_get_stuck.get(connection_id)
        if does == "wait_in_c" or member.was_frozen_for_s() > HARD_AFTER_S / 2 or (does is None and self.is_starved):
            return True
        return any(until > time.time() - _STUCK_WITHIN_S for _, until in self.audit.down)

    def look_at_fenced(self, pids: Mapping[str, int]) -> None:
        """Hold what was told as fenced against the history. pids: of the workers' ids."""
        mains = {member.program.pid for member in self.members}
        for member, connection_id, seq in self.fenced:
            run = self.audit.stories[connection_id].runs.get(seq)
            if run is None or not run.has_own_end:
                continue
            pid = pids.get(run.worker_id, 0)
            if pid == member.program.pid or (member.pool == "prefork" and pid not in mains):
                self._wrong(
                    f"I3 run {seq} of {connection_id} was told as fenced, and its own end stands", connection_id
                )
        self.fenced.clear()

    def look_for_the_wronged(self, pids: Mapping[str, int]) -> None:
        """Count runs that were put back although their worker lived. After the database was away none must be."""
        mains = {member.program.pid: member for member in self.members if member.pool == "threads"}
        for connection_id, story in self.audit.stories.items():
            for run in story.runs.values():
                if run.reason != "worker_lost" or run.finished_at <= self._wronged_until:
                    continue
                member = mains.get(pids.get(run.worker_id, 0))
                if member is None or not member.lived_from_to(run.started_at - 1, run.finished_at):
                    continue
                self.wronged += 1
                was_away = any(0 < run.finished_at - until < 2 * LEASE_S for _, until in self.audit.down)
                if was_away and not self.is_starved:
                    self._wrong(
                        f"I2 run {run.seq} of {connection_id} was put back when the database was back, and its worker"
                        " lived",
                        connection_id,
                    )
        self._wronged_until = self.audit.until

    def _look_for_the_hanging(self, db: psycopg.Connection[Any]) -> None:
        now = time.time()
        watched: dict[int, Member] = {}
        for member in self.alive("worker"):
            if member.is_frozen or member.told_at or now - member.began < _STARTS_WITHIN_S:
                continue
            if any(until > now - DEAD_MAN_S - 10 for _, until in member.frozen):
                continue
            for pid in (member.program.pid, *member.children()):
                watched[pid] = member
        if any(until > now - DEAD_MAN_S - 15 for _, until in self.audit.down):
            return
        leases = db.execute(
            "SELECT pid, extract(epoch FROM clock_timestamp() - max(lease_until))::double precision,"
            "       extract(epoch FROM clock_timestamp() - max(started_at))::double precision"
            "  FROM worker WHERE pid = ANY(%s) GROUP BY pid",
            (list(watched),),
        ).fetchall()
        for pid, over_s, age_s in leases:
            if (
                over_s > DEAD_MAN_S + 8 + self.audit.starved_s
                and age_s > _STARTS_WITHIN_S
                and Path(f"/proc/{pid}").exists()
            ):
                self._wrong(f"I9 a process of {watched[pid].program.name} hangs: its lease ended {over_s:.0f} s ago")

    def _wrong(self, sentence: str, connection_id: UUID | None = None) -> None:
        self.audit.found.add(sentence, connection_id)

    # --- growth ------------------------------------------------------------------------------------------------------

    def sample(self) -> None:
        """Note what each worker's processes hold."""
        now = time.time()
        for member in self.alive("worker"):
            for pid in (member.program.pid, *member.children()):
                found = _held(pid)
                if found is None:
                    continue
                memory_mb, files, threads = found
                if pid == member.program.pid:
                    member.samples.append(Sample(now - member.began, memory_mb, files, threads))
                if files > MOST_FILES or threads > MOST_THREADS:
                    self._wrong(f"I9 {member.program.name} has {files} files open and {threads} threads")

    def growth(self) -> Iterator[str]:
        """Tell how the workers' main processes grew with age."""
        for pool in ("threads", "prefork"):
            told = []
            for young_s, old_s in ((15, 45), (45, 120), (120, 300), (300, 10**6)):
                here = [
                    sample
                    for member in self.members
                    if member.pool == pool
                    for sample in member.samples
                    if young_s <= sample.age_s < old_s
                ]
                if here:
                    memory, files, threads = (
                        statistics.median(getattr(sample, what) for sample in here)
                        for what in ("memory_mb", "files", "threads")
                    )
                    word = f"{young_s} to {old_s} s" if old_s < 10**6 else f"over {young_s} s"
                    told.append(f"{word}: {memory:.0f} MB, {files:.0f} files, {threads:.0f} threads")
            if told:
                yield f"workers by age, {pool}: " + "; ".join(told)


def _held(pid: int) -> tuple[float, int, int] | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        files = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - a count, not paths
        threads = len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024, files, threads
    except (OSError, IndexError):
        return None


def _tracebacks(text: str) -> Iterator[str]:
    """Yield the last line of each traceback: what was raised."""
    lines = iter(text.splitlines())
    for line in lines:
        if _TRACEBACK not in line:
            continue
        raised = "?"
        for following in lines:
            if following and not following.startswith((" ", "\t", "|", '"', "Traceback", "billiard.einfo")):
                raised = following
                break
        yield raised[:300]


def _faketime() -> Path | None:
    """Return the library that shifts a program's clock, where it is installed."""
    spec = importlib.util.find_spec("libfaketime")
    for folder in spec.submodule_search_locations or () if spec else ():
        for found in Path(folder).rglob("libfaketime.so.1"):
            return found
    return None


def signal_one(pid: int, number: int) -> bool:
    """Signal one process; False where it is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
