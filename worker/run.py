"""One run from its claim to its record. Every claimed run ends in a record, whatever happens between."""

import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import psycopg
import structlog
from psycopg import Connection

from classifier import classify
from classifier.outcome import OwnSide
from classifier.verdict import Verdict
from classifier.vocabulary import HealthName
from models import limits, runs
from models.runs import ClaimedRun, FinishedRun
from models.vocabulary import RunState
from worker import schedule
from worker.clock import clock_from
from worker.errors import DATABASE_TROUBLE, first_line, is_database_away, is_day_just_made
from worker.in_flight import StopReason
from worker.observation import Observation
from worker.observe import observe
from worker.station import Station
from worker.wire.budget import Budget
from worker.wire.errors import DeadlineReached, RunStopped

log = structlog.get_logger()

CLASSIFIER_VERSION: Final = "1"
EXIT_FORKED: Final = 71
_FINISH_PAUSES_S: Final = (0.1, 0.5, 1.0, 2.0, 4.0)


def execute(station: Station, run: ClaimedRun) -> None:
    """Observe, judge and record one claimed run. Never raises: what could not be recorded is left to the reaper."""
    if station.in_flight.supersede(run.key):
        # The database lost our claim in a crash and gave its number out again. The first run ends itself; this one
        # does not begin beside it, and its connection is due at once.
        _interrupt(station, run, StopReason.SUPERSEDED)
        return
    process = os.getpid()
    try:
        _observe_and_record(station, run)
    except SystemExit:  # a prefork child is told to end; where the run has ended, this changes nothing
        _interrupt(station, run, StopReason.DRAINING)
        raise
    except DATABASE_TROUBLE as error:
        if not is_database_away(error):
            station.attendance.note_refused(run.key)
        log.error("run.unrecorded", **_names(run), error=first_line(error), remedy="it is made again")  # noqa: TRY400 - one line says it all
    except Exception:
        station.attendance.leave_to_the_reaper(run.key)
        log.exception("run.unrecorded", **_names(run), remedy="the reaper records it as lost")
    finally:
        if os.getpid() != process:  # forked by the run's own code, and come back from it: this is not our run
            os._exit(EXIT_FORKED)


def _names(run: ClaimedRun) -> Mapping[str, object]:
    return {"connection_id": str(run.key.connection_id), "run_seq": run.key.run_seq}


def _observe_and_record(station: Station, run: ClaimedRun) -> None:
    budget = Budget(run.timeout_secs)
    observation = Observation(vendor=run.vendor, now=clock_from(run.started_at))
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
            log.exception("run.broke", **_names(run))
            observation.exception = observation.links(error)
        try:
            _record(station, run, observation)
        except DATABASE_TROUBLE:
            raise
        except Exception as error:
            # What was seen cannot be stored: a bug of ours must not leave the run without an end.
            log.exception("run.record_broke", **_names(run))
            _record(
                station, run, Observation(vendor=run.vendor, now=observation.now, exception=observation.links(error))
            )


def _stopped(station: Station, run: ClaimedRun, stopped: RunStopped) -> None:
    log.info("run.stopped", **_names(run), reason=stopped.reason)
    if stopped.reason != StopReason.SUPERSEDED:
        # A lost lease too: where the reaper came first, this changes nothing; where it did not, nothing is lost.
        _interrupt(station, run, stopped.reason)


def _interrupt(station: Station, run: ClaimedRun, reason: str) -> None:
    def interrupt(db: Connection[Any]) -> bool:
        return runs.interrupt(db, run.key, reason=reason)

    _ended(station, run, interrupt, RunState.INTERRUPTED)


def _record(station: Station, run: ClaimedRun, observation: Observation) -> None:
    now = observation.now()
    verdict = classify(observation.as_outcome(observed_at=now), station.dialect_of(run.vendor))
    if verdict.name is HealthName.RATE_LIMIT_EXCEEDED:
        verdict = _held_back(station, run, verdict, observation)
    finished = result_of(verdict, run, observation, now=now)

    def finish(db: Connection[Any]) -> bool:
        return runs.finish(db, run.key, finished)

    if _ended(station, run, finish, finished.state):
        log.info("run.finished", **_names(run), vendor=run.vendor, health=verdict.name.value, reason=verdict.reason)
    else:
        log.warning("run.fenced", **_names(run))


def _held_back(station: Station, run: ClaimedRun, verdict: Verdict, observation: Observation) -> Verdict:
    """Say when to come back where our own count held the run back; hold all back where the vendor counts us as one."""
    retry_at = verdict.retry_at or observation.own_retry_at
    if retry_at is not None and station.shares_its_limit(run.vendor):
        with station.database.transaction() as db:
            limits.pause_vendor(db, run.vendor, max(0.0, (retry_at - observation.now()).total_seconds()))
    return replace(verdict, retry_at=retry_at)


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
        # What a healthy vendor answered is the customer's data: it proves nothing that its status does not.
        evidence=None
        if verdict.evidence is None
        else capture.evidence(verdict.evidence, **({"body_bytes": 0} if verdict.name is HealthName.HEALTHY else {})),
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


def _ended(station: Station, run: ClaimedRun, end: Callable[[Connection[Any]], bool], state: RunState) -> bool:
    """Write the end down; again while the database is away, as long as the lease would let us. Raises after that.

    False: the run was taken from us. A COMMIT whose answer was lost is asked after: the second call finds nothing to
    end, though the first had ended it.
    """
    is_fate_unknown = False
    for pause_s in (*_FINISH_PAUSES_S, None):
        try:
            with station.database.connection() as db:
                return end(db) or (is_fate_unknown and runs.ended_as(db, run.key) is state)
        except (*DATABASE_TROUBLE, psycopg.errors.CheckViolation) as error:
            if isinstance(error, psycopg.errors.CheckViolation) and not is_day_just_made(error):
                raise
            if pause_s is None or not station.lease.is_held_by(run.key.worker_id):
                raise
            is_fate_unknown = True
            time.sleep(pause_s)
    raise AssertionError
