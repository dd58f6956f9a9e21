"""The vendors' limits over all workers: how many runs at a time, and how many requests in a time.

Requests are counted in PostgreSQL, a row per scope and period, so that the count survives the loss of Redis and a
restart. A period is cut into fifty buckets, and what was granted in the last fifty-one never exceeds the limit: so no
window of the period, wherever it begins, sees more, and a whole limit may still go at once. (A leaky bucket that may be
full when a window begins lets through nearly twice the limit in it; one that may not is useless for ten a minute.) Six
per cent are added to the period: a request reaches the vendor somewhat after it was granted, and one that took longer
than the next is crowded together with it. So 92 of 100 are used under constant pressure.

A scope's row is found by its period alone, so that a limit may be raised and lowered at any time. Whoever changes
BUCKETS or LATE_SHARE changes how time is counted in rows that others, of the version before, still count in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection

from models.database import Statement, affected, rows
from models.errors import InvalidValueError

BUCKETS: Final = 50
SPARE_SHARE: Final = 20
"""Of what is left, so many times as much as one may take to spare: what a process takes and does not spend is lost."""
LATE_SHARE: Final = 0.06
"""By this part of a period, one request may reach the vendor later after it was granted than another."""
_PAUSE_MS: Final = 0
"""per_ms of the row that holds a pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What was granted. wait_s: when to ask again for what was not; 0 where all was granted that was wanted.

    held_up_s: how long others were in the way before it was granted, at the least.
    """

    granted: int
    wait_s: float
    held_up_s: float = 0.0


# The rows are locked first, always in the order of their key, and the clock is read after that: now() is as old as the
# transaction, and whoever waited for the lock would look at a time that has passed. Where the clock was put back, all
# that is counted counts as of now: that holds back for one period, and not until the old time is reached again. All
# rows grant as much as the least of them can.
_RESERVE: Final = Statement(f"""
WITH rate AS (
  SELECT * FROM unnest(%(per_ms)s::bigint[], %(width_us)s::bigint[], %(most)s::bigint[]) AS r (per_ms, width_us, most)
), held AS MATERIALIZED (
  SELECT l.per_ms, l.bucket, l.counts, l.paused_until FROM rate_limit l
   WHERE l.scope_key = %(scope_key)s AND l.per_ms = ANY(%(per_ms)s::bigint[])
   ORDER BY l.per_ms FOR UPDATE
), clock AS MATERIALIZED (
  SELECT clock_timestamp() AS at, statement_timestamp() AS asked_at, count(*) AS found FROM held
), aged AS MATERIALIZED (
  SELECT r.per_ms, r.width_us, r.most, c.at, h.paused_until, h.bucket AS was, h.counts,
         floor(extract(epoch FROM c.at) * 1000000 / r.width_us)::bigint AS bucket
    FROM rate r JOIN held h ON h.per_ms = r.per_ms CROSS JOIN clock c
   WHERE c.found = cardinality(%(per_ms)s::bigint[])
), free AS MATERIALIZED (
  SELECT a.*, k.kept,
         CASE WHEN a.per_ms = {_PAUSE_MS} THEN CASE WHEN a.paused_until > a.at THEN 0
                                             ELSE %(want)s + {SPARE_SHARE}::bigint * %(spare)s END
              ELSE greatest(0, a.most - (SELECT sum(n) FROM unnest(k.kept) AS n)) END AS tokens
    FROM aged a CROSS JOIN LATERAL (
      SELECT CASE WHEN a.bucket < a.was
                  THEN ARRAY[(SELECT sum(n) FROM unnest(a.counts) AS n)::integer] || array_fill(0, ARRAY[{BUCKETS}])
                  WHEN a.bucket - a.was > {BUCKETS} THEN array_fill(0, ARRAY[{BUCKETS + 1}])
                  ELSE array_fill(0, ARRAY[(a.bucket - a.was)::integer])
                       || a.counts[1 : {BUCKETS + 1} - (a.bucket - a.was)::integer] END AS kept) k
), grantable AS MATERIALIZED (
  SELECT least(%(want)s + least(%(spare)s, greatest(0, min(tokens) - %(want)s) / {SPARE_SHARE}), min(tokens))::bigint
           AS tokens, count(*) AS found,
         max(CASE WHEN f.per_ms = {_PAUSE_MS} THEN extract(epoch FROM f.paused_until - f.at)
                  WHEN f.tokens < %(want)s THEN
                    (f.bucket + {BUCKETS + 2} - (SELECT max(i) FROM generate_subscripts(f.kept, 1) AS i
                                                  WHERE f.kept[i] > 0)) * f.width_us / 1000000.0
                    - extract(epoch FROM f.at)
             END)::double precision AS wait_s
    FROM free f
), taken AS (
  UPDATE rate_limit l
     SET bucket = f.bucket, counts = ARRAY[(f.kept[1] + g.tokens)::integer] || f.kept[2 : {BUCKETS + 1}]
    FROM free f CROSS JOIN grantable g
   WHERE l.scope_key = %(scope_key)s AND l.per_ms = f.per_ms AND f.per_ms > {_PAUSE_MS} AND g.tokens > 0
)
SELECT g.found, g.tokens, g.wait_s, extract(epoch FROM c.at - c.asked_at)::double precision
  FROM grantable g CROSS JOIN clock c""")  # noqa: S608 - put together from this module's constants

_MAKE_ROWS: Final = Statement("""
INSERT INTO rate_limit (scope_key, per_ms)
SELECT %(scope_key)s, per_ms FROM unnest(%(per_ms)s::bigint[]) AS per_ms ORDER BY per_ms
ON CONFLICT DO NOTHING""")


def reserve(
    db: Connection[Any], scope_key: str, rates: Sequence[tuple[int, float]], want: int = 1, spare: int = 0
) -> Reservation:
    """Take up to `want` requests out of every rate of a scope at once, or none.

    spare: up to so many more are taken while there is plenty, a SPARE_SHARE-th of what is left at the most;
    scope_key: whom the vendor counts (`acme`, or `acme/<connection>`); rates: (limit, per_s), all of which hold. Take a
    chunk for a second at most, in a transaction of its own: its rows are locked until that ends. What is not used of a
    chunk is lost. Raises InvalidValueError for a rate that is not positive.
    """
    asked: dict[int, int] = {_PAUSE_MS: 1}
    for limit, per_s in rates:
        per_ms = _period_ms(limit, per_s)
        asked[per_ms] = min(asked.get(per_ms, limit), limit)
    params = {
        "scope_key": scope_key,
        "per_ms": list(asked),
        "width_us": [max(1, round(per_ms * 1000 * (1 + LATE_SHARE) / BUCKETS)) for per_ms in asked],
        "most": list(asked.values()),
        "want": max(0, want),
        "spare": max(0, spare),
    }
    found, granted, wait_s, held_up_s = rows(db, _RESERVE, params)[0]
    if found < len(asked):
        affected(db, _MAKE_ROWS, params)
        _, granted, wait_s, held_up_s = rows(db, _RESERVE, params)[0]
    if granted >= want:
        return Reservation(granted=granted, wait_s=0.0, held_up_s=held_up_s)
    return Reservation(granted=granted, wait_s=max(0.001, wait_s or 0.0), held_up_s=held_up_s)


_USED: Final = Statement("""
SELECT (SELECT sum(n) FROM unnest(counts) AS n)::bigint FROM rate_limit
 WHERE scope_key = %(scope_key)s AND per_ms = %(per_ms)s""")


def used(db: Connection[Any], scope_key: str, rate: tuple[int, float]) -> int:
    """Return how many requests were granted in a rate's period, as of the last reservation. rate: (limit, per_s)."""
    found = rows(db, _USED, {"scope_key": scope_key, "per_ms": _period_ms(*rate)})
    return int(found[0][0]) if found else 0


