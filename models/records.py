"""What was synced: pages of records land together with the cursor that was read with them, for the current run only.

A page costs the database little where nothing changed: it is sent the ids and digests alone and answers with the places
of those that are new or different, and only those are sent whole. Rows that are equal are not touched. What a full pass
has not met is gone: each page leaves its ids as hashes in `sighting`, and the last page of the pass compares them with
what is stored (docs/decisions/0004).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol, Self
from uuid import UUID

from psycopg import Connection
from psycopg.errors import UniqueViolation

from models import binary_copy
from models.binary_copy import bigint, jsonb, raw, row_begin
from models.database import Statement, affected, atomic, row, rows
from models.documents import canonical, stored
from models.errors import FencedError
from models.runs import RunKey

DIGEST_BYTES: Final = 16
LONGEST_ID_BYTES: Final = 512
_HASHED_PREFIX: Final = "sha256:"
_FULL_PASS_LIMIT: Final = b"SET LOCAL statement_timeout = '15min'"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRow:
    """One record to be landed. id: unique within connection and data type; payload: what JSON can say."""

    id: str
    payload: Mapping[str, object]


class RecordLike(Protocol):
    """What is landed: a RecordRow, or whatever has its two members, so that nobody copies records to hand them on."""

    @property
    def id(self) -> str:
        """Unique within connection and data type."""

    @property
    def payload(self) -> Mapping[str, object]:
        """What JSON can say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """What came of a page.

    new: ids never met before; changed: other payload than stored, or back after it was gone; unchanged: equal;
    duplicates: records whose id came again later in the page, where the last one counts; gone: marked by a full pass.
    """

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    duplicates: int = 0
    gone: int = 0
    met_unchanged: bool = False
    """A pass met everything as it was, and nothing was written: the end of the run is to note it (`FinishedRun`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page as the statements take it: each id once, in one order with its canonical payload and its digest.

    total: how many records came, of which some may have had the same id.
    """

    key: RunKey
    data_type: str
    total: int
    payloads: dict[str, bytes] = field(repr=False)
    digests: dict[str, bytes] = field(repr=False)
    params: dict[str, Any] = field(repr=False)

    @property
    def whole(self) -> bytes:
        """Return one digest of all that a pass of this page alone would leave: ids, payloads and cursor."""
        parts = (self.params["ids"].encode(), self.params["digests"], repr(self.params["state"]).encode())
        return hashlib.sha256(b"\n\n".join(parts)).digest()

    @classmethod
    def of(
        cls, key: RunKey, data_type: str, records: Sequence[RecordLike], cursor: Mapping[str, object] | None
    ) -> Self:
        """Return the page. cursor: None leaves the stored one as it is. Raises TypeError for what JSON cannot say."""
        payloads = dict(sorted({stored_id(record.id): canonical(record.payload) for record in records}.items()))
        digests = {one: hashlib.sha256(text).digest()[:DIGEST_BYTES] for one, text in payloads.items()}
        params = {
            "connection_id": key.connection_id,
            "run_seq": key.run_seq,
            "worker_id": key.worker_id,
            "data_type": data_type,
            "ids": "\n".join(payloads),
            "digests": b"".join(digests.values()),
            "covered": cursor is not None,
            "state": None if cursor is None else stored(dict(cursor)),
        }
        return cls(key=key, data_type=data_type, total=len(records), payloads=payloads, digests=digests, params=params)

    def met_unchanged(self, last_pass: bytes | None) -> Landed | None:
        """Say what came of the page without asking the database, where it is the whole of a pass like the last one.

        For the only page of a full pass, and `ClaimedRun.passes` of its data type. Whether the run is still current is
        for its end to find out. None: it is to be landed.
        """
        if last_pass is None or last_pass != self.whole:
            return None
        return Landed(unchanged=len(self.payloads), duplicates=self.total - len(self.payloads), met_unchanged=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordView:
    """One stored record.

    last_seen_at: for a living record the last complete pass over its data type, or its last change, whichever is later;
    for one that is gone, the same as it stood when it went.
    """

    record_id: str
    first_seen_at: datetime
    changed_at: datetime
    changed_seq: int
    last_seen_at: datetime
    gone_at: datetime | None
    payload: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordCount:
    """How many records of a data type there are, and when a pass last met them all."""

    data_type: str
    living: int
    gone: int
    last_pass_at: datetime | None


# The run's row is locked against whoever would end it, to the end of the transaction. Then: what an earlier run met
# after its last stored cursor will be read again, so it is forgotten, and so is what a run met that came to its end;
# what this page met is noted. A row comes back where the run is current: whether this session has its `arrival`, the
# time as COPY takes it, which ids are new, and which are different or gone. Ids go and come as lines and digests end to
# end, each list as one value: an array of a thousand costs the client ten times as much. Both are in the order of the
# ids' bytes, so that a page that is as it was is known by one comparison. Else lists are compared by NOT IN, which is
# hashed: for a join the planner would have to know how long they are.
_COMPARE: Final = Statement(f"""
WITH me AS MATERIALIZED (
  SELECT r.connection_id FROM run r
   WHERE r.connection_id = %(connection_id)s AND r.run_seq = %(run_seq)s AND r.worker_id = %(worker_id)s
     FOR KEY SHARE
), forgotten AS (
  DELETE FROM sighting g USING me, connection_sched s
   WHERE g.connection_id = me.connection_id AND g.data_type = %(data_type)s AND g.run_seq < %(run_seq)s
     AND s.connection_id = me.connection_id AND (NOT g.covered OR g.run_seq <= s.succeeded_seq)
), stirred AS (
  UPDATE cursor c SET pass_digest = NULL FROM me
   WHERE c.connection_id = me.connection_id AND c.data_type = %(data_type)s AND c.pass_digest IS NOT NULL
), asked AS MATERIALIZED (
  SELECT string_to_array(%(ids)s, E'\\n') AS ids
), noted AS (
  INSERT INTO sighting (connection_id, data_type, run_seq, covered, hashes)
  SELECT me.connection_id, %(data_type)s, %(run_seq)s, %(covered)s,
         (SELECT array_agg(hashtextextended(i, 0)) FROM unnest(asked.ids) i)
    FROM me, asked WHERE cardinality(asked.ids) > 0
), known AS MATERIALIZED (
  SELECT r.record_id, r.digest, r.gone_at FROM record r
   WHERE r.connection_id = %(connection_id)s AND r.data_type = %(data_type)s
     AND r.record_id = ANY((SELECT ids FROM asked)::text[])
), alike AS MATERIALIZED (
  SELECT count(*) = (SELECT cardinality(ids) FROM asked) AS all_known,
         COALESCE(bool_and(k.gone_at IS NULL)
                  AND string_agg(k.digest, ''::bytea ORDER BY k.record_id COLLATE "C") = %(digests)s::bytea, FALSE)
           AS all_equal
    FROM known k
)
SELECT to_regclass('pg_temp.arrival') IS NOT NULL,
       (extract(epoch FROM now() - timestamptz '2000-01-01Z') * 1000000)::bigint,
       CASE WHEN NOT alike.all_known THEN (
         SELECT string_agg(i, E'\\n') FROM asked, unnest(asked.ids) i
          WHERE i NOT IN (SELECT k.record_id FROM known k)) END,
       CASE WHEN NOT alike.all_equal THEN (
         SELECT string_agg(k.record_id, E'\\n') FROM known k
          WHERE k.gone_at IS NOT NULL OR (k.record_id, k.digest) NOT IN (
            SELECT i, substr(%(digests)s::bytea, (n::integer - 1) * {DIGEST_BYTES} + 1, {DIGEST_BYTES})
              FROM asked, unnest(asked.ids) WITH ORDINALITY AS u (i, n))) END
  FROM me, alike
""")  # noqa: S608 - put together from this module's constants

# Many new records go straight into their table: by `arrival` each would be written twice. Another page of the same run
# (the lock of the run lets it pass) may have put one there since the comparison: then all go by `arrival`.
_COPY_NEW: Final = b"""
COPY record (connection_id, data_type, record_id, digest, first_seen_at, changed_at, changed_seq, payload)
FROM STDIN (FORMAT binary)"""

# Made once per session and emptied at each commit: to make it for each page would wear out the catalogue.
_MAKE_ARRIVAL: Final = b"""
CREATE TEMPORARY TABLE arrival (record_id text, digest bytea, payload jsonb) ON COMMIT DELETE ROWS"""
_COPY_ARRIVAL: Final = b"COPY arrival (record_id, digest, payload) FROM STDIN (FORMAT binary)"

_UPSERT: Final = Statement("""
INSERT INTO record AS r (connection_id, data_type, record_id, digest, first_seen_at, changed_at, changed_seq, payload)
SELECT %(connection_id)s, %(data_type)s, a.record_id, a.digest, now(), now(), %(run_seq)s, a.payload FROM arrival a
ON CONFLICT (connection_id, data_type, record_id) DO UPDATE
  SET digest = excluded.digest, payload = excluded.payload, changed_at = now(), changed_seq = excluded.changed_seq,
      gone_at = NULL, last_seen_at = NULL""")

_MOVE_CURSOR: Final = Statement("""
WITH covered AS (
  UPDATE sighting SET covered = TRUE
   WHERE connection_id = %(connection_id)s AND data_type = %(data_type)s AND NOT covered
)
INSERT INTO cursor AS c (connection_id, data_type, state, run_seq, updated_at)
VALUES (%(connection_id)s, %(data_type)s, %(state)s::jsonb, %(run_seq)s, now())
ON CONFLICT (connection_id, data_type) DO UPDATE
  SET state = excluded.state, run_seq = excluded.run_seq, updated_at = now()""")

# Where nothing was met, everything is gone: an empty list is a full answer too. Grouping instead of an anti-join: the
# planner does not know how many hashes there are, and for "a few" it would compare each with each.
_MARK_GONE: Final = Statement("""
WITH unmet AS MATERIALIZED (
  SELECT min(b.record_id) AS record_id FROM (
    SELECT hashtextextended(r.record_id, 0) AS hash, r.record_id, FALSE AS met FROM record r
     WHERE r.connection_id = %(connection_id)s AND r.data_type = %(data_type)s
    UNION ALL
    SELECT unnest(g.hashes), NULL, TRUE FROM sighting g
     WHERE g.connection_id = %(connection_id)s AND g.data_type = %(data_type)s) b
   GROUP BY b.hash HAVING NOT bool_or(b.met)
)
UPDATE record r
   SET gone_at = now(), changed_seq = %(run_seq)s,
       last_seen_at = greatest(r.changed_at, (SELECT c.last_pass_at FROM cursor c
                                               WHERE c.connection_id = %(connection_id)s
                                                 AND c.data_type = %(data_type)s))
  FROM unmet u
 WHERE r.connection_id = %(connection_id)s AND r.data_type = %(data_type)s AND r.record_id = u.record_id
   AND r.gone_at IS NULL""")

# Of a pass that had one page, the digest is kept: until something else lands, its records are what lives.
_END_PASS: Final = Statement("""
WITH dropped AS (
  DELETE FROM sighting WHERE connection_id = %(connection_id)s AND data_type = %(data_type)s RETURNING 1
), whole AS (
  SELECT CASE WHEN count(*) <= 1 THEN %(whole)s::bytea END AS digest FROM dropped
)
INSERT INTO cursor AS c (connection_id, data_type, run_seq, updated_at, last_pass_at, last_pass_seq, pass_digest,
                         pass_digest_seq)
SELECT %(connection_id)s, %(data_type)s, %(run_seq)s, now(), now(), %(run_seq)s, digest, %(run_seq)s FROM whole
ON CONFLICT (connection_id, data_type)
  DO UPDATE SET last_pass_at = now(), last_pass_seq = excluded.last_pass_seq, pass_digest = excluded.pass_digest,
                pass_digest_seq = excluded.pass_digest_seq""")

STRAIGHT: Final = 100
"""From so many new records on, a page's go straight into the table; for fewer, the point to come back to costs more."""


def land_page(
    db: Connection[Any],
    key: RunKey,
    data_type: str,
    records: Sequence[RecordLike],
    *,
    cursor: Mapping[str, object] | None,
    full_pass: bool,
) -> Landed:
    """Make a page and land it."""
    return land(db, Page.of(key, data_type, records, cursor), full_pass=full_pass)


def land(db: Connection[Any], page: Page, *, full_pass: bool) -> Landed:
    """Store one page and the cursor read with it, in the caller's transaction.

    full_pass: this is the last page of a pass that met every record there is, so records that no page of the pass has
    met are gone. A pass may go over several runs, as far as each went on from the cursor that the one before had
    stored. Raises FencedError where the run is no longer current.
    """
    with atomic(db):
        return _landed(db, page, full_pass=full_pass)


def _landed(db: Connection[Any], page: Page, *, full_pass: bool) -> Landed:
    params = page.params
    answer = row(db, _COMPARE, params)
    if answer is None:
        raise FencedError(page.key.connection_id, page.key.run_seq)
    has_arrival, now_us, new, changed = answer[0], answer[1], _lines(answer[2]), _lines(answer[3])
    is_stored = len(new) >= STRAIGHT and _is_stored(db, _new_rows(page, new, now_us))
    rest = changed if is_stored else [*new, *changed]
    if rest:
        db.execute(b"DELETE FROM arrival" if has_arrival else _MAKE_ARRIVAL)
        binary_copy.send(db, _COPY_ARRIVAL, _rows(page, rest))
        affected(db, _UPSERT, params)
    if params["covered"]:
        affected(db, _MOVE_CURSOR, params)
    gone = 0
    if full_pass:
        db.execute(_FULL_PASS_LIMIT)
        gone = affected(db, _MARK_GONE, params)
        affected(db, _END_PASS, {**params, "whole": page.whole})
    return Landed(
        new=len(new),
        changed=len(changed),
        unchanged=len(page.payloads) - len(new) - len(changed),
        duplicates=page.total - len(page.payloads),
        gone=gone,
    )


def _lines(text: str | None) -> list[str]:
    return text.split("\n") if text else []


def _is_stored(db: Connection[Any], rows: list[bytes]) -> bool:
    """Store new records; False, and none of them stored, where one of them was there after all."""
    try:
        with db.transaction():  # within the page's own: a point to come back to
            binary_copy.send(db, _COPY_NEW, rows)
    except UniqueViolation:
        return False
    return True


def _new_rows(page: Page, ids: Sequence[str], now_us: int) -> list[bytes]:
    first = row_begin(8) + raw(page.key.connection_id.bytes) + raw(page.data_type.encode())
    times = bigint(now_us) + bigint(now_us) + bigint(page.key.run_seq)
    return [
        b"%b%b%b%b%b" % (first, raw(one.encode()), raw(page.digests[one]), times, jsonb(page.payloads[one]))
        for one in ids
    ]


def _rows(page: Page, ids: Sequence[str]) -> list[bytes]:
    first = row_begin(3)
    return [b"%b%b%b%b" % (first, raw(one.encode()), raw(page.digests[one]), jsonb(page.payloads[one])) for one in ids]


def stored_id(record_id: str) -> str:
    """Return the id under which a record is stored: the vendor's, or its hash where we cannot carry that.

    Hashed are ids of more than LONGEST_ID_BYTES (no index takes them), those with characters that cannot be printed
    (NUL, half a character, line ends), the empty one (lists begin after it), and those that look as if they were
    hashed, so that two ids never become one.
    """
    if record_id.isprintable() and not record_id.startswith(_HASHED_PREFIX):
        size = len(record_id)
        if 0 < size <= LONGEST_ID_BYTES // 4 or 0 < len(record_id.encode()) <= LONGEST_ID_BYTES:
            return record_id
    return _HASHED_PREFIX + hashlib.sha256(record_id.encode("utf-8", "surrogatepass")).hexdigest()


_LOAD_CURSOR: Final = b"SELECT state FROM cursor WHERE connection_id = %s AND data_type = %s"


def load_cursor(db: Connection[Any], connection_id: UUID, data_type: str) -> dict[str, Any] | None:
    """Return what the data type's next run starts from, or None where it starts from nothing."""
    found = row(db, _LOAD_CURSOR, (connection_id, data_type))
    return None if found is None else found[0]


def reset_cursor(db: Connection[Any], connection_id: UUID, data_type: str | None = None) -> int:
    """Let the next run start from nothing, for one data type or for all. Returns how many cursors were there."""
    params = {"connection_id": connection_id, "data_type": data_type}
    which = b"connection_id = %(connection_id)s AND (%(data_type)s::text IS NULL OR data_type = %(data_type)s)"
    with atomic(db):
        affected(db, b"DELETE FROM sighting WHERE " + which, params)
        return affected(
            db, b"UPDATE cursor SET state = NULL, pass_digest = NULL WHERE state IS NOT NULL AND " + which, params
        )


_LIST: Final = Statement("""
SELECT r.record_id, r.first_seen_at, r.changed_at, r.changed_seq,
       COALESCE(r.last_seen_at, greatest(r.changed_at, c.last_pass_at)), r.gone_at, r.payload
  FROM record r LEFT JOIN cursor c ON c.connection_id = r.connection_id AND c.data_type = r.data_type
 WHERE r.connection_id = %(connection_id)s AND r.data_type = %(data_type)s AND r.record_id > %(after)s
   AND (%(with_gone)s OR r.gone_at IS NULL)
 ORDER BY r.record_id LIMIT %(limit)s""")


def list_records(
    db: Connection[Any],
    connection_id: UUID,
    data_type: str,
    *,
    after: str | None = None,
    limit: int = 100,
    with_gone: bool = False,
) -> list[RecordView]:
    """Return records in the order of their stored ids. after: the record_id of the last one of the page before."""
    params = {
        "connection_id": connection_id,
        "data_type": data_type,
        "after": after or "",
        "limit": limit,
        "with_gone": with_gone,
    }
    return [
        RecordView(
            record_id=found[0],
            first_seen_at=found[1],
            changed_at=found[2],
            changed_seq=found[3],
            last_seen_at=found[4],
            gone_at=found[5],
            payload=found[6],
        )
        for found in rows(db, _LIST, params)
    ]


_COUNT: Final = Statement("""
SELECT COALESCE(n.data_type, c.data_type), COALESCE(n.living, 0), COALESCE(n.gone, 0), c.last_pass_at
  FROM (SELECT data_type, count(*) FILTER (WHERE gone_at IS NULL) AS living, count(gone_at) AS gone
          FROM record WHERE connection_id = %(connection_id)s GROUP BY data_type) n
  FULL JOIN (SELECT data_type, last_pass_at FROM cursor WHERE connection_id = %(connection_id)s) c USING (data_type)
 ORDER BY 1""")


def count_records(db: Connection[Any], connection_id: UUID) -> list[RecordCount]:
    """Count a connection's records by data type."""
    return [
        RecordCount(data_type=data_type, living=living, gone=gone, last_pass_at=last_pass_at)
        for data_type, living, gone, last_pass_at in rows(db, _COUNT, {"connection_id": connection_id})
    ]
