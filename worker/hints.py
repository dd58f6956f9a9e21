"""Messages that wake a worker up. Each may be lost, doubled, late or forged: it only says where to look.

The task is named, not imported: whoever sends a hint need not know how a run is run.
"""

import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

import redis
from celery import Celery
from kombu.exceptions import OperationalError
from kombu.messaging import Producer

SYNC_TASK: Final = "worker.sync_connection"
QUEUE: Final = "connection-health"

BrokerError = (OperationalError, redis.RedisError, OSError)
"""What sending a hint raises where Redis cannot take it."""


def _connection_of(producer: Producer) -> Any:
    return producer.connection  # a connection: its types allow for None, which our own producer never has


def backlog_of(producer: Producer) -> int:
    """Return how many messages wait in the queue."""
    channel: Any = producer.channel  # of kombu's Redis transport, whose client its types do not know
    return int(channel.client.llen(QUEUE))


class Hints:
    """A held producer: publishing over one connection that is opened when needed, by one thread at a time."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._lock = threading.RLock()
        self._producer: Producer | None = None

    def send(self, connection_ids: Iterable[UUID]) -> None:
        """Send one hint each; a worker then runs the connection if it is due. Raises one of BrokerError."""
        with self._lock:
            try:
                producer = self._open()
                for connection_id in connection_ids:
                    self._app.send_task(
                        SYNC_TASK,
                        kwargs={"connection_id": str(connection_id), "due_only": True},
                        producer=producer,
                        retry=False,
                        ignore_result=True,
                    )
            except BrokerError:
                self.close()
                raise

    def backlog(self) -> int:
        """Return how many hints wait. Raises one of BrokerError."""
        with self._lock:
            try:
                return backlog_of(self._open())
            except BrokerError:
                self.close()
                raise

    def _open(self) -> Producer:
        if self._producer is None:
            self._producer = self._app.amqp.Producer(self._app.connection_for_write(), auto_declare=False)
        return self._producer

    def close(self) -> None:
        """Let the connection go; the next use opens another."""
        with self._lock:
            producer, self._producer = self._producer, None
            if producer is not None:
                with suppress(*BrokerError):
                    _connection_of(producer).release()
