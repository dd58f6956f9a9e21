"""Clocks that are wrong and clocks that jump: of workers, and of the database itself."""

import platform
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from embedded.redis import Redis
from models import migrate
from models.vocabulary import RunState
from tests.faults.clocks import Clock, ClockedPostgres
from tests.faults.conftest import LEASE_S, SWEEP_S, Drill, drilling, tell
from tests.faults.turnstile import Call, Reply, Turnstile
from tests.system.stack import Program

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="the library that fakes clocks is one for Linux on x86-64",
)

AN_HOUR, TEN_MINUTES, FIVE_MINUTES = timedelta(hours=1), timedelta(minutes=10), timedelta(minutes=5)


@pytest.fixture
def clocked_drill(server_dir: Path, redis_server: Redis, tmp_path: Path, turnstile: Turnstile) -> Iterator[Drill]:
    """A drill whose database has a clock of its own: `postgres.clock`."""
    server = ClockedPostgres(server_dir / "clocked", durable=False)
    server.clock = Clock(server_dir, "database")
    try:
        with server:
            migrate.upgrade(server.create_database("migrated"))
            # By a clock that jumps, a run ends so much after its deadline, or before it began.
            sweep_s = FIVE_MINUTES.total_seconds() + LEASE_S + 2 * SWEEP_S
            with drilling(server, "migrated", redis_server, tmp_path, turnstile, sweep_s=sweep_s) as drill:
                yield drill
                server.clock.set(timedelta(0))
    finally:
        server.remove()


def worker_of(drill: Drill, clock: Clock, monkeypatch: pytest.MonkeyPatch, **settings: object) -> Program:
    """Start a worker with this clock."""
    with monkeypatch.context() as patch:
        for name, value in clock.environment.items():
            patch.setenv(name, value)
        return drill.worker(**settings)


