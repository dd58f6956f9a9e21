"""A worker's lease: the proof towards everybody else that it lives, and towards itself that it may go on.

The database's clock decides when a lease ends. Locally it is trusted for less than that, counted on the monotonic
clock from before the renewal was asked for, so that a worker that was frozen stops itself before its next vendor call.
"""

import os
import socket
import time
from multiprocessing.sharedctypes import RawArray, RawValue
from typing import Final
from uuid import UUID, uuid4

import structlog

from models import runs
from models.database import Database

log = structlog.get_logger()

TRUST_MARGIN: Final = 0.15
"""The part of a lease that is not trusted locally, to cover the way to the database and back."""
RENEWALS_PER_LEASE: Final = 4


class Lease:
    """One worker's identity and lease. Shared memory, so that forked children of a prefork pool see it too."""

    def __init__(self, *, lease_s: float) -> None:
        self.lease_s = lease_s
        self._identity = RawArray("c", 16)
        self._trusted_until = RawValue("d", 0.0)
        self._is_abandoned = False
        self._answered_at = self._late_at = float("-inf")
        self._take_identity(uuid4())

    def _take_identity(self, worker_id: UUID) -> None:
        self._identity.raw = worker_id.bytes

    @property
    def worker_id(self) -> UUID:
        """The identity under which runs are claimed now. A new one after each lost lease, never used again."""
        return UUID(bytes=self._identity.raw)

    def is_held_by(self, worker_id: UUID) -> bool:
        """Say whether a run that was claimed under this identity may go on."""
        return self.is_held and worker_id == self.worker_id

    @property
    def is_held(self) -> bool:
        """Say whether new runs may be claimed."""
        return not self._is_abandoned and time.monotonic() < float(self._trusted_until.value)

    def abandon(self) -> None:
        """Trust it no more, for good: this process is about to exit, so nothing may begin or go on in it."""
        self._is_abandoned = True

    def acquire(self, database: Database) -> None:
        """Register under the present identity. Raises what the database raises."""
        asked_at = time.monotonic()
        with database.transaction() as db:
            runs.register_worker(db, self.worker_id, host=socket.gethostname(), pid=os.getpid(), lease_s=self.lease_s)
        self._trust_from(asked_at)

    def renew(self, database: Database) -> bool:
        """Renew; where the lease has ended meanwhile, take a new identity: the old one's runs stop themselves."""
        asked_at = time.monotonic()
        with database.transaction() as db:
            renewed = runs.renew_lease(db, self.worker_id, lease_s=self.lease_s)
        if renewed:
            self._trust_from(asked_at)
            return True
        lost = self.worker_id
        self._trusted_until.value = 0.0
        self._take_identity(uuid4())
        self.acquire(database)
        log.warning("worker.lease_lost", lost_worker_id=str(lost), worker_id=str(self.worker_id))
        return False

    def give_back(self, database: Database) -> None:
        """End the lease at once, so that what is left of this worker is put back without waiting."""
        self._trusted_until.value = 0.0
        with database.transaction() as db:
            runs.retire_worker(db, self.worker_id)

    def was_late(self, within_s: float) -> bool:
        """Say whether the database was silent for half a lease lately: leases of the living may have ended by that."""
        now = time.monotonic()
        return now - self._answered_at > self.lease_s / 2 or now - self._late_at < within_s

    def _trust_from(self, asked_at: float) -> None:
        now = time.monotonic()
        if float("-inf") < self._answered_at < now - self.lease_s / 2:
            self._late_at = now
        self._answered_at = now
        self._trusted_until.value = asked_at + self.lease_s * (1 - TRUST_MARGIN)


def renewal_interval_s(lease: Lease) -> float:
    """Return how often a lease is renewed."""
    return lease.lease_s / RENEWALS_PER_LEASE
