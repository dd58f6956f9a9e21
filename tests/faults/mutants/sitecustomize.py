"""Takes one guard out of the programs that a drill or a soak starts, to see that it fails without it.

On the path of a worker (PYTHONPATH) and with MUTANT set, the modules that hold the guard are loaded with it cut out. A
mutant whose words are no longer found ends the program, so that none passes because there is nothing left to break.
"""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Final

Cut = tuple[str, str, str]
"""The module, the words of the guard, and what stands there instead."""

_OF_ONE_AT_A_TIME: Final[Cut] = ("models.runs", "AND s.enabled AND s.active_seq IS NULL\n", "AND s.enabled\n")
_OF_LOCKS: Final[Cut] = (
    "models.runs",
    "     AND {_LEASED}\n     FOR UPDATE OF s SKIP LOCKED\n",
    "     AND {_LEASED}\n",
)
_OF_SELF_STOP: Final[Cut] = (
    "worker.observe",
    "    if entry.stop is not None:\n",
    "    return\n    if entry.stop is not None:\n",
)
_OF_REAPERS_LEASE: Final[Cut] = (
    "models.runs",
    "   WHERE %(reaper)s::uuid IS NULL OR EXISTS (\n",
    "   WHERE TRUE OR EXISTS (\n",
)
_OF_HOLDING_BACK: Final[Cut] = (
    "worker.dispatcher",
    "        if time.monotonic() < self._held_until:\n",
    "        if False:\n",
)
# Whoever asks is told that the run is his.
_OF_PAGES: Final[Cut] = (
    "models.records",
    (
        "   WHERE r.connection_id = %(connection_id)s AND r.run_seq = %(run_seq)s AND r.worker_id = %(worker_id)s\n"
        "     FOR KEY SHARE\n"
    ),
    "   WHERE FALSE UNION ALL SELECT %(connection_id)s::uuid\n",
)

