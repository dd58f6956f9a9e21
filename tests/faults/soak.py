"""Breaks an installation at random for some minutes, then holds its whole history against the invariants.

    python tests/faults/soak.py --minutes 10 [--seed 7] [--mutant fence]

Ends with 1 where one does not hold. --mutant takes one guard out of the workers (mutants/sitecustomize.py): the soak
must fail then, or it proves nothing.
"""

import argparse
import json
import logging
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg
import redis

from embedded.postgres import Postgres
from embedded.redis import Redis
from models import connections, migrate, runs
from models.vocabulary import Trigger
from tests.faults import audit
from tests.faults.turnstile import Call, Reply, Turnstile
from tests.system.stack import Installation, Program
from worker.errors import DATABASE_TROUBLE
from worker.hints import QUEUE, SYNC_TASK

HERE: Final = Path(__file__).parent
LEASE_S: Final = 3.0
INTERVAL_S: Final = 10
TIMEOUT_S: Final = 20
SECRET: Final = "s3cr3t-0f-a-cust0mer"
QUIET_LATENESS_S: Final = 10.0
MOST_FILES: Final = 250
MOST_THREADS: Final = 150
JSON_TYPE: Final = {"content-type": "application/json"}


class Vendor:
    """The vendor's moods: three calls in ten go wrong while `is_moody`, in every way that a vendor knows."""

    def __init__(self, seed: int) -> None:
        self._lot = random.Random(seed)  # noqa: S311 - breaks things at random, guards nothing
        self._lock = threading.Lock()
        self.is_moody = True

    def __call__(self, call: Call) -> Reply | None:
        with self._lock:
            wait_s = self._lot.uniform(0.02, 0.4)
            mood = self._lot.random() if self.is_moody else 1.0
            which = self._lot.choice(_MOODS)
        if mood > 0.12:  # of three calls a run
            return Reply(wait_s=wait_s)
        return which(call, wait_s)


def _json(status: int, text: str, **headers: str) -> Callable[[Call, float], Reply]:
    def reply(call: Call, wait_s: float) -> Reply:
        # An echo of the token, as careless vendors make it.
        body = json.dumps({"error": text, "token": call.account}).encode()
        return Reply(status, body, {**JSON_TYPE, **headers}, wait_s)

    return reply


_MOODS: Final[list[Callable[[Call, float], Reply]]] = [
    _json(401, "invalid_token"),
    _json(403, "insufficient_scope"),
    _json(429, "slow down", **{"retry-after": "2"}),
    _json(500, "oops"),
    _json(503, "maintenance"),
    lambda _call, wait_s: Reply(0, wait_s=wait_s),
    lambda _call, wait_s: Reply(200, b"<html>sign in</html>", {"content-type": "text/html"}, wait_s),
    lambda _call, _wait_s: Reply(200, b'{"items": []' + b" " * 40 + b"}", JSON_TYPE, 0.0, 0.2),
    lambda _call, _wait_s: Reply(200, b'{"items": []}', JSON_TYPE, 2.5),
]


