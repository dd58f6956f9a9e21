"""Breaks an installation at random, then holds its whole history against the invariants.

    python tests/faults/soak.py [--seed 7] [--minutes 10] [--mutant fence]

Without --minutes it goes on until --runs runs have ended. It looks at the history while it grows, so that it ends soon
after an invariant was broken, with 1, and tells the whole story of that connection. --mutant takes one guard out of the
workers (mutants/sitecustomize.py): the soak must fail then, or it proves nothing.
"""

import argparse
import bisect
import itertools
import logging
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks.cpu import tree_cpu_s
from embedded.postgres import Postgres
from embedded.redis import Redis
from models import connections, migrate, retention
from models.runs import GRACE_S
from tests.faults import audit
from tests.faults.audit import Audit, Findings, clock
from tests.faults.fleet import (
    DEAD_MAN_S,
    DEGRADED_AFTER_S,
    HARD_AFTER_S,
    LEASE_S,
    REHINT_AFTER_S,
    Fleet,
)
from tests.faults.mischief import FAULTS, Fault, Mischief
from tests.faults.mutants.sitecustomize import MUTANTS, TABLES
from tests.system import leaks
from tests.system.stack import Installation
from worker.errors import DATABASE_TROUBLE

HERE: Final = Path(__file__).parent
SECRET: Final = "s3cr3t-0f-a-cust0mer"
TIMEOUT_S: Final = 20
SLACK_S: Final = 10.0
"""What a loaded machine may take on top of a run's budget and the watchdog's patience."""
QUIET_LATENESS_S: Final = 10.0
RATION, WINDOW_S = 100, 20.0  # as definitions/rationed.yaml has it
ASKED_FOR: Final = 1.1
"""Of the ration: so much its connections would take."""
SEEN_AFTER_S: Final = 0.5
"""So long after a call it certainly stands in the vendor's log."""
LATELY_S: Final = 90.0
QUEUE_LIMIT: Final = 200
"""A tenth of the usual, as `rehint_after_s` is: a queue that takes longer than that to empty holds most hints twice."""
POISONS: Final = ("swallow_exceptions", "wait_in_c", "hold_the_interpreter", "exit_at_once")


class Seen(NamedTuple):
    """One call as the vendor saw it. mood: how it answered."""

    at: float
    vendor: str
    account: str
    execution: int
    page: int
    mood: str


