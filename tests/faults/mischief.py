"""The faults of a soak: each is one method, and says what it broke and from when to when."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

import psycopg
import redis

from embedded.postgres import Postgres
from embedded.redis import Redis
from models import connections, runs
from models.errors import ModelsError
from models.vocabulary import Trigger
from tests.faults.fleet import LEASE_S, Fleet, Member
from tests.system.stack import Installation
from worker.errors import DATABASE_TROUBLE
from worker.hints import QUEUE, SYNC_TASK


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault. began, ended: seconds since 1970; pids: of the processes it hit; servers: whether a server was hit."""

    kind: str
    began: float
    ended: float = 0.0
    pids: set[int] = field(default_factory=set)
    servers: bool = False
    note: str = ""


class Customers(Protocol):
    """Whose connections there are, and how they come and go."""

    def ordinary(self, lot: random.Random, count: int = 1) -> list[UUID]:
        """Return some that anything may be done to."""

    def new_token(self, connection_id: UUID) -> str:
        """Return new credentials."""

    def connect(self) -> UUID:
        """Connect another."""

    def drop(self, connection_id: UUID) -> None:
        """Let nobody choose this one again."""

    def poisoned(self, how: str, lot: random.Random) -> UUID | None:
        """Return one whose code does that."""


class NotNowError(Exception):
    """A fault that finds nothing to break, or another fault at it."""


