"""The way in: settings read once, and a station (database, catalogue, vault) for as long as a command runs."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import typer
from celery import Celery

from worker import journal
from worker.app import make_app
from worker.settings import PREFIX, Settings, merged
from worker.station import Station

HOME: Final = PREFIX + "HOME"
_CONFIG: Final = PREFIX + "CONFIG"
_SAY_WHERE: Final = tuple(PREFIX + name for name in ("DATABASE_URL", "DATABASE_URL_FILE", "CONFIG"))
CONFIG_FILE: Final = "config.toml"
KEYS_FILE: Final = "vault.keys"


def home(environ: Mapping[str, str]) -> Path:
    """Return the folder in which `connection-health up` keeps what it keeps."""
    if named := environ.get(HOME):
        return Path(named).expanduser()
    data = environ.get("XDG_DATA_HOME") or "~/.local/share"
    return (Path(data) / "connection-health").expanduser()


def environment(ctx: typer.Context) -> dict[str, str]:
    """Return the environment with the file that --config names, or with that of a local `up` where nothing is said."""
    environ = dict(os.environ)
    config: Path | None = (ctx.find_root().obj or {}).get("config")
    if config is not None:
        environ[_CONFIG] = str(config)
    elif not any(environ.get(name) for name in _SAY_WHERE):
        folder = home(environ)
        if (folder / CONFIG_FILE).is_file():
            environ[_CONFIG] = str(folder / CONFIG_FILE)
            if f"{PREFIX}VAULT_KEYS" not in environ:
                environ.setdefault(f"{PREFIX}VAULT_KEYS_FILE", str(folder / KEYS_FILE))
    return environ


def read_settings(ctx: typer.Context) -> Settings:
    """Return the settings in force. Raises SettingsError."""
    return Settings.read(environment(ctx))


def read_settings_offline(ctx: typer.Context) -> Settings:
    """Return the settings for commands that reach neither database nor Redis; those two may be missing."""
    found = {name: value for name, (value, _origin) in merged(environment(ctx), {}).items()}
    unreachable = {"database_url": "postgresql://nowhere", "redis_url": "redis://nowhere"}
    return Settings.read({}, **{**unreachable, **found})


def offline_station(ctx: typer.Context) -> Station:
    """Return a station for its catalogue and dialects, which need neither database nor Redis."""
    return Station.of(read_settings_offline(ctx))


def hints(at: Station) -> Celery:
    """Return what sends hints to the workers. Connects when the first one is sent."""
    return make_app(at.settings)


@contextmanager
def station(ctx: typer.Context, *, checked: bool = True) -> Iterator[Station]:
    """Lend a station, closed at the end. checked: the database must be there and its tables those of this version.

    Raises SettingsError, DatabaseUnreachableError, SchemaMissingError, SchemaOutdatedError.
    """
    settings = read_settings(ctx)
    # Standard output is for results; what the layers below have to say goes to standard error, and only if it matters.
    journal.set_up(settings.model_copy(update={"log_level": "WARNING", "log_format": "console"}))
    opened = Station.of(settings)
    try:
        if checked:
            opened.control.check()
        yield opened
    finally:
        opened.close()
