"""Bringing the tables from one revision to another, without a configuration file, one process at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from models.database import OLDEST_SERVER, engine_url, unreachable
from models.errors import SchemaDriftError, ServerTooOldError
from models.tables import metadata

_LOCK: Final = 7_034_612_940_115
"""Key of the advisory lock that every upgrade takes, so that ten workers started at once do not all migrate."""

_FOLDER: Final = Path(__file__).parent / "migrations"


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database up to a revision; does nothing where it is there already.

    Each step is a transaction of its own. Waits for whoever else is migrating, and gives up on a table that is locked
    for longer than a step's lock_timeout, so that it never blocks the work for long: run it again then.
    Raises DatabaseUnreachableError, ServerTooOldError.
    """
    with _alone(url) as connection:
        command.upgrade(_config(connection), revision)


def downgrade(url: str, revision: str) -> None:
    """Bring the database down to a revision (`base`: to nothing). What the dropped tables held is lost."""
    with _alone(url) as connection:
        command.downgrade(_config(connection), revision)


def current(url: str) -> str | None:
    """Return the revision at which the database stands, or None where it holds none of our tables."""
    with _connected(url) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """Return the newest revision that this code brings along."""
    return ScriptDirectory.from_config(_config(None)).get_current_head() or ""


def check(url: str) -> None:
    """Raise SchemaDriftError where the database is not what models/tables.py says."""
    with _connected(url) as connection:
        found = differences(connection)
    if found:
        raise SchemaDriftError(found)


def differences(connection: sa.Connection) -> list[str]:
    """Return what tells the database from models/tables.py, a sentence each. Partitions go with their parents."""
    context = MigrationContext.configure(
        connection,
        opts={"compare_type": True, "compare_server_default": True, "include_object": _is_ours(connection)},
    )
    return [str(difference) for difference in compare_metadata(context, metadata)]


def configure(context: Any) -> None:
    """Set Alembic's environment up: called by migrations/env.py."""
    connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
        include_object=_is_ours(connection) if connection is not None else None,
    )


def _is_ours(connection: sa.Connection) -> Callable[..., bool]:
    partitions = set(connection.scalars(sa.text("SELECT relname FROM pg_class WHERE relispartition")))
    connection.commit()

    def is_ours(_item: object, name: str | None, kind: str, _reflected: object, _counterpart: object) -> bool:
        return not (kind in {"table", "index"} and name in partitions)

    return is_ours


def _config(connection: sa.Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _connected(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(engine_url(url), poolclass=sa.NullPool, connect_args={"connect_timeout": 10})
    try:
        try:
            connection = engine.connect()
        except DBAPIError as error:
            raise unreachable(url, str(error.orig)) from error
        with connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def _alone(url: str) -> Iterator[sa.Connection]:
    with _connected(url) as connection:
        version = int(connection.scalar(sa.text("SHOW server_version_num")) or 0) // 10_000
        if version < OLDEST_SERVER:
            raise ServerTooOldError(version, OLDEST_SERVER)
        # Held by the session: a step's own transaction ends before the next one begins.
        connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        connection.commit()
        try:
            yield connection
        finally:
            connection.rollback()
            connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
            connection.commit()
