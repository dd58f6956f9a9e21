"""A primary that is lost with its last commits: an older copy of it takes its place."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from classifier.vocabulary import HealthName
from embedded.postgres import Postgres
from embedded.redis import Redis
from models import migrate, runs
from models.vocabulary import RunState
from tests.faults.conftest import Drill, drilling, tell
from tests.faults.turnstile import Turnstile
from tests.system.stack import until


@pytest.fixture
def primary(server_dir: Path) -> Iterator[Postgres]:
    server = Postgres(server_dir / "primary", durable=False)
    try:
        with server:
            migrate.upgrade(server.create_database("migrated"))
            yield server
    finally:
        server.remove()


@pytest.fixture
def drill_on_primary(primary: Postgres, redis_server: Redis, tmp_path: Path, turnstile: Turnstile) -> Iterator[Drill]:
    with drilling(primary, "migrated", redis_server, tmp_path, turnstile) as drill:
        yield drill


@pytest.fixture
def copy(primary: Postgres, tmp_path: Path) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Two halves of a failover: take a copy of the primary, and let it take the primary's place."""
    data, kept = primary._place().data, tmp_path / "copy"

    def take() -> None:
        primary.stop()
        shutil.copytree(data, kept, symlinks=True)
        primary.start()

    def promote() -> None:
        owner = data.stat()
        primary.stop(immediate=True)
        shutil.rmtree(data)
        shutil.copytree(kept, data, symlinks=True)
        for path in (data, *data.rglob("*")):
            shutil.chown(path, owner.st_uid, owner.st_gid)
        data.chmod(0o700)
        primary.start()

    yield take, promote
    shutil.rmtree(kept, ignore_errors=True)


def test_a_standby_without_the_last_commits_costs_those_and_nothing_else(
    drill_on_primary: Drill, copy: tuple[Callable[[], None], Callable[[], None]]
) -> None:
    """Ended runs that the copy knows nothing of are made again; ends that belong to the lost time are refused."""
    drill, (take, promote) = drill_on_primary, copy
    kept = {f"kept-{n}": drill.connect(f"kept-{n}") for n in range(3)}
    held = {f"held-{n}": drill.connect(f"held-{n}") for n in range(3)}
    everybody = kept | held
    first = drill.worker(lease_s=6)
    for connection_id in everybody.values():
        drill.wait_for_runs(connection_id, 1)
    assert first.stop() == 0
    take()
    workers = [drill.worker(lease_s=6), drill.worker(lease_s=6)]  # known to the primary alone
    for connection_id in kept.values():
        assert drill.installation.run_now(connection_id).run_seq == 2
    for account, connection_id in held.items():
        drill.run_in_its_middle(account, connection_id)
    lost_tokens = {connection_id: drill.running(connection_id) for connection_id in held.values()}

    promote()
    back_at = time.time()
    until(
        lambda: all("lease_lost" in worker.log for worker in workers),
        "all have found out",
        more=drill.installation.logs,
    )
    gates = [drill.turnstile._gates.pop(account) for account in held]  # who stands there stands there still
    _end_with_old_tokens(drill, lost_tokens)
    for gate in gates:
        gate.set()
    again = [drill.installation.run_now(connection_id) for connection_id in everybody.values()]
    until(lambda: all(drill.running(connection_id) is None for connection_id in everybody.values()), "all have ended")

    executions = sum(drill.turnstile.executions(account) for account in everybody)
    recorded = sum(len(drill.states(connection_id)) for connection_id in everybody.values())
    tell(
        f"standby without the last commits: {len(kept)} ended runs lost, {len(held)} in flight refused; "
        f"{executions - recorded} executions without a record; all run again "
        f"{max(run.finished_at.timestamp() for run in again if run.finished_at) - back_at:.1f} s after it was up"
    )
    assert {run.state for run in again} == {RunState.SUCCEEDED}
    for connection_id in everybody.values():
        states = drill.states(connection_id)
        assert set(states) <= {RunState.SUCCEEDED, RunState.INTERRUPTED}
        assert drill.installation.health(connection_id).name is HealthName.HEALTHY
    assert executions - recorded <= len(kept) + len(held), "more than the lost time was lost"
    assert all(worker.is_alive for worker in workers)
    assert not any("Traceback" in worker.log for worker in workers)


def _end_with_old_tokens(drill: Drill, tokens: dict[UUID, runs.RunKey | None]) -> None:
    """Whoever holds a number that was given out in the lost time can end nothing, though it will be given out again."""
    for connection_id, key in tokens.items():
        assert key is not None
        drill.installation.run_now(connection_id)
        states = drill.states(connection_id)
        with drill.installation.database.transaction() as db:
            assert not runs.interrupt(db, key, reason="of the lost time")
            assert runs.ended_as(db, key) is None
        assert drill.states(connection_id) == states
