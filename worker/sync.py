"""Ask for a run now: the trigger is stored first, in PostgreSQL; the hint after it only spares the wait."""

from uuid import UUID

import structlog
from celery import Celery

from models import runs
from models.database import Database
from models.vocabulary import Trigger
from worker.hints import BrokerError, Hints

log = structlog.get_logger()


def request_sync(database: Database, app: Celery, connection_id: UUID, trigger: Trigger) -> bool:
    """Let the connection run as soon as a worker is free, or once more after the run it is in.

    False: no such active connection. With Redis away the run happens all the same, a dispatcher's round later.
    """
    with database.transaction() as db:
        if not runs.trigger(db, connection_id, trigger):
            return False
    wake(app, connection_id)
    return True


def wake(app: Celery, connection_id: UUID) -> None:
    """Send one hint for a connection whose trigger is committed. Never raises for a Redis that is away."""
    hints = Hints(app)
    try:
        hints.send([connection_id])
    except BrokerError as error:
        log.warning("sync.hint_not_sent", connection_id=str(connection_id), error=str(error))
    finally:
        hints.close()
