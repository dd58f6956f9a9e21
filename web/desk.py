"""What the handlers work with: one process's tools, opened at its start and closed at its end."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from celery import Celery

from models.database import Database
from models.vault import Keyring
from worker.app import make_app
from worker.settings import Settings
from worker.station import Station
from worker.sync import wake


@dataclass(kw_only=True)
class Desk:
    """One HTTP process's tools. Nothing here connects before it is used."""

    settings: Settings
    station: Station

    @classmethod
    def of(cls, settings: Settings) -> "Desk":
        """Return a desk for these settings. Connects to nothing."""
        return cls(settings=settings, station=Station.of(settings))

    @cached_property
    def database(self) -> Database:
        """For requests: what a person waits for is never behind runs."""
        return Database(
            self.settings.database_url.get_secret_value(),
            max_size=self.settings.database_pool,
            application_name="connection-health web",
            by_index=True,
        )

    @property
    def keyring(self) -> Keyring:
        """The vault's keys."""
        return self.station.keyring

    @cached_property
    def hints(self) -> Celery:
        """What sends hints to the workers."""
        return make_app(self.settings)

    def wake(self, connection_id: UUID) -> None:
        """Let a worker know that a connection is due. Never raises: without Redis it runs a moment later."""
        wake(self.hints, connection_id)

    def close(self) -> None:
        """Close what was opened."""
        opened: Mapping[str, object] = self.__dict__
        if "database" in opened:
            self.database.close()
        self.station.close()
