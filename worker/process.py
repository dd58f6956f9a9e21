"""What runs beside the runs in a worker process: lease, watchdog, dispatcher; how they start, drain and end."""

import os
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog
from celery import Celery

from models import runs
from worker import memory
from worker.dispatcher import Dispatcher, Reaper
from worker.errors import DATABASE_TROUBLE, first_line
from worker.hints import Hints
from worker.in_flight import StopReason
from worker.lease import renewal_interval_s
from worker.run import execute
from worker.station import Station
from worker.watchdog import Watchdog

log = structlog.get_logger()

GRACE_S: Final = 3.0
"""How long a run that was told to stop gets until it is ended from outside."""
_LOOK_EVERY_S: Final = 0.1


class Keeper:
    """What every process that runs connections has: a lease, a watchdog, and a way to drain."""

    def __init__(self, station: Station, *, exit_process: Callable[[int], object] = os._exit) -> None:
        self._station = station
        self._exit = exit_process
        self._watchdog = Watchdog(station)
        self._stopping = threading.Event()
        self._renewing = threading.Thread(target=self._keep_lease, name="lease", daemon=True)
        self._draining = threading.Thread(target=self._drain, name="drain", daemon=True)

    def start(self) -> None:
        """Take the lease, start the threads. Where the database is just away, the next renewal takes it.

        It must not raise: the worker would go on without its threads, begin nothing, and use up every hint it gets.
        """
        try:
            self._station.lease.acquire(self._station.control)
        except DATABASE_TROUBLE as error:
            log.warning("worker.lease_not_taken", error=first_line(error))
        self._renewing.start()
        self._watchdog.start()

    def drain(self) -> None:
        """Let runs go on for the time that is set, then interrupt them. Returns at once."""
        self._draining.start()

    def stop(self) -> None:
        """End the threads and give the lease back; where runs are being drained, once they are."""
        if self._draining.is_alive():
            self._draining.join()
        self._stopping.set()
        self._watchdog.stop()
        try:
            self._station.lease.give_back(self._station.control)
        except DATABASE_TROUBLE as error:
            log.warning("worker.lease_not_given_back", error=first_line(error))  # it ends by itself

    def _drain(self) -> None:
        station = self._station
        log.info("worker.draining", runs=len(station.in_flight), drain_s=station.settings.drain_s)
        self._await_idle(station.settings.drain_s)
        station.in_flight.stop_all(StopReason.DRAINING)
        self._await_idle(GRACE_S)
        if not len(station.in_flight):
            return
        # What is left waits inside a call and cannot be told. Its record ends here; what it still does is fenced.
        try:
            with station.control.transaction() as db:
                left = runs.interrupt_worker(db, station.lease.worker_id, reason=StopReason.DRAINING)
            station.lease.give_back(station.control)
            log.info("worker.drained", interrupted=left)
        except DATABASE_TROUBLE as error:
            log.error("worker.drain_failed", error=first_line(error), remedy="the reaper records the runs as lost")  # noqa: TRY400 - one line says it all
        self._exit(0)

    def _await_idle(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while len(self._station.in_flight) and time.monotonic() < end:
            time.sleep(0.05)

    def _keep_lease(self) -> None:
        station = self._station
        while not self._stopping.wait(renewal_interval_s(station.lease)):
            try:
                if station.lease.renew(station.control):
                    self._agree_on_runs()
                    self._hint_again()
                else:
                    station.in_flight.stop_all_of_others(station.lease.worker_id)
            except DATABASE_TROUBLE as error:
                log.warning("worker.lease_not_renewed", error=first_line(error))
            except Exception:
                log.exception("worker.lease_broke")  # it must go on: a worker without a lease does nothing more
            if station.settings.heartbeat_file is not None and station.lease.is_held:
                station.settings.heartbeat_file.touch()

    def _agree_on_runs(self) -> None:
        """Stop the runs that the database no longer calls ours; end those that it does and nobody here is on."""
        station = self._station
        listed = station.in_flight.all()  # before asking: a run that begins meanwhile is not in the answer
        with station.control.connection() as db:
            current = runs.running_of(db, station.lease.worker_id)
            for key in station.attendance.unattended(current):
                due_at_once = not station.attendance.was_refused(key)
                if runs.interrupt(db, key, reason=StopReason.UNATTENDED, due_at_once=due_at_once):
                    log.warning("run.unattended", connection_id=str(key.connection_id), run_seq=key.run_seq)
        for entry in listed:
            if entry.run.key not in current:
                entry.end(StopReason.SUPERSEDED)

    def _hint_again(self) -> None:
        """Let hints be given again that were used up while the database was away."""
        used_up = self._station.attendance.take_unanswered()
        if not used_up:
            return
        try:
            with self._station.control.connection() as db:
                runs.unhint(db, used_up)
        except DATABASE_TROUBLE:
            self._station.attendance.give_back(used_up)
            raise


class WorkerProcess:
    """One Celery worker's own threads: those of every process that runs connections, and a dispatcher."""

    def __init__(self, app: Celery, station: Station, reaper: Reaper) -> None:
        self._station = station
        self._dispatcher = Dispatcher(station, Hints(app), reaper, execute=execute)
        self._keeper = Keeper(station)

    def start(self) -> None:
        """Check the database and the vault, take the lease, start the threads.

        Raises what says that this worker cannot work: DatabaseUnreachableError, SchemaOutdatedError,
        VaultNotConfiguredError, DefinitionError of a dialect, OSError of a file of certificates, and the like.
        """
        self._station.control.check()
        _ = self._station.keyring
        self._station.warm_up()
        memory.settle()
        self._keeper.start()
        self._dispatcher.start()
        log.info("worker.ready", worker_id=str(self._station.lease.worker_id), pid=os.getpid())

    def drain(self) -> None:
        """Claim no more; let runs go on for the time that is set, then interrupt them. Returns at once."""
        if self._station.draining.is_set():
            return
        self._station.draining.set()
        self._keeper.drain()

    def stop(self) -> None:
        """End the threads and give the lease back."""
        self._dispatcher.stop()
        self._keeper.stop()
        self._station.close()


class PreforkChild:
    """A child of a prefork pool: an identity and a lease of its own, so that its death is noticed as any worker's is.

    It drains with its parent. SIGTERM to it alone, or to the whole process group, raises SystemExit in its run, which
    is INTERRUPTED then (`worker.run`).
    """

    def __init__(self, station: Station) -> None:
        station.after_fork()
        self._station = station
        self._keeper = Keeper(station)
        self._stopping = threading.Event()
        self._looking = threading.Thread(target=self._look_out, name="look out", daemon=True)

    def start(self) -> None:
        """Take the lease, start the threads."""
        self._keeper.start()
        self._looking.start()

    def stop(self) -> None:
        """End the threads and give the lease back."""
        self._stopping.set()
        self._keeper.stop()

    def _look_out(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            if self._station.draining.is_set():
                self._keeper.drain()
                return
