"""The door of `celery -A worker …`: reads the settings and makes the application."""

import os
import sys

from worker import loading
from worker.app import asks_for_prefork, make_app, use_prefork
from worker.settings import Settings, SettingsError

try:
    settings = Settings.read(os.environ)
    app = make_app(settings)
except SettingsError as error:
    sys.stderr.write(f"{error}\n")
    raise SystemExit(2) from None
if asks_for_prefork(sys.argv):
    use_prefork(app, settings)
loading.end()
