"""Reading back what past runs rest on, many of them: day by day, in short statements.

A cursor over a week would be one snapshot for as long as it is read, and keep dead rows alive in the tables that every
claim walks (docs/decisions/0002). So each page is a statement of its own, found by the day's partition and its key.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final
from uuid import UUID

from psycopg import Connection

from classifier.vocabulary import HealthName
from models.database import Statement, row, rows
from models.vocabulary import RunState

PAGE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRun:
    """A run that ended, with what its verdict rests on. name: None where it was stopped.

    evidence: None where no exchange decided.
    """

    connection_id: UUID
    run_seq: int
    finished_at: datetime
    vendor: str
    state: RunState
    name: HealthName | None
    reason: str | None
    rule: str | None
    retry_at: datetime | None
    evidence: dict[str, Any] | None = field(default=None, repr=False)
    data_types: list[dict[str, Any]] = field(default_factory=list, repr=False)


_PAGE: Final = Statement("""
SELECT connection_id, run_seq, finished_at, vendor, state, name, reason, rule, retry_at, evidence, data_types
  FROM run_history
 WHERE finished_at >= %(since)s AND finished_at < %(until)s
   AND (connection_id, run_seq) > (%(after_id)s, %(after_seq)s)
   AND (%(vendor)s::text IS NULL OR vendor = %(vendor)s)
 ORDER BY connection_id, run_seq
 LIMIT %(limit)s""")

_NOW: Final = Statement("SELECT now()")


def judged_runs(
    db: Connection[Any], *, since_s: float, vendor: str | None = None, page: int = PAGE
) -> Iterator[JudgedRun]:
    """Yield the runs that ended within so many seconds before now: the newest day (UTC) first, in it by connection.

    db: on autocommit, so that each page is a transaction of its own; runs that end meanwhile are not met. vendor: only
    that one's. No more than one page is in memory.
    """
    found = row(db, _NOW, {})
    assert found is not None  # noqa: S101 - one row
    until: datetime = found[0].astimezone(UTC)
    oldest = until - timedelta(seconds=since_s)
    day = until.date()
    while True:
        midnight = datetime.combine(day, time(), UTC)
        low = max(midnight, oldest)
        high = min(midnight + timedelta(days=1), until + timedelta(microseconds=1))
        if low < high:
            yield from _of_a_day(db, low, high, vendor, page)
        if midnight <= oldest:
            return
        day -= timedelta(days=1)


def _of_a_day(
    db: Connection[Any], since: datetime, until: datetime, vendor: str | None, page: int
) -> Iterator[JudgedRun]:
    after_id, after_seq = UUID(int=0), 0
    while True:
        params = {
            "since": since,
            "until": until,
            "after_id": after_id,
            "after_seq": after_seq,
            "vendor": vendor,
            "limit": page,
        }
        found = rows(db, _PAGE, params)
        for each in found:
            yield _run_of(each)
        if len(found) < page:
            return
        after_id, after_seq = found[-1][0], found[-1][1]


def _run_of(found: tuple[Any, ...]) -> JudgedRun:
    return JudgedRun(
        connection_id=found[0],
        run_seq=found[1],
        finished_at=found[2],
        vendor=found[3],
        state=RunState(found[4]),
        name=None if found[5] is None else HealthName(found[5]),
        reason=found[6],
        rule=found[7],
        retry_at=found[8],
        evidence=found[9],
        data_types=found[10] or [],
    )
