"""What runs beside the runs in a worker process: lease, watchdog, dispatcher; how they start, drain and end."""

import os
import threading
import time
from typing import Final

import psycopg
import structlog
from celery import Celery

from models import runs
from models.errors import ModelsError
from worker.dispatcher import Dispatcher
from worker.hints import Hints
from worker.in_flight import StopReason
from worker.lease import renewal_interval_s
from worker.run import execute
from worker.station import Station
from worker.watchdog import Watchdog

log = structlog.get_logger()

GRACE_S: Final = 3.0
"""How long a run that was told to stop gets until it is ended from outside."""


class WorkerProcess:
    """One Celery worker's own threads."""

    def __init__(self, app: Celery, station: Station) -> None:
        self._station = station
        self._dispatcher = Dispatcher(station, Hints(app), execute=execute)
        self._watchdog = Watchdog(station)
        self._stopping = threading.Event()
        self._renewing = threading.Thread(target=self._keep_lease, name="lease", daemon=True)

    def start(self) -> None:
        """Check the database and the vault, take the lease, start the threads.

        Raises what says that this worker cannot work: DatabaseUnreachableError, SchemaOutdatedError,
        VaultNotConfiguredError and the like.
        """
        self._station.control.check()
        _ = self._station.keyring
        self._station.lease.acquire(self._station.control)
        self._renewing.start()
        self._watchdog.start()
        self._dispatcher.start()
        log.info("worker.ready", worker_id=str(self._station.lease.worker_id), pid=os.getpid())

    def drain(self) -> None:
        """Claim no more; let runs go on for the time that is set, then interrupt them. Returns at once."""
        if self._station.draining.is_set():
            return
        self._station.draining.set()
        threading.Thread(target=self._drain, name="drain", daemon=True).start()

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
        except (psycopg.Error, ModelsError):
            log.exception("worker.drain_failed")  # the reaper puts them back when the lease ends
        os._exit(0)

    def _await_idle(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while len(self._station.in_flight) and time.monotonic() < end:
            time.sleep(0.05)

    def stop(self) -> None:
        """End the threads and give the lease back."""
        self._stopping.set()
        self._dispatcher.stop()
        self._watchdog.stop()
        try:
            self._station.lease.give_back(self._station.control)
        except (psycopg.Error, ModelsError):
            log.warning("worker.lease_not_given_back")  # it ends by itself
        self._station.close()

    def _keep_lease(self) -> None:
        station = self._station
        while not self._stopping.wait(renewal_interval_s(station.lease)):
            try:
                if station.lease.renew(station.control):
                    with station.control.connection() as db:
                        current = runs.running_of(db, station.lease.worker_id)
                    station.in_flight.stop_all_but(current)
            except (psycopg.Error, ModelsError) as error:
                log.warning("worker.lease_not_renewed", error=str(error).split("\n", maxsplit=1)[0])
            if station.settings.heartbeat_file is not None and station.lease.is_held:
                station.settings.heartbeat_file.touch()