def _period_ms(limit: int, per_s: float) -> int:
    if limit < 1 or not 0.001 <= per_s <= 31_536_000:  # NaN as well
        raise InvalidValueError("rate", f"a rate is at least 1 request in 0.001 s to a year, not {limit} in {per_s} s")
    return max(1, round(per_s * 1000))


_SET_PAUSE: Final = Statement("""
INSERT INTO rate_limit AS l (scope_key, per_ms, paused_until)
VALUES (%(scope_key)s, 0, clock_timestamp() + make_interval(secs => %(for_s)s))
ON CONFLICT (scope_key, per_ms) DO UPDATE SET paused_until = greatest(l.paused_until, excluded.paused_until)""")


def pause(db: Connection[Any], scope_key: str, for_s: float) -> None:
    """Grant nothing in a scope for so long: everybody stands behind a vendor's Retry-After. Never shortens a pause."""
    affected(db, _SET_PAUSE, {"scope_key": scope_key, "for_s": _wait(for_s)})


_SET_LIMITS: Final = Statement("""
INSERT INTO vendor_limit AS l (vendor, max_inflight)
SELECT vendor, most FROM unnest(%(vendors)s::text[], %(most)s::integer[]) AS n (vendor, most) ORDER BY vendor
ON CONFLICT (vendor) DO UPDATE SET max_inflight = excluded.max_inflight
 WHERE l.max_inflight IS DISTINCT FROM excluded.max_inflight""")


def set_vendor_limits(db: Connection[Any], limits: Mapping[str, int | None]) -> None:
    """Set how many runs of each vendor may be on at a time; None: any number. Vendors not named stay as they are."""
    for vendor, most in limits.items():
        if most is not None and most < 1:
            raise InvalidValueError(
                "ck_vendor_limit_max_inflight_positive", f"{vendor}: a limit of runs at a time is 1 or more, not {most}"
            )
    affected(db, _SET_LIMITS, {"vendors": list(limits), "most": list(limits.values())})


def pause_vendor(db: Connection[Any], vendor: str, for_s: float) -> None:
    """Begin no run of a vendor for so long. Never shortens a pause."""
    affected(
        db,
        b"UPDATE vendor_limit SET paused_until = greatest(paused_until, now() + make_interval(secs => %s)) "
        b"WHERE vendor = %s",
        (_wait(for_s), vendor),
    )


def resume_vendor(db: Connection[Any], vendor: str) -> None:
    """End a vendor's pause."""
    affected(db, b"UPDATE vendor_limit SET paused_until = NULL WHERE vendor = %s", (vendor,))


def _wait(for_s: float) -> float:
    if not 0 <= for_s <= 31_536_000:  # NaN as well
        raise InvalidValueError("for_s", f"a pause is 0 s to a year, not {for_s} s")
    return float(for_s)
