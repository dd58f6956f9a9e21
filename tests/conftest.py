"""What all tests share: real servers, a migrated database, and no way out of this machine.

A test that takes `db` works in a transaction that is rolled back. One that commits, or needs several connections,
takes `fresh_database_url`: a copy of its own of the migrated database. `redis_url` and `broker_url` name a Redis
that was emptied before the test.
"""

import ipaddress
import itertools
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import psycopg
import pytest
import redis

from embedded import binaries
from embedded.errors import ServerMissingError
from embedded.postgres import Postgres
from embedded.redis import Redis

_TEMPLATE: Final = "migrated"
_OF_SERVERS: Final = frozenset({"postgres_server", "redis_server"})
_NUMBERS: Final = itertools.count(1)


class WayOutError(Exception):
    """A test tried to reach another machine. Not an OSError, so that no code under test takes it for a bad network."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server, so that `-m "not service"` runs where there is none."""
    for item in items:
        if _OF_SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("service")


@pytest.fixture(scope="session")
def server_dir() -> Iterator[Path]:
    """A short folder that the servers' account can pass through; pytest's own are closed to it."""
    folder = Path(tempfile.mkdtemp(prefix="ch-tests-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server(server_dir: Path) -> Iterator[Postgres]:
    """One PostgreSQL for each process of the tests. It spares the disk."""
    try:
        binaries.postgres_binaries()
    except ServerMissingError as error:
        _skip_or_fail(error)
    with Postgres(server_dir / "postgres", durable=False, shared_buffers_mb=128) as server:
        yield server


@pytest.fixture(scope="session")
def migrated_template(postgres_server: Postgres) -> str:
    """The name of a database with all migrations, to be copied: nobody may be connected to it."""
    from models import migrate

    migrate.upgrade(postgres_server.create_database(_TEMPLATE))
    return _TEMPLATE


@pytest.fixture(scope="session")
def database_url(postgres_server: Postgres, migrated_template: str) -> str:
    """A migrated database for tests that leave nothing behind."""
    return postgres_server.create_database("shared", template=migrated_template)


@pytest.fixture
def fresh_database_url(postgres_server: Postgres, migrated_template: str) -> Iterator[str]:
    """A migrated database of the test's own, for tests that commit."""
    name = f"fresh_{next(_NUMBERS)}"
    yield postgres_server.create_database(name, template=migrated_template)
    postgres_server.drop_database(name)


@pytest.fixture
def empty_database_url(postgres_server: Postgres) -> Iterator[str]:
    """A database of the test's own without a single table, for tests of the migrations themselves."""
    name = f"empty_{next(_NUMBERS)}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)


@pytest.fixture
def db(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection inside a transaction that is rolled back after the test."""
    with psycopg.connect(database_url) as connection:
        yield connection
        connection.rollback()


@pytest.fixture(scope="session")
def redis_server(server_dir: Path) -> Iterator[Redis]:
    """One Redis for each process of the tests. A real one: what passes over an imitation proves nothing."""
    try:
        binaries.redis_binary()
    except ServerMissingError as error:
        _skip_or_fail(error)
    with Redis(server_dir / "redis") as server:
        yield server


@pytest.fixture
def redis_url(redis_server: Redis) -> str:
    """An empty Redis, as redis-py takes it."""
    redis_server.start()  # a fault test may have left it dead
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def broker_url(redis_server: Redis, redis_url: str) -> str:
    """The same empty Redis, as Celery takes it."""
    return redis_server.broker_url


@pytest.fixture(autouse=True)
def _no_way_out(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    tried: list[str] = []
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name), tried))
    yield
    # Told again here, for code that turns every exception into a record.
    assert not tried, f"the test tried to reach {', '.join(tried)}"


def _guarded(original: Any, tried: list[str]) -> Any:
    def connect(self: socket.socket, address: Any) -> Any:
        if self.family in {socket.AF_INET, socket.AF_INET6} and not _is_loopback(address[0]):
            tried.append(f"{address[0]}:{address[1]}")
            raise WayOutError(tried[-1])
        return original(self, address)

    return connect


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _skip_or_fail(error: ServerMissingError) -> NoReturn:
    # A machine without servers may run the rest; where all must run (CI), a skipped test would be a silent one.
    if os.environ.get("TESTS_NEED_SERVERS"):
        pytest.fail(str(error))
    pytest.skip(str(error))
