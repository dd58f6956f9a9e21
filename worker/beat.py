"""Celery's beat without a file: its ticks only wake somebody up, so there is nothing that a restart could lose."""

from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import structlog
from celery.beat import ScheduleEntry, Scheduler, SchedulingError

from worker.errors import first_line
from worker.hints import BrokerError, Hints

log = structlog.get_logger()

MOST_WAITING: Final = 100
"""With so many messages waiting nobody is there to take a tick, or nobody needs one: it would only pile up."""

_OFTEN_S: Final = 60.0
"""What comes more rarely does not pile up, and is never held back: a busy queue is no reason to purge nothing."""


class StatelessScheduler(Scheduler):
    """Keeps no state. Any number of beats may run; a tick that is doubled finds nothing left to do."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._hints = Hints(self.app)

    def setup_schedule(self) -> None:
        """Take the schedule from the settings. Everything is due at the start.

        Without a memory of the last time, what is due every hour would else never be done by beats that are replaced
        more often than that, and not within a new house's first hour.
        """
        self.merge_inplace(self.app.conf.beat_schedule)
        for entry in self.schedule.values():
            entry.last_run_at = entry.default_now() - timedelta(days=1)

    def apply_async(self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002 - the signature is Celery's
        """Send a tick, or let it go where ticks pile up."""
        if self._waiting() > MOST_WAITING and _is_often(entry):
            return self.reserve(entry) if advance else entry
        try:
            return super().apply_async(entry, producer=producer, advance=advance, **kwargs)
        except SchedulingError as error:
            # Celery would write a traceback for every tick, once a second for as long as Redis is away.
            log.warning("beat.tick_not_sent", task=entry.task, error=first_line(error))
            return None

    def _waiting(self) -> int:
        try:
            waiting = self._hints.backlog()
        except BrokerError:
            return 0  # let the sending itself tell what is wrong
        with suppress(*BrokerError):  # likewise; the mark only tells whoever looks that a beat ticks
            self._hints.mark_beat()
        return waiting


def _is_often(entry: ScheduleEntry) -> bool:
    every = getattr(entry.schedule, "run_every", None)  # of a crontab there is none
    return every is not None and every.total_seconds() < _OFTEN_S
