"""The rungs of the deadline ladder that stand outside a run's own code.

1. A run past its budget whose code is Python and neither returns nor calls the vendor: DeadlineReached is raised in it.
2. One that goes on all the same (code in C that waits, a lock): nothing begins here any more, its neighbours are told
   to stop, its end is recorded here, fenced, what is left of them is interrupted and due at once, and the process
   exits; whoever supervises it starts another. A run that is writing its end down is not meant: it has come back.
3. Code in C that never lets the interpreter go: this thread cannot run either, so it does not push the dead-man's timer
   back, and the timer's signal ends the process. The reaper records the run.
"""

import os
import signal
import threading
from collections.abc import Callable
from typing import Final

import structlog

from models import runs
from worker import kin, outcomes
from worker.errors import first_line
from worker.in_flight import RunInFlight, StopReason
from worker.station import Station

log = structlog.get_logger()

SOFT_AFTER_S: Final = 2.0
EXIT_STUCK: Final = 70
_TICK_S: Final = 1.0


class Watchdog:
    """One thread per process that runs connections."""

    def __init__(self, station: Station, *, exit_process: Callable[[int], object] = os._exit) -> None:
        self._station = station
        self._exit = exit_process
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start watching and arm the dead-man's timer. What runs fork is tied to this process."""
        kin.tie(self._station.in_flight)
        signal.setitimer(signal.ITIMER_REAL, self._station.settings.dead_man_s)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching and disarm the timer."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _watch(self) -> None:
        while not self._stopping.wait(_TICK_S):
            signal.setitimer(signal.ITIMER_REAL, self._station.settings.dead_man_s)
            try:
                self.look()
            except Exception:
                log.exception("watchdog.broke")  # it must go on: without it the timer would end a healthy process
        signal.setitimer(signal.ITIMER_REAL, 0)

    def look(self) -> None:
        """Look once over the runs in flight."""
        for entry in self._station.in_flight.overdue(SOFT_AFTER_S):
            if entry.interrupt():
                log.warning("run.interrupted_at_deadline", **_names(entry))
        stuck = self._station.in_flight.stuck(self._station.settings.hard_after_s)
        if stuck:
            self._give_up(stuck)

    def _give_up(self, stuck: tuple[RunInFlight, ...]) -> None:
        for entry in stuck:
            log.error("run.stuck", **_names(entry))
        try:
            # First, for what is recorded as ended must not go on calling its vendor until this process is gone.
            self._station.lease.abandon()
            self._station.in_flight.stop_all(StopReason.NEIGHBOUR_STUCK)
            with self._station.control.transaction() as db:
                for entry in stuck:
                    runs.finish(db, entry.run.key, outcomes.budget_spent(entry.run))
                runs.interrupt_worker(db, self._station.lease.worker_id, reason=StopReason.NEIGHBOUR_STUCK)
        except Exception as error:  # noqa: BLE001 - whatever it is, the process must go; the reaper will record
            log.error("watchdog.could_not_record", error=first_line(error))  # noqa: TRY400 - one line says it all
        self._exit(EXIT_STUCK)


def _names(entry: RunInFlight) -> dict[str, object]:
    key = entry.run.key
    return {"connection_id": str(key.connection_id), "run_seq": key.run_seq, "vendor": entry.run.vendor}
