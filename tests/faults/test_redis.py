"""Redis dies, comes back empty, stays away: hints are lost, runs are not."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final
from uuid import UUID

import pytest
import redis

from models.vocabulary import RunState
from tests.faults.between import Between
from tests.faults.conftest import Drill, signal_group, tell
from tests.system.stack import Program, until
from worker.hints import QUEUE


def test_hints_that_were_lost_with_redis_are_given_again(drill: Drill) -> None:
    worker = drill.worker("-c", "1", rehint_after_s=5)
    busy = drill.connect_and_run("busy")
    others = [drill.connect_and_run(f"other-{n}") for n in range(6)]
    drill.run_in_its_middle("busy", busy)  # the only slot is taken, so hints wait in Redis
    for connection_id in others:
        drill.installation.request_run(connection_id)
    with redis.Redis.from_url(drill.installation.redis_url) as client:
        until(lambda: client.llen(QUEUE) >= 4, "hints wait in Redis")
        for _ in range(10):  # rounds of the dispatcher, which must not hint again what is hinted
            time.sleep(0.1)
            assert client.llen(QUEUE) <= len(others)

    drill.redis.kill()
    drill.redis.start()
    drill.turnstile.let_through("busy")

    assert drill.ended(busy, RunState.SUCCEEDED, after=1).run_seq == 2
    for connection_id in others:
        assert drill.installation.run_after(connection_id, 1).state is RunState.SUCCEEDED
        assert drill.states(connection_id) == [RunState.SUCCEEDED] * 2
    assert worker.is_alive


def test_with_redis_away_workers_claim_straight_from_postgresql(drill: Drill) -> None:
    worker, beat = drill.worker(), drill.installation.start_beat()
    connection_ids = [drill.connect_and_run(f"account-{n}") for n in range(8)]

    drill.redis.kill()
    down_at = time.time()
    for connection_id in connection_ids:
        drill.installation.request_run(connection_id)
    ended = [drill.installation.run_after(connection_id, 1) for connection_id in connection_ids]
    tell(f"Redis away: all run after {max(_ended_at(run) for run in ended) - down_at:.1f} s, claimed after 2 s away")
    drill.redis.start()
    back_at = time.time()
    worker.wait_for_log("dispatcher.redis_back")
    again = [drill.installation.run_now(connection_id) for connection_id in connection_ids]
    tell(f"Redis back: hinted and run again after {max(_ended_at(run) for run in again) - back_at:.1f} s")

    assert all(run.state is RunState.SUCCEEDED for run in ended + again)
    assert "dispatcher.claimed_without_redis" in worker.log
    assert [drill.turnstile.executions(f"account-{n}") for n in range(8)] == [3] * 8
    assert worker.is_alive
    assert beat.is_alive
    until(
        lambda: "Sending due task" in beat.log.partition("Cannot connect")[2] or "Cannot connect" not in beat.log,
        "beat ticks again",
    )
    assert worker.stop() == 0
    assert beat.stop() == 0


def test_runs_without_redis_are_drained_like_any_other(drill: Drill) -> None:
    worker = drill.worker()
    connection_id = drill.connect_and_run("north")
    drill.redis.kill()
    drill.run_in_its_middle("north", connection_id)

    worker.stop()
    drill.turnstile.let_through("north")

    assert drill.states(connection_id) == [RunState.SUCCEEDED, RunState.INTERRUPTED]
    assert drill.installation.health(connection_id).run_seq == 1
    drill.redis.start()


@contextmanager
def _frozen(drill: Drill, _wire: Between) -> Iterator[None]:
    os.kill(drill.redis.pid, signal.SIGSTOP)
    yield
    os.kill(drill.redis.pid, signal.SIGCONT)


@contextmanager
def _unreachable(_drill: Drill, wire: Between) -> Iterator[None]:
    """Nothing comes back, and no connection is refused: as behind a firewall that drops."""
    wire.is_deaf = True
    yield
    wire.is_deaf = False
    wire.reset()  # who has waited so long gives up; what it said is not said again


@contextmanager
def _full(drill: Drill, _wire: Between) -> Iterator[None]:
    with _admin(drill) as client:
        client.config_set("maxmemory", "1")
        yield
        client.config_set("maxmemory", "0")


@contextmanager
def _another_password(drill: Drill, wire: Between) -> Iterator[None]:
    with _admin(drill) as client:
        client.config_set("requirepass", "another")
        wire.reset()
        yield
        client.config_set("requirepass", "")


@contextmanager
def _gone(drill: Drill, wire: Between) -> Iterator[None]:
    drill.redis.kill()
    wire.reset()
    yield
    drill.redis.start()


@contextmanager
def _admin(drill: Drill) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(drill.redis.url) as client:
        client.ping()
        yield client


ABSENCES: Final[dict[str, Callable[[Drill, Between], Any]]] = {
    "frozen": _frozen,
    "unreachable": _unreachable,
    "full": _full,
    "of another password": _another_password,
    "gone": _gone,
}
EVERY_S: Final = 10
OUTAGE_S: Final = 25


@pytest.mark.soak
@pytest.mark.parametrize("how", list(ABSENCES))
def test_while_redis_cannot_be_used_what_is_due_is_run(redis_wire: Between, drill: Drill, how: str) -> None:
    """Connections that are due every ten seconds; two and a half of their rounds fall into the absence."""
    url = f"redis://127.0.0.1:{redis_wire.port}/{drill.installation.redis_url.partition('?db=')[2]}"
    worker = drill.worker(redis_url=url)
    beat = drill.installation.start_beat(redis_url=url)
    accounts = {f"account-{n}": drill.connect_and_run(f"account-{n}") for n in range(12)}
    _every(drill, EVERY_S)

    with ABSENCES[how](drill, redis_wire):
        from_s = time.time()
        time.sleep(OUTAGE_S)  # the fault itself
        to_s = time.time()
    back_at = time.time()
    until(
        lambda: "dispatcher.redis_back" in worker.log.rpartition("redis_away")[2],
        "Redis is back",
        more=worker_log(worker),
    )
    normal_s = time.time() - back_at
    again = [drill.installation.run_now(connection_id) for connection_id in accounts.values()]

    due, done, late = _slots(drill, from_s, to_s)
    tell(
        f"Redis {how} for {OUTAGE_S} s: {done} of {due} due runs done in it ({done / due:.0%}), at most {late:.1f} s "
        f"late; back to normal after {normal_s:.1f} s"
    )
    assert all(run.state is RunState.SUCCEEDED for run in again)
    assert done >= 0.95 * due
    assert {state for c in accounts.values() for state in drill.states(c)} == {RunState.SUCCEEDED}
    assert worker.is_alive
    assert beat.is_alive
    assert "Traceback" not in worker.log


@pytest.mark.soak
def test_a_slow_redis_delays_hints_and_nothing_else(redis_wire: Between, drill: Drill) -> None:
    url = f"redis://127.0.0.1:{redis_wire.port}/{drill.installation.redis_url.partition('?db=')[2]}"
    worker = drill.worker(redis_url=url, degraded_after_s=30)
    accounts = {f"account-{n}": drill.connect_and_run(f"account-{n}") for n in range(8)}
    redis_wire.delay_s = 0.5
    ended = [drill.installation.run_now(connection_id) for connection_id in accounts.values()]
    redis_wire.delay_s = 0.0

    took = [(run.started_at - run.scheduled_for).total_seconds() for run in ended]
    tell(f"Redis slow by 500 ms each way: runs begin at most {max(took):.1f} s after they are due")
    assert all(run.state is RunState.SUCCEEDED for run in ended)
    assert "redis_away" not in worker.log
    assert "Traceback" not in worker.log


def test_flushall_in_mid_run_costs_hints_and_no_run(drill: Drill, repetitions: int) -> None:
    worker = drill.worker("-c", "1", rehint_after_s=5)
    busy = drill.connect_and_run("busy")
    others = [drill.connect_and_run(f"other-{n}") for n in range(4)]
    for _ in range(repetitions):
        drill.run_in_its_middle("busy", busy)
        before = {connection_id: drill.installation.request_run(connection_id) for connection_id in others}
        with redis.Redis.from_url(drill.installation.redis_url) as client:
            until(partial(_holds, client, 2), "hints wait in Redis")
            client.flushall()
        flushed_at = time.time()
        drill.turnstile.let_through("busy")
        ended = [drill.installation.run_after(connection_id, seq) for connection_id, seq in before.items()]
        tell(f"FLUSHALL: all run again {max(map(_ended_at, ended)) - flushed_at:.1f} s later, 5 s being the setting")

    assert {state for c in (busy, *others) for state in drill.states(c)} == {RunState.SUCCEEDED}
    assert worker.is_alive


def test_a_worker_starts_while_redis_is_full(drill: Drill) -> None:
    """It must not end by it, for what is due can be run without Redis."""
    with _admin(drill) as client:
        client.config_set("maxmemory", "1")
        try:
            worker = drill.worker()
            connection_id = drill.connect("north")
            first = drill.installation.run_after(connection_id, 0)
            assert worker.is_alive
        finally:
            client.config_set("maxmemory", "0")
    worker.wait_for_log("dispatcher.redis_back")

    assert first.state is RunState.SUCCEEDED
    assert drill.installation.run_now(connection_id).state is RunState.SUCCEEDED
    assert worker.is_alive


@pytest.mark.soak
def test_a_dead_worker_is_noticed_while_redis_does_not_answer(drill: Drill) -> None:
    """Each question to a frozen Redis costs seconds; whoever waits for it must not be who looks after the dead."""
    victim = drill.worker("-c", "1")
    connection_id = drill.connect_and_run("north")
    drill.run_in_its_middle("north", connection_id)
    drill.worker("-c", "1")
    os.kill(drill.redis.pid, signal.SIGSTOP)
    try:
        signal_group(victim, signal.SIGKILL)
        killed_at = time.time()
        drill.turnstile.let_through("north")
        lost = drill.ended(connection_id, RunState.LOST)
        again = drill.installation.run_after(connection_id, lost.run_seq)
    finally:
        os.kill(drill.redis.pid, signal.SIGCONT)

    noticed_s = _ended_at(lost) - killed_at
    tell(
        f"killed while Redis is frozen: noticed after {noticed_s:.1f} s, run again {_ended_at(again) - killed_at:.1f} s"
    )
    assert again.state is RunState.SUCCEEDED
    assert noticed_s < 2 * 8


def worker_log(worker: Program) -> Callable[[], str]:
    return lambda: worker.log[-4000:]


def _holds(client: redis.Redis, count: int) -> bool:
    waiting: Any = client.llen(QUEUE)
    return bool(waiting >= count)


def _every(drill: Drill, seconds: int) -> None:
    """Let all connections be due so often, each at a moment of its own."""
    with drill.installation.database.transaction() as db:
        db.execute(
            b"UPDATE connection_sched SET refresh_interval_secs = %(every)s,"
            b" slot_origin = now() - random() * make_interval(secs => %(every)s)",
            {"every": seconds},
        )
        db.execute(
            b"UPDATE connection_sched SET slot_at = slot_origin + make_interval(secs => %(every)s),"
            b" next_due_at = slot_origin + make_interval(secs => %(every)s)",
            {"every": seconds},
        )


def _slots(drill: Drill, from_s: float, to_s: float) -> tuple[int, int, float]:
    """Count the slots that fell into a span, those of them whose run ended in it, and how late a run began."""
    due = done = 0
    latest = 0.0
    with drill.installation.database.transaction() as db:
        rows: list[tuple[UUID, float, float]] = db.execute(
            b"SELECT connection_id, extract(epoch FROM scheduled_for)::float8, extract(epoch FROM started_at)::float8"
            b"  FROM run_history WHERE skipped_slots = 0"
        ).fetchall()
        (skipped,) = db.execute(b"SELECT COALESCE(sum(skipped_slots), 0) FROM run_history").fetchone() or (0,)
    for _, due_at, began_at in rows:
        if from_s <= due_at < to_s - 3:  # to the last of them some time is left
            due += 1
            done += began_at < to_s
            latest = max(latest, began_at - due_at)
    return due + int(skipped), done, latest


def _ended_at(run: object) -> float:
    return run.finished_at.timestamp()  # type: ignore[attr-defined, no-any-return]  # a RunView that has ended
