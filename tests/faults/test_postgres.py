"""PostgreSQL crashes and comes back while runs are on."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, LiteralString
from uuid import uuid4

import psycopg
import pytest
from psycopg import RawCursor

from classifier.vocabulary import HealthName
from embedded.postgres import Postgres
from embedded.redis import Redis
from models import migrate, retention, runs
from models.runs import FinishedRun
from models.vocabulary import RunState, Trigger
from tests.faults.conftest import LEASE_S, Drill, children_of, drilling, tell
from tests.faults.turnstile import Call, Reply, Turnstile
from tests.system.stack import until


def test_runs_outlive_a_crash_of_postgresql(drill: Drill) -> None:
    workers, beat = [drill.worker(lease_s=20), drill.worker(lease_s=20)], drill.installation.start_beat()
    accounts = {f"account-{n}": drill.connect_and_run(f"account-{n}") for n in range(6)}
    for account, connection_id in accounts.items():
        drill.run_in_its_middle(account, connection_id)
    _wait_for_the_disk()

    drill.postgres.restart(immediate=True)
    for account in accounts:
        drill.turnstile.let_through(account)
    for connection_id in accounts.values():
        drill.wait_for_runs(connection_id, 2)
    told = {account: [state.value for state in drill.states(c)] for account, c in accounts.items()}
    tell(f"PostgreSQL crashed in mid-run: {told}")
    for connection_id in accounts.values():
        assert drill.installation.run_now(connection_id).state is RunState.SUCCEEDED
        assert RunState.LOST not in drill.states(connection_id)
        assert RunState.FAILED not in drill.states(connection_id)
        assert drill.installation.health(connection_id).name is HealthName.HEALTHY

    assert all(program.is_alive for program in (*workers, beat))
    assert "Traceback" not in "".join(worker.log for worker in workers)


def test_a_run_whose_page_finds_no_database_is_interrupted_and_made_again(drill: Drill) -> None:
    worker = drill.worker(lease_s=30)
    connection_id = drill.connect_and_run("north")
    drill.run_in_its_middle("north", connection_id)
    _wait_for_the_disk()

    drill.postgres.stop(immediate=True)
    drill.turnstile.let_through("north")
    worker.wait_for_log("run.stopped")
    drill.postgres.start()
    interrupted = drill.ended(connection_id, RunState.INTERRUPTED)
    again = drill.installation.run_after(connection_id, interrupted.run_seq)

    assert interrupted.reason == "database_away"
    assert (again.trigger, again.state) == (Trigger.RECOVERY, RunState.SUCCEEDED)
    assert worker.is_alive


def test_after_a_long_absence_of_postgresql_living_workers_are_not_taken_for_dead(drill: Drill) -> None:
    worker = drill.worker()
    connection_id = drill.connect_and_run("north")
    drill.run_in_its_middle("north", connection_id)
    _wait_for_the_disk()

    drill.postgres.stop(immediate=True)
    time.sleep(LEASE_S * 2)  # the fault itself: for longer than a lease there is nobody to renew it with
    drill.postgres.start()
    ended = until(lambda: drill.states(connection_id)[1:] or None, "the run ends", more=drill.installation.logs)
    drill.turnstile.let_through("north")

    assert ended == [RunState.INTERRUPTED]
    assert drill.installation.health(connection_id).name is HealthName.HEALTHY
    assert drill.ended(connection_id, RunState.SUCCEEDED, after=2).run_seq > 2
    assert worker.is_alive


def test_a_commit_whose_answer_was_lost_is_asked_after(drill: Drill) -> None:
    """The server commits, waits for a standby that does not exist, and crashes before it can say so."""
    drill.turnstile.pages = 1
    worker = drill.worker(lease_s=60)
    connection_id = drill.connect_and_run("north")
    drill.run_in_its_middle("north", connection_id)
    _wait_for_the_disk()
    _set_up(drill, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    try:
        _wait_until_commits_wait(drill)
        drill.turnstile.let_through("north")
        with psycopg.connect(drill.installation.database_url, autocommit=True) as db:
            until(lambda: _is_a_run_being_ended(db), "the run is being ended", more=drill.installation.logs)
        drill.postgres.restart(immediate=True)
    finally:
        _set_up(drill, "ALTER SYSTEM RESET synchronous_standby_names")
    worker.wait_for_log("run_seq=2")

    ended = drill.installation.run_after(connection_id, 1)
    assert (ended.run_seq, ended.state, ended.late_result) == (2, RunState.SUCCEEDED, None)
    assert "run.fenced" not in worker.log
    assert drill.turnstile.executions("north") == 2


def _set_up(drill: Drill, statement: LiteralString) -> None:
    with psycopg.connect(drill.installation.database_url, autocommit=True) as db:
        db.execute(statement)
        db.execute("SELECT pg_reload_conf()")


def _wait_until_commits_wait(drill: Drill) -> None:
    """A server that was told to read its settings anew does so when it comes to it."""
    seen = threading.Event()
    url = drill.installation.database_url
    with (
        psycopg.connect(url, autocommit=True) as db,
        psycopg.connect(url, autocommit=True) as probe,
        ThreadPoolExecutor(1) as thread,
    ):

        def commit() -> None:
            while not seen.is_set():
                probe.execute("SELECT pg_logical_emit_message(true, 'drill', 'does a commit wait?')")

        def waits() -> bool:
            found = db.execute(
                "SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND pid = %s", (probe.info.backend_pid,)
            )
            return found.rowcount > 0

        commits = thread.submit(commit)
        until(waits, "a commit waits for the standby", more=drill.installation.logs)
        seen.set()
        db.execute("SELECT pg_cancel_backend(%s)", (probe.info.backend_pid,))  # it is committed all the same
        commits.result(30)


def _is_a_run_being_ended(db: psycopg.Connection[Any]) -> bool:
    found = db.execute("SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%DELETE FROM run r%'")
    return found.rowcount > 0


def _wait_for_the_disk() -> None:
    """A claim is written to the disk a moment after its commit; a crash before that would make it undone."""
    time.sleep(1.0)


@pytest.mark.parametrize(
    "leases",
    [
        pytest.param(2, id="for two leases", marks=pytest.mark.soak),
        pytest.param(4, id="for four leases", marks=pytest.mark.soak),
    ],
)
def test_a_frozen_postgresql_takes_nobody_for_dead_when_it_thaws(drill: Drill, repetitions: int, leases: int) -> None:
    """Every lease has ended by then, and every statement that waited is carried out at once, the reaper's too."""
    workers = [drill.worker("-c", "8"), drill.worker("-c", "8")]
    accounts = {f"account-{n}": drill.connect_and_run(f"account-{n}") for n in range(8)}
    for _ in range(repetitions):
        for account, connection_id in accounts.items():
            drill.run_in_its_middle(account, connection_id)
        with _frozen(drill.postgres):
            time.sleep(LEASE_S * leases)  # the fault itself
        thawed_at = time.time()
        for account in accounts:
            drill.turnstile.let_through(account)
        until(lambda: all(drill.running(c) is None for c in accounts.values()), "all have ended")
        again = [drill.installation.run_now(connection_id) for connection_id in accounts.values()]

    states = [state for connection_id in accounts.values() for state in drill.states(connection_id)]
    normal_s = max(run.finished_at.timestamp() for run in again if run.finished_at) - thawed_at
    tell(
        f"PostgreSQL frozen for {LEASE_S * leases} s: {states.count(RunState.LOST)} of {8 * repetitions} runs "
        f"LOST, {states.count(RunState.INTERRUPTED)} given back; all run again {normal_s:.1f} s after it thawed"
    )
    assert RunState.LOST not in states
    assert RunState.FAILED not in states
    assert {run.state for run in again} == {RunState.SUCCEEDED}
    assert all(worker.is_alive for worker in workers)


