"""The door of `celery -A worker …`: reads the settings and makes the application."""

import os
import sys

from worker.app import asks_for_prefork, make_app
from worker.settings import Settings, SettingsError

try:
    app = make_app(Settings.read(os.environ))
except SettingsError as error:
    sys.stderr.write(f"{error}\n")
    raise SystemExit(2) from None
if asks_for_prefork(sys.argv):
    app.conf.worker_pool = "prefork"
