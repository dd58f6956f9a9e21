"""`python -m web`: serve the HTTP API until told to end (SIGTERM, SIGINT), and then finish what is being answered."""

import os
import sys

import uvicorn

from models.errors import ModelsError
from web.app import make_app
from web.desk import Desk
from worker import journal
from worker.errors import WorkerError
from worker.settings import Settings, SettingsError


def main() -> int:
    """Serve. Exit code 1, and one sentence, where settings, vault keys or the database do not allow it."""
    try:
        settings = Settings.read(os.environ)
        journal.set_up(settings)
        desk = Desk.of(settings)
        desk.keyring  # noqa: B018 - no start without the vault's keys
        desk.database.check()
    except (SettingsError, ModelsError, WorkerError) as error:
        sys.stderr.write(f"connection-health web: {error}\n")
        return 1
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(desk),
            host=settings.http_host,
            port=settings.http_port,
            http="httptools",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=settings.http_drain_s,
        )
    )
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
