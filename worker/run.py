"""One run from its claim to its record. Every claimed run ends in a record, whatever happens between."""

import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import psycopg
import structlog

from classifier import classify
from classifier.outcome import OwnSide
from classifier.verdict import Verdict
from classifier.vocabulary import HealthName
from models import runs
from models.runs import ClaimedRun, FinishedRun
from models.vocabulary import RunState
from worker import schedule
from worker.in_flight import StopReason
from worker.observation import Observation
from worker.observe import observe
from worker.station import Station
from worker.wire.budget import Budget
from worker.wire.errors import DeadlineReached, RunStopped

log = structlog.get_logger()

CLASSIFIER_VERSION: Final = "1"
_FINISH_PAUSES_S: Final = (0.1, 0.5, 1.0, 2.0, 4.0)


def execute(station: Station, run: ClaimedRun) -> None:
    """Observe, judge and record one claimed run. Never raises for what the run met; a database that stays away does."""
    budget = Budget(run.timeout_secs)
    observation = Observation(vendor=run.vendor)
    with station.in_flight.entered(run, deadline=budget.deadline) as entry:
        try:
            try:
                observe(station, entry, budget, observation)
            finally:
                entry.close()
        except DeadlineReached:
            observation.own_side.add(OwnSide.BUDGET_SPENT)
        except RunStopped as stopped:
            _stopped(station, run, stopped)
            return
        except Exception as error:
            log.exception("run.broke", connection_id=str(run.key.connection_id), run_seq=run.key.run_seq)
            observation.exception = observation.links(error)
        _record(station, run, observation)


def _stopped(station: Station, run: ClaimedRun, stopped: RunStopped) -> None:
    reason = stopped.reason
    log.info("run.stopped", connection_id=str(run.key.connection_id), run_seq=run.key.run_seq, reason=reason)
    if reason == StopReason.DRAINING:
        with station.database.transaction() as db:
            runs.interrupt(db, run.key, reason=reason)
    # Lease lost, cancelled, superseded: somebody else has ended or will end this run's record; we may not touch it.


def _record(station: Station, run: ClaimedRun, observation: Observation) -> None:
    now = datetime.now(UTC)
    verdict = classify(observation.as_outcome(observed_at=now), station.dialects.get(run.vendor))
    finished = result_of(verdict, run, observation, now=now)
    if _finish(station, run, finished):
        log.info(
            "run.finished",
            connection_id=str(run.key.connection_id),
            run_seq=run.key.run_seq,
            vendor=run.vendor,
            health=verdict.name.value,
            reason=verdict.reason,
        )
    else:
        log.warning("run.fenced", connection_id=str(run.key.connection_id), run_seq=run.key.run_seq)


def result_of(verdict: Verdict, run: ClaimedRun, observation: Observation, *, now: datetime) -> FinishedRun:
    """Return what is stored of a judged run. now: aware, UTC."""
    same = run.health_name is verdict.name
    totals = observation.totals
    capture = observation.capture
    return FinishedRun(
        state=RunState.SUCCEEDED if verdict.name is HealthName.HEALTHY else RunState.FAILED,
        name=verdict.name,
        reason=verdict.reason,
        rule=verdict.rule,
        sentence=verdict.sentence,
        next_step=verdict.next_step,
        retry_at=verdict.retry_at,
        details=[
            {
                "data_export_type": detail.data_export_type,
                "endpoint": detail.endpoint,
                "name": detail.name.value,
                "reason": detail.reason,
            }
            for detail in verdict.details
        ],
        evidence=capture.evidence(verdict.evidence) if verdict.evidence is not None else None,
        data_types=[
            {**reading.as_document(), **_judged(verdict, reading.data_type)} for reading in observation.readings
        ],
        records_new=totals.new,
        records_changed=totals.changed,
        records_unchanged=totals.unchanged,
        records_skipped=observation.skipped,
        exchanges=capture.summary(),
        requests=capture.requests,
        next_in_s=schedule.next_in_s(
            verdict,
            interval_s=run.refresh_interval_secs,
            failures=run.consecutive_failures + 1 if same else 1,
            now=now,
            spread=random.random(),  # noqa: S311 - spreads load, guards nothing
        ),
        classifier_version=CLASSIFIER_VERSION,
        met_unchanged=[reading.data_type for reading in observation.readings if reading.met_unchanged],
    )


def _judged(verdict: Verdict, data_type: str) -> Mapping[str, object]:
    part = next((p for p in verdict.data_types if p.data_type == data_type), None)
    if part is None:
        return {"name": None, "reason": None}
    return {"name": part.judgement.name.value, "reason": part.judgement.reason, "sentence": part.judgement.sentence}


def _finish(station: Station, run: ClaimedRun, finished: FinishedRun) -> bool:
    """Write the end down; again while the database is away, as long as the lease would let us. Raises after that."""
    for pause_s in (*_FINISH_PAUSES_S, None):
        try:
            with station.database.connection() as db:
                return runs.finish(db, run.key, finished)
        except psycopg.OperationalError:
            # Its fate is unknown: the commit may have come through. Repeating is harmless, the fence sees to that.
            if pause_s is None or not station.lease.is_held_by(run.key.worker_id):
                raise
            time.sleep(pause_s)
    raise AssertionError
