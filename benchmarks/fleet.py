"""Real servers, a local vendor and any number of connections to it: what the benchmarks of the whole run over."""

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from psycopg import Connection

from embedded.stack import Stack
from models import connections, migrate, vault
from models.database import Database, row
from models.vault import Keyring

DEFINITIONS = Path(__file__).parent.parent / "simulator" / "definitions"


class Fleet:
    """Embedded PostgreSQL and Redis, and the simulator in a process of its own."""

    def __init__(self, folder: Path, concurrency: int = 64) -> None:
        self._stack = Stack(folder)
        self._key = vault.generate_key()
        self._folder = folder
        self._concurrency = concurrency
        self._simulator: subprocess.Popen[str] | None = None
        self.vendor_url = ""
        self.organization_id: UUID

    def __enter__(self) -> Self:
        self._stack.start()
        migrate.upgrade(self._stack.postgres.url)
        self.database = Database(self._stack.postgres.url)
        self._simulator = subprocess.Popen(
            [sys.executable, "-m", "cli.child", str(os.getpid()), "simulator"],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ,
        )
        assert self._simulator.stdout is not None
        self.vendor_url = self._simulator.stdout.readline().split()[-1]
        with self.database.transaction() as db:
            self.organization_id = connections.create_organization(db, "benchmark").organization_id
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.database.close()
        if self._simulator is not None:
            self._simulator.terminate()
            self._simulator.wait(30)
        self._stack.stop()

    @property
    def environ(self) -> dict[str, str]:
        """What a worker needs."""
        return {
            "CONNECTION_HEALTH_DATABASE_URL": self._stack.postgres.url,
            "CONNECTION_HEALTH_REDIS_URL": self._stack.redis.url,
            "CONNECTION_HEALTH_VAULT_KEYS": self._key,
            "CONNECTION_HEALTH_ALLOW_LOOPBACK_VENDORS": "true",
            "CONNECTION_HEALTH_VENDORS_DIR": str(DEFINITIONS),
            "CONNECTION_HEALTH_CONCURRENCY": str(self._concurrency),
            "CONNECTION_HEALTH_LOG_LEVEL": "WARNING",
            "LOG_DIR": str(self._folder),
        }

    @property
    def redis_url(self) -> str:
        """For redis-py."""
        return self._stack.redis.url

    @property
    def broker_url(self) -> str:
        """For Celery."""
        return self._stack.redis.broker_url

    @property
    def redis_pid(self) -> int:
        """The server's process."""
        return self._stack.redis.pid

    @property
    def postgres_pid(self) -> int:
        """The postmaster."""
        return self._stack.postgres.pid

    @property
    def vendor_pid(self) -> int:
        """The local vendor's process."""
        assert self._simulator is not None
        return self._simulator.pid

    def add_connections(self, count: int, *, interval_s: int, timeout_s: int = 60, **options: object) -> list[UUID]:
        """Make connections to the plain vendor, each with credentials of its own."""
        keyring = Keyring.parse(self._key)
        port = int(self.vendor_url.rsplit(":", 1)[1])

        def add(db: Connection[Any], n: int) -> UUID:
            return connections.create_connection(
                db,
                keyring,
                organization_id=self.organization_id,
                vendor="plain",
                credentials={"token": f"secret-of-{n:08d}"},
                options={"port": port, **options},
                identifier=f"bench-{n}",
                refresh_interval_secs=interval_s,
                timeout_secs=timeout_s,
            ).connection_id

        made: list[UUID] = []
        for start in range(0, count, 500):
            with self.database.transaction() as db:
                made.extend(add(db, n) for n in range(start, min(start + 500, count)))
        return made

    def finished(self) -> int:
        """Return how many runs have ended."""
        return int(self._one(b"SELECT count(*) FROM run_history"))

    def is_idle(self) -> bool:
        """Say whether nothing runs and nothing is due. Costs next to nothing: it is asked while others are measured."""
        return not self._one(
            b"SELECT EXISTS (SELECT FROM run) OR EXISTS (SELECT FROM connection_sched s "
            b"JOIN vendor_limit USING (vendor) WHERE s.enabled AND s.next_due_at <= now() + interval '3 s')"
        )

    def make_due(self, in_s: float = 0.0) -> None:
        """Make every connection due in so many seconds (2 at most), as its slot would."""
        with self.database.transaction() as db:
            db.execute(
                "UPDATE connection_sched SET next_due_at = now() + make_interval(secs => %(in_s)s), hinted_at = NULL, "
                "slot_at = now() + make_interval(secs => %(in_s)s)",
                {"in_s": in_s},
            )

    def _one(self, statement: bytes) -> Any:
        with self.database.connection() as db:
            found = row(db, statement)
        assert found is not None
        return found[0]
