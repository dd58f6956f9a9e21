"""Redis: there, new enough, not about to lose or refuse messages; whether a beat ticks; the clocks of all three."""

import statistics
import time
from collections.abc import Callable
from typing import Any, Final

import redis

from models import runs
from worker.checks.finding import Bench, Finding, State, Trouble, failed, judged, lasting, ok, sized, warning
from worker.hints import BEAT_KEPT_S, BEAT_KEY, QUEUE

OLDEST_REDIS: Final = (6, 2)
SLOW_S: Final = 0.1
FULL_PART: Final = 0.9
PINGS: Final = 5
BEAT_SILENT_S: Final = 60.0
SKEW_S: Final = 2.0
BAD_SKEW_S: Final = 30.0

_NOTHING_IS_LOST: Final = "nothing is lost meanwhile: workers claim from PostgreSQL"


def broker(bench: Bench) -> Finding:
    """Look whether Redis answers, takes messages, and keeps them."""
    with bench.broker() as client:
        client.ping()
        took = [_timed(client.ping) for _ in range(PINGS)]
        try:
            facts = client.info()
        except redis.ResponseError:
            facts = {}
    latency_s = statistics.median(took)
    version = str(facts.get("valkey_version") or facts.get("redis_version") or "")
    name = "Valkey" if "valkey_version" in facts else "Redis"
    used, most = int(facts.get("used_memory", 0)), int(facts.get("maxmemory", 0))
    policy = str(facts.get("maxmemory_policy", ""))
    measured = f"{name} {version or 'of an unknown version'}, answers in {latency_s * 1000:.1f} ms"
    if facts:
        measured += f", {sized(used)} used" + (f" of {sized(most)}" if most else "") + (f", {policy}" if policy else "")
    values = {
        "version": version or None,
        "latency_ms": round(latency_s * 1000, 2),
        "used_bytes": used,
        "max_bytes": most or None,
        "eviction": policy or None,
    }
    return judged(
        measured,
        values,
        [
            Trouble(
                state=State.FAILED,
                holds=facts.get("role") == "slave",
                said="a replica",
                remedy="the URL must lead to the primary",
            ),
            Trouble(
                state=State.FAILED,
                holds=bool(version) and name == "Redis" and _numbers(version) < OLDEST_REDIS,
                remedy="Redis 6.2 or newer is needed: upgrade it",
            ),
            Trouble(
                state=State.FAILED,
                holds=0 < most <= used,
                said="full",
                remedy=f"raise maxmemory, or see what else fills it; {_NOTHING_IS_LOST}",
            ),
            Trouble(
                state=State.WARNING,
                holds=policy.startswith("allkeys"),
                remedy="it may throw waiting messages away: set maxmemory-policy noeviction",
            ),
            Trouble(
                state=State.WARNING,
                holds=bool(most) and used >= most * FULL_PART,
                said="nearly full",
                remedy="raise maxmemory, or see what else fills it",
            ),
            Trouble(
                state=State.WARNING,
                holds=latency_s > SLOW_S,
                remedy="see what slows it (SLOWLOG GET), or bring it closer",
            ),
        ],
    )


def _timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


def queue(bench: Bench) -> Finding:
    """Look how many messages wait."""
    limit = bench.settings.queue_limit
    with bench.broker() as client:
        waiting = int(client.llen(QUEUE))
    measured = f"{waiting:,} messages wait, the limit is {limit:,}"
    if waiting >= limit:
        return warning(
            measured,
            "workers take them slower than runs fall due, or there are none: add workers. What is due stays due",
            waiting=waiting,
            limit=limit,
        )
    return ok(measured, waiting=waiting, limit=limit)


def beat(bench: Bench) -> Finding:
    """Look when a beat ticked last."""
    with bench.broker() as client:
        left_s = int(client.ttl(BEAT_KEY))
    remedy = (
        "start one (`celery -A worker beat`): workers dispatch and reap without it, but nobody makes partitions or "
        "drops old runs"
    )
    if left_s < 0:
        return warning("no beat has ticked within the last hour", remedy, silent_s=None)
    silent_s = max(0, BEAT_KEPT_S - left_s)
    if silent_s > BEAT_SILENT_S:
        return warning(f"the last tick was {lasting(silent_s)} ago", remedy, silent_s=silent_s)
    return ok(f"the last tick was {silent_s} s ago", silent_s=silent_s)


def clocks(bench: Bench) -> Finding:
    """Compare this machine's clock with PostgreSQL's and Redis's."""
    with bench.database() as db:
        skews = {"PostgreSQL": _skew(bench, lambda: runs.clock_s(db))}
    try:
        with bench.broker() as client:
            skews["Redis"] = _skew(bench, lambda: _time_of(client))
    except (redis.RedisError, OSError):
        pass  # the check of the broker says so
    said = ", ".join(f"{skew:+.2f} s against {whose}" for whose, skew in skews.items())
    worst = max(map(abs, skews.values()))
    values: dict[str, object] = {f"{whose.lower()}_skew_s": round(skew, 3) for whose, skew in skews.items()}
    remedy = (
        "keep all machines in time (chrony, systemd-timesyncd): what is due goes by PostgreSQL's clock, but signed "
        "requests and the life of tokens go by this machine's"
    )
    if worst > BAD_SKEW_S:
        return failed(f"this machine is {said}", f"vendors will refuse signed requests; {remedy}", **values)
    if worst > SKEW_S:
        return warning(f"this machine is {said}", remedy, **values)
    return ok(f"this machine is {said}", **values)


def _skew(bench: Bench, theirs_s: Callable[[], float]) -> float:
    """Return how far this machine is ahead. What the way there and back took is shared out evenly."""
    before = bench.now_s()
    theirs = theirs_s()
    return (before + bench.now_s()) / 2 - theirs


def _time_of(client: Any) -> float:
    seconds, microseconds = client.time()
    return float(seconds) + float(microseconds) / 1e6
