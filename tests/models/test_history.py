from typing import Any
from uuid import uuid4

from classifier.vocabulary import HealthName
from models import history, retention, runs
from models.runs import FinishedRun
from models.vocabulary import RunState


def test_runs_are_listed_newest_first_with_the_one_that_is_on(
    world: Any, healthy: FinishedRun, unauthorized: FinishedRun
) -> None:
    retention.ensure_partitions(world.db)
    connection_id = world.connection().connection_id
    for result in (healthy, unauthorized, healthy):
        runs.finish(world.db, world.running(connection_id).key, result)
    runs.interrupt(world.db, world.running(connection_id).key, reason="shutdown")
    world.running(connection_id)
    found = history.list_runs(world.db, connection_id)
    assert [(one.run_seq, one.state) for one in found] == [
        (5, RunState.RUNNING),
        (4, RunState.INTERRUPTED),
        (3, RunState.SUCCEEDED),
        (2, RunState.FAILED),
        (1, RunState.SUCCEEDED),
    ]
    assert (found[0].finished_at, found[0].name, found[1].reason) == (None, None, "shutdown")
    assert [one.run_seq for one in history.list_runs(world.db, connection_id, limit=2)] == [5, 4]
    assert [one.run_seq for one in history.list_runs(world.db, connection_id, before_seq=4, limit=2)] == [3, 2]


def test_one_run_comes_with_its_exchanges(world: Any, unauthorized: FinishedRun) -> None:
    run = world.running()
    connection_id = run.key.connection_id
    on = history.get_run(world.db, connection_id, 1)
    assert on is not None
    assert (on.state, on.exchanges, on.late_result) == (RunState.RUNNING, [], None)
    runs.finish(world.db, run.key, unauthorized)
    ended = history.get_run(world.db, connection_id, 1)
    assert ended is not None
    assert (ended.state, ended.name, ended.exchanges) == (RunState.FAILED, HealthName.UNAUTHORIZED, [{"status": 401}])
    assert (ended.evidence, ended.requests, ended.worker_id) == ({"status": 401}, 1, run.key.worker_id)
    assert ended.finished_at is not None
    assert history.list_runs(world.db, connection_id)[0].exchanges == []
    assert history.get_run(world.db, connection_id, 2) is None


def test_health_and_its_changes(world: Any, healthy: FinishedRun, unauthorized: FinishedRun) -> None:
    connection_id = world.connection().connection_id
    assert history.get_health(world.db, connection_id) is None
    assert history.get_health(world.db, uuid4()) is None
    for result in (healthy, unauthorized, unauthorized, healthy):
        runs.finish(world.db, world.running(connection_id).key, result)
    changes = history.health_history(world.db, connection_id)
    assert [(one.run_seq, one.name, one.previous_name) for one in changes] == [
        (4, HealthName.HEALTHY, HealthName.UNAUTHORIZED),
        (2, HealthName.UNAUTHORIZED, HealthName.HEALTHY),
        (1, HealthName.HEALTHY, None),
    ]
    assert [one.run_seq for one in history.health_history(world.db, connection_id, before_seq=4, limit=1)] == [2]
    health = history.get_health(world.db, connection_id)
    assert health is not None
    assert (health.run_seq, health.consecutive_failures, health.superseded) == (4, 0, False)
    assert health.previous_reason == "token_expired"