def test_a_deadlock_with_somebody_elses_transaction_costs_a_second_try(drill: Drill) -> None:
    """Two sessions of an operator's own hold what the end of a run needs, in the order that the end does not take."""
    worker = drill.worker(lease_s=20)
    connection_id = drill.connect_and_run("north")
    drill.run_in_its_middle("north", connection_id)
    with psycopg.connect(drill.installation.database_url) as db, drill.installation.database.connection() as watcher:
        db.execute("SELECT FROM health WHERE connection_id = %s FOR UPDATE", (connection_id,))
        drill.turnstile.let_through("north")
        until(
            lambda: _waits(watcher, "%DELETE FROM run r%"), "the end of the run waits", more=lambda: worker.log[-3000:]
        )
        # Whoever began to wait first looks first for a deadlock, and gives way: the worker.
        db.execute("SELECT FROM run WHERE connection_id = %s FOR UPDATE", (connection_id,))
        db.rollback()
    ended = drill.installation.run_after(connection_id, 1)

    assert (ended.run_seq, ended.state) == (2, RunState.SUCCEEDED)
    assert _deadlocks(drill) == 1
    assert "run.fenced" not in worker.log
    assert "Traceback" not in worker.log


@pytest.mark.soak
def test_a_lock_that_is_held_for_longer_than_is_waited_for_costs_another_try(drill: Drill) -> None:
    _of_database(drill, "SET lock_timeout = '300ms'")
    worker = drill.worker()
    connection_id = drill.connect_and_run("north")
    drill.run_in_its_middle("north", connection_id)
    with psycopg.connect(drill.installation.database_url) as db, drill.installation.database.connection() as watcher:
        db.execute("LOCK TABLE record IN ACCESS EXCLUSIVE MODE")
        drill.turnstile.let_through("north")
        until(lambda: _waits(watcher, "%record%"), "a page waits for the lock", more=lambda: worker.log[-3000:])
        until(lambda: not _waits(watcher, "%record%"), "it is told that it waited for too long")
        db.rollback()

    assert drill.installation.run_after(connection_id, 1).state is RunState.SUCCEEDED


