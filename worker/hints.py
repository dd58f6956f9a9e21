"""Messages that wake a worker up. Each may be lost, doubled, late or forged: it only says where to look.

The task is named, not imported: whoever sends a hint need not know how a run is run.
"""

import base64
import json
import threading
from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID, uuid4

import redis
from celery import Celery
from kombu import Connection
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.settings import client_url

SYNC_TASK: Final = "worker.sync_connection"
QUEUE: Final = "connection-health"

BEAT_KEY: Final = "connection-health.beat"
BEAT_KEPT_S: Final = 3600
"""A beat marks each of its ticks by a key that lives so long: what is left of that tells when the last one was."""

PROBE_KEY: Final = "connection-health.probe"

BrokerError = (OperationalError, redis.RedisError, OSError)
"""What sending a hint raises where Redis cannot take it."""

# Words that stand in the mould for what differs from hint to hint. JSON and base64 leave them as they are.
_CONNECTION: Final = "CONNECTION-OF-THE-HINT"
_TASK_ID: Final = "TASK-OF-THE-HINT"
_BODY: Final = "BODY-OF-THE-HINT"
_TAG: Final = "TAG-OF-THE-HINT"


class HintMould:
    """Makes hints after one that Celery itself made.

    Celery takes half a millisecond of CPU to make a message, a quarter of what a whole run costs, and all our hints
    differ in four words only. The first is made by Celery, over a transport in memory, so whatever a release of Celery
    or kombu puts into a message is in ours too.
    """

    def __init__(self, app: Celery) -> None:
        with Connection("memory://") as connection:
            channel: Any = connection.channel()
            app.send_task(
                SYNC_TASK,
                kwargs={"connection_id": _CONNECTION, "due_only": True},
                task_id=_TASK_ID,
                queue=QUEUE,
                producer=app.amqp.Producer(channel),
                ignore_result=True,
            )
            message = channel._get(QUEUE)  # noqa: SLF001 - the raw message, which nothing public hands out
        self._body = base64.b64decode(message["body"]).decode()
        message["body"] = _BODY
        message["properties"]["delivery_tag"] = _TAG
        self._text = json.dumps(message)

    def cast(self, connection_id: UUID) -> str:
        """Return the hint for one connection as it stands in Redis."""
        connection = str(connection_id)
        body = base64.b64encode(self._body.replace(_CONNECTION, connection).encode()).decode()
        text = self._text.replace(_CONNECTION, connection).replace(_TASK_ID, str(uuid4()))
        return text.replace(_TAG, str(uuid4())).replace(_BODY, body)


class Hints:
    """Sends hints over one connection that is held. Safe to share between threads.

    It fails at once where Redis is away: whoever waits for a retry here does not look after what is due meanwhile.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._mould: HintMould | None = None
        self._redis = redis.Redis.from_url(
            client_url(app.conf.broker_url),
            retry=Retry(NoBackoff(), 1),  # once, for a connection that Redis had closed meanwhile
            socket_connect_timeout=2,
            socket_timeout=5,
        )

    def send(self, connection_ids: Iterable[UUID]) -> None:
        """Send one hint each, all at once; a worker then runs what is due. Raises one of BrokerError."""
        with self._lock:
            if self._mould is None:
                self._mould = HintMould(self._app)
            hints = [self._mould.cast(connection_id) for connection_id in connection_ids]
            if not hints:
                return
        self._redis.lpush(QUEUE, *hints)

    def backlog(self) -> int:
        """Return how many messages wait. Raises one of BrokerError."""
        waiting: Any = self._redis.llen(QUEUE)  # redis-py types both its clients as one
        return int(waiting)

    def mark_beat(self) -> None:
        """Note that a beat ticks. Raises one of BrokerError."""
        self._redis.set(BEAT_KEY, "", ex=BEAT_KEPT_S)

    def probe(self) -> None:
        """Write something, to see whether that can be done. Raises one of BrokerError."""
        self._redis.set(PROBE_KEY, "", px=1)

    def close(self) -> None:
        """Let the connection go; the next use opens another."""
        self._redis.close()
