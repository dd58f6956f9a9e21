"""The Celery application: its settings, its tasks, and what happens when a worker starts and ends."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from celery import Celery, signals

from models import count_sums, retention, runs
from models.errors import ModelsError
from models.runs import ClaimedRun
from models.vocabulary import LONGEST_TIMEOUT_SECS, Trigger
from vendors.errors import VendorError
from worker import dispatcher, journal, redis_transport
from worker.dispatcher import Reaper
from worker.errors import DATABASE_TROUBLE, WorkerError, first_line
from worker.hints import QUEUE, SYNC_TASK, BrokerError, Hints
from worker.process import PreforkChild, WorkerProcess
from worker.run import execute
from worker.settings import Settings
from worker.station import Station

log = structlog.get_logger()

_MOST_FOLDS: Final = 20
"""In one go; what is left over is folded in the next."""


def make_app(settings: Settings) -> Celery:
    """Return the application. Connects to nothing."""
    redis_transport.install()
    app = Celery("connection-health", broker=settings.broker_url, set_as_current=True)
    app.conf.update(
        # PostgreSQL is the acknowledgement: a message may be lost or doubled, so neither late acks nor results.
        task_acks_late=False,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        accept_content=["json"],
        task_serializer="json",
        task_default_queue=QUEUE,
        task_create_missing_queues=False,
        worker_pool="threads",
        worker_concurrency=settings.concurrency,
        worker_prefetch_multiplier=1,
        worker_max_tasks_per_child=500,  # prefork only
        worker_enable_remote_control=False,
        worker_disable_rate_limits=True,  # a vendor's limits hold over all workers, and are not Celery's to keep
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # a Redis that is full refuses: the worker waits, as for one that is away
        broker_transport_options={
            "ack_emulation": False,  # keeps what is unacknowledged in Redis: two round trips a message for nothing
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
        task_publish_retry=False,
        beat_schedule={
            "dispatch what is due": {"task": "worker.dispatch_due", "schedule": timedelta(seconds=1)},
            "put back what dead workers held": {"task": "worker.reap", "schedule": timedelta(seconds=5)},
            "fold counts of healths": {"task": "worker.fold_counts", "schedule": timedelta(seconds=5)},
            "make partitions, purge what is old": {"task": "worker.purge", "schedule": timedelta(hours=1)},
        },
        beat_schedule_filename="",
        beat_scheduler="worker.beat:StatelessScheduler",
        timezone="UTC",
        enable_utc=True,
    )
    station = Station.of(settings)
    reaper = Reaper(station)
    _add_tasks(app, station, reaper)
    _WorkerLife(app, station, reaper).follow()
    return app


def asks_for_prefork(arguments: Sequence[str]) -> bool:
    """Say whether a command line asks for the prefork pool.

    Celery takes `--pool prefork` for its own default and lets the application's setting win over it: who asked for
    processes would get threads, and not be told.
    """
    return any(
        argument in {"--pool=prefork", "-Pprefork"} or pair in {("--pool", "prefork"), ("-P", "prefork")}
        for argument, pair in zip(arguments, zip(arguments, [*arguments[1:], ""], strict=True), strict=True)
    )


def use_prefork(app: Celery, settings: Settings) -> None:
    """Run each task in a process of its own, and let Celery's hard limit be the last net under it.

    Each child has our watchdog and the dead-man's timer, which end a run by its own budget. Code of a connector that
    blocks the timer's signal outlives both: its run is put back by the reaper, and the parent kills the child once no
    run may last so long. No soft limit: what it raises is an Exception, which any `except Exception` swallows.
    """
    app.conf.worker_pool = "prefork"
    app.conf.task_time_limit = LONGEST_TIMEOUT_SECS + settings.hard_after_s + settings.dead_man_s


def _add_tasks(app: Celery, station: Station, reaper: Reaper) -> None:
    hints = Hints(app)

    @app.task(name=SYNC_TASK, shared=False)
    def sync_connection(connection_id: str, due_only: bool = False) -> None:  # noqa: FBT001, FBT002 - a message's field
        """Sync one connection. The message is only a hint: lost, doubled or late, it does no harm.

        due_only: True in the dispatcher's hints; a manual call runs the connection whether due or not.
        """
        try:
            wanted = UUID(connection_id)
        except (ValueError, AttributeError, TypeError):
            log.warning(  # whoever sent it: no trace of ours says more
                "sync.bad_message", connection_id=repr(connection_id)[:100], remedy="send a connection's UUID"
            )
            return
        with _told("sync.not_begun", connection_id=connection_id), station.attendance.attending(wanted):
            run = _claimed(station, wanted, due_only=due_only is True)
            if run is not None:
                execute(station, run)

    @app.task(name="worker.dispatch_due", shared=False)
    def dispatch_due() -> None:
        """Hint what is due. Every worker does so by itself as well: two are no harm."""
        with _told("dispatch.failed"):
            dispatcher.dispatch_due(station.control, hints, station.settings)

    @app.task(name="worker.reap", shared=False)
    def reap() -> None:
        """Put back what dead workers held."""
        with _told("reap.failed"):
            reaper.reap()

    @app.task(name="worker.fold_counts", shared=False)
    def fold_counts() -> None:
        """Fold what changed of the counts by health into their sums, which makes counting cheap."""
        with _told("fold_counts.failed"):
            for _ in range(_MOST_FOLDS):
                with station.control.transaction() as db:
                    folded = count_sums.fold(db)
                if folded < count_sums.FOLDED_AT_ONCE:
                    return

    @app.task(name="worker.purge", shared=False)
    def purge() -> None:
        """Make the partitions of the days to come and drop what is older than it is kept."""
        with _told("purge.failed"):
            with station.control.transaction() as db:
                retention.ensure_partitions(db)
            with station.control.transaction() as db:
                retention.purge(
                    db,
                    run_days=station.settings.run_history_days,
                    history_days=station.settings.health_history_days,
                )


def _claimed(station: Station, connection_id: UUID, *, due_only: bool) -> ClaimedRun | None:
    """Claim what a message asks for. None: somebody has it, it is not due, it is not there, or we may not begin it."""
    if not due_only:
        with station.database.transaction() as db:
            if not runs.trigger(db, connection_id, Trigger.MANUAL):
                log.warning("sync.no_such_connection", connection_id=str(connection_id), remedy="see connections list")
                return None
    if station.draining.is_set() or not station.lease.is_held:
        with station.database.transaction() as db:
            runs.unhint(db, [connection_id])
        return None
    try:
        with station.claims.connection() as db:
            return runs.claim(db, connection_id, worker_id=station.lease.worker_id)
    except DATABASE_TROUBLE:
        station.attendance.note_unanswered(connection_id)  # the hint is used up: it is given again once that can be
        raise


@contextmanager
def _told(event: str, **names: object) -> Iterator[None]:
    """Let a task end with one clear line where PostgreSQL or Redis is away. What it was to do is done a round later."""
    try:
        yield
    except (*DATABASE_TROUBLE, *BrokerError) as error:
        log.warning(event, **names, error=first_line(error))


class _WorkerLife:
    """Ties the process's own threads to the worker's life.

    Celery's signals belong to the process, not to an application: what is not ours passes us by.
    """

    def __init__(self, app: Celery, station: Station, reaper: Reaper) -> None:
        self._app, self._station = app, station
        self._process = WorkerProcess(app, station, reaper)
        self._children: list[PreforkChild] = []
        self._is_ours = False

    def follow(self) -> None:
        """Listen. `weak=False`: nothing else holds the listeners."""
        for signal, listener in (
            (signals.setup_logging, self._set_up_logging),
            (signals.worker_init, self._start),
            (signals.worker_process_init, self._start_child),
            (signals.worker_process_shutdown, self._stop_child),
            (signals.worker_shutting_down, self._drain),
            (signals.worker_shutdown, self._stop),
        ):
            signal.connect(listener, weak=False)

    def _set_up_logging(self, **_: object) -> None:
        journal.set_up(self._station.settings)

    def _start(self, sender: object = None, **_: object) -> None:
        self._is_ours = getattr(sender, "app", None) is self._app
        if not self._is_ours:
            return
        journal.set_up(self._station.settings)  # Celery does so later, and what starts here speaks before
        try:
            self._process.start()
        except (ModelsError, WorkerError, VendorError, OSError) as error:  # OSError: a file that the settings name
            sys.stderr.write(f"worker: {error}\n")
            raise SystemExit(1) from error

    def _start_child(self, **_: object) -> None:
        if self._is_ours:
            child = PreforkChild(self._station)
            self._children.append(child)
            child.start()

    def _stop_child(self, **_: object) -> None:
        for child in self._children:
            child.stop()

    def _drain(self, **_: object) -> None:
        if self._is_ours:
            self._process.drain()

    def _stop(self, **_: object) -> None:
        if self._is_ours:
            self._process.stop()