@pytest.mark.parametrize("level", ["repeatable read", pytest.param("serializable", marks=pytest.mark.soak)])
def test_a_database_that_asks_for_more_isolation_gets_what_our_statements_are_made_for(
    drill: Drill, level: str
) -> None:
    """Set for the whole database by an operator: statements that stand in each other's way would fail, not wait."""
    _of_database(drill, f"SET default_transaction_isolation = '{level}'")
    workers = [drill.worker("-c", "8"), drill.worker("-c", "8")]
    connection_ids = [drill.connect(f"account-{n}") for n in range(16)]
    for connection_id in connection_ids:
        drill.wait_for_runs(connection_id, 1)
    for _ in range(3):
        before = {connection_id: drill.installation.request_run(connection_id) for connection_id in connection_ids}
        for connection_id, seq in before.items():
            assert drill.installation.run_after(connection_id, seq).state is RunState.SUCCEEDED

    refused = sum(worker.log.count("could not serialize") for worker in workers)
    tell(f"{level} for the whole database: {refused} statements failed to serialize in 64 runs")
    assert refused == 0


@pytest.mark.soak
def test_runs_that_wait_in_vain_for_a_connection_of_the_pool_are_given_back(drill: Drill) -> None:
    worker = drill.worker(database_pool=2, concurrency=16)
    accounts = {f"account-{n}": drill.connect_and_run(f"account-{n}") for n in range(12)}
    for account, connection_id in accounts.items():
        drill.run_in_its_middle(account, connection_id)
    with psycopg.connect(drill.installation.database_url) as db:
        db.execute("LOCK TABLE record IN ACCESS EXCLUSIVE MODE")
        for account in accounts:
            drill.turnstile.let_through(account)
        worker.wait_for_log("run.stopped")
        db.rollback()
    again = [drill.installation.run_now(connection_id) for connection_id in accounts.values()]

    states = [state for connection_id in accounts.values() for state in drill.states(connection_id)]
    tell(f"a pool of 2 for 12 runs, held for 10 s: {states.count(RunState.INTERRUPTED)} given back, none lost")
    assert {run.state for run in again} == {RunState.SUCCEEDED}
    assert set(states) == {RunState.SUCCEEDED, RunState.INTERRUPTED}
    assert "lease_lost" not in worker.log


