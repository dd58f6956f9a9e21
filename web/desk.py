"""What the handlers work with: one process's tools, opened at its start and closed at its end."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Final
from uuid import UUID

from celery import Celery

from models.api_keys import ApiKey
from models.database import Database
from models.reading import Reading
from models.vault import Keyring
from worker.app import make_app
from worker.settings import Settings
from worker.station import Station
from worker.sync import wake

KNOWN_FOR_S: Final = 1.0
NAMED_FOR_S: Final = 60.0
MOST_KNOWN: Final = 10_000


class KnownKeys:
    """API keys as they were found within the last KNOWN_FOR_S seconds, by their text: so long a revoked one may open.

    now_s: a monotonic clock. Each call is one step of a dict, so threads need no lock.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._found: dict[str, tuple[float, ApiKey]] = {}

    def get(self, text: str) -> ApiKey | None:
        """Return a key that was found a moment ago, and has not expired since."""
        known = self._found.get(text)
        if known is None or self._now_s() >= known[0]:
            return None
        expires_at = known[1].expires_at
        return None if expires_at is not None and expires_at <= datetime.now(UTC) else known[1]

    def put(self, text: str, key: ApiKey) -> None:
        """Remember a key that was just found."""
        if len(self._found) >= MOST_KNOWN:
            self._found.clear()
        self._found[text] = (self._now_s() + KNOWN_FOR_S, key)

    def forget(self) -> None:
        """Know none: one was revoked here, which shows at once."""
        self._found.clear()


class KnownNames:
    """Names of organizations by their ids, of which lists are full. now_s: a monotonic clock.

    Names do not change; all are forgotten after NAMED_FOR_S all the same, should somebody have changed one by hand.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._found: dict[str, str] = {}
        self._until_s = 0.0

    def known(self) -> dict[str, str]:
        """Return those that are known: to be added to, and not to be kept."""
        if self._now_s() >= self._until_s or len(self._found) >= MOST_KNOWN:
            self._found, self._until_s = {}, self._now_s() + NAMED_FOR_S
        return self._found


class Quotas:
    """What is left to each key of its requests a minute, as of when this process last took some of them."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[tuple[bytes, bytes], ...]] = {}

    def headers_of(self, scope_key: str) -> tuple[tuple[bytes, bytes], ...]:
        """Return the headers that tell it (the IETF's draft RateLimit header fields); none before the first taking."""
        return self._told.get(scope_key, ())

    def put(self, scope_key: str, *, per_minute: int, left: int) -> None:
        """Remember it."""
        if len(self._told) >= MOST_KNOWN:
            self._told.clear()
        self._told[scope_key] = quota_headers(per_minute=per_minute, left=left)


def quota_headers(*, per_minute: int, left: int, after_s: int | None = None) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers of a limit. after_s: when there will be more, where nothing is left."""
    again = "" if after_s is None else f";t={after_s}"
    return (
        (b"ratelimit-policy", f'"key";q={per_minute};w=60'.encode()),
        (b"ratelimit", f'"key";r={max(0, left)}{again}'.encode()),
    )


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

    @cached_property
    def reading(self) -> Reading:
        """For lists, on the event loop."""
        return Reading(
            self.settings.database_url.get_secret_value(),
            max_size=self.settings.database_pool,
            application_name="connection-health web lists",
        )

    @cached_property
    def known_keys(self) -> KnownKeys:
        """Keys that were looked up a moment ago."""
        return KnownKeys()

    @cached_property
    def known_names(self) -> KnownNames:
        """Names of organizations."""
        return KnownNames()

    @cached_property
    def quotas(self) -> Quotas:
        """What is left to each key."""
        return Quotas()

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

    async def end(self) -> None:
        """Close what was opened, on the event loop that it was opened on."""
        if "reading" in self.__dict__:
            await self.reading.close()
        self.close()

    def close(self) -> None:
        """Close what was opened, but what belongs to an event loop."""
        opened: Mapping[str, object] = self.__dict__
        if "database" in opened:
            self.database.close()
        self.station.close()
