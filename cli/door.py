"""The way in: a station (database, catalogue, vault) for as long as a command runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from celery import Celery

from cli.errors import CliError
from cli.surroundings import local_home, read_settings, read_settings_offline
from models.errors import DatabaseUnreachableError
from worker import journal
from worker.app import make_app
from worker.station import Station


def offline_station(ctx: typer.Context) -> Station:
    """Return a station for its catalogue and dialects, which need neither database nor Redis."""
    return Station.of(read_settings_offline(ctx))


def hints(at: Station) -> Celery:
    """Return what sends hints to the workers. Connects when the first one is sent."""
    return make_app(at.settings)


class NotUpError(CliError):
    """The settings are those of a local `up`, and it does not run."""


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
            _check(ctx, opened)
        yield opened
    finally:
        opened.close()


def _check(ctx: typer.Context, opened: Station) -> None:
    try:
        opened.control.check()
    except DatabaseUnreachableError as error:
        folder = local_home(ctx)
        if folder is None:
            raise
        raise NotUpError(
            f"nothing is running in {folder}: start it with `connection-health up`, "
            "or set CONNECTION_HEALTH_DATABASE_URL for another database"
        ) from error
