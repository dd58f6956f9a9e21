"""The runs that this process has in its hands now: what the watchdog watches and what a drain ends."""

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from models.runs import ClaimedRun, RunKey
from worker.wire.errors import DeadlineReached


class DeadlineInterrupt(DeadlineReached):
    """DeadlineReached, raised from outside in a run's thread; the interpreter makes it without arguments."""

    def __init__(self) -> None:
        super().__init__(0.0, "code that did not come back in time")

    def __str__(self) -> str:
        return "the run outlived its budget in code that did not come back by itself"


class StopReason(StrEnum):
    """Why a run must not go on."""

    DRAINING = "draining"
    LEASE_LOST = "lease_lost"
    SUPERSEDED = "superseded"
    DATABASE_AWAY = "database_away"
    UNATTENDED = "unattended"
    NEIGHBOUR_STUCK = "neighbour_stuck"


@dataclass(slots=True, kw_only=True)
class RunInFlight:
    """One run, the thread it runs in, and whether that may still be interrupted.

    deadline: on the monotonic clock; closed_at: likewise, since when its end is being written down, None before that.
    """

    run: ClaimedRun
    thread_id: int
    deadline: float
    stop: StopReason | None = None
    closed_at: float | None = None
    abort: Callable[[str], None] = field(default=lambda _reason: None)
    """Cuts the vendor call that is under way; set once the run has a session."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _interruptible: bool = True
    _was_interrupted: bool = False

    def interrupt(self) -> bool:
        """Raise DeadlineReached inside the run's thread at its next step of Python; once, and only while it observes.

        This ends Python code that neither calls the vendor nor returns. Code in C does not see it: the watchdog's next
        rung is for that.
        """
        with self._lock:
            if not self._interruptible or self._was_interrupted:
                return False
            self._was_interrupted = True
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self.thread_id), ctypes.py_object(DeadlineInterrupt)
            )
            return True

    def end(self, reason: StopReason) -> None:
        """Let the run end: before its next vendor call, and out of the one that it waits for."""
        self.stop = self.stop or reason
        self.abort(self.stop)

    def close(self) -> None:
        """From here on the run's thread writes down its end and may not be interrupted any more."""
        with self._lock:
            self._interruptible = False
            self.closed_at = self.closed_at or time.monotonic()
            if self._was_interrupted:  # the exception may be pending still: take it back
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread_id), None)


class InFlight:
    """The registry. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[RunKey, RunInFlight] = {}

    @contextmanager
    def entered(self, run: ClaimedRun, *, deadline: float) -> Iterator[RunInFlight]:
        """Keep the run listed while the block runs in the calling thread."""
        entry = RunInFlight(run=run, thread_id=threading.get_ident(), deadline=deadline)
        with self._lock:
            self._runs[run.key] = entry
        try:
            yield entry
        finally:
            entry.close()
            with self._lock:
                self._runs.pop(run.key, None)

    def supersede(self, key: RunKey) -> bool:
        """Let the run of this very key end, where there is one. Keys come back only where the database lost a claim."""
        with self._lock:
            entry = self._runs.get(key)
        if entry is not None:
            entry.end(StopReason.SUPERSEDED)
        return entry is not None

    def all(self) -> tuple[RunInFlight, ...]:
        """Return the runs in flight now."""
        with self._lock:
            return tuple(self._runs.values())

    def overdue(self, by_s: float) -> tuple[RunInFlight, ...]:
        """Return the runs that have outlived their budget by so many seconds."""
        now = time.monotonic()
        return tuple(entry for entry in self.all() if now > entry.deadline + by_s)

    def stuck(self, by_s: float) -> tuple[RunInFlight, ...]:
        """Return the runs that do not come back: their code is so long past its budget, or their end is not stored.

        Who writes an end down has come back from all code that is not ours, and may take as long for that.
        """
        now = time.monotonic()
        return tuple(entry for entry in self.all() if now > max(entry.deadline, entry.closed_at or 0.0) + by_s)

    def stop_all(self, reason: StopReason) -> None:
        """Let every run end."""
        for entry in self.all():
            entry.end(reason)

    def stop_all_of_others(self, worker_id: UUID) -> None:
        """Stop the runs that were claimed under an identity that this worker has lost."""
        for entry in self.all():
            if entry.run.key.worker_id != worker_id:
                entry.end(StopReason.LEASE_LOST)

    def runs_here(self) -> bool:
        """Say whether the calling thread is in the middle of a run. Takes no lock: a forked child asks as well."""
        here = threading.get_ident()
        return any(entry.thread_id == here for entry in tuple(self._runs.values()))

    def __len__(self) -> int:
        return len(self._runs)