def test_a_day_that_is_made_while_a_run_ends_does_not_make_the_run_fail(drill: Drill) -> None:
    """The end goes to the default partition, waits there, and finds that its day has a partition of its own now."""
    worker = drill.worker(lease_s=20)
    drill.turnstile.hold("north")
    connection_id = drill.connect("north")
    drill.turnstile.wait_for("north")
    with psycopg.connect(drill.installation.database_url) as db, drill.installation.database.connection() as watcher:
        assert retention.ensure_partitions(db)
        drill.turnstile.let_through("north")
        until(lambda: _waits(watcher, "%DELETE FROM run r%"), "the end waits", more=lambda: worker.log[-3000:])
        db.commit()
    ended = drill.installation.run_after(connection_id, 0)

    assert (ended.state, ended.name) == (RunState.SUCCEEDED, HealthName.HEALTHY)
    assert drill.states(connection_id) == [RunState.SUCCEEDED]
    assert "Traceback" not in worker.log


@pytest.fixture
def small_disk(server_dir: Path) -> Iterator[Path]:
    """A file system of 64 MB, where one may be mounted."""
    place = server_dir / "small"
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(place)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        # A limit on the size of files is no full disk: the server takes it for an error of one table. CI is root.
        pytest.skip("to fill a disk, one of 64 MB is mounted, which root alone may: run it as root")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def drill_on_small_disk(
    server_dir: Path, small_disk: Path, redis_server: Redis, tmp_path: Path, turnstile: Turnstile
) -> Iterator[Drill]:
    """A drill whose tables lie on the small disk; the server's log of changes, and the audit, do not."""
    server = Postgres(server_dir / "of-small-disk", durable=False)
    try:
        with server:
            owner = server._place().data.stat()
            tables = small_disk / "tables"
            tables.mkdir()
            os.chown(tables, owner.st_uid, owner.st_gid)
            with psycopg.connect(server.url_of("postgres"), autocommit=True) as db:
                db.execute(f"CREATE TABLESPACE small LOCATION '{tables}'".encode())
                db.execute("CREATE DATABASE migrated TABLESPACE small")
            migrate.upgrade(server.url_of("migrated"))
            with drilling(server, "migrated", redis_server, tmp_path, turnstile) as drill:
                with psycopg.connect(drill.installation.database_url, autocommit=True) as db:
                    db.execute("ALTER TABLE audit SET TABLESPACE pg_default")
                yield drill
    finally:
        server.remove()


@pytest.mark.soak
def test_a_full_disk_is_told_as_ours_and_over_when_there_is_room(drill_on_small_disk: Drill, small_disk: Path) -> None:
    drill = drill_on_small_disk
    rows = [{"id": str(n), "filler": os.urandom(500).hex()} for n in range(3000)]
    big = json.dumps({"items": rows, "next": None}).encode()

    def answer(call: Call) -> Reply | None:
        return Reply(200, big, {"content-type": "application/json"}) if call.account == "big" else None

    worker = drill.worker()
    small_id, big_id = drill.connect_and_run("small"), drill.connect_and_run("big")
    drill.turnstile.answer = answer
    before = len(drill.turnstile.calls("big"))
    hog = small_disk / "hog"
    _fill(hog)
    told = drill.installation.run_now(big_id)
    time.sleep(3)  # in which somebody might try again, in vain
    calls = len(drill.turnstile.calls("big")) - before
    hog.unlink()
    again = drill.installation.run_now(big_id)

    tell(f"disk full: {told.state}, {told.name} {told.reason}, {calls} calls; with room again {again.state}")
    # Where there was no room for the end of the run either, it says nothing of the connection.
    assert (told.state, told.name) == (RunState.FAILED, HealthName.INTERNAL_ERROR) or (
        (told.state, told.reason) == (RunState.INTERRUPTED, "unattended")
    )
    assert calls == 1, "it was tried again and again, though nothing could be stored"
    assert (again.state, again.records_new) == (RunState.SUCCEEDED, 3000)
    assert drill.installation.run_now(small_id).state is RunState.SUCCEEDED
    assert worker.is_alive