class Mischief:
    """Breaks things. Safe to call from many threads."""

    def __init__(
        self,
        *,
        installation: Installation,
        fleet: Fleet,
        postgres: Postgres,
        redis_server: Redis,
        customers: Customers,
        tell: Callable[[str], None],
    ) -> None:
        self.installation, self.fleet, self.postgres, self.redis = installation, fleet, postgres, redis_server
        self.customers, self.tell = customers, tell
        self.done: list[Fault] = []
        self.crashes: list[float] = []
        """When PostgreSQL was killed."""
        self.redis_away: list[tuple[float, float]] = []
        self._lock = threading.Lock()
        self._server = threading.Lock()
        self._busy: set[Member] = set()

    def do(self, kind: str, lot: random.Random) -> None:
        """Do one fault. A fault that meets another is not done, and not counted."""
        fault = Fault(kind=kind, began=time.time())
        try:
            getattr(self, f"_{kind}")(lot, fault)
        except (NotNowError, ModelsError, ProcessLookupError, *DATABASE_TROUBLE, redis.RedisError, OSError):
            return
        fault.ended = fault.ended or time.time()
        with self._lock:
            self.done.append(fault)

    # --- processes ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _one(self, lot: random.Random, *roles: str, pool: str | None = None) -> Iterator[Member]:
        with self._lock:
            free = [
                member
                for member in self.fleet.alive(*roles)
                if member not in self._busy and member.told_at is None and pool in {None, member.pool}
            ]
            if not free:
                raise NotNowError
            chosen = lot.choice(free)
            self._busy.add(chosen)
        try:
            yield chosen
        finally:
            with self._lock:
                self._busy.discard(chosen)

    def _worker_killed(self, lot: random.Random, fault: Fault) -> None:
        with self._one(lot, "worker") as member:
            self._kill(member, fault, to_group=lot.random() < 0.5)

    def _beat_killed(self, lot: random.Random, fault: Fault) -> None:
        with self._one(lot, "beat") as member:
            self._kill(member, fault, to_group=True)

    def _kill(self, member: Member, fault: Fault, *, to_group: bool) -> None:
        member.children()
        fault.pids |= member.pids
        member.killed_at = time.time()
        if to_group:
            member.signal(signal.SIGKILL)
        else:
            member.program.signal(signal.SIGKILL)

    def _child_killed(self, lot: random.Random, fault: Fault) -> None:
        with self._one(lot, "worker", pool="prefork") as member:
            pid = self._child(member, lot)
            fault.pids.add(pid)
            self.fleet.stuck_at["child_killed"] = time.time()
            os.kill(pid, signal.SIGKILL)

    def _child_frozen(self, lot: random.Random, fault: Fault) -> None:
        with self._one(lot, "worker", pool="prefork") as member:
            pid = self._child(member, lot)
            fault.pids.add(pid)
            with self._noted(member):
                os.kill(pid, signal.SIGSTOP)
                time.sleep(lot.uniform(0.5, 3) * LEASE_S)
                os.kill(pid, signal.SIGCONT)

    def _child(self, member: Member, lot: random.Random) -> int:
        children = member.children()
        if not children:
            raise NotNowError
        return lot.choice(children)

    @contextmanager
    def _noted(self, member: Member) -> Iterator[None]:
        member.frozen.append((time.time(), float("inf")))
        try:
            yield
        finally:
            member.frozen[-1] = (member.frozen[-1][0], time.time())

    def _worker_frozen(self, lot: random.Random, fault: Fault) -> None:
        with self._one(lot, "worker") as member:
            self._freeze(member, lot, fault)

    def _beat_frozen(self, lot: random.Random, fault: Fault) -> None:
        with self._one(lot, "beat") as member:
            self._freeze(member, lot, fault)

    def _freeze(self, member: Member, lot: random.Random, fault: Fault) -> None:
        member.children()
        fault.pids |= member.pids
        to_group = lot.random() < 0.7
        with self._noted(member):
            self._to(member, signal.SIGSTOP, to_group=to_group)
            time.sleep(lot.uniform(0.5, 3) * LEASE_S)
            self._to(member, signal.SIGCONT, to_group=to_group)

    def _to(self, member: Member, number: int, *, to_group: bool) -> None:
        if to_group:
            member.signal(number)
        elif member.is_alive:
            member.program.signal(number)

    def _worker_told_to_end(self, lot: random.Random, fault: Fault) -> None:
        with self._one(lot, "worker") as member:
            self._tell_to_end(member, fault)

    def _worker_told_twice(self, lot: random.Random, fault: Fault) -> None:
        with self._one(lot, "worker") as member:
            self._tell_to_end(member, fault)
            time.sleep(lot.uniform(0, 1))
            self._to(member, signal.SIGTERM, to_group=False)

    def _group_told_to_end(self, lot: random.Random, fault: Fault) -> None:
        with self._one(lot, "worker") as member:
            self._tell_to_end(member, fault, to_group=True)

    def _worker_told_then_killed(self, lot: random.Random, fault: Fault) -> None:
        with self._one(lot, "worker") as member:
            self._tell_to_end(member, fault)
            time.sleep(lot.uniform(0, 2))
            self._kill(member, fault, to_group=True)

    def _all_deployed(self, lot: random.Random, fault: Fault) -> None:
        """Replace one after another, as a rolling deploy does."""
        for member in self.fleet.alive("worker", "beat"):
            with self._lock:
                if member in self._busy or member.told_at is not None:
                    continue
            self._tell_to_end(member, fault)
            time.sleep(lot.uniform(1, 3))

    def _tell_to_end(self, member: Member, fault: Fault, *, to_group: bool = False) -> None:
        member.children()
        fault.pids |= member.pids
        member.told_at = time.time()
        self._to(member, signal.SIGTERM, to_group=to_group)

    # --- servers -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _server_away(self, fault: Fault) -> Iterator[None]:
        if not self._server.acquire(blocking=False):
            raise NotNowError
        fault.servers = True
        began = time.time()
        away = self.fleet.servers_away
        away.append((began, float("inf")))
        try:
            yield
        finally:
            fault.ended = time.time()
            away[away.index((began, float("inf")))] = (began, fault.ended)
            self._server.release()

    def _redis_lost(self, lot: random.Random, fault: Fault) -> None:
        with self._server_away(fault):
            began = time.time()
            self.redis.kill()
            time.sleep(lot.choice([0, 0, 1, 9]))
            self.redis.start()
            self.redis_away.append((began, time.time()))

    def _redis_frozen(self, lot: random.Random, fault: Fault) -> None:
        with self._server_away(fault):
            os.kill(self.redis.pid, signal.SIGSTOP)
            time.sleep(lot.uniform(0.5, 6))
            os.kill(self.redis.pid, signal.SIGCONT)

    def _redis_emptied(self, _lot: random.Random, fault: Fault) -> None:
        fault.servers = True
        with redis.Redis.from_url(self.redis.url) as client:
            client.flushall()

    def _redis_full(self, lot: random.Random, fault: Fault) -> None:
        with self._server_away(fault), redis.Redis.from_url(self.redis.url) as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "1")
            time.sleep(lot.uniform(0.5, 6))
            client.config_set("maxmemory", "0")

    def _postgres_crashed(self, lot: random.Random, fault: Fault) -> None:
        with self._server_away(fault), self._database_away():
            self.crashes.append(time.time())
            self.postgres.stop(immediate=True)
            time.sleep(lot.choice([0, 0, 0.5, 2, 7]))
            self.postgres.start()

    def _postgres_frozen(self, lot: random.Random, fault: Fault) -> None:
        with self._server_away(fault), self._database_away():
            pid = self.postgres.pid
            pids = [pid, *_children(pid)]
            for one in pids:
                _signal(one, signal.SIGSTOP)
            time.sleep(lot.uniform(0.5, 2) * LEASE_S)
            for one in (pid, *_children(pid), *pids):
                _signal(one, signal.SIGCONT)

    @contextmanager
    def _database_away(self) -> Iterator[None]:
        down = self.fleet.audit.down
        began = time.time()
        down.append((began, began + 60))
        try:
            yield
        finally:
            down[down.index((began, began + 60))] = (began, time.time())

    def _connections_cut(self, lot: random.Random, fault: Fault) -> None:
        fault.servers = True
        self.fleet.servers_away.append((time.time(), time.time()))
        with psycopg.connect(self.postgres.url, autocommit=True, connect_timeout=2) as db:
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'connection-health%%' AND random() < %s",
                (lot.choice([0.1, 0.5, 1.0]),),
            )

    def _answers_lost(self, lot: random.Random, fault: Fault) -> None:
        fault.servers = True
        self.fleet.servers_away.append((time.time(), time.time() + 1))
        self.tell(f"lose {lot.choice([1, 5, 20])}")

    # --- people ------------------------------------------------------------------------------------------------------

    def _triggered(self, lot: random.Random, fault: Fault) -> None:
        self._trigger(self.customers.ordinary(lot, 5))

    def _triggered_while_running(self, lot: random.Random, fault: Fault) -> None:
        self._trigger(self._running(lot, 5))

    def _trigger(self, connection_ids: Sequence[UUID]) -> None:
        with self.installation.database.transaction() as db:
            for connection_id in sorted(connection_ids):
                runs.trigger(db, connection_id, Trigger.MANUAL)

    def _triggered_a_hundred_times(self, lot: random.Random, fault: Fault) -> None:
        (connection_id,) = self.customers.ordinary(lot)
        for _ in range(100):
            with self.installation.database.connection() as db:
                runs.trigger(db, connection_id, Trigger.MANUAL)

    def _running(self, lot: random.Random, most: int) -> list[UUID]:
        with self.installation.database.transaction() as db:
            found = db.execute(b"SELECT connection_id FROM run LIMIT 200").fetchall()
        if not found:
            raise NotNowError
        return [row[0] for row in lot.sample(found, min(most, len(found)))]

    def _credentials_changed(self, lot: random.Random, fault: Fault) -> None:
        self._change_credentials(self.customers.ordinary(lot)[0])

    def _credentials_changed_while_running(self, lot: random.Random, fault: Fault) -> None:
        for connection_id in self._running(lot, 3):
            self._change_credentials(connection_id)

    def _change_credentials(self, connection_id: UUID) -> None:
        token = self.customers.new_token(connection_id)
        keyring = self.installation.station.keyring
        with self.installation.database.transaction() as db:
            connections.replace_credentials(db, keyring, connection_id, {"token": token})

    def _cancelled(self, lot: random.Random, fault: Fault) -> None:
        """Stop runs by hand; of some, another is wanted at once."""
        for connection_id in self._running(lot, 5):
            with self.installation.database.transaction() as db:
                view = connections.get_connection(db, connection_id)
                if view is not None and view.active_run is not None:
                    runs.cancel(db, connection_id, view.active_run.run_seq)
                    if lot.random() < 0.7:
                        runs.trigger(db, connection_id, Trigger.MANUAL)

    def _paused_and_resumed(self, lot: random.Random, fault: Fault) -> None:
        chosen = sorted(self.customers.ordinary(lot, 3))
        with self.installation.database.transaction() as db:
            for connection_id in chosen:
                connections.pause_connection(db, connection_id)
        time.sleep(lot.uniform(0.5, 15))
        for connection_id in chosen:
            self._insist(lambda db, one=connection_id: connections.resume_connection(db, one))  # type: ignore[misc]

    def _insist(self, change: Callable[[Any], object]) -> None:
        for _ in range(60):
            try:
                with self.installation.database.transaction() as db:
                    change(db)
            except DATABASE_TROUBLE:
                time.sleep(0.5)
            else:
                return

    def _deleted_and_replaced(self, lot: random.Random, fault: Fault) -> None:
        (connection_id,) = self._running(lot, 1) if lot.random() < 0.5 else self.customers.ordinary(lot)
        self.customers.drop(connection_id)
        self._insist(lambda db: connections.delete_connection(db, connection_id))
        self.customers.connect()

    def _interval_changed(self, lot: random.Random, fault: Fault) -> None:
        (connection_id,) = self.customers.ordinary(lot)
        with self.installation.database.transaction() as db:
            view = connections.get_connection(db, connection_id)
            if view is None:
                raise NotNowError
            every = max(10, view.refresh_interval_secs + lot.choice([-1, 1]))
            connections.update_connection(db, connection_id, refresh_interval_secs=every)

    # --- messages ----------------------------------------------------------------------------------------------------

    def _message_forged(self, lot: random.Random, fault: Fault) -> None:
        with redis.Redis.from_url(self.redis.url) as client:
            client.lpush(QUEUE, lot.choice([b"{", b"[]", b'{"properties": {}}', hint(uuid4()), hint("nobody")]))

    def _message_doubled(self, lot: random.Random, fault: Fault) -> None:
        """Ask for runs, and give each hint six times at the same moment."""
        chosen = self.customers.ordinary(lot, 5)
        self._trigger(chosen)
        doubled = [hint(connection_id, due_only=True) for connection_id in chosen for _ in range(6)]
        with redis.Redis.from_url(self.redis.url) as client:
            client.rpush(QUEUE, *doubled)

    # --- code of somebody else's -------------------------------------------------------------------------------------

    def _code_swallows(self, lot: random.Random, fault: Fault) -> None:
        self._poison("swallow_exceptions", lot)

    def _code_waits_in_c(self, lot: random.Random, fault: Fault) -> None:
        self._poison("wait_in_c", lot)

    def _code_holds_the_interpreter(self, lot: random.Random, fault: Fault) -> None:
        self._poison("hold_the_interpreter", lot)

    def _code_exits(self, lot: random.Random, fault: Fault) -> None:
        self._poison("exit_at_once", lot)

    def _poison(self, how: str, lot: random.Random) -> None:
        connection_id = self.customers.poisoned(how, lot)
        if connection_id is None:
            raise NotNowError
        with self.installation.database.transaction() as db:
            connections.resume_connection(db, connection_id)
            runs.trigger(db, connection_id, Trigger.MANUAL)


