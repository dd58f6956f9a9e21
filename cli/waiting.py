"""Waiting for a run or a health, by looking at the database: whoever does the work may be on any machine."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar
from uuid import UUID

from rich.console import Console

from cli.errors import CliError, NotThereError, WaitTimedOutError
from cli.output import note, span
from models import history, runs
from models.database import Database
from models.history import RunView
from models.vocabulary import RunState

T = TypeVar("T")

FIRST_LOOK_AGAIN_S: Final = 0.05
LONGEST_LOOK_AGAIN_S: Final = 1.0
NOBODY_CAME_S: Final = 8.0
"""So long after it was asked for, a run that no worker has taken makes us look whether there is a worker at all."""


class RunStoppedError(CliError):
    """The run that was waited for was cancelled, so it will never have a verdict."""


@contextmanager
def spinner(text: str) -> Iterator[None]:
    """Show on a terminal that we wait."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(text):
        yield


def until(look: Callable[[], T | None], *, timeout_s: float, what: str) -> T:
    """Return what `look` finds once it finds something. Raises WaitTimedOutError."""
    give_up_at_s = time.monotonic() + timeout_s
    pause_s = FIRST_LOOK_AGAIN_S
    while True:
        found = look()
        if found is not None:
            return found
        left_s = give_up_at_s - time.monotonic()
        if left_s <= 0:
            raise WaitTimedOutError(f"{what} did not come within {span(timeout_s)}")
        time.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 1.5, LONGEST_LOOK_AGAIN_S)


def finished_run(database: Database, connection_id: UUID, run_seq: int, *, timeout_s: float) -> RunView:
    """Return the run of that number once it has a verdict; one that was interrupted is followed by the next.

    Raises WaitTimedOutError, RunStoppedError for a run that was cancelled, NotThereError for a connection that is gone.
    """
    awaited = _Awaited(database, connection_id, run_seq)
    with spinner(f"run {run_seq} of {connection_id}"):
        return until(awaited.look, timeout_s=timeout_s, what=f"the end of run {run_seq}")


class _Awaited:
    """Looks for one run, and says once if nobody takes it."""

    def __init__(self, database: Database, connection_id: UUID, run_seq: int) -> None:
        self._database, self._connection_id, self._run_seq = database, connection_id, run_seq
        self._began_s = time.monotonic()
        self._warned = False

    def look(self) -> RunView | None:
        with self._database.connection() as db:
            run = history.get_run(db, self._connection_id, self._run_seq)
        if run is None:
            self._warn_if_nobody_works()
            return None
        match run.state:
            case RunState.RUNNING:
                return None
            case RunState.INTERRUPTED:
                self._run_seq += 1
                return None
            case RunState.CANCELLED:
                raise RunStoppedError(f"run {run.run_seq} was cancelled ({run.reason})")
        return run

    def _warn_if_nobody_works(self) -> None:
        if self._warned or time.monotonic() - self._began_s < NOBODY_CAME_S:
            return
        self._warned = True
        with self._database.connection() as db:
            workers = runs.queue_stats(db).workers
        if workers == 0:
            note("No worker is running: start one with `celery -A worker worker`, or all with `connection-health up`")
        else:
            note(f"{workers} worker processes are running, and none has taken it yet: they may be busy, or at a limit")


def missing(connection_id: UUID) -> NotThereError:
    """Return the error for a connection that is not there."""
    return NotThereError(f"no active connection {connection_id}: a paused one is resumed first, a deleted one is gone")
