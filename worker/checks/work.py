"""The work itself: who does it, whether it is handed out, what is late, what is stuck, which vendors hold it up."""

from typing import Final

from models import checks
from models.checks import VendorQueue, WorkerFacts
from worker.checks.finding import (
    REAP_PATIENCE_S,
    Bench,
    Finding,
    State,
    Trouble,
    counted,
    failed,
    judged,
    lasting,
    ok,
    warning,
)

LAPSED_WITHIN_S: Final = 900.0
LATE_S: Final = 60.0
VERY_LATE_TIMES: Final = 10
UNHINTED_S: Final = 30.0
LONG_PAUSE_S: Final = 3600.0
_NAMED: Final = 3
_BY_HAND: Final = "tables were changed by hand, or only some were restored: see docs/operations.md, `stuck_runs`"


def workers(bench: Bench) -> Finding:
    """Look who holds a lease, and who let one lapse without giving it back."""
    with bench.database() as db:
        found = checks.worker_facts(db, lapsed_s=LAPSED_WITHIN_S)
    alive = [worker for worker in found if worker.is_alive]
    dead = [worker for worker in found if not worker.is_alive and not worker.is_back]
    back = sum(worker.is_back for worker in found)
    measured = f"{len(alive)} alive on {counted(len({worker.host for worker in alive}), 'machine')}"
    if dead:
        measured += f"; {len(dead)} died within {lasting(LAPSED_WITHIN_S)} ({_places(dead)})"
    if back:
        measured += f"; {back} lost a lease and took another"
    values = {
        "alive": len(alive),
        "lapsed": len(dead),
        "renewed_late": back,
        "workers": [
            {"worker_id": str(each.worker_id), "host": each.host, "pid": each.pid, "runs": each.runs,
             "alive": each.is_alive, "lease_left_s": round(each.left_s, 1), "age_s": round(each.age_s)}
            for each in found
        ],
    }  # fmt: skip
    if not alive:
        return failed(measured, "start one: `celery -A worker worker`", **values)
    if dead:
        return warning(
            measured,
            "their runs are LOST and run again by themselves; their machines' logs say why they died (out of memory?)",
            **values,
        )
    if back:
        return warning(
            measured, "the database was away or slow for longer than a lease, or the process was frozen", **values
        )
    return ok(measured, **values)


def _places(dead: list[WorkerFacts]) -> str:
    named = ", ".join(f"{each.host} pid {each.pid}" for each in dead[:_NAMED])
    return named + (", …" if len(dead) > _NAMED else "")


def dispatch(bench: Bench) -> Finding:
    """Look whether what is due is handed out, at vendors that hold nothing up themselves."""
    rehint_after_s = bench.settings.rehint_after_s
    with bench.database() as db:
        queues = checks.vendor_queues(db, rehint_after_s=rehint_after_s + UNHINTED_S)
    free = [each for each in queues if each.max_inflight is None and not each.paused_s]
    longest_s = max((each.unhinted_s for each in free), default=0.0)
    values = {"unhinted_s": round(longest_s, 1)}
    if longest_s > UNHINTED_S:
        return failed(
            f"due for {lasting(longest_s)}, and no worker was told of it",
            "start a worker; where some run, see their log for dispatcher.broke and the check `queue`: a full queue "
            "holds everything back",
            **values,
        )
    return ok("what is due is handed out", **values)


def overdue(bench: Bench) -> Finding:
    """Look how late runs are, at vendors that hold nothing up themselves."""
    with bench.database() as db:
        queues = checks.vendor_queues(db, rehint_after_s=bench.settings.rehint_after_s)
    free = [each for each in queues if each.is_open]
    due = sum(each.due for each in free)
    oldest = max(free, key=lambda each: each.oldest_s, default=None)
    late_s = oldest.oldest_s if oldest else 0.0
    values = {"due": due, "oldest_s": round(late_s, 1), "vendor": oldest.vendor if oldest and late_s else None}
    if not late_s:
        return ok("nothing waits", **values)
    measured = f"{counted(due, 'run')} wait, the first for {lasting(late_s)}"
    patience_s = max(LATE_S, bench.settings.rehint_after_s)
    remedy = "add workers; the checks `workers`, `dispatch` and `queue` say where it is held up"
    if late_s > patience_s * VERY_LATE_TIMES:
        return failed(measured, remedy, **values)
    if late_s > patience_s:
        return warning(measured, remedy, **values)
    return ok(measured, **values)


def stuck_runs(bench: Bench) -> Finding:
    """Look for runs that nobody ends, though their deadline or their worker's lease is long past."""
    with bench.database() as db:
        facts = checks.running_facts(db, patience_s=bench.settings.lease_s + REAP_PATIENCE_S)
    measured = f"{counted(facts.running, 'run')} on" + (
        f", the oldest for {lasting(facts.oldest_s)}" if facts.running else ""
    )
    values = {
        "running": facts.running,
        "oldest_s": round(facts.oldest_s, 1),
        "stuck": [
            {"connection_id": str(run.connection_id), "run_seq": run.run_seq, "running_s": round(run.running_s),
             "why": run.why}
            for run in facts.stuck
        ],
        "orphans": [str(connection_id) for connection_id in facts.orphans],
    }  # fmt: skip
    first = facts.stuck[0] if facts.stuck else None
    return judged(
        measured,
        values,
        [
            Trouble(
                state=State.FAILED,
                holds=bool(facts.orphans),
                said=f"{counted(len(facts.orphans), 'connection')} held by a run that is not there",
                remedy=_BY_HAND,
            ),
            Trouble(
                state=State.FAILED,
                holds=any(run.why == "worker" for run in facts.stuck),
                said="some of a worker that is not known",
                remedy=_BY_HAND,
            ),
            Trouble(
                state=State.FAILED,
                holds=first is not None,
                said=f"{facts.stuck_count} past their {first.why} (connection {first.connection_id})" if first else "",
                remedy="nobody reaps: start a worker; any that lives puts them back within seconds",
            ),
        ],
    )


def vendor_limits(bench: Bench) -> Finding:
    """Look which vendors are paused or at their limit of runs at a time."""
    with bench.database() as db:
        queues = checks.vendor_queues(db, rehint_after_s=bench.settings.rehint_after_s)
    paused = [each for each in queues if each.paused_s]
    full = [each for each in queues if each.max_inflight is not None and each.running >= each.max_inflight]
    limited = sum(each.max_inflight is not None for each in queues)
    said = [f"{each.vendor} paused for {lasting(each.paused_s)}" for each in paused]
    said += [f"{each.vendor} at {each.running} of {each.max_inflight}, {each.due} waiting" for each in full]
    measured = "; ".join(said) or f"{limited} of {len(queues)} vendors have one, none is reached"
    values = {"vendors": [_limit(each) for each in queues if each.paused_s or each.max_inflight is not None]}
    patience_s = VERY_LATE_TIMES * max(LATE_S, bench.settings.rehint_after_s)
    if any(each.paused_s > LONG_PAUSE_S for each in paused):
        return warning(measured, "the vendor said so by Retry-After; nothing to do unless it is wrong", **values)
    if any(each.due and each.oldest_s > patience_s for each in full):
        return warning(
            measured, "its runs come late: ask the vendor for more, or give its connections a longer interval", **values
        )
    return ok(measured, **values)


def _limit(each: VendorQueue) -> dict[str, object]:
    return {
        "vendor": each.vendor,
        "max_inflight": each.max_inflight,
        "running": each.running,
        "due": each.due,
        "oldest_s": round(each.oldest_s, 1),
        "paused_s": round(each.paused_s, 1),
    }