def hint(connection_id: object, **more: object) -> bytes:
    """Return a message as it stands in Redis."""
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


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as found:  # noqa: PTH123 - one line of /proc
            return [int(child) for child in found.read().split()]
    except OSError:
        return []


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


FAULTS: Final = {
    "triggered": 14,
    "triggered_while_running": 8,
    "triggered_a_hundred_times": 3,
    "credentials_changed": 6,
    "credentials_changed_while_running": 4,
    "cancelled": 7,
    "paused_and_resumed": 5,
    "deleted_and_replaced": 4,
    "interval_changed": 2,
    "message_forged": 4,
    "message_doubled": 6,
    "connections_cut": 3,
    "answers_lost": 6,
    "child_killed": 4,
    "child_frozen": 2,
    "worker_killed": 3,
    "worker_frozen": 4,
    "worker_told_to_end": 2,
    "worker_told_twice": 1,
    "group_told_to_end": 1,
    "worker_told_then_killed": 1,
    "all_deployed": 1,
    "beat_killed": 1,
    "beat_frozen": 1,
    "redis_lost": 3,
    "redis_frozen": 1,
    "redis_emptied": 2,
    "redis_full": 1,
    "postgres_crashed": 1,
    "postgres_frozen": 1,
    "code_swallows": 2,
    "code_waits_in_c": 1,
    "code_holds_the_interpreter": 1,
    "code_exits": 1,
}
"""How often, in relation to each other."""
