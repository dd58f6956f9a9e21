"""Reading what was: runs, verdicts, and how a connection's health changed."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg import Connection

from classifier.vocabulary import DESCRIPTION, HealthName, HealthStatus, ResolutionOwner
from models.database import Statement, row, rows
from models.vocabulary import RunState, Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One run, running or ended.

    name is None while it runs, and where it ended without a verdict; reason then says why it was stopped.
    exchanges and late_result are filled by get_run only.
    """

    connection_id: UUID
    run_seq: int
    organization_id: UUID
    vendor: str
    state: RunState
    trigger: Trigger
    worker_id: UUID
    scheduled_for: datetime
    skipped_slots: int
    cred_version: int
    started_at: datetime
    deadline_at: datetime
    finished_at: datetime | None
    name: HealthName | None
    reason: str | None
    rule: str | None
    sentence: str | None
    next_step: str | None
    retry_at: datetime | None
    classifier_version: str | None
    details: list[dict[str, Any]]
    data_types: list[dict[str, Any]]
    requests: int
    records_new: int
    records_changed: int
    records_unchanged: int
    records_skipped: int
    evidence: dict[str, Any] | None = field(default=None, repr=False)
    exchanges: list[dict[str, Any]] = field(default_factory=list, repr=False)
    late_result: dict[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthView:
    """The verdict of the last finished run.

    since: when the name became what it is; consecutive_failures: finished runs in a row that were not healthy;
    first_…: of the present streak, or of the last one; last_…: ever; superseded: the credentials were replaced since.
    """

    connection_id: UUID
    name: HealthName
    status: HealthStatus
    owner: ResolutionOwner
    reason: str
    rule: str | None
    sentence: str | None
    next_step: str | None
    retry_at: datetime | None
    classifier_version: str | None
    details: list[dict[str, Any]]
    data_types: list[dict[str, Any]]
    run_seq: int
    cred_version: int
    superseded: bool
    classified_at: datetime
    since: datetime
    previous_name: HealthName | None
    previous_reason: str | None
    consecutive_failures: int
    first_failure_at: datetime | None
    last_failure_at: datetime | None
    first_success_at: datetime | None
    last_success_at: datetime | None
    evidence: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def description(self) -> str:
        """The wire's fixed text for the name."""
        return DESCRIPTION[self.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthChange:
    """One change of name, reason or owner, and the run that brought it."""

    connection_id: UUID
    run_seq: int
    changed_at: datetime
    name: HealthName
    status: HealthStatus
    owner: ResolutionOwner
    reason: str
    rule: str | None
    sentence: str | None
    previous_name: HealthName | None
    previous_reason: str | None


HEALTH_COLUMNS: Final = """h.connection_id, h.name, h.status, h.owner, h.reason, h.rule, h.sentence, h.next_step,
       h.retry_at, h.classifier_version, h.details, h.data_types, h.run_seq, h.cred_version,
       h.cred_version < s.cred_version, h.classified_at, h.since, h.previous_name, h.previous_reason,
       h.consecutive_failures, h.first_failure_at, h.last_failure_at, h.first_success_at, h.last_success_at,
       h.evidence"""
HEALTH_WIDTH: Final = 25

_HEALTH: Final = Statement(f"""
SELECT {HEALTH_COLUMNS} FROM health h JOIN connection_sched s ON s.connection_id = h.connection_id
 WHERE h.connection_id = %(connection_id)s AND h.name IS NOT NULL""")  # noqa: S608 - constants


def get_health(db: Connection[Any], connection_id: UUID) -> HealthView | None:
    """Return the health of a connection, or None before its first finished run."""
    found = row(db, _HEALTH, {"connection_id": connection_id})
    return None if found is None else health_of(found)


def health_of(found: tuple[Any, ...]) -> HealthView:
    """Read the columns HEALTH_COLUMNS of a connection that has finished a run."""
    return HealthView(
        connection_id=found[0],
        name=HealthName(found[1]),
        status=HealthStatus(found[2]),
        owner=ResolutionOwner(found[3]),
        reason=found[4],
        rule=found[5],
        sentence=found[6],
        next_step=found[7],
        retry_at=found[8],
        classifier_version=found[9],
        details=found[10] or [],
        data_types=found[11] or [],
        run_seq=found[12],
        cred_version=found[13],
        superseded=found[14],
        classified_at=found[15],
        since=found[16],
        previous_name=None if found[17] is None else HealthName(found[17]),
        previous_reason=found[18],
        consecutive_failures=found[19],
        first_failure_at=found[20],
        last_failure_at=found[21],
        first_success_at=found[22],
        last_success_at=found[23],
        evidence=found[24],
    )


_RUNNING_COLUMNS: Final = """connection_id, run_seq, organization_id, vendor, 'RUNNING', trigger, worker_id,
       scheduled_for, skipped_slots, cred_version, started_at, deadline_at, NULL::timestamptz, NULL, NULL, NULL, NULL,
       NULL, NULL::timestamptz, NULL, NULL::jsonb, NULL::jsonb, 0, 0::bigint, 0::bigint, 0::bigint, 0::bigint,
       NULL::jsonb"""
_ENDED_COLUMNS: Final = """connection_id, run_seq, organization_id, vendor, state, trigger, worker_id, scheduled_for,
       skipped_slots, cred_version, started_at, deadline_at, finished_at, name, reason, rule, sentence, next_step,
       retry_at, classifier_version, details, data_types, requests, records_new, records_changed, records_unchanged,
       records_skipped, evidence"""

_RUNS: Final = Statement(f"""
SELECT * FROM (
  SELECT {_RUNNING_COLUMNS} FROM run WHERE connection_id = %(connection_id)s AND run_seq < %(before_seq)s
  UNION ALL
  (SELECT {_ENDED_COLUMNS} FROM run_history
    WHERE connection_id = %(connection_id)s AND run_seq < %(before_seq)s
    ORDER BY run_seq DESC LIMIT %(limit)s)) runs
 ORDER BY 2 DESC LIMIT %(limit)s""")  # noqa: S608 - constants

_RUN: Final = Statement(f"""
SELECT {_RUNNING_COLUMNS}, NULL::jsonb, NULL::jsonb FROM run
 WHERE connection_id = %(connection_id)s AND run_seq = %(run_seq)s
UNION ALL
SELECT {_ENDED_COLUMNS}, exchanges, late_result FROM run_history
 WHERE connection_id = %(connection_id)s AND run_seq = %(run_seq)s""")  # noqa: S608 - constants

_BEYOND_ANY_SEQ: Final = 2**63 - 1


def list_runs(
    db: Connection[Any], connection_id: UUID, *, before_seq: int | None = None, limit: int = 50
) -> list[RunView]:
    """Return runs, the one that is on included, newest first. before_seq: run_seq of the last one shown before."""
    params = {"connection_id": connection_id, "before_seq": before_seq or _BEYOND_ANY_SEQ, "limit": limit}
    return [_run_of(found) for found in rows(db, _RUNS, params)]


def get_run(db: Connection[Any], connection_id: UUID, run_seq: int) -> RunView | None:
    """Return one run with its exchanges, or None where there is none or retention has dropped it."""
    found = row(db, _RUN, {"connection_id": connection_id, "run_seq": run_seq})
    return None if found is None else _run_of(found)


def _run_of(found: tuple[Any, ...]) -> RunView:
    whole = len(found) > 28
    return RunView(
        connection_id=found[0],
        run_seq=found[1],
        organization_id=found[2],
        vendor=found[3],
        state=RunState(found[4]),
        trigger=Trigger(found[5]),
        worker_id=found[6],
        scheduled_for=found[7],
        skipped_slots=found[8],
        cred_version=found[9],
        started_at=found[10],
        deadline_at=found[11],
        finished_at=found[12],
        name=None if found[13] is None else HealthName(found[13]),
        reason=found[14],
        rule=found[15],
        sentence=found[16],
        next_step=found[17],
        retry_at=found[18],
        classifier_version=found[19],
        details=found[20] or [],
        data_types=found[21] or [],
        requests=found[22],
        records_new=found[23],
        records_changed=found[24],
        records_unchanged=found[25],
        records_skipped=found[26],
        evidence=found[27],
        exchanges=(found[28] or []) if whole else [],
        late_result=found[29] if whole else None,
    )


_CHANGES: Final = Statement("""
SELECT connection_id, run_seq, changed_at, name, status, owner, reason, rule, sentence, previous_name, previous_reason
  FROM health_history WHERE connection_id = %(connection_id)s AND run_seq < %(before_seq)s
 ORDER BY run_seq DESC LIMIT %(limit)s""")


def health_history(
    db: Connection[Any], connection_id: UUID, *, before_seq: int | None = None, limit: int = 50
) -> list[HealthChange]:
    """Return the changes of a connection's health, newest first."""
    params = {"connection_id": connection_id, "before_seq": before_seq or _BEYOND_ANY_SEQ, "limit": limit}
    return [
        HealthChange(
            connection_id=found[0],
            run_seq=found[1],
            changed_at=found[2],
            name=HealthName(found[3]),
            status=HealthStatus(found[4]),
            owner=ResolutionOwner(found[5]),
            reason=found[6],
            rule=found[7],
            sentence=found[8],
            previous_name=None if found[9] is None else HealthName(found[9]),
            previous_reason=found[10],
        )
        for found in rows(db, _CHANGES, params)
    ]
