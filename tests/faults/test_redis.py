"""Redis dies, comes back empty, stays away: hints are lost, runs are not."""

import time

import redis

from models.vocabulary import RunState
from tests.faults.conftest import Drill, tell
from tests.system.stack import until
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


def _ended_at(run: object) -> float:
    return run.finished_at.timestamp()  # type: ignore[attr-defined, no-any-return]  # a RunView that has ended