class Outside:
    """The process with the vendor and the lossy way (outside.py), and what it saw so far (calls)."""

    def __init__(self, log: Path, seed: int, postgres: Postgres) -> None:
        where = conninfo_to_dict(postgres.url)
        self._log = log
        self._read_to = 0
        self._postgres = postgres
        self.calls: list[Seen] = []
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "outside.py"), str(log), str(seed), str(where["host"]), str(postgres.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @property
    def lossy_url(self) -> str:
        """The way to PostgreSQL that may lose answers."""
        where = conninfo_to_dict(self._postgres.url)
        folder = f"{where['host']}/ways"
        return f"postgresql://{where['user']}@/{where['dbname']}?host={folder}&port={where['port']}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, command: str) -> None:
        """Give it a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def read(self) -> None:
        """Read what it saw since."""
        with self._log.open("rb") as log:
            log.seek(self._read_to)
            whole, newline, _ = log.read().rpartition(b"\n")
        self._read_to += len(whole) + len(newline)
        for line in whole.decode("ascii").splitlines():
            at, vendor, account, execution, page, mood = line.split(" ")
            self.calls.append(Seen(float(at), vendor, sys.intern(account), int(execution), int(page), sys.intern(mood)))

    def between(self, since: float, until: float) -> list[Seen]:
        """Return the calls of a span of time."""
        low = bisect.bisect_left(self.calls, since, key=lambda call: call.at)
        high = bisect.bisect_right(self.calls, until, key=lambda call: call.at)
        return self.calls[low:high]

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


class Customers:
    """Whose connections there are. accounts: by every token that one ever had; numbers: what the vendor calls each."""

    def __init__(self, installation: Installation, port: int, interval_s: int) -> None:
        self.installation, self.port, self.interval_s = installation, port, interval_s
        self.accounts: dict[str, UUID] = {}
        self.numbers: dict[UUID, object] = {}
        self.poisons: dict[UUID, str] = {}
        self.rationed: set[UUID] = set()
        self.asked_at: dict[str, float] = {}
        self._generation: dict[UUID, int] = {}
        self._plain: list[UUID] = []
        self._count = itertools.count(1)
        self._lock = threading.Lock()

    def connect(self, vendor: str = "turnstile", *, how: str | None = None, interval_s: int | None = None) -> UUID:
        """Connect another account."""
        number = next(self._count)
        token = f"{SECRET}-{number}-0"
        connection_id = self.installation.connect(
            vendor,
            {"token": token},
            {"port": self.port, **({"how": how} if how else {})},
            refresh_interval_secs=interval_s or self.interval_s,
            timeout_secs=3 if how in POISONS else 10 if vendor == "rationed" else TIMEOUT_S,
        )
        with self._lock:
            self.accounts[token] = connection_id
            self.numbers[connection_id] = number
            if how in POISONS:
                self.poisons[connection_id] = str(how)
                self.asked_at[str(how)] = time.time()
            elif vendor == "rationed":
                self.rationed.add(connection_id)
            elif how is None:
                self._generation[connection_id] = 0
                self._plain.append(connection_id)
        return connection_id

    def ordinary(self, lot: random.Random, count: int = 1) -> list[UUID]:
        with self._lock:
            return lot.sample(self._plain, count)

    def new_token(self, connection_id: UUID) -> str:
        with self._lock:
            generation = self._generation[connection_id] = self._generation.get(connection_id, 0) + 1
            token = f"{SECRET}-{self.numbers[connection_id]}-{generation}"
            self.accounts[token] = connection_id
        return token

    def drop(self, connection_id: UUID) -> None:
        with self._lock, suppress(ValueError):
            self._plain.remove(connection_id)

    def poisoned(self, how: str, lot: random.Random) -> UUID | None:
        self.asked_at[how] = time.time()
        return lot.choice([one for one, does in self.poisons.items() if does == how] or [None])


class BrokenError(Exception):
    """An invariant is broken: there is no reason to go on."""


class Soak:
    """One soak. Everything random comes from one seed; how the machine takes it does not."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.lot = random.Random(options.seed)  # noqa: S311 - breaks things at random, guards nothing
        self.postgres = Postgres(folder / "postgres", durable=False, max_connections=400, shared_buffers_mb=256)
        self.redis = Redis(folder / "redis")
        self.began = time.time()
        self.quiet_from = float("inf")
        self.connections_held: list[int] = []
        self.runs_at: list[tuple[float, int, float]] = []
        """When, runs so far, and CPU seconds of all so far."""
        self.degraded: list[tuple[float, float, int, int]] = []
        self._degraded_looked_at = 0
        self._secrets_from = 0.0

    # --- the installation --------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Break, wait, look. Returns the exit code."""
        with self.postgres, self.redis:
            migrate.upgrade(self.postgres.url)
            with psycopg.connect(self.postgres.url) as db:
                retention.ensure_partitions(db)  # later they would be moved to where they belong, which the audit sees
            audit.begin(self.postgres.url, rehint_after_s=REHINT_AFTER_S)
            for statement in TABLES.get(self.options.mutant, ()):
                with psycopg.connect(self.postgres.url, autocommit=True) as db:
                    db.execute(statement.encode())
            self.outside = Outside(self.folder / "vendor.log", self.options.seed + 1, self.postgres)
            self._set_up()
            try:
                self._break()
                self._calm_down()
            except BrokenError:
                pass
            finally:
                self._end_all()
            self._judge()
            self.fleet.close()
            self.outside.close()
            return 1 if self.found.wrong else 0

    def _set_up(self) -> None:
        options = self.options
        self.installation = Installation(
            database_url=self.postgres.url,
            redis_url=self.redis.url,
            folder=self.folder,
            settings={
                "vendors_dir": HERE / "definitions",
                "lease_s": LEASE_S,
                "hard_after_s": HARD_AFTER_S,
                "dead_man_s": DEAD_MAN_S,
                "degraded_after_s": DEGRADED_AFTER_S,
                "rehint_after_s": REHINT_AFTER_S,
                "dispatch_interval_s": 0.5,
                "queue_limit": QUEUE_LIMIT,
                "concurrency": 64,
                "database_pool": 8,
                "drain_s": 0,
            },
        )
        self.customers = Customers(self.installation, self.outside.port, options.interval)
        self.audit = Audit(sweep_s=HARD_AFTER_S + SLACK_S - GRACE_S, numbers=self.customers.numbers)
        self.found = self.audit.found
        self.fleet = Fleet(
            self.installation,
            lossy_url=self.outside.lossy_url,
            seed=options.seed + 2,
            children=options.children,
            audit=self.audit,
            secret=SECRET,
            may_get_stuck=self.customers.poisons,
        )
        self.fleet.stuck_at = self.customers.asked_at
        self.mischief = Mischief(
            installation=self.installation,
            fleet=self.fleet,
            postgres=self.postgres,
            redis_server=self.redis,
            customers=self.customers,
            tell=self.outside.tell,
        )
        # What the programs alone get: this process has its modules already.
        os.environ["PYTHONPATH"] = os.pathsep.join(
            [str(HERE / "plugin"), *([str(HERE / "mutants")] if options.mutant else [])]
        )
        if options.mutant:
            os.environ["MUTANT"] = options.mutant
        self.fleet.fill(options.workers, options.beats)
        rationed = round(ASKED_FOR * RATION / WINDOW_S / 2 * options.interval)  # two calls a run
        chatting = max(3, options.connections // 250)
        for _ in range(rationed):
            self.customers.connect("rationed")
        for _ in range(chatting):
            self.customers.connect("soaked", how="chat", interval_s=30)
        for how in POISONS:
            poison = self.customers.connect("soaked", how=how, interval_s=86_400)
            with self.installation.database.transaction() as db:
                connections.pause_connection(db, poison)  # until a fault wants it
        for _ in range(options.connections - rationed - chatting - len(POISONS)):
            self.customers.connect()
        self.began = time.time()

    # --- breaking ----------------------------------------------------------------------------------------------------

    def _break(self) -> None:
        options = self.options
        wanted = options.faults.split(",") if options.faults else list(FAULTS)
        kinds = [kind for kind in wanted for _ in range(FAULTS[kind])]
        end = time.time() + options.minutes * 60 if options.minutes else float("inf")
        next_look, next_sample, next_fault = time.time() + options.look_every, time.time(), time.time()
        pool = ThreadPoolExecutor(24, thread_name_prefix="mischief")
        try:
            while time.time() < end and not (not options.minutes and self.found.runs >= options.runs):
                now = time.time()
                if now >= next_fault:
                    next_fault = now + self.lot.expovariate(1 / options.mean_s)
                    lot = random.Random(self.lot.random())  # noqa: S311 - likewise
                    pool.submit(self._fault, self.lot.choice(kinds), lot)
                self.fleet.fill(options.workers, options.beats)
                if now >= next_sample:
                    next_sample = now + 5
                    self.fleet.feel()
                    self.fleet.sample()
                if now >= next_look:
                    self._look()
                    self._tell_progress()
                    next_look = time.time() + options.look_every
                time.sleep(min(0.1, max(0.0, next_fault - time.time())))
        finally:
            pool.shutdown(wait=True)

    def _fault(self, kind: str, lot: random.Random) -> None:
        try:
            self.mischief.do(kind, lot)
        except Exception as error:  # noqa: BLE001 - a broken soak must not look like a good one
            self.found.add(f"the soak itself broke at {kind}: {error!r}")

    def _calm_down(self) -> None:
        """Let everything come back, and see that all is quiet then."""
        self.outside.tell("calm")
        self.redis.start()
        self.postgres.start()
        # What was on may take its time, what was lost is found, and what the last fault made late is made up for.
        self._wait(LEASE_S + TIMEOUT_S + 2 * HARD_AFTER_S + 10)
        self.quiet_from = time.time()
        self._wait(self.options.quiet_s)
        self._look()
        self._look_for_stragglers()

    def _wait(self, seconds: float) -> None:
        end, next_look = time.monotonic() + seconds, time.monotonic() + self.options.look_every
        while time.monotonic() < end:
            self.fleet.fill(self.options.workers, self.options.beats)
            if time.monotonic() > next_look:
                self._look()
                next_look = time.monotonic() + self.options.look_every
            time.sleep(0.5)
            self.fleet.feel()
        self.fleet.sample()

    def _end_all(self) -> None:
        for member in self.fleet.members:
            member.told_at = member.told_at or time.time()
            if member.is_alive:
                member.signal(signal.SIGCONT)
                member.program.signal(signal.SIGTERM)
        for member in self.fleet.members:
            if member.is_alive:
                with suppress(subprocess.TimeoutExpired):
                    member.program._process.wait(30)
                if member.is_alive:
                    if not self.found.wrong:
                        self.found.add(f"I9 {member.program.name} did not end within 30 s of SIGTERM")
                    member.killed_at = time.time()
                    member.signal(signal.SIGKILL)
                    member.program._process.wait()

    # --- looking -----------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Hold what is new of the history against the invariants. Raises BrokenError where one is broken."""
        with suppress(psycopg.Error, *DATABASE_TROUBLE):  # the server is away on purpose; there is a next time
            with psycopg.connect(self.postgres.url, autocommit=True, connect_timeout=5) as db:
                db.execute("SET statement_timeout = '60s'")
                self.fleet.look_for_absence(db)
                self.audit.read(db)
                self.audit.look_for_stuck()
                self.fleet.look(db)
                pids = _pids(db)
                self.fleet.look_at_fenced(pids)
                self.fleet.look_for_the_wronged(pids)
                self._look_for_secrets(db)
                held = db.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'connection-h%'")
                self.connections_held.append((held.fetchone() or (0,))[0])
            self.runs_at.append((time.time(), self.found.runs, tree_cpu_s(os.getpid())))
            self._look_at_vendor(self.audit.until - LATELY_S)
            self._look_at_outages()
        if self.found.wrong and not self.options.to_the_end:
            raise BrokenError

    def _look_at_vendor(self, since: float) -> Findings:
        """Hold the vendor's log of a span, up to where the history was read, against the history."""
        self.outside.read()
        calls = self.outside.between(since, self.audit.until - SEEN_AFTER_S)
        here = Findings()
        audit.compare_with_vendor(
            calls, self.audit.stories, self.customers.accounts, here, crashes=self.mischief.crashes
        )
        worst = audit.worst_window((call.at for call in calls if call.vendor == "rationed"), WINDOW_S)
        if worst > RATION:
            here.add(f"I7 the vendor got {worst} calls in {WINDOW_S:g} s, its limit being {RATION}")
        for sentence, connection_id in zip(here.wrong, here.broken, strict=True):
            if sentence not in self.found.wrong:
                self.found.add(sentence, connection_id)
        self._look_at_verdicts(calls, before=self.audit.until - 2 * SEEN_AFTER_S)
        return here

    def _look_at_verdicts(self, calls: Sequence[Seen], *, before: float) -> None:
        """Hold verdicts against what the vendor answered: nobody is healthy by another's answers, nor ill by ours.

        before: runs that ended later may have made calls that are not in the log yet.
        """
        moods: dict[int, list[Seen]] = defaultdict(list)
        for call in calls:
            moods[call.execution].append(call)
        known = {self.customers.accounts[call.account] for call in calls if call.account in self.customers.accounts}
        for connection_id in known:
            for run in self.audit.stories[connection_id].runs.values():
                if run.name == "INTERNAL_ERROR" and run.reason != "worker_lost":
                    self.found.add(
                        f"I3 {connection_id}: run {run.seq} says INTERNAL_ERROR ({run.reason}), and no vendor does so",
                        connection_id,
                    )
                seen = [call for number in run.executions for call in moods.get(number, ())]
                if run.finished_at > before:
                    continue
                if run.name == "HEALTHY" and seen and seen[-1].vendor != "soaked":
                    last = {call.page: call.mood for call in seen}
                    if not {*last.values()} <= {"well", "drips"}:
                        self.found.add(f"I3 {connection_id}: run {run.seq} is HEALTHY by {last}", connection_id)

    def _look_at_outages(self) -> None:
        """See that workers went on without Redis where it was away for long."""
        for began, ended in self.mischief.redis_away[self._degraded_looked_at :]:
            self._degraded_looked_at += 1
            since = began + DEGRADED_AFTER_S + 3
            if ended - since < 3 or any(a < ended and b > began - 5 for a, b in self.audit.down):
                continue
            due = done = 0
            for story in self.audit.stories.values():
                for run in story.runs.values():
                    if began < run.scheduled_for < ended - 2:
                        due += 1
                        done += run.started_at < ended
            self.degraded.append((began, ended, due, done))
            if due > 20 and not done:
                self.found.add(f"I5 none of {due} due runs was made while Redis was away for {ended - began:.0f} s")

    def _look_for_secrets(self, db: psycopg.Connection[Any], *, everywhere: bool = False) -> None:
        """Hold tables against I8."""
        spelt = [f"%{SECRET}%"]
        tables = ["run_history WHERE finished_at > to_timestamp(%(since)s) AND", "health WHERE"]
        if everywhere:
            spelt = sorted({f"%{form.decode()}%" for name, form in leaks.forms(SECRET) if name != "UTF-16"})
            tables = [
                f"{row[0]} WHERE"
                for row in db.execute(
                    "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                    " WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
                )
            ]
        since, self._secrets_from = self._secrets_from - 60, time.time()
        for table in tables:
            name = table.partition(" ")[0]
            query = f"SELECT count(*) FROM {name} t {table.partition(' ')[2]} t::text LIKE ANY(%(forms)s)"  # noqa: S608 - ours
            row = db.execute(query.encode(), {"forms": spelt, "since": since}).fetchone()
            if row and row[0]:
                self.found.add(f"I8 a secret stands in {row[0]} rows of {name}")

    def _look_for_stragglers(self) -> None:
        """Name what was due in quiet time and did not run in it, and what ran late although all was quiet."""
        with psycopg.connect(self.postgres.url, autocommit=True) as db:
            due = db.execute(
                "SELECT s.connection_id, extract(epoch FROM now() - s.next_due_at)::double precision"
                "  FROM connection_sched s WHERE s.enabled AND s.active_seq IS NULL"
                "   AND s.next_due_at < now() - make_interval(secs => %s)",
                (QUIET_LATENESS_S + 3 * self.audit.starved_s,),
            ).fetchall()
        for connection_id, late_s in due:
            if connection_id in self.customers.rationed:  # these may wait for their vendor
                continue
            self.found.add(f"I5 {connection_id} has been due for {late_s:.0f} s though all is quiet", connection_id)
        late = self._quiet_lateness()
        if not late or max(late) > QUIET_LATENESS_S + 3 * self.audit.starved_s:
            self.found.add(f"I5 runs are up to {max(late, default=0):.1f} s late though all is quiet")

    def _quiet_lateness(self) -> list[float]:
        return [
            run.started_at - run.scheduled_for
            for connection_id, story in self.audit.stories.items()
            if connection_id not in self.customers.rationed  # these may wait for their vendor
            for run in story.runs.values()
            if run.started_at > self.quiet_from
        ]

    # --- the end -----------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        whole = Findings()
        with suppress(BrokenError), psycopg.connect(self.postgres.url, autocommit=True) as db:
            with suppress(psycopg.Error):
                self.audit.read(db)
            if self.quiet_from < float("inf"):
                self.audit.look_for_stuck()
                self.audit.compare_with_tables(db)
                self.fleet.look(db)
                self._look_for_secrets(db, everywhere=True)
                left = db.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'connection-health%'"
                ).fetchone()
                if left and left[0]:
                    self.found.add(f"I9 {left[0]} connections to the database were left open")
            self.fleet.look_at_fenced(_pids(db))
            whole = self._look_at_vendor(0.0)
            recovery = list(recoveries(self.mischief.done, self.audit, _pids(db)))
            report = "\n".join(self._report(whole, recovery)) + "\n"
            sys.stdout.write(report)
            if self.found.wrong:
                self._tell_story(db)
            if self.options.report:
                Path(self.options.report).write_text(report, encoding="utf-8")
        self.installation.close()

    def _tell_progress(self) -> None:
        if len(self.runs_at) < 2:
            return
        (then, before, spent_s), (now, runs, cpu_s) = self.runs_at[-2:]
        cost_ms = (cpu_s - spent_s) / max(1, runs - before) * 1000
        sys.stdout.write(
            f"  {now - self.began:5.0f} s: {runs} runs ({(runs - before) / (now - then):.0f}/s, {cost_ms:.1f} ms CPU"
            f" each), {len(self.mischief.done)} faults, {len(self.fleet.alive('worker'))} workers\n"
        )
        sys.stdout.flush()

    def _report(self, whole: Findings, recovery: Sequence[str]) -> Iterator[str]:
        options, found = self.options, self.found
        by_invariant = Counter(sentence[:2] for sentence in found.wrong)
        faults = Counter(fault.kind for fault in self.mischief.done)
        mutant = f", without {options.mutant}" if options.mutant else ""
        runs = [run for story in self.audit.stories.values() for run in story.runs.values()]
        lateness = [run.started_at - run.scheduled_for for run in runs]
        rationed = [call.at for call in self.outside.calls if call.vendor == "rationed"]
        moody = sum(call.mood != "well" for call in self.outside.calls if call.at < self.quiet_from)
        worst = audit.worst_window(rationed, WINDOW_S)
        span = (rationed[-1] - rationed[0]) / WINDOW_S * RATION if len(rationed) > 1 else 1
        broken = {
            "lost": by_invariant["I5"] + by_invariant["I6"],
            "doubled": by_invariant["I1"] + by_invariant["I4"],
            "stuck": by_invariant["I2"],
            "regressions of health, changes of what was": by_invariant["I3"],
            "limits overrun": by_invariant["I7"],
            "secrets shown": by_invariant["I8"],
            "leaks, hangs, breaks": by_invariant["I9"],
        }
        yield f"seed {options.seed}, {time.time() - self.began:.0f} s, {options.connections} connections every"
        yield f"  {options.interval} s, {options.workers} workers, {options.beats} beats{mutant}"
        yield f"faults {sum(faults.values())}: " + ", ".join(f"{kind} {n}" for kind, n in faults.most_common())
        yield f"runs {found.runs}: " + ", ".join(f"{state} {n}" for state, n in sorted(found.by_state.items()))
        yield "verdicts: " + ", ".join(
            f"{name} {n}" for name, n in Counter(str(run.name) for run in runs).most_common()
        )
        yield ", ".join(f"{what} {n}" for what, n in broken.items())
        yield (
            f"vendor calls {whole.calls}, {moody} of them answered badly; late calls of zombies {whole.zombie_calls};"
            f" executions of claims that a crash took back {whole.unclaimed_executions}; late results refused"
            f" {found.late_results}; slots skipped and counted {found.skipped}"
        )
        yield (
            f"limit: {worst} of {RATION} in the worst window, {len(rationed) / span:.0%} used, {ASKED_FOR:.0%}"
            " asked for"
        )
        yield f"lateness p50/p99/max: {_spread(lateness)} s; in quiet time {_spread(self._quiet_lateness())} s"
        yield f"living workers taken for dead: {self.fleet.wronged} runs"
        yield f"triggers {found.wishes}, answered after {_spread(found.answered_after_s)} s"
        if self.degraded:
            due, done = (sum(outage[n] for outage in self.degraded) for n in (2, 3))
            yield f"Redis away {len(self.degraded)} times for long: {done} of {due} runs made that fell due meanwhile"
        yield from recovery
        yield from self.fleet.growth()
        if self.connections_held:
            half = len(self.connections_held) // 2
            first, second = (
                max(part, default=0) for part in (self.connections_held[:half], self.connections_held[half:])
            )
            yield f"connections to PostgreSQL: at most {first} in the first half, {second} in the second"
        pressed = self.fleet.felt[True] / max(1, self.fleet.felt.total())
        yield from self._costs()
        yield f"the machine had more to do than it could in {pressed:.0%} of the time"
        yield f"programs {len(self.fleet.members)}, their ends: {dict(self.fleet.ends)}"
        for invariant, count in by_invariant.items():
            yield f"  {invariant} broken {count} times:"
            yield from itertools.islice((f"    {one[:400]}" for one in found.wrong if one[:2] == invariant), 5)
        yield f"VIOLATED after {time.time() - self.began:.0f} s" if found.wrong else "all invariants hold"

    def _costs(self) -> Iterator[str]:
        """Tell what a run cost, and whom."""
        whole_s, soak_s = tree_cpu_s(os.getpid()), time.process_time()
        programs_s, outside_s = tree_cpu_s(*self.fleet.roots), tree_cpu_s(self.outside.pid)
        costs = {
            "workers and beats": programs_s,
            "PostgreSQL and Redis": whole_s - soak_s - programs_s - outside_s,
            "the vendor": outside_s,
            "the soak itself": soak_s,
        }
        runs = max(1, self.found.runs)
        split = ", ".join(f"{whose} {spent_s / runs * 1000:.1f}" for whose, spent_s in costs.items())
        span_s = time.time() - self.began
        yield f"CPU: {whole_s / runs * 1000:.1f} ms a run ({split}); {runs / span_s:.0f} runs a second"

    def _tell_story(self, db: psycopg.Connection[Any]) -> None:
        """Tell all that is known of the first connection whose invariant was broken, in order."""
        connection_id = next((one for one in self.found.broken if one is not None), None)
        if connection_id is None:
            return
        events: list[tuple[float, str]] = []
        for at, xact, what, seq, more in db.execute(
            "SELECT extract(epoch FROM at)::double precision, xact::text, what, run_seq, more::text FROM audit"
            " WHERE connection_id = %s ORDER BY n",
            (connection_id,),
        ):
            events.append((at, f"{what} {seq or ''} {more or ''} (transaction {xact})"))
        names = [name for name, owner in self.customers.accounts.items() if owner == connection_id]
        events += [
            (
                call.at,
                f"vendor: execution {call.execution}, page {call.page}, answers {call.mood}, to {call.account[-8:]}",
            )
            for call in self.outside.calls
            if call.account in names
        ]
        first = events[0][0] if events else 0.0
        for fault in self.mischief.done:
            if fault.ended > first and (fault.pids or fault.servers):
                events.append(
                    (fault.began, f"fault: {fault.kind} until {clock(fault.ended)}, pids {sorted(fault.pids)}")
                )
        sys.stdout.write(f"the story of {connection_id}:\n")
        told = sorted(events)
        for at, text in told[-150:]:
            sys.stdout.write(f"  {clock(at)} {text[:300]}\n")


def recoveries(faults: Sequence[Fault], history: Audit, pids: dict[str, int]) -> Iterator[str]:
    """Tell, by kind of fault, how long after its end the last of the runs that it hit was on again.

    Hit by a fault in a process is a run that it had on and that ended LOST or INTERRUPTED; by one in a server, also
    what fell due while it was away and had not begun when it was back. Faults overlap: what another fault held up
    meanwhile counts here too.
    """
    cut: dict[int, list[tuple[float, float]]] = defaultdict(list)
    torn: list[tuple[float, float]] = []
    starts: list[tuple[float, float]] = []
    for story in history.stories.values():
        for seq, run in story.runs.items():
            starts.append((run.started_at, run.scheduled_for))
            following = story.runs.get(seq + 1)
            if run.state in {"LOST", "INTERRUPTED"} and following is not None:
                ends = (run.finished_at, following.started_at)
                cut[pids.get(run.worker_id, 0)].append(ends)
                if run.reason in _TORN:
                    torn.append(ends)
    starts.sort()
    last: dict[str, list[float]] = defaultdict(list)
    runs: Counter[str] = Counter()
    noticed: dict[str, list[float]] = defaultdict(list)
    for fault in faults:
        if fault.pids:
            hit = [ends for pid in fault.pids for ends in cut.get(pid, ()) if ends[0] - fault.began >= 0]
            hit = [ends for ends in hit if ends[0] <= fault.ended + 30]
            noticed[fault.kind] += [finished - fault.began for finished, _ in hit]
        else:
            hit = _hit_by_server(fault, starts, torn) if fault.servers else []
        if hit:
            runs[fault.kind] += len(hit)
            last[fault.kind].append(max(0.0, *(again - fault.ended for _, again in hit)))
    yield "recovery (from the fault's end until the last run that it hit was on again), p50/p99/max:"
    for kind in sorted(last):
        seen = f"; cut runs ended after {_spread(noticed[kind])} s" if noticed[kind] else ""
        yield f"  {kind}: {_spread(last[kind])} s over {len(last[kind])} faults, {runs[kind]} runs{seen}"


_TORN: Final = frozenset({"database_away", "lease_lost", "worker_lost"})


def _hit_by_server(
    fault: Fault, starts: Sequence[tuple[float, float]], torn: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
    """Return what a server's fault held up: when each was due or ended, and when it began again.

    starts: when runs began and when they were due, in order; torn: when runs were cut, and when the next began.
    """
    low, high = (bisect.bisect_left(starts, (fault.ended + after_s, 0.0)) for after_s in (0, 60))
    hit = [(due, began) for began, due in starts[low:high] if fault.began - 1 <= due <= fault.ended]
    return hit + [(end, again) for end, again in torn if fault.began <= end <= fault.ended + LEASE_S * 2]


def _pids(db: psycopg.Connection[Any]) -> dict[str, int]:
    return {str(worker_id): pid for worker_id, pid in db.execute("SELECT worker_id, pid FROM worker")}


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    if len(values) < 2:
        return f"{values[0]:.1f}"
    cuts = statistics.quantiles(values, n=100)
    return f"{cuts[49]:.1f}/{min(cuts[98], max(values)):.1f}/{max(values):.1f}"


def main() -> int:
    """Soak once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=None, help="default: until --runs runs have ended")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=None, help="default: drawn, and printed")
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument("--interval", type=int, default=75, help="seconds between a connection's runs")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--children", type=int, default=6, help="of the worker that is a prefork pool")
    parser.add_argument("--beats", type=int, default=2)
    parser.add_argument("--mean-s", type=float, default=1.0, help="seconds between faults, on average")
    parser.add_argument("--faults", default="", help="these alone, separated by commas")
    parser.add_argument("--quiet-s", type=float, default=60)
    parser.add_argument("--look-every", type=float, default=30, help="seconds between looks at the history")
    parser.add_argument("--to-the-end", action="store_true", help="go on where an invariant is broken")
    parser.add_argument(
        "--mutant", default=None, choices=sorted(MUTANTS), help="a guard to take out: it must fail then"
    )
    parser.add_argument("--report", default=None, help="a file for the report as well")
    parser.add_argument("--keep", action="store_true", help="keep the logs")
    options = parser.parse_args()
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # the server is away on purpose
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1_000_000)
    folder = Path(tempfile.mkdtemp(prefix="ch-soak-", dir="/tmp"))
    folder.chmod(0o711)
    sys.stdout.write(f"seed {options.seed}; logs in {folder}\n")
    sys.stdout.flush()
    code = 3
    try:
        code = Soak(options, folder).run()
    finally:
        if code == 0 and not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
