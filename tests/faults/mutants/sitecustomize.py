"""Takes one guard out of the programs that a drill starts, to see that the drill fails without it.

On the path of a worker (PYTHONPATH) and with MUTANT set, the module that holds the guard is loaded with it cut out. A
mutant whose words are no longer found ends the program, so that none passes because there is nothing left to break.
"""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Final

MUTANTS: Final[dict[str, tuple[str, str, str]]] = {
    "fence": (
        "models.runs",
        "r.connection_id = %(connection_id)s AND r.run_seq = %(run_seq)s AND r.worker_id = %(worker_id)s",
        "r.connection_id = %(connection_id)s",
    ),
    "self-stop": ("worker.observe", "    if entry.stop is not None:\n", "    return\n    if entry.stop is not None:\n"),
    "reaper": ("models.runs", "(w.lease_until <= now() OR r.deadline_at <= now())", "FALSE"),
    "hinted": ("models.runs", "(s.hinted_at IS NULL OR s.hinted_at <", "(TRUE OR s.hinted_at <"),
    "served-never": ("models.runs", "hinted_at = NULL, requested_trigger = NULL,\n", "hinted_at = NULL,\n"),
    "served-at-finish": (
        "models.runs",
        "SET active_seq = NULL, crash_streak = 0,\n",
        "SET active_seq = NULL, crash_streak = 0, requested_trigger = NULL,\n",
    ),
    "seq-turned": ("models.runs", "h.run_seq < e.run_seq", "h.run_seq > e.run_seq"),
    "one-at-a-time": ("models.runs", "AND s.enabled AND s.active_seq IS NULL\n", "AND s.enabled\n"),
    "quarantine": ("models.runs", "s.crash_streak < {RETRIES_OF_LOST}", "TRUE"),
    "drain": ("worker.process", "station.in_flight.stop_all(StopReason.DRAINING)", "pass"),
    "interrupt": ("worker.in_flight", "self._was_interrupted = True\n", "return False\n"),
    "watchdog": ("worker.watchdog", "        if stuck:\n", "        if False:\n"),
    "dead-man": (
        "worker.watchdog",
        "signal.setitimer(signal.ITIMER_REAL, self._station",
        "(lambda *_: 0)(0, self._station",
    ),
    "child-lease": ("worker.process", "        station.after_fork()\n", ""),
    "garbage": ("worker.redis_transport", "(ValueError, TypeError, LookupError, AttributeError, RecursionError)", "()"),
    "degraded": ("worker.dispatcher", "                self._run_without_redis()\n", "                pass\n"),
    "database-away": ("worker.observe", "    if is_database_away(error):\n", "    if False:\n"),
    "ended-as": ("worker.run", "runs.ended_as(db, run.key) is state", "False"),
    "hold-back": ("worker.dispatcher", "        if time.monotonic() < self._held_until:\n", "        if False:\n"),
    "limit": ("worker.wire.limiter", "reservation.granted:", "True:"),
}
"""By name: the module, the words of the guard, and what stands there instead."""


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType | None:
        _, guard, instead = MUTANTS[os.environ["MUTANT"]]
        text = self.get_data(self.path).decode()
        if guard not in text:
            sys.stderr.write(f"mutant {os.environ['MUTANT']}: {guard!r} stands no longer in {self.path}\n")
            os._exit(99)
        return compile(text.replace(guard, instead), self.path, "exec")


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != MUTANTS[os.environ["MUTANT"]][0]:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


if "MUTANT" in os.environ:
    sys.meta_path.insert(0, _Finder())
