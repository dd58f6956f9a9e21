"""The way to PostgreSQL breaks at a moment of our choice: before the server has a statement, or before its answer."""

import pytest

from classifier.vocabulary import HealthName
from models.vocabulary import RunState
from tests.faults.between import CLAIM, FINISH, LAND, REAP, RENEW, TAKE_DUE, BetweenPostgres, Strike, Then
from tests.faults.conftest import Drill, tell
from tests.system.stack import until

POINTS = [
    pytest.param((CLAIM, ""), id="claim"),
    pytest.param((FINISH, ""), id="finish"),
    pytest.param((LAND, ""), id="page", marks=pytest.mark.soak),
    pytest.param(("COMMIT", LAND), id="commit", marks=pytest.mark.soak),
    pytest.param((RENEW, ""), id="lease", marks=pytest.mark.soak),
    pytest.param((TAKE_DUE, ""), id="hint", marks=pytest.mark.soak),
    pytest.param((REAP, ""), id="reaper", marks=pytest.mark.soak),
]


def test_a_claim_whose_answer_was_lost_is_given_back(wire: BetweenPostgres, drill: Drill) -> None:
    """The database says that the run is ours, and nobody of us knows of it."""
    worker = drill.worker(database_url=wire.url(drill.installation))
    connection_id = drill.connect_and_run("north", timeout_secs=600)
    lost = wire.strike(Strike(words=CLAIM, then=Then.CUT_AFTER))
    drill.installation.request_run(connection_id)
    lost.wait()
    interrupted = drill.ended(connection_id, RunState.INTERRUPTED)
    again = drill.installation.run_after(connection_id, interrupted.run_seq)

    assert interrupted.finished_at is not None
    held_s = (interrupted.finished_at - interrupted.started_at).total_seconds()
    tell(f"claim whose answer was lost: given back after {held_s:.1f} s; the run's own deadline was 630 s away")
    assert interrupted.reason == "unattended"
    assert again.state is RunState.SUCCEEDED
    assert drill.installation.health(connection_id).name is HealthName.HEALTHY
    assert drill.turnstile.executions("north") == 2
    assert worker.is_alive


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize(
    "then", [pytest.param(Then.CUT, id="never sent"), pytest.param(Then.CUT_AFTER, id="answer lost")]
)
def test_a_connection_that_is_reset_loses_and_doubles_nothing(
    wire: BetweenPostgres, drill: Drill, point: tuple[str, str], then: Then, repetitions: int
) -> None:
    worker = drill.worker(database_url=wire.url(drill.installation))
    connection_id = drill.connect_and_run("north")
    for _ in range(repetitions):
        strike = wire.strike(Strike(words=point[0], of=point[1], then=then))
        before = drill.installation.request_run(connection_id)
        strike.wait()
        drill.ended(connection_id, RunState.SUCCEEDED, after=before)

    states = drill.states(connection_id)
    tell(f"{repetitions} resets at one point: {len(states)} runs, {states.count(RunState.INTERRUPTED)} given back")
    assert set(states) <= {RunState.SUCCEEDED, RunState.INTERRUPTED}
    assert drill.installation.health(connection_id).name is HealthName.HEALTHY
    assert worker.is_alive
    assert "Traceback" not in worker.log
    assert "run.fenced" not in worker.log


CONFLICT, AWAY, OURS = RunState.SUCCEEDED, RunState.INTERRUPTED, RunState.FAILED
# What becomes of a run whose page meets it: stored at another try; given back, for the database is away as a whole; or
# told as a failure of ours, for made again at once it might meet the same for ever.
SQLSTATES = [
    pytest.param("40001", CONFLICT, id="serialization failure", marks=pytest.mark.soak),
    pytest.param("40P01", CONFLICT, id="deadlock"),
    pytest.param("55P03", CONFLICT, id="lock not available", marks=pytest.mark.soak),
    pytest.param("57P01", AWAY, id="shut down", marks=pytest.mark.soak),
    pytest.param("25006", AWAY, id="read-only, as on a standby", marks=pytest.mark.soak),
    pytest.param("57014", OURS, id="statement timeout", marks=pytest.mark.soak),
    pytest.param("53100", OURS, id="disk full"),
    pytest.param("53200", OURS, id="out of memory", marks=pytest.mark.soak),
    pytest.param("58030", OURS, id="input or output error", marks=pytest.mark.soak),
]


@pytest.mark.parametrize(("sqlstate", "of_page"), SQLSTATES)
def test_what_the_database_refuses_for_a_moment_is_asked_again(
    wire: BetweenPostgres, drill: Drill, sqlstate: str, of_page: RunState
) -> None:
    worker = drill.worker(database_url=wire.url(drill.installation))
    connection_id = drill.connect_and_run("north")
    strikes = [
        wire.strike(Strike(words=words, then=Then.REFUSE, sqlstate=sqlstate))
        for words in (TAKE_DUE, CLAIM, FINISH, RENEW, REAP)
    ]
    assert drill.installation.run_now(connection_id).state is RunState.SUCCEEDED
    for strike in strikes:
        strike.wait()
    for words, of in ((LAND, ""), ("COMMIT", LAND)):
        strike = wire.strike(Strike(words=words, of=of, then=Then.REFUSE, sqlstate=sqlstate))
        before = drill.installation.request_run(connection_id)
        strike.wait()
        drill.ended(connection_id, of_page, after=before)
        drill.installation.run_now(connection_id)

    tell(f"{sqlstate}: asked again at five points; of a page that met it came {of_page}")
    assert drill.installation.health(connection_id).name is HealthName.HEALTHY
    assert worker.is_alive
    assert "Traceback" not in worker.log


def test_every_connection_reset_at_once_is_a_hiccup(wire: BetweenPostgres, drill: Drill, repetitions: int) -> None:
    worker = drill.worker(database_url=wire.url(drill.installation), lease_s=20)
    accounts = {f"account-{n}": drill.connect_and_run(f"account-{n}") for n in range(6)}
    for number in range(repetitions):
        for account, connection_id in accounts.items():
            drill.run_in_its_middle(account, connection_id)
        wire.reset()
        for account in accounts:
            drill.turnstile.let_through(account)
        for connection_id in accounts.values():
            drill.wait_for_runs(connection_id, 2 + number)

    until(lambda: all(drill.running(c) is None for c in accounts.values()), "all have ended")
    told = {state for connection_id in accounts.values() for state in drill.states(connection_id)}
    assert told <= {RunState.SUCCEEDED, RunState.INTERRUPTED}
    assert worker.is_alive
    assert "Traceback" not in worker.log
