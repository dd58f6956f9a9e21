"""`python -m web`: serve the HTTP API until told to end (SIGTERM, SIGINT), and then finish what is being answered."""

import os
import sys
import threading

from models.errors import ModelsError
from web.api.connectors import usable
from web.desk import Desk
from web.server import make_server
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
    # Whoever asks first for the vendors would wait until some thirty files were read.
    threading.Thread(target=usable, args=(desk.station.catalogue,), name="catalogue", daemon=True).start()
    make_server(desk).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
