"""What a check finds, and what it finds it with."""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import redis
from psycopg import Connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from models import checks
from worker.errors import WorkerError
from worker.settings import Settings
from worker.station import Station

REAP_PATIENCE_S: Final = 15.0
"""Beside a lease: three rounds of a reaper. What stands longer than that is not seen to by anybody."""


class State(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found. remedy: what to do about it, empty where nothing is to be done; values: the figures."""

    state: State
    measured: str
    remedy: str = ""
    values: Mapping[str, object] = field(default_factory=dict)


def ok(measured: str, **values: object) -> Finding:
    """Return that all is well."""
    return Finding(state=State.OK, measured=measured, values=values)


def warning(measured: str, remedy: str, **values: object) -> Finding:
    """Return that somebody should look at it; everything goes on meanwhile."""
    return Finding(state=State.WARNING, measured=measured, remedy=remedy, values=values)


def failed(measured: str, remedy: str, **values: object) -> Finding:
    """Return that something does not work, or soon will not."""
    return Finding(state=State.FAILED, measured=measured, remedy=remedy, values=values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that may be wrong. said: what is added to what was measured; holds: whether it is so."""

    state: State
    holds: bool
    said: str = ""
    remedy: str


def judged(measured: str, values: Mapping[str, object], troubles: Iterable[Trouble]) -> Finding:
    """Return the finding of the first trouble that holds, so the worst comes first; without any, all is well."""
    for trouble in troubles:
        if trouble.holds:
            said = f"{measured}; {trouble.said}" if trouble.said else measured
            return Finding(state=trouble.state, measured=said, remedy=trouble.remedy, values=values)
    return Finding(state=State.OK, measured=measured, values=values)


class UnreadableUrlError(WorkerError):
    """The URL of Redis cannot be read. It is not shown: what cannot be read may be a password."""

    def __str__(self) -> str:
        return "the URL of Redis cannot be read: write special characters of user and password as %40, %2F and the like"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What checks work with. within_s: how long each may take; now_s: this machine's clock, in seconds since 1970."""

    station: Station
    within_s: float = 5.0
    now_s: Callable[[], float] = time.time
    disk_usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.station.settings

    @contextmanager
    def database(self) -> Iterator[Connection[Any]]:
        """Lend a connection of the check's own. Raises DatabaseUnreachableError."""
        with checks.probing(self.settings.database_url.get_secret_value(), within_s=self.within_s) as db:
            yield db

    @contextmanager
    def broker(self) -> Iterator[Any]:
        """Lend a connection to Redis. Raises one of BrokerError with the first command, UnreadableUrlError."""
        try:
            client = redis.Redis.from_url(
                self.settings.redis_client_url,
                retry=Retry(NoBackoff(), 0),
                socket_connect_timeout=self.within_s / 2,
                socket_timeout=self.within_s / 2,
            )
        except ValueError:
            raise UnreadableUrlError from None
        try:
            yield client
        finally:
            client.close()


def counted(number: int, one: str, many: str | None = None) -> str:
    """Say how many there are, of what may be counted up to a limit only: `1 run`, `1,000 or more runs`."""
    more = " or more" if number >= checks.COUNTED else ""
    return f"{number:,}{more} {one if number == 1 else many or one + 's'}"


def lasting(seconds: float) -> str:
    """Write a length of time in its largest unit: `12 s`, `3 min`, `5 h`, `2 days`."""
    for size, unit in ((172_800, "days"), (5_400, "h"), (90, "min")):
        if seconds >= size:
            return f"{seconds / {'days': 86_400, 'h': 3_600, 'min': 60}[unit]:.0f} {unit}"
    return f"{seconds:.0f} s"


def sized(size_bytes: float) -> str:
    """Write a size: `312 MB`, `4.2 GB`."""
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes / 1e3:.0f} kB"