class Soak:
    """One soak. Everything random comes from one seed; how the machine takes it does not."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.lot = random.Random(options.seed)  # noqa: S311 - likewise
        self.vendor = Vendor(options.seed + 1)
        self.turnstile = Turnstile(pages=3, answer=self.vendor)
        self.postgres = Postgres(folder / "postgres", durable=False, max_connections=300, shared_buffers_mb=128)
        self.redis = Redis(folder / "redis")
        self.folder = folder
        self.faults: Counter[str] = Counter()
        self.accounts: dict[str, UUID] = {}
        self.generation: dict[UUID, int] = {}
        self.down: list[tuple[float, float]] = []
        self.workers: list[Program] = []
        self.beats: list[Program] = []
        self.busy: set[Program] = set()
        self.pool = ThreadPoolExecutor(16)
        self.lock = threading.Lock()
        self.exits: Counter[str] = Counter()

    # --- the installation --------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Break, wait, look. Returns the exit code."""
        with self.postgres, self.redis, self.turnstile:
            url = self.postgres.url
            migrate.upgrade(url)
            audit.begin(url)
            self.installation = Installation(
                database_url=url,
                redis_url=self.redis.url,
                folder=self.folder,
                settings={
                    "vendors_dir": HERE / "definitions",
                    "lease_s": LEASE_S,
                    "hard_after_s": 5,
                    "degraded_after_s": 2,
                    "rehint_after_s": 6,
                    "dispatch_interval_s": 0.5,
                    "concurrency": 32,
                    "database_pool": 8,
                    "drain_s": 0,
                },
            )
            self._connect_all()
            self.workers = [self._start("worker") for _ in range(self.options.workers)]
            self.beats = [self._start("beat") for _ in range(self.options.beats)]
            try:
                self._break_for(self.options.minutes * 60)
                quiet_from = self._calm_down()
                leaks = self._leaks()
            finally:
                self._end_all()
            return self._judge(quiet_from, leaks)

    def _connect_all(self) -> None:
        for number in range(self.options.connections):
            token = f"{SECRET}-{number}-0"
            connection_id = self.installation.connect(
                "turnstile",
                {"token": token},
                {"port": self.turnstile.port},
                refresh_interval_secs=INTERVAL_S,
                timeout_secs=TIMEOUT_S,
            )
            self.accounts[token] = connection_id
            self.generation[connection_id] = 0
        self.tokens = {connection_id: token.rsplit("-", 1)[0] for token, connection_id in self.accounts.items()}

    def _start(self, role: str) -> Program:
        arguments = ("--without-mingle", "--without-gossip") if role == "worker" else ()
        more = {}
        if self.options.mutant:
            more = {"MUTANT": self.options.mutant, "PYTHONPATH": str(HERE / "mutants")}
        os.environ.update(more)  # handed on to the programs alone: this process has its modules already
        return self.installation._start(role, *arguments)

    # --- faults ------------------------------------------------------------------------------------------------------

    def _break_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        kinds = [kind for kind, weight in FAULTS.items() for _ in range(weight)]
        shown = time.monotonic()
        while time.monotonic() < end:
            time.sleep(self.lot.expovariate(1 / self.options.mean_s))
            kind = self.lot.choice(kinds)
            self.pool.submit(self._fault, kind, random.Random(self.lot.random()))  # noqa: S311 - likewise
            self._replace_the_dead()
            if time.monotonic() - shown > 30:
                shown = time.monotonic()
                sys.stdout.write(f"  {end - shown:4.0f} s left, {sum(self.faults.values())} faults\n")
                sys.stdout.flush()

    def _fault(self, kind: str, lot: random.Random) -> None:
        try:
            if getattr(self, f"_{kind}")(lot) is not False:
                with self.lock:
                    self.faults[kind] += 1
        except (*DATABASE_TROUBLE, redis.RedisError, OSError):
            return  # a fault met another fault: nothing was done, nothing is counted
        except Exception as error:  # noqa: BLE001 - a broken soak must not look like a good one
            sys.stderr.write(f"fault {kind} broke: {error!r}\n")
            os._exit(3)

    def _replace_the_dead(self) -> None:
        for programs, role in ((self.workers, "worker"), (self.beats, "beat")):
            for place, program in enumerate(programs):
                if not program.is_alive:
                    self.exits[f"{role} {program._process.returncode}"] += 1
                    programs[place] = self._start(role)

    def _one_of(self, programs: list[Program], lot: random.Random) -> Program | None:
        with self.lock:
            free = [program for program in programs if program.is_alive and program not in self.busy]
            if not free:
                return None
            chosen = lot.choice(free)
            self.busy.add(chosen)
            return chosen

    def _worker_killed(self, lot: random.Random) -> bool:
        return self._signalled(self.workers, signal.SIGKILL, lot)

    def _worker_told_to_end(self, lot: random.Random) -> bool:
        return self._signalled(self.workers, signal.SIGTERM, lot)

    def _beat_killed(self, lot: random.Random) -> bool:
        return self._signalled(self.beats, signal.SIGKILL, lot)

    def _signalled(self, programs: list[Program], number: int, lot: random.Random) -> bool:
        program = self._one_of(programs, lot)
        if program is not None:
            program.signal(number)
        return program is not None

    def _worker_frozen(self, lot: random.Random) -> bool:
        return self._frozen(self.workers, lot)

    def _beat_frozen(self, lot: random.Random) -> bool:
        return self._frozen(self.beats, lot)

    def _frozen(self, programs: list[Program], lot: random.Random) -> bool:
        program = self._one_of(programs, lot)
        if program is None:
            return False
        program.signal(signal.SIGSTOP)
        time.sleep(lot.uniform(0.5, 3) * LEASE_S)
        program.signal(signal.SIGCONT)
        with self.lock:
            self.busy.discard(program)
        return True

    def _redis_lost(self, lot: random.Random) -> bool:
        if not self._servers.acquire(blocking=False):
            return False
        try:
            self.redis.kill()
            time.sleep(lot.choice([0, 0, 1, 8]))
            self.redis.start()
        finally:
            self._servers.release()
        return True

    def _postgres_crashed(self, lot: random.Random) -> bool:
        if not self._servers.acquire(blocking=False):
            return False
        try:
            from_s = time.time()
            self.postgres.stop(immediate=True)
            time.sleep(lot.choice([0, 0, 0.5, 2]))
            self.postgres.start()
            self.down.append((from_s, time.time()))
        finally:
            self._servers.release()
        return True

    _servers = threading.Lock()

    def _triggered(self, lot: random.Random) -> None:
        with self.installation.database.transaction() as db:
            for connection_id in lot.sample(list(self.generation), 5):
                assert runs.trigger(db, connection_id, Trigger.MANUAL)

    def _triggered_a_hundred_times(self, lot: random.Random) -> None:
        connection_id = lot.choice(list(self.generation))
        for _ in range(100):
            with self.installation.database.connection() as db:
                assert runs.trigger(db, connection_id, Trigger.MANUAL)

    def _credentials_changed(self, lot: random.Random) -> None:
        connection_id = lot.choice(list(self.generation))
        with self.lock:
            self.generation[connection_id] += 1
            token = f"{self.tokens[connection_id]}-{self.generation[connection_id]}"
            self.accounts[token] = connection_id
        with self.installation.database.transaction() as db:
            connections.replace_credentials(db, self.installation.station.keyring, connection_id, {"token": token})

    def _message_forged(self, lot: random.Random) -> None:
        with redis.Redis.from_url(self.redis.url) as client:
            client.lpush(QUEUE, lot.choice([b"{", b"[]", b'{"properties": {}}', _hint(uuid4()), _hint("nobody")]))

    def _message_doubled(self, lot: random.Random) -> None:
        with redis.Redis.from_url(self.redis.url) as client:
            client.lpush(QUEUE, *[_hint(c, due_only=True) for c in lot.sample(list(self.generation), 10)] * 3)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _calm_down(self) -> float:
        """Let everything come back; return when it was quiet, in seconds since 1970."""
        self.pool.shutdown(wait=True)
        self.vendor.is_moody = False
        self.redis.start()
        self.postgres.start()
        settled = time.monotonic() + LEASE_S + 2 * TIMEOUT_S  # what was on may take its time; what was lost is found
        while time.monotonic() < settled:
            self._replace_the_dead()
            time.sleep(1)
        quiet_from = time.time()
        time.sleep(self.options.quiet_s)
        return quiet_from

    def _leaks(self) -> list[str]:
        """Hold living workers against I9: files and threads stay few, however many runs there were."""
        wrong = []
        for worker in self.workers:
            if not worker.is_alive:
                wrong.append(f"I9 {worker.name} ended in quiet time")
                continue
            files, threads = (len(list(Path(f"/proc/{worker.pid}/{what}").iterdir())) for what in ("fd", "task"))
            sys.stdout.write(
                f"{worker.name}: {files} files, {threads} threads, {worker.peak_memory_bytes >> 20} MB peak\n"
            )
            if files > MOST_FILES or threads > MOST_THREADS:
                wrong.append(f"I9 {worker.name} has {files} files open and {threads} threads")
        return wrong

    def _end_all(self) -> None:
        for program in self.installation.programs:
            if program.is_alive:
                program.signal(signal.SIGCONT)
                program.signal(signal.SIGTERM)
        for program in self.installation.programs:
            if program.is_alive:
                with suppress(Exception):
                    program._process.wait(30)
                if program.is_alive:
                    sys.stderr.write(f"{program.name} had to be killed\n")
                    program.kill()

    def _judge(self, quiet_from: float, leaks: list[str]) -> int:
        with psycopg.connect(self.postgres.url) as db:
            stories, found = audit.read(db, sweep_s=LEASE_S + 12, down=self.down)
            audit.compare_with_vendor(self.turnstile.log, stories, self.accounts, found)
            skipped = audit.count_slots(db, stories, found)
            found.wrong += leaks + self._secrets(db) + _stragglers(db, stories, quiet_from)
            others = db.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'connection-health%'"
            ).fetchone()
        if others is None or others[0]:
            found.wrong.append(f"I9 {others} connections were left open")
        quiet = [s for story in stories.values() for s in _lateness(story, quiet_from)]
        if not quiet or max(quiet) > QUIET_LATENESS_S:
            found.wrong.append(f"I5 runs are up to {max(quiet, default=0):.1f} s late though all is quiet")
        self._tell(found, skipped, quiet)
        self.installation.close()
        return 1 if found.wrong else 0

    def _secrets(self, db: psycopg.Connection[Any]) -> list[str]:
        """Hold logs and tables against I8."""
        wrong = [f"I8 a secret stands in the log of {p.name}" for p in self.installation.programs if SECRET in p.log]
        tables = db.execute(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        ).fetchall()
        for (table,) in tables:
            query = f"SELECT count(*) FROM {table} t WHERE t::text LIKE %s"  # noqa: S608 - the server's own names
            row = db.execute(query.encode(), (f"%{SECRET}%",)).fetchone()
            if row and row[0]:
                wrong.append(f"I8 a secret stands in {row[0]} rows of {table}")
        return wrong

    def _tell(self, found: audit.Findings, skipped: int, quiet: list[float]) -> None:
        by_invariant = Counter(sentence[:2] for sentence in found.wrong)
        crashed = [p.name for p in self.installation.programs if "Unrecoverable" in p.log]
        tracebacks = sum(p.log.count("Traceback (most recent call last)") for p in self.installation.programs)
        options = self.options
        mutant = f", without {options.mutant}" if options.mutant else ""
        faults = ", ".join(f"{kind} {n}" for kind, n in self.faults.most_common())
        states = ", ".join(f"{state} {n}" for state, n in sorted(found.by_state.items()))
        lost = {
            "stuck": by_invariant["I2"],
            "doubled": by_invariant["I1"] + by_invariant["I4"],
            "regressions of health": by_invariant["I3"],
            "slots lost": by_invariant["I5"],
            "triggers lost": by_invariant["I6"],
            "secrets shown": by_invariant["I8"],
            "leaks": by_invariant["I9"],
        }
        size = f"{options.connections} connections, {options.workers} workers, {options.beats} beats"
        lines = [
            f"seed {options.seed}, {options.minutes:g} min, {size}{mutant}",
            f"faults {sum(self.faults.values())}: {faults}",
            f"runs {found.runs}: {states}; late results refused {found.late_results}",
            f"vendor calls {found.calls}, of them {found.zombie_calls} by zombies; slots skipped and counted {skipped}",
            f"lateness p50/p99/max: {_spread(found.lateness_s)} s; in quiet time {_spread(quiet)} s",
            f"programs {len(self.installation.programs)}, their ends: {dict(self.exits)}",
            f"ended by an error: {crashed or 'none'}; tracebacks in logs: {tracebacks}",
            ", ".join(f"{what} {n}" for what, n in lost.items()),
            *(f"  {sentence}" for sentence in found.wrong[:30]),
            "VIOLATED" if found.wrong else "all invariants hold",
        ]
        sys.stdout.write("\n".join(lines) + "\n")


