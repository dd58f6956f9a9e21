"""The door of `celery -A worker …`: reads the settings and makes the application."""

import os
import sys
from collections.abc import Sequence

from worker.app import make_app
from worker.settings import Settings, SettingsError


def asks_for_prefork(arguments: Sequence[str]) -> bool:
    """Say whether a command line asks for the prefork pool.

    Celery takes `--pool prefork` for its own default and lets the application's setting win over it: who asked for
    processes would get threads, and not be told.
    """
    return any(
        argument in {"--pool=prefork", "-Pprefork"} or pair in {("--pool", "prefork"), ("-P", "prefork")}
        for argument, pair in zip(arguments, zip(arguments, [*arguments[1:], ""], strict=True), strict=True)
    )


try:
    app = make_app(Settings.read(os.environ))
except SettingsError as error:
    sys.stderr.write(f"{error}\n")
    raise SystemExit(2) from None
if asks_for_prefork(sys.argv):
    app.conf.worker_pool = "prefork"
