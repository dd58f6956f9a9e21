"""Finds what is due and wakes workers up; puts back what dead workers held. Any number may run: none of them leads.

Every worker process runs one, beside beat. With Redis away for a while, it claims straight from PostgreSQL and runs
the connections in threads of its own. A Redis that does not answer costs seconds at every question, so whoever asks it
is not who looks after the runs meanwhile.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from uuid import UUID

import structlog

from models import runs
from models.database import Database
from models.runs import ClaimedRun
from worker.errors import DATABASE_TROUBLE, first_line
from worker.hints import BrokerError, Hints
from worker.settings import Settings
from worker.station import Station

log = structlog.get_logger()

CLOCK_JUMP_S: Final = 5.0
REAP_EVERY_S: Final = 5.0


def dispatch_due(database: Database, hints: Hints, settings: Settings) -> int:
    """Hint the connections that are due now; return how many. Raises one of BrokerError and leaves none marked."""
    room = min(settings.dispatch_batch, settings.queue_limit - hints.backlog())
    if room <= 0:
        return 0
    with database.transaction() as db:
        due = runs.take_due(db, limit=room, rehint_after_s=settings.rehint_after_s)
    ids = [row.connection_id for row in due]
    try:
        hints.send(ids)
    except BrokerError:
        with database.transaction() as db:
            runs.unhint(db, ids)  # some may have been sent: a doubled hint does no harm
        raise
    return len(ids)


class Reaper:
    """Ends the runs of dead workers and those past their deadline. Holds back while the database's clock jumps."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._offset_s: float | None = None
        self._held_until = 0.0
        self._identity: UUID | None = None

    def hold_back(self) -> None:
        """Put nothing back for a while: the database was away, so leases have ended because nobody could renew them."""
        self._hold(self._station.settings.lease_s / 2)

    def _hold(self, for_s: float) -> None:
        self._held_until = max(self._held_until, time.monotonic() + for_s)

    def reap(self) -> int:
        """Return how many runs were put back."""
        identity = self._station.lease.worker_id
        if not self._station.lease.is_held or self._identity not in {None, identity}:
            self.hold_back()  # our own lease ended: likely everybody's did
        self._identity = identity
        with self._station.control.transaction() as db:
            offset_s = runs.clock_s(db) - time.monotonic()
        if self._offset_s is not None and abs(offset_s - self._offset_s) > CLOCK_JUMP_S:
            # A jump would let every lease look spent at once; live workers renew within one lease.
            self._hold(self._station.settings.lease_s)
            log.warning("reaper.clock_jumped", by_s=round(offset_s - self._offset_s, 1))
            with self._station.control.transaction() as db:
                runs.shorten_leases(db, to_s=self._station.settings.lease_s)
        self._offset_s = offset_s
        if time.monotonic() < self._held_until:
            return 0
        reaped = 0
        while True:
            with self._station.control.transaction() as db:
                # Asked once the server has answered, and before anything is put back: one that stood still for nearly a
                # lease let those leases end that were renewed longest before, and this one's was not among them.
                if self._station.lease.was_late(self._station.settings.lease_s / 2):
                    return reaped
                batch = runs.reap(db, reaper=identity, held_for_s=self._station.settings.lease_s / 2)
            for run in batch:
                log.warning("run.reaped", connection_id=str(run.connection_id), run_seq=run.run_seq, reason=run.reason)
            reaped += len(batch)
            if not batch:
                return reaped


class Dispatcher:
    """The two loops of one worker process: one asks Redis, the other does what must not wait for it."""

    def __init__(
        self, station: Station, hints: Hints, reaper: Reaper, *, execute: Callable[[Station, ClaimedRun], None]
    ) -> None:
        self._station = station
        self._hints = hints
        self._execute = execute
        self._reaper = reaper
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._loop, args=(self.hint,), name="dispatcher", daemon=True),
            threading.Thread(target=self._loop, args=(self.look_after,), name="reaper", daemon=True),
        ]
        self._reaped_at = float("-inf")
        self._without_redis_since: float | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._slots = threading.BoundedSemaphore(station.settings.concurrency)

    def start(self) -> None:
        """Start both loops."""
        # A newcomer cannot know whether the database was away until a moment ago, so that nobody could renew.
        self._reaper.hold_back()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the loops; runs that were claimed without Redis are the drain's to end."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=10)
        if self._pool is not None:
            self._pool.shutdown(wait=False)
        self._hints.close()

    def _loop(self, do: Callable[[], None]) -> None:
        while not self._stopping.wait(self._station.settings.dispatch_interval_s):
            try:
                do()
            except DATABASE_TROUBLE as error:
                self._reaper.hold_back()
                log.warning("dispatcher.database_away", error=first_line(error))
            except Exception:
                log.exception("dispatcher.broke")  # the loop must go on: it is what makes everything else run

    def hint(self) -> None:
        """Hint what is due. A Redis that was away is back once it takes what is written: a full one only answers."""
        if self._station.draining.is_set():
            return
        asked_at = time.monotonic()  # who is silent has been away since then, not since we gave up waiting
        try:
            if self._without_redis_since is not None:
                self._hints.probe()
            dispatch_due(self._station.control, self._hints, self._station.settings)
        except BrokerError as error:
            if self._without_redis_since is None:
                self._without_redis_since = asked_at
                log.warning("dispatcher.redis_away", error=str(error))
        else:
            if self._without_redis_since is not None:
                log.info("dispatcher.redis_back", away_s=round(time.monotonic() - self._without_redis_since, 1))
            self._without_redis_since = None

    def look_after(self) -> None:
        """Run what is due where Redis has been away for long; put back what dead workers held."""
        since = self._without_redis_since
        if since is not None and time.monotonic() - since >= self._station.settings.degraded_after_s:
            self._run_without_redis()
        if time.monotonic() - self._reaped_at >= REAP_EVERY_S:
            self._reaped_at = time.monotonic()
            self._reaper.reap()

    def _run_without_redis(self) -> None:
        free = self._free_slots()
        if free <= 0 or self._station.draining.is_set() or not self._station.lease.is_held:
            return
        attendance = self._station.attendance
        with attendance.attending(None):
            with self._station.control.transaction() as db:
                claimed = runs.claim_due(db, worker_id=self._station.lease.worker_id, limit=free)
            tokens = [attendance.begin(run.key.connection_id) for run in claimed]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._station.settings.concurrency, thread_name_prefix="without-redis")
        for run, token in zip(claimed, tokens, strict=True):
            self._slots.acquire()
            self._pool.submit(self._run_in_slot, run, token)
        if claimed:
            log.info("dispatcher.claimed_without_redis", runs=len(claimed))

    def _run_in_slot(self, run: ClaimedRun, token: object) -> None:
        try:
            self._execute(self._station, run)
        finally:
            self._station.attendance.end(token)
            self._slots.release()

    def _free_slots(self) -> int:
        return self._station.settings.concurrency - len(self._station.in_flight)