HEALTHY: Final = FinishedRun(
    state=RunState.SUCCEEDED,
    name=HealthName.HEALTHY,
    reason="ok",
    rule="ok",
    sentence="All was read.",
    next_step="Nothing.",
)
CHURN_ROUNDS, CHURN_CONNECTIONS = 40, 100


@pytest.mark.soak
def test_what_an_open_transaction_costs_the_claims(drill: Drill) -> None:
    """Somebody's report is open for an hour: no dead row can be cleared away. Here each row is run forty times."""
    connection_ids = [drill.connect(f"account-{n}") for n in range(CHURN_CONNECTIONS)]
    worker_id = uuid4()
    with psycopg.connect(drill.installation.database_url, autocommit=True) as db:
        runs.register_worker(db, worker_id, host="test", pid=1, lease_s=3600)
        _churn(db, worker_id)
        db.execute("VACUUM connection_sched, run, health")
        before = _pages_read(db)
        with psycopg.connect(drill.installation.database_url) as reader:
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT count(*) FROM health").fetchall()
            for _ in range(CHURN_ROUNDS):
                _churn(db, worker_id)
            db.execute("VACUUM connection_sched, run, health")  # as autovacuum tries to, and in vain
            held = _pages_read(db)
            dead = _dead(db)
        db.execute("VACUUM connection_sched, run, health")
        after = _pages_read(db)

    assert len(connection_ids) == CHURN_CONNECTIONS
    tell(
        f"a transaction open while {CHURN_CONNECTIONS} connections run {CHURN_ROUNDS} times: {dead} dead rows; hinting "
        f"100 reads {before} pages before, {held} while it is open, {after} after it"
    )
    assert after <= 3 * before + 50


def _churn(db: psycopg.Connection[Any], worker_id: Any) -> None:
    db.execute("UPDATE connection_sched SET next_due_at = now() - interval '1 s'")
    while claimed := runs.claim_due(db, worker_id=worker_id, limit=CHURN_CONNECTIONS):
        for run in claimed:
            assert runs.finish(db, run.key, HEALTHY)


def _pages_read(db: psycopg.Connection[Any]) -> int:
    """How many pages a round of the dispatcher reads while everything is due."""
    statement = runs._TAKE_DUE
    values = statement.values(
        {"rehint_after_s": 60.0, "locked": False, "limited": [], "share": CHURN_CONNECTIONS, "limit": CHURN_CONNECTIONS}
    )
    with db.transaction(force_rollback=True):
        db.execute("UPDATE connection_sched SET next_due_at = now() - interval '1 s'")
        plan = RawCursor(db).execute(b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement.sql, values).fetchone()
    assert plan is not None
    return int(plan[0][0]["Plan"]["Shared Hit Blocks"] + plan[0][0]["Plan"]["Shared Read Blocks"])


def _dead(db: psycopg.Connection[Any]) -> int:
    db.execute("SELECT pg_stat_force_next_flush()")
    row = db.execute(
        "SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE relname IN ('connection_sched', 'run', 'health')"
    ).fetchone()
    return int(row[0]) if row else 0


def _fill(hog: Path) -> None:
    """Take all the room that is left on a file system."""
    with hog.open("wb") as file, suppress(OSError):
        while True:
            file.write(b"\0" * 65536)
            file.flush()


@contextmanager
def _frozen(postgres: Postgres) -> Iterator[None]:
    """Stop every process of a server, and let them go on."""
    pids = [postgres.pid, *children_of(postgres.pid)]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _waits(db: psycopg.Connection[Any], query: str) -> bool:
    found = db.execute(
        "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s AND pid <> pg_backend_pid()"
        " AND datname = current_database()",
        (query,),
    )
    return found.rowcount > 0


def _deadlocks(drill: Drill) -> int:
    def counted() -> int:
        with drill.installation.database.transaction() as db:
            row = db.execute(b"SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
        return int(row[0]) if row else 0

    return until(counted, "the deadlock is counted")


def _of_database(drill: Drill, setting: str) -> None:
    """Set something for every session that begins from now on."""
    with psycopg.connect(drill.installation.database_url, autocommit=True) as db:
        name = db.info.dbname
        db.execute(f'ALTER DATABASE "{name}" {setting}'.encode())