FAULTS: Final = {
    "triggered": 8,
    "triggered_a_hundred_times": 2,
    "credentials_changed": 5,
    "worker_killed": 4,
    "worker_told_to_end": 3,
    "worker_frozen": 5,
    "beat_killed": 1,
    "beat_frozen": 1,
    "redis_lost": 3,
    "postgres_crashed": 2,
    "message_forged": 3,
    "message_doubled": 3,
}
"""How often, in relation to each other."""


def _hint(connection_id: object, **more: object) -> bytes:
    task_id = str(uuid4())
    return json.dumps(
        {
            "body": json.dumps([[], {"connection_id": str(connection_id), **more}, {}]),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"lang": "py", "task": SYNC_TASK, "id": task_id, "root_id": task_id},
            "properties": {
                "correlation_id": task_id,
                "delivery_info": {"exchange": "", "routing_key": QUEUE},
                "delivery_tag": task_id,
            },
        }
    ).encode()


def _lateness(story: audit.Story, quiet_from: float) -> list[float]:
    return [
        audit.seconds(run["started_at"]) - audit.seconds(run["scheduled_for"])
        for run in story.runs.values()
        if audit.seconds(run["started_at"]) > quiet_from
    ]


def _stragglers(db: psycopg.Connection[Any], stories: dict[UUID, audit.Story], quiet_from: float) -> list[str]:
    """Name the connections that were due in quiet time and did not run in it."""
    due = db.execute(
        "SELECT connection_id, extract(epoch FROM now() - next_due_at)::double precision FROM connection_sched"
        " WHERE enabled AND next_due_at < now() - make_interval(secs => %s)",
        (QUIET_LATENESS_S + 30,),  # the programs have been ended meanwhile
    ).fetchall()
    return [
        f"I5 {connection_id} has been due for {late_s:.0f} s"
        for connection_id, late_s in due
        if not _lateness(stories[connection_id], quiet_from)
    ]


def _spread(values: list[float]) -> str:
    if len(values) < 2:
        return "-"
    cuts = statistics.quantiles(values, n=100)
    return f"{cuts[49]:.1f}/{cuts[98]:.1f}/{max(values):.1f}"


def main() -> int:
    """Soak once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None, help="default: drawn, and printed")
    parser.add_argument("--connections", type=int, default=240)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--beats", type=int, default=2)
    parser.add_argument("--mean-s", type=float, default=1.0, help="seconds between faults, on average")
    parser.add_argument("--quiet-s", type=float, default=30)
    parser.add_argument("--mutant", default=None, help="a guard to take out; the soak must fail then")
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