MUTANTS: Final[dict[str, tuple[Cut, ...]]] = {
    "fence": (
        (
            "models.runs",
            "r.connection_id = %(connection_id)s AND r.run_seq = %(run_seq)s AND r.worker_id = %(worker_id)s",
            "r.connection_id = %(connection_id)s",
        ),
    ),
    "fence-of-pages": (_OF_PAGES,),
    "self-stop": (_OF_SELF_STOP,),
    "self-stop+abort": (_OF_SELF_STOP, ("worker.in_flight", "        self.abort(self.stop)\n", "")),
    "reaper": (("models.runs", "(w.lease_until <= now() OR r.deadline_at <= now())", "FALSE"),),
    "hinted": (("models.runs", "(s.hinted_at IS NULL OR s.hinted_at <", "(TRUE OR s.hinted_at <"),),
    "served-never": (("models.runs", "hinted_at = NULL, requested_trigger = NULL,\n", "hinted_at = NULL,\n"),),
    "served-at-finish": (
        (
            "models.runs",
            "SET active_seq = NULL, crash_streak = 0,\n",
            "SET active_seq = NULL, crash_streak = 0, requested_trigger = NULL,\n",
        ),
    ),
    "seq-turned": (("models.runs", "h.run_seq < ", "h.run_seq > "),),
    "one-at-a-time": (_OF_ONE_AT_A_TIME,),
    "one-at-a-time+index": (_OF_ONE_AT_A_TIME,),
    "skip-locked": (_OF_LOCKS,),
    "skip-locked+index": (_OF_LOCKS,),
    "skipped-uncounted": (
        (
            "models.runs",
            "ELSE floor(extract(epoch FROM now() - due.slot_at) / d.refresh_interval_secs)::integer END",
            "ELSE 0 END",
        ),
    ),
    "quarantine": (("models.runs", "s.crash_streak < {RETRIES_OF_LOST}", "TRUE"),),
    "drain": (("worker.process", "station.in_flight.stop_all(StopReason.DRAINING)", "pass"),),
    "interrupt": (("worker.in_flight", "self._was_interrupted = True\n", "return False\n"),),
    "deadline-is-exception": (("worker.wire.errors", "class WireStop(BaseException)", "class WireStop(Exception)"),),
    "watchdog": (("worker.watchdog", "        if stuck:\n", "        if False:\n"),),
    "dead-man": (
        (
            "worker.watchdog",
            "signal.setitimer(signal.ITIMER_REAL, self._station",
            "(lambda *_: 0)(0, self._station",
        ),
    ),
    "child-lease": (("worker.process", "        station.after_fork()\n", ""),),
    "garbage": (
        ("worker.redis_transport", "(ValueError, TypeError, LookupError, AttributeError, RecursionError)", "()"),
    ),
    "degraded": (("worker.dispatcher", "            self._run_without_redis()\n", "            pass\n"),),
    "database-away": (("worker.observe", "    if is_database_away(error):\n", "    if False:\n"),),
    "ended-as": (("worker.run", "runs.ended_as(db, run.key) is state", "False"),),
    "hold-back": (_OF_HOLDING_BACK,),
    "reapers-lease": (_OF_REAPERS_LEASE,),
    "reapers-lease+hold-back": (_OF_REAPERS_LEASE, _OF_HOLDING_BACK),
    "unattended": (("worker.process", "for key in station.attendance.unattended(current):\n", "for key in ():\n"),),
    "probe": (("worker.dispatcher", "                self._hints.probe()\n", "                pass\n"),),
    "conflict": (
        (
            "worker.observe",
            "        except CONFLICT:\n            if pause_s is None:\n",
            "        except CONFLICT:\n            if True:\n",
        ),
    ),
    "claim-waits": (
        (
            "models.runs",
            "    if seen is None:\n        return None\n    is_limited",
            "    if seen is None or seen[0] is None:\n        return None\n    is_limited",
        ),
    ),
    # With what a slow database does added: seconds lie between the end of the neighbours' records and of the process.
    "neighbours": (
        (
            "worker.watchdog",
            "            self._station.in_flight.stop_all(StopReason.NEIGHBOUR_STUCK)\n            with",
            "            import time; time.sleep(0.5)\n            with",
        ),
        (
            "worker.watchdog",
            "        self._exit(EXIT_STUCK)\n",
            "        import time; time.sleep(2); self._exit(EXIT_STUCK)\n",
        ),
        ("worker.watchdog", "            self._station.lease.abandon()\n", ""),
    ),
    "supersede": (("worker.run", "    if station.in_flight.supersede(run.key):\n", "    if False:\n"),),
    "limit": (("models.limits", "greatest(0, a.most - (SELECT sum(n) FROM unnest(k.kept) AS n))", "a.most"),),
    "limiter-full": (
        ("worker.wire.limiter", "self.held = _Held(0, 0.0)\n", "self.held = _Held(100, monotonic() + 60)\n"),
    ),
    "redaction": (
        ("worker.wire.redactor", "        if secret not in self._secrets and len", "        if False and len"),
    ),
}
"""By name: what is cut out."""

_NO_INDEX: Final = ("ALTER TABLE run DROP CONSTRAINT pk_run", "CREATE INDEX ix_run_connection ON run (connection_id)")
TABLES: Final[dict[str | None, tuple[str, ...]]] = {
    "one-at-a-time+index": _NO_INDEX,
    "skip-locked+index": _NO_INDEX,
}
"""By name: what a soak does to its tables before it begins."""


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType | None:
        text = self.get_data(self.path).decode()
        for module, guard, instead in MUTANTS[os.environ["MUTANT"]]:
            if module != fullname:
                continue
            if guard not in text:
                sys.stderr.write(f"mutant {os.environ['MUTANT']}: {guard!r} stands no longer in {self.path}\n")
                os._exit(99)
            text = text.replace(guard, instead)
        return compile(text, self.path, "exec")


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in {module for module, _, _ in MUTANTS[os.environ["MUTANT"]]}:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


if "MUTANT" in os.environ:
    sys.meta_path.insert(0, _Finder())
