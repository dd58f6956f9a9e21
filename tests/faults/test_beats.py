"""Any number of beats and dispatchers, killed at random, and all of them away for hours: nothing is due twice."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from embedded.postgres import Postgres
from embedded.redis import Redis
from models import migrate, retention
from models.vocabulary import RunState, Trigger
from tests.faults import audit
from tests.faults.conftest import LEASE_S, SWEEP_S, Drill, drilling, tell
from tests.faults.turnstile import Turnstile
from tests.system.stack import until

EVERY_S = 3600
AWAY_S = 2 * EVERY_S + 600
CONNECTIONS = 60


@pytest.fixture
def roomy_drill(server_dir: Path, redis_server: Redis, tmp_path: Path, turnstile: Turnstile) -> Iterator[Drill]:
    """A drill whose server takes the connections of ten workers."""
    server = Postgres(server_dir / "roomy", durable=False, max_connections=400)
    try:
        with server:
            migrate.upgrade(server.create_database("migrated"))
            with drilling(server, "migrated", redis_server, tmp_path, turnstile) as drill:
                yield drill
    finally:
        server.remove()


@pytest.mark.parametrize(
    ("workers", "beats"),
    [
        pytest.param(1, 1, id="one", marks=pytest.mark.soak),
        pytest.param(2, 2, id="two"),
        pytest.param(10, 10, id="ten", marks=pytest.mark.soak),
    ],
)
def test_after_two_hours_without_anybody_each_connection_catches_up_with_one_run(
    roomy_drill: Drill, workers: int, beats: int
) -> None:
    drill = roomy_drill
    connection_ids = [drill.connect(f"account-{n}", refresh_interval_secs=EVERY_S) for n in range(CONNECTIONS)]
    _as_if_run_and_then_away(drill)
    with drill.installation.database.transaction() as db:
        retention.ensure_partitions(db)  # else beats make them, and what they move looks to the audit like a change
    from_s = time.time()
    for _ in range(beats):
        drill.installation._start("beat")
    for _ in range(workers):
        drill.installation._start("worker", "--without-mingle", "--without-gossip", concurrency=8)
    for connection_id in connection_ids:
        drill.wait_for_runs(connection_id, 1)
    time.sleep(2)  # rounds of everybody, in which nothing more may be found
    until(lambda: all(drill.running(connection_id) is None for connection_id in connection_ids), "nothing is on")

    with drill.installation.database.transaction() as db:
        stories, found = audit.read(db, sweep_s=LEASE_S + 2 * SWEEP_S)
        rows = db.execute(
            b"SELECT trigger, skipped_slots, extract(epoch FROM started_at)::float8 FROM run_history"
            b" WHERE scheduled_for < to_timestamp(%s)",  # a slot that comes round meanwhile is no catching up
            (from_s,),
        ).fetchall()
        (slots,) = db.execute(
            b"SELECT count(DISTINCT date_trunc('minute', next_due_at)) FROM connection_sched"
        ).fetchone() or (0,)
    begun = Counter(int(at) for *_, at in rows)
    tell(
        f"{workers} dispatchers and {beats} beats after {AWAY_S / 3600:.1f} h: {len(rows)} runs for {CONNECTIONS} "
        f"connections, {sum(skipped for _, skipped, _ in rows)} slots skipped and counted, at most "
        f"{max(begun.values())} begun in a second; the next round is spread over {slots} minutes"
    )
    assert len(rows) == CONNECTIONS, "somebody ran twice"
    assert {trigger for trigger, *_ in rows} == {Trigger.SCHEDULED.value}
    assert {skipped for _, skipped, _ in rows} <= {2, 3}  # three, where a slot came round before the run began
    assert slots > CONNECTIONS / 3, "they come back all at once"
    audit.compare_with_vendor(
        drill.turnstile.log, stories, {f"account-{n}": c for n, c in enumerate(connection_ids)}, found
    )
    assert found.wrong == []


@pytest.mark.soak
def test_catching_up_respects_a_vendors_limit(drill: Drill) -> None:
    """The limit of `metered`: ten calls in two seconds. All its connections are due at once."""
    drill.turnstile.pages = 1
    drill.worker(), drill.worker()
    connection_ids = [drill.connect(f"account-{n}", vendor="metered", refresh_interval_secs=EVERY_S) for n in range(25)]
    _as_if_run_and_then_away(drill)
    for connection_id in connection_ids:
        drill.wait_for_runs(connection_id, 1)

    made = sorted(call.at for call in drill.turnstile.log if call.vendor == "metered")
    worst = max(sum(start <= at < start + 2.0 for at in made) for start in made)
    tell(f"25 connections catch up under a limit of 10 in 2 s: {worst} in the worst window")
    assert worst <= 10
    assert len(made) >= 25  # a run that waits for its turn in vain comes back later


@pytest.mark.soak
@pytest.mark.parametrize(
    ("workers", "beats", "kills"),
    [pytest.param(2, 2, 6, id="two"), pytest.param(10, 10, 30, id="ten")],
)
def test_dispatchers_and_beats_that_are_killed_at_random_double_nothing(
    roomy_drill: Drill, workers: int, beats: int, kills: int
) -> None:
    drill = roomy_drill
    lot = random.Random(20261124)  # noqa: S311 - breaks things, guards nothing
    accounts = {f"account-{n}": drill.connect(f"account-{n}", refresh_interval_secs=10) for n in range(40)}
    with drill.installation.database.transaction() as db:
        retention.ensure_partitions(db)
    for role, count in (("worker", workers), ("beat", beats)):
        for _ in range(count):
            _start(drill, role)
    for _ in range(kills):
        time.sleep(lot.uniform(0.5, 1.5))  # the faults themselves, at random
        victim = lot.choice([program for program in drill.installation.programs if program.is_alive])
        victim.kill()
        _start(drill, victim.name.partition("-")[0])
    calm_from = time.time()
    for connection_id in accounts.values():
        _wait_for_a_run_after(drill, connection_id, calm_from)
    for program in drill.installation.programs:
        if program.is_alive:
            program.stop()

    with drill.installation.database.transaction() as db:
        stories, found = audit.read(db, sweep_s=LEASE_S + 2 * SWEEP_S)
        skipped = audit.count_slots(db, stories, found)
    audit.compare_with_vendor(drill.turnstile.log, stories, accounts, found)
    tell(
        f"{workers} dispatchers and {beats} beats, {kills} of them killed: {found.runs} runs "
        f"({dict(found.by_state)}), doubled 0, slots skipped and counted {skipped}, zombies' calls {found.zombie_calls}"
    )
    assert found.wrong == []
    assert set(found.by_state) <= {RunState.SUCCEEDED, RunState.LOST, RunState.INTERRUPTED}


def _start(drill: Drill, role: str) -> None:
    arguments = ("--without-mingle", "--without-gossip", "-c", "8") if role == "worker" else ()
    drill.installation._start(role, *arguments, rehint_after_s=5)


def _as_if_run_and_then_away(drill: Drill) -> None:
    """Let every connection have run at its slot, each at a moment of its own, and nothing since for two hours."""
    with drill.installation.database.transaction() as db:
        db.execute(
            b"UPDATE connection_sched SET requested_trigger = NULL, hinted_at = NULL,"
            b" slot_at = g.slot, next_due_at = g.slot"
            b"  FROM (SELECT connection_id AS id,"
            b"               date_bin(make_interval(secs => refresh_interval_secs), now(), slot_origin)"
            b"               - 2 * make_interval(secs => refresh_interval_secs) AS slot FROM connection_sched) g"
            b" WHERE connection_id = g.id"
        )


def _wait_for_a_run_after(drill: Drill, connection_id: UUID, moment: float) -> None:
    def found() -> bool:
        with drill.installation.database.transaction() as db:
            row = db.execute(
                b"SELECT FROM run_history WHERE connection_id = %s AND state = 'SUCCEEDED'"
                b" AND started_at > to_timestamp(%s)",
                (connection_id, moment),
            )
        return row.rowcount > 0

    until(found, f"{connection_id} runs in the calm", more=drill.installation.logs)
