"""Two sessions and more on one run. What went wrong is read from the audit, not from where it ended."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import permutations, product
from typing import Any
from uuid import UUID

import psycopg
import pytest

from models import connections, records, runs
from models.errors import FencedError
from models.records import RecordRow
from models.runs import FinishedRun, RunKey
from models.vocabulary import Trigger

Db = psycopg.Connection[Any]


class Scene:
    """One connection whose first run is held by a worker that has lost its lease, and a second worker."""

    def __init__(self, world: Any, results: tuple[FinishedRun, FinishedRun]) -> None:
        self.world, (self.healthy, self.unauthorized) = world, results
        self.live = world.worker()
        self.late: RunKey
        self.second: RunKey | None = None

    def begin(self) -> None:
        """Start over with a connection of its own."""
        run = self.world.running()
        self.world.db.execute(
            "UPDATE worker SET lease_until = now() - interval '1 s' WHERE worker_id = %s", (run.key.worker_id,)
        )
        self.late, self.second = run.key, None

    @property
    def connection_id(self) -> UUID:
        return self.late.connection_id

    def late_finish(self, db: Db) -> None:
        runs.finish(db, self.late, self.unauthorized)

    def reap(self, db: Db) -> None:
        runs.reap(db)

    def claim(self, db: Db) -> None:
        claimed = runs.claim(db, self.connection_id, worker_id=self.live, due_only=False)
        self.second = self.second if claimed is None else claimed.key

    def second_finish(self, db: Db) -> None:
        runs.finish(db, self.second or self.late, self.healthy)

    def interrupt(self, db: Db) -> None:
        runs.interrupt(db, self.late, reason="drain")

    def cancel(self, db: Db) -> None:
        runs.cancel(db, self.connection_id, self.late.run_seq)

    def trigger(self, db: Db) -> None:
        runs.trigger(db, self.connection_id, Trigger.MANUAL)

    def pause(self, db: Db) -> None:
        connections.pause_connection(db, self.connection_id)

    def new_credentials(self, db: Db) -> None:
        connections.replace_credentials(db, self.world.keyring, self.connection_id, {"api_key": "new"})

    def land(self, db: Db) -> None:
        self._land(db, 1)

    def land_many(self, db: Db) -> None:
        self._land(db, records.STRAIGHT)

    def _land(self, db: Db, count: int) -> None:
        page = [RecordRow(id=str(n), payload={"n": n}) for n in range(count)]
        try:
            landed = records.land_page(db, self.late, "alerts", page, cursor={"p": 1}, full_pass=False)
            assert landed.new + landed.changed + landed.unchanged == count
        except FencedError:
            assert not runs.is_current(db, self.late)


@pytest.fixture
def scene(
    committed: Any, fresh_database_url: str, audit: Any, healthy: FinishedRun, unauthorized: FinishedRun
) -> Iterator[Scene]:
    switch_on, oracle = audit
    switch_on(fresh_database_url)
    made = Scene(committed, (healthy, unauthorized))
    yield made
    found = oracle(committed.db)
    assert found.entries > 0
    assert found.wrong == []


FOUR = ("late_finish", "reap", "claim", "second_finish")


def test_every_order_of_late_finish_reap_claim_and_second_finish_is_right(
    scene: Scene, fresh_database_url: str
) -> None:
    orders = list(permutations(FOUR))
    assert len(orders) == 24
    with (
        psycopg.connect(fresh_database_url, autocommit=True) as one,
        psycopg.connect(fresh_database_url, autocommit=True) as two,
    ):
        for order in orders:
            scene.begin()
            for number, name in enumerate(order):
                getattr(scene, name)((one, two)[number % 2])


def blocked_or_done(watcher: Db, pid: int, future: Future[None]) -> None:
    """Wait until the session waits for a lock or its step is over."""
    deadline = time.monotonic() + 30
    while not future.done():
        waits = watcher.execute("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", (pid,))
        if (waits.fetchone() or (False,))[0]:
            return
        assert time.monotonic() < deadline
        time.sleep(0.002)


ALL = (*FOUR, "interrupt", "cancel", "trigger", "pause", "new_credentials", "land", "land_many")


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_any_two_steps_that_overlap_are_right(scene: Scene, fresh_database_url: str, end: str) -> None:
    with (
        psycopg.connect(fresh_database_url) as one,
        psycopg.connect(fresh_database_url, autocommit=True) as two,
        ThreadPoolExecutor(1) as thread,
    ):
        for db in (one, two):
            db.execute("SET deadlock_timeout = '200ms'")
        one.commit()
        for first, second in product(ALL, ALL):
            scene.begin()
            getattr(scene, first)(one)
            if end == "rollback":
                scene.second = None
            step = thread.submit(getattr(scene, second), two)
            blocked_or_done(scene.world.db, two.info.backend_pid, step)
            getattr(one, end)()
            step.result(timeout=30)
            for name in FOUR:
                getattr(scene, name)(two)


def interleavings(sessions: int) -> list[tuple[int, ...]]:
    """Return every order of two steps for each of so many sessions: its statement, and later its commit."""
    found: list[tuple[int, ...]] = []

    def go_on(order: tuple[int, ...]) -> None:
        if len(order) == 2 * sessions:
            found.append(order)
        for session in range(sessions):
            if order.count(session) < 2:
                go_on((*order, session))

    go_on(())
    return found


class Stepper:
    """Sessions that are stepped one statement at a time. One that waits for a lock is passed over until it has it."""

    def __init__(self, scene: Scene, sessions: list[Db], threads: ThreadPoolExecutor) -> None:
        self.scene, self.sessions, self.threads = scene, sessions, threads
        self.waited = 0

    def play(self, order: tuple[int, ...]) -> None:
        self.scene.begin()
        steps: dict[int, Future[None]] = {}
        to_commit: list[int] = []
        for session in order:
            db = self.sessions[session]
            if session not in steps:
                steps[session] = self.threads.submit(getattr(self.scene, FOUR[session]), db)
                blocked_or_done(self.scene.world.db, db.info.backend_pid, steps[session])
                self.waited += not steps[session].done()
            else:
                to_commit.append(session)
            self._commit(steps, to_commit)
        while to_commit:
            self._commit(steps, to_commit)

    def _commit(self, steps: dict[int, Future[None]], to_commit: list[int]) -> None:
        for session in list(to_commit):
            blocked_or_done(self.scene.world.db, self.sessions[session].info.backend_pid, steps[session])
            if steps[session].done():
                steps[session].result()
                self.sessions[session].commit()
                to_commit.remove(session)


@pytest.mark.parametrize(
    "share",
    [pytest.param(20, id="one in twenty"), pytest.param(1, id="all 2520", marks=pytest.mark.soak)],
)
def test_every_interleaving_of_the_four_and_of_their_commits_is_right(
    scene: Scene, fresh_database_url: str, share: int
) -> None:
    orders = interleavings(len(FOUR))
    assert len(orders) == 2520
    chosen = random.Random(20261124).sample(orders, len(orders) // share)  # noqa: S311 - guards nothing
    sessions = [psycopg.connect(fresh_database_url) for _ in FOUR]
    with ThreadPoolExecutor(len(FOUR)) as threads:
        for db in sessions:
            db.execute("SET deadlock_timeout = '200ms'")
            db.commit()
        stepper = Stepper(scene, sessions, threads)
        for order in chosen:
            stepper.play(order)
    for db in sessions:
        db.close()
    assert stepper.waited > len(chosen) / 10, "hardly ever did one stand in another's way"


def test_three_hundred_rounds_at_once_are_right(scene: Scene, fresh_database_url: str) -> None:
    sessions = [psycopg.connect(fresh_database_url, autocommit=True) for _ in range(6)]
    steps = (*FOUR, "trigger", "late_finish")
    with ThreadPoolExecutor(len(sessions)) as threads:
        for _ in range(300):
            scene.begin()
            gate = threading.Barrier(len(sessions))

            def act(db: Db, step: Callable[[Db], None], gate: threading.Barrier = gate) -> None:
                gate.wait(timeout=30)
                step(db)

            started = [threads.submit(act, db, getattr(scene, name)) for db, name in zip(sessions, steps, strict=True)]
            for future in started:
                future.result(timeout=60)
    for db in sessions:
        db.close()


def test_of_many_who_claim_one_gets_it(committed: Any, fresh_database_url: str) -> None:
    ids = [committed.connection().connection_id for _ in range(40)]
    workers = [committed.worker() for _ in range(8)]

    def claim_all(worker_id: UUID) -> list[UUID]:
        with psycopg.connect(fresh_database_url, autocommit=True) as db:
            return [one for one in ids if runs.claim(db, one, worker_id=worker_id) is not None]

    def claim_batches(worker_id: UUID) -> list[UUID]:
        got = []
        with psycopg.connect(fresh_database_url, autocommit=True) as db:
            while batch := runs.claim_due(db, worker_id=worker_id, limit=3):
                got += [run.key.connection_id for run in batch]
        return got

    with ThreadPoolExecutor(len(workers)) as threads:
        ways = [claim_all, claim_batches] * 4
        got = [one for batch in threads.map(lambda way, worker: way(worker), ways, workers) for one in batch]
    assert len(got) == len(set(got))
    # Whoever skips a row that another had just locked leaves it to the next round, as the dispatcher would.
    got += claim_all(workers[0])
    assert sorted(got) == sorted(ids)


def test_a_limit_is_never_exceeded_by_many_at_once(committed: Any, fresh_database_url: str) -> None:
    from models import limits

    ids = [committed.connection().connection_id for _ in range(60)]
    limits.set_vendor_limits(committed.db, {committed.vendor: 5})
    workers = [committed.worker() for _ in range(8)]
    committed.db.execute(
        "CREATE TABLE most (running bigint); "
        "CREATE FUNCTION count_running() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO most SELECT count(*) FROM run; RETURN NULL; END $$; "
        "CREATE CONSTRAINT TRIGGER count_running AFTER INSERT ON run DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION count_running()"
    )

    def work(number: int) -> int:
        done = 0
        with psycopg.connect(fresh_database_url, autocommit=True) as db:
            for turn in range(30):
                run = runs.claim(db, ids[(number * 30 + turn) % len(ids)], worker_id=workers[number], due_only=False)
                batch = runs.claim_due(db, worker_id=workers[number], limit=2) if turn % 3 == 0 else []
                for one in ([run] if run else []) + batch:
                    done += runs.interrupt(db, one.key, reason="done")
        return done

    with ThreadPoolExecutor(len(workers)) as threads:
        assert sum(threads.map(work, range(len(workers)))) > 20
    found = committed.db.execute("SELECT max(running), count(*) FROM most").fetchone()
    assert found is not None
    assert 1 <= found[0] <= 5


def test_no_trigger_is_lost_between_claims_and_finishes(scene: Scene, fresh_database_url: str) -> None:
    """Each trigger commits before its number is noted; a run must begin after it."""
    scene.begin()
    connection_id = scene.connection_id
    runs.cancel(scene.world.db, connection_id, scene.late.run_seq)
    stop = threading.Event()

    def run_it() -> None:
        with psycopg.connect(fresh_database_url, autocommit=True) as db:
            while not stop.is_set():
                run = runs.claim(db, connection_id, worker_id=scene.live)
                if run is not None:
                    runs.finish(db, run.key, scene.healthy)

    with ThreadPoolExecutor(3) as threads, psycopg.connect(fresh_database_url, autocommit=True) as db:
        workers = [threads.submit(run_it) for _ in range(3)]
        try:
            for _ in range(60):
                before = db.execute(
                    "SELECT run_seq FROM connection_sched WHERE connection_id = %s", (connection_id,)
                ).fetchone()
                assert runs.trigger(db, connection_id, Trigger.MANUAL)
                assert before is not None
                deadline = time.monotonic() + 20
                while True:
                    now = db.execute(
                        "SELECT run_seq, requested_trigger IS NULL FROM connection_sched WHERE connection_id = %s",
                        (connection_id,),
                    ).fetchone()
                    assert now is not None
                    if now[0] > before[0] and now[1]:
                        break
                    assert time.monotonic() < deadline, "a trigger was lost"
        finally:
            stop.set()
        for worker in workers:
            worker.result(timeout=30)
