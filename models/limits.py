"""The vendors' limits over all workers: how many runs at a time, and how many requests in a time.

Requests are counted by the generic cell rate algorithm, a row per scope and period, so that they survive the loss of
Redis and a restart. A vendor counts in windows, and a bucket that is full when a window begins would let through nearly
twice the limit in it. So the bucket holds a twentieth of the limit, and is refilled so slowly that in no window of the
period, wherever it begins, more than the limit is granted; two per cent of the period are left for what the network
crowds together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection

from models.database import affected, rows
from models.errors import InvalidValueError

_BURST_SHARE: Final = 20
_MARGIN: Final = 1.02
_PAUSE: Final = 0
"""per_ms of the row that holds a pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What was granted. wait_s: when to ask again for what was not; 0 where everything was granted."""

    granted: int
    wait_s: float


# The rows are locked first, always in the order of their key, and the clock is read after that: now() is as old as the
# transaction, and whoever waited for the lock would look at a time that has passed. All grant what the least can.
_RESERVE: Final = b"""
WITH rate AS (
  SELECT * FROM unnest(%(per_ms)s::bigint[], %(step_us)s::bigint[], %(burst)s::bigint[]) AS r (per_ms, step_us, burst)
), held AS MATERIALIZED (
  SELECT l.per_ms, l.tat FROM rate_limit l
   WHERE l.scope_key = %(scope_key)s AND l.per_ms = ANY(%(per_ms)s::bigint[])
   ORDER BY l.per_ms FOR UPDATE
), clock AS MATERIALIZED (
  SELECT clock_timestamp() AS at, count(*) AS found FROM held
), free AS MATERIALIZED (
  SELECT r.per_ms, r.step_us, greatest(h.tat, c.at) AS tat, c.at,
         CASE WHEN r.per_ms = 0 THEN CASE WHEN h.tat > c.at THEN 0 ELSE %(want)s END
              ELSE greatest(0, floor(r.burst - extract(epoch FROM greatest(h.tat, c.at) - c.at) * 1e6 / r.step_us)) END
           AS tokens,
         CASE WHEN r.per_ms = 0 THEN h.tat
              ELSE h.tat - (r.burst - 1) * r.step_us * interval '1 microsecond' END AS next_at
    FROM rate r JOIN held h ON h.per_ms = r.per_ms CROSS JOIN clock c
   WHERE c.found = cardinality(%(per_ms)s::bigint[])
), grantable AS MATERIALIZED (
  SELECT least(%(want)s, min(tokens))::bigint AS tokens, max(next_at) AS next_at, max(at) AS at, count(*) AS found
    FROM free
), taken AS (
  UPDATE rate_limit l SET tat = f.tat + g.tokens * f.step_us * interval '1 microsecond'
    FROM free f CROSS JOIN grantable g
   WHERE l.scope_key = %(scope_key)s AND l.per_ms = f.per_ms AND f.per_ms > 0 AND g.tokens > 0
)
SELECT g.found, g.tokens, extract(epoch FROM g.next_at - g.at)::double precision FROM grantable g"""

_MAKE_ROWS: Final = b"""
INSERT INTO rate_limit (scope_key, per_ms, tat)
SELECT %(scope_key)s, per_ms, 'epoch' FROM unnest(%(per_ms)s::bigint[]) AS per_ms ORDER BY per_ms
ON CONFLICT DO NOTHING"""


def reserve(db: Connection[Any], scope_key: str, rates: Sequence[tuple[int, float]], want: int = 1) -> Reservation:
    """Take up to `want` requests out of every rate of a scope at once, or none.

    scope_key: whom the vendor counts (`acme`, or `acme/<connection>`); rates: (limit, per_s), all of which hold. Take a
    chunk for a second at most, in a transaction of its own: its rows are locked until that ends. What is not used of a
    chunk is lost. Raises InvalidValueError for a rate that is not positive.
    """
    steps: dict[int, tuple[int, int]] = {_PAUSE: (1, 1)}
    for limit, per_s in rates:
        per_ms, step_us, burst = _step(limit, per_s)
        steps[per_ms] = max(steps.get(per_ms, (0, 0)), (step_us, burst))  # of two rates for one period, the stricter
    params = {
        "scope_key": scope_key,
        "per_ms": list(steps),
        "step_us": [step_us for step_us, _ in steps.values()],
        "burst": [burst for _, burst in steps.values()],
        "want": max(0, want),
    }
    found, granted, wait_s = rows(db, _RESERVE, params)[0]
    if found < len(steps):
        affected(db, _MAKE_ROWS, params)
        _, granted, wait_s = rows(db, _RESERVE, params)[0]
    if granted >= want:
        return Reservation(granted=want, wait_s=0.0)
    return Reservation(granted=granted, wait_s=max(0.001, wait_s or 0.0))


def _step(limit: int, per_s: float) -> tuple[int, int, int]:
    """Return the period in milliseconds, the time that one request takes up, in microseconds, and the burst."""
    if limit < 1 or not 0.001 <= per_s <= 31_536_000:  # NaN as well
        raise InvalidValueError("rate", f"a rate is at least 1 request in 0.001 s to a year, not {limit} in {per_s} s")
    burst = max(1, limit // _BURST_SHARE)
    # In a half-open window of the period at most burst + (period / step) - 1 are granted, which is the limit.
    return round(per_s * 1000), round(per_s * _MARGIN * 1e6 / (limit - burst + 1)), burst


_SET_PAUSE: Final = b"""
INSERT INTO rate_limit AS l (scope_key, per_ms, tat)
VALUES (%(scope_key)s, 0, clock_timestamp() + make_interval(secs => %(for_s)s))
ON CONFLICT (scope_key, per_ms) DO UPDATE SET tat = greatest(l.tat, excluded.tat)"""


def pause(db: Connection[Any], scope_key: str, for_s: float) -> None:
    """Grant nothing in a scope for so long: everybody stands behind a vendor's Retry-After. Never shortens a pause."""
    affected(db, _SET_PAUSE, {"scope_key": scope_key, "for_s": _wait(for_s)})


_SET_LIMITS: Final = b"""
INSERT INTO vendor_limit AS l (vendor, max_inflight)
SELECT vendor, most FROM unnest(%(vendors)s::text[], %(most)s::integer[]) AS n (vendor, most) ORDER BY vendor
ON CONFLICT (vendor) DO UPDATE SET max_inflight = excluded.max_inflight
 WHERE l.max_inflight IS DISTINCT FROM excluded.max_inflight"""


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
