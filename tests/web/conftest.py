"""The HTTP door as it is served: a real server on loopback over a real database, and simulated vendors.

The server is started once for each process of the tests, over a database of its own; a test makes organizations of its
own in it, so none sees another's.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from uuid import UUID

import httpx
import pytest
import redis

from embedded.postgres import Postgres
from embedded.redis import Redis
from models import api_keys, connections, runs
from models.database import Database
from models.vault import generate_key
from models.vocabulary import Scope
from simulator.server import Simulator
from tests.system.stack import ROOT
from web.desk import Desk
from web.server import Server, make_server
from worker.run import execute
from worker.settings import Settings
from worker.station import Station

PATIENCE_S: Final = 60.0
ORGANIZATIONS: Final = "/v1/provisioning/organizations"


@dataclass(kw_only=True)
class Door:
    """The running door. station: a worker's tools over the same database."""

    url: str
    desk: Desk
    station: Station
    simulator: Simulator
    account_key: str

    @cached_property
    def account_client(self) -> httpx.Client:
        """Of a key that sees and may do everything; closed at the end."""
        return self.client(self.account_key)

    @property
    def database(self) -> Database:
        return self.desk.database

    def key(self, scope: Scope = Scope.ADMIN, organization_id: UUID | str | None = None, **more: Any) -> str:
        """Return a new key's text."""
        of = None if organization_id is None else UUID(str(organization_id))
        with self.database.transaction() as db:
            return api_keys.create_key(db, name="test", scope=scope, organization_id=of, created_by="command", **more)[
                1
            ]

    def client(self, key: str | None = None, **headers: str) -> httpx.Client:
        given = {} if key is None else {"x-api-key": key}
        return httpx.Client(base_url=self.url, headers={**given, **headers}, timeout=PATIENCE_S)

    def work(self, connection_id: str) -> None:
        """Run the connection once, here and now, as a worker would."""
        self.station.lease.renew(self.station.control)  # nothing else does, and tests before may have taken long
        with self.station.database.transaction() as db:
            run = runs.claim(db, UUID(connection_id), worker_id=self.station.lease.worker_id, due_only=False)
        assert run is not None
        execute(self.station, run)


class House:
    """One organization, and a client that sees it with a key of the whole account."""

    def __init__(self, door: Door, name: str = "Umbra") -> None:
        self.door = door
        with door.database.transaction() as db:
            self.organization_id = str(connections.create_organization(db, name).organization_id)
        self.client = door.account_client
        self.path = f"{ORGANIZATIONS}/{self.organization_id}"

    def credentials(self, vendor: str = "acme_idp", account: str = "north") -> dict[str, str]:
        found = self.door.simulator.world.act(vendor, account, "credentials", {})["credentials"]
        assert isinstance(found, dict)
        return found

    def body(self, vendor: str = "acme_idp", account: str = "north", **more: Any) -> dict[str, Any]:
        return {
            "vendor": vendor,
            "credentials": self.credentials(vendor, account),
            "options": {"port": self.door.simulator.port},
            **more,
        }

    def connect(self, vendor: str = "acme_idp", account: str = "north", **more: Any) -> dict[str, Any]:
        """Create a connection over HTTP."""
        made = self.client.post(f"{self.path}/connections", json=self.body(vendor, account, **more))
        assert made.status_code == 200, made.text
        return dict(made.json())

    def of(self, connection_id: str, rest: str = "") -> str:
        return f"{self.path}/connections/{connection_id}{rest}"


@pytest.fixture(scope="session")
def web_settings(postgres_server: Postgres, migrated_template: str, redis_server: Redis) -> Callable[..., Settings]:
    """Make settings over databases that tests of this door share, with others laid over them."""
    database_url = postgres_server.create_database("web", template=migrated_template)
    redis_url = redis_server.url.replace("?db=0", "?db=15")
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    vault_keys = generate_key()

    def made(**others: Any) -> Settings:
        return Settings.read(
            {},
            **{
                "database_url": database_url,
                "redis_url": redis_url,
                "vault_keys": vault_keys,
                "vendors_dir": ROOT / "simulator" / "definitions",
                "allow_loopback_vendors": True,
                "http_port": 0,
                "http_requests_per_minute": 1_000_000,
                "http_slow_after_s": 30.0,
                "lease_s": 600.0,  # a run in a test is never late
                **others,
            },
        )

    return made


@pytest.fixture(scope="session")
def simulated() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture(scope="session")
def serve(web_settings: Callable[..., Settings]) -> Iterator[Callable[..., tuple[Server, Desk]]]:
    """Start a server with settings of its own; all end with the tests."""
    running: list[tuple[Server, threading.Thread]] = []

    def start(**others: Any) -> tuple[Server, Desk]:
        desk = Desk.of(web_settings(**others))
        server = make_server(desk)
        ready = threading.Event()

        async def announced(sockets: Any = None) -> None:
            await started(sockets)
            ready.set()

        started = server.startup
        server.startup = announced  # type: ignore[method-assign]  # to be told, and not to look again and again
        thread = threading.Thread(target=server.run, name="web", daemon=True)
        thread.start()
        assert ready.wait(PATIENCE_S)
        running.append((server, thread))
        return server, desk

    yield start
    for server, _ in running:
        server.should_exit = True
    for _, thread in running:
        thread.join(PATIENCE_S)


@pytest.fixture(scope="session")
def door(
    serve: Callable[..., tuple[Server, Desk]], web_settings: Callable[..., Settings], simulated: Simulator
) -> Iterator[Door]:
    server, desk = serve()
    station = Station.of(web_settings())
    station.lease.acquire(station.control)
    made = Door(url=f"http://127.0.0.1:{server.port}", desk=desk, station=station, simulator=simulated, account_key="")
    made.account_key = made.key()
    yield made
    made.account_client.close()
    station.lease.give_back(station.control)
    station.close()


@pytest.fixture
def house(door: Door) -> House:
    return House(door)