def test_workers_an_hour_ahead_and_behind_and_jumping_lose_nobodys_runs(
    drill: Drill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = {name: Clock(tmp_path, name) for name in ("ahead", "behind", "jumping")}
    clocks["ahead"].set(AN_HOUR)
    clocks["behind"].set(-AN_HOUR)
    workers = [worker_of(drill, clock, monkeypatch, concurrency=4) for clock in clocks.values()]
    accounts = {f"account-{n}": drill.connect_and_run(f"account-{n}") for n in range(9)}
    for account, connection_id in accounts.items():
        drill.run_in_its_middle(account, connection_id)

    for ahead in (TEN_MINUTES, -TEN_MINUTES, TEN_MINUTES):
        clocks["jumping"].set(ahead)
        time.sleep(LEASE_S / 2)  # the fault itself: renewals and rounds of the dispatcher under each of the clocks
    for account in accounts:
        drill.turnstile.let_through(account)
    for connection_id in accounts.values():
        drill.wait_for_runs(connection_id, 2)
    again = [drill.installation.run_now(connection_id) for connection_id in accounts.values()]

    states = [state for connection_id in accounts.values() for state in drill.states(connection_id)]
    runners = {run.worker_id for run in again}
    tell(
        f"workers 1 h ahead, 1 h behind and jumping by 10 min: {len(states)} runs by them, "
        f"{states.count(RunState.LOST)} reaps caused by skew; the last round was run by {len(runners)} of them"
    )
    assert set(states) == {RunState.SUCCEEDED}
    assert all(worker.is_alive for worker in workers)
    assert not any("lease_lost" in worker.log or "Traceback" in worker.log for worker in workers)


@pytest.mark.parametrize(
    "ahead",
    [
        pytest.param(AN_HOUR, id="ahead", marks=pytest.mark.soak),
        pytest.param(-AN_HOUR, id="behind", marks=pytest.mark.soak),
    ],
)
def test_a_vendors_moment_is_read_by_the_databases_clock(
    drill: Drill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: timedelta
) -> None:
    """`Retry-After` as a date: by a clock an hour behind, the connection would wait for an hour."""
    clock = Clock(tmp_path, "worker")
    clock.set(ahead)
    worker_of(drill, clock, monkeypatch)
    connection_id = drill.connect_and_run("north")

    def answer(_call: Call) -> Reply:
        moment = datetime.now(UTC) + timedelta(seconds=100)
        return Reply(429, b'{"error": "slow down"}', {"retry-after": format_datetime(moment, usegmt=True)})

    drill.turnstile.answer = answer
    run = drill.installation.run_now(connection_id)

    assert run.finished_at is not None
    wait_s = (drill.installation.view(connection_id).next_due_at - run.finished_at).total_seconds()
    tell(f"a vendor asks for 100 s; by a worker whose clock is off by {ahead}, {wait_s:.0f} s are waited")
    assert 90 < wait_s <= 101


@pytest.mark.parametrize(
    "jump", [pytest.param(-FIVE_MINUTES, id="back"), pytest.param(FIVE_MINUTES, id="forth", marks=pytest.mark.soak)]
)
def test_a_database_whose_clock_jumps_takes_nobody_for_dead(clocked_drill: Drill, jump: timedelta) -> None:
    drill = clocked_drill
    assert isinstance(drill.postgres, ClockedPostgres)
    workers = [drill.worker("-c", "8"), drill.worker("-c", "8")]
    accounts = {f"account-{n}": drill.connect_and_run(f"account-{n}") for n in range(8)}
    for account, connection_id in accounts.items():
        drill.run_in_its_middle(account, connection_id)

    drill.postgres.clock.set(jump)
    time.sleep(LEASE_S + SWEEP_S)  # the fault itself: renewals and two sweeps under the new clock
    calls = len(drill.turnstile.log)
    for account in accounts:
        drill.turnstile.let_through(account)
    for connection_id in accounts.values():
        drill.wait_for_runs(connection_id, 2)
    again = [drill.installation.run_now(connection_id) for connection_id in accounts.values()]

    states = [state for connection_id in accounts.values() for state in drill.states(connection_id)]
    tell(
        f"the database's clock jumps by {jump.total_seconds():+.0f} s: {states.count(RunState.LOST)} reaps, "
        f"{states.count(RunState.INTERRUPTED)} of {len(accounts)} runs in flight given back, "
        f"{calls - 3 * len(accounts)} further calls meanwhile"
    )
    assert {run.state for run in again} == {RunState.SUCCEEDED}
    assert RunState.LOST not in states
    if jump < timedelta(0):
        assert RunState.INTERRUPTED not in states
        assert calls == 3 * len(accounts)
    assert any("reaper.clock_jumped" in worker.log for worker in workers)
    assert all(worker.is_alive for worker in workers)


@pytest.mark.soak
def test_after_the_databases_clock_was_put_back_a_dead_worker_is_noticed_as_ever(clocked_drill: Drill) -> None:
    """Its lease stands five minutes ahead now, and would keep its run for as long."""
    drill = clocked_drill
    assert isinstance(drill.postgres, ClockedPostgres)
    victim = drill.worker("-c", "1")
    connection_id = drill.connect_and_run("north")
    drill.run_in_its_middle("north", connection_id)
    other = drill.worker("-c", "1")
    other.wait_for_log("worker.ready")
    time.sleep(SWEEP_S)  # so that the other's reaper has seen the clock as it was

    victim.kill()
    drill.postgres.clock.set(-FIVE_MINUTES)
    jumped_at = time.monotonic()
    drill.turnstile.let_through("north")
    drill.ended(connection_id, RunState.LOST)
    noticed_s = time.monotonic() - jumped_at
    again = drill.installation.run_after(connection_id, 2, within_s=60)

    tell(f"killed as the database's clock goes back 5 min: noticed after {noticed_s:.1f} s")
    assert again.state is RunState.SUCCEEDED
    assert noticed_s < 60


@pytest.mark.soak
def test_a_limit_goes_on_after_the_databases_clock_was_put_back(clocked_drill: Drill) -> None:
    """What was counted stands in the future now; it must neither be forgotten nor hold all back for five minutes."""
    drill = clocked_drill
    assert isinstance(drill.postgres, ClockedPostgres)
    drill.worker()
    connection_ids = [drill.connect(f"account-{n}", vendor="metered") for n in range(6)]
    for connection_id in connection_ids:
        drill.wait_for_runs(connection_id, 1)
    drill.postgres.clock.set(-FIVE_MINUTES)
    before = {connection_id: drill.installation.request_run(connection_id) for connection_id in connection_ids}
    asked_at = time.monotonic()
    ended = [drill.installation.run_after(connection_id, seq) for connection_id, seq in before.items()]
    took_s = time.monotonic() - asked_at

    made = sorted(call.at for call in drill.turnstile.log if call.vendor == "metered")
    worst = max(sum(start <= at < start + 2.0 for at in made) for start in made)
    tell(f"limit of 10 in 2 s, clock put back 5 min between: {worst} in the worst window, all run after {took_s:.1f} s")
    assert {run.state for run in ended} == {RunState.SUCCEEDED}
    assert worst <= 10
