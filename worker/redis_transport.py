"""kombu's way to Redis, unharmed by what is no message and by a Redis that is full.

As it comes, one piece of garbage in the queue ends the worker that takes it ("Unrecoverable error"), so whoever may
write to Redis could end all of them. Here it is told and dropped. A full Redis refuses whatever it is asked within a
transaction, and ends in the same way whoever begins or comes back meanwhile.
"""

from queue import Empty
from typing import Any, Final

import structlog
from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport import redis as kombu_redis
from redis.exceptions import OutOfMemoryError

log = structlog.get_logger()

_OF_GARBAGE: Final = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What reading raises: no JSON, no UTF-8, no base64, another shape, without end."""


class QoS(virtual.QoS):
    """What was fetched and not begun. At the end it is put back where that can be, and else forgotten."""

    def restore_unacked(self) -> list[Any]:  # type: ignore[override]  # its types are wrong: it returns what failed
        """Put back what can be put back. kombu would write the rest into a file that nobody reads."""
        super().restore_unacked()
        return []  # nothing is left over: what is due is hinted again


class Channel(kombu_redis.Channel):
    """A channel that outlives garbage."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.QoS = QoS  # type: ignore[assignment]  # kombu itself puts another class here, likewise

    def _size(self, queue: str) -> int:
        """Ask without a transaction, which a full Redis refuses even where it only reads."""
        with self.conn_or_acquire() as client, client.pipeline(transaction=False) as asked:
            for priority in self.priority_steps:
                asked.llen(self._q_for_pri(queue, priority))  # type: ignore[attr-defined]  # its types leave it out
            return sum(asked.execute())

    def _queue_bind(self, *args: Any) -> None:
        """Write down which exchange leads to the queue. Ours go to the queue itself, so a full Redis may refuse."""
        try:
            super()._queue_bind(*args)  # type: ignore[misc]  # likewise
        except OutOfMemoryError as error:
            log.warning("broker.full", error=str(error), remedy="give Redis more memory, or see what fills it")

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # its types leave out what is not public
        except _OF_GARBAGE as error:
            log.warning("broker.bad_message", error=type(error).__name__, remedy="see who else may write to this Redis")
            raise Empty from None  # as after a wait in vain: the worker waits for the next


class Transport(kombu_redis.Transport):
    """The transport with that channel."""

    Channel = Channel


def install() -> None:
    """Let every Redis URL in this process be reached so."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
