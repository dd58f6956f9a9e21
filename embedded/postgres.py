"""A real PostgreSQL for trying out and for tests, reached over a socket in a folder that only its account may enter."""

import os
import secrets
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql

from embedded import binaries
from embedded.errors import ServerMissingError, VersionMismatchError
from embedded.guard import Order
from embedded.ports import free_port
from embedded.quarters import Quarters, quarters, reachable_copy
from embedded.server import Server

USER: Final = "connection_health"
DATABASE: Final = "connection_health"
_DEFAULT_PORT: Final = 5432
_BUILTIN_LOCALE_SINCE: Final = 17


class Postgres(Server):
    """A PostgreSQL server on a folder.

    port: None for the socket alone, 0 for a free one on 127.0.0.1, where a password is asked (`tcp_url` has it).
    durable: False spares the disk: what was committed survives the death of the server, not that of the machine.
    settings: more of PostgreSQL's own, by name; they win over ours.
    """

    name = "PostgreSQL"

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        socket_dir: Path | None = None,
        durable: bool = True,
        shared_buffers_mb: int = 64,
        max_connections: int = 100,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(data_dir)
        self.durable, self.shared_buffers_mb, self.max_connections = durable, shared_buffers_mb, max_connections
        self._socket_dir, self._more_settings = socket_dir, dict(settings or {})
        self._listens = port is not None
        self.port = free_port() if port == 0 else port or _DEFAULT_PORT
        self._quarters: Quarters | None = None
        self.binaries: binaries.PostgresBinaries | None = None

    @property
    def url(self) -> str:
        """`postgresql://` over the private socket, of the database that is ours."""
        return self.url_of(DATABASE)

    @property
    def tcp_url(self) -> str | None:
        """`postgresql://` over 127.0.0.1 with its password; None where there was no port asked for."""
        if not self._listens:
            return None
        password = quote(self._place().home.joinpath("password").read_text(encoding="utf-8").strip())
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{DATABASE}"

    def url_of(self, database: str) -> str:
        """Return the `postgresql://` address of one database over the private socket."""
        where = urlencode({"host": self._place().socket_dir, "port": self.port}, quote_via=quote, safe="")
        return f"postgresql://{USER}@/{quote(database, safe='')}?{where}"

    def create_database(self, name: str, *, template: str | None = None) -> str:
        """Make a database, empty or as a copy of `template` (to which nobody may be connected); return its address."""
        copy_of = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
        self._administer(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)) + copy_of)
        return self.url_of(name)

    def drop_database(self, name: str) -> None:
        """Remove a database with whoever is connected to it; one that is not there is fine."""
        self._administer(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _administer(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as db:
            db.execute(statement)

    def _place(self) -> Quarters:
        if self._quarters is None:
            socket_name = f".s.PGSQL.{self.port}"
            self._quarters = quarters(self.data_dir, socket_name=socket_name, socket_dir=self._socket_dir)
        return self._quarters

    def _choose_binaries(self, place: Quarters) -> binaries.PostgresBinaries:
        """Return what suits the data that are there, with paths that the server's account can reach."""
        available = binaries.postgres_binaries()
        written = place.data / "PG_VERSION"
        major = int(written.read_text(encoding="ascii")) if written.exists() else None
        suitable = [candidate for candidate in available if major in {None, candidate.major}]
        if major is not None and not suitable:
            raise VersionMismatchError(place.home, major, tuple(candidate.major for candidate in available))
        for candidate in suitable:
            if candidate.root is not None:
                root = reachable_copy(candidate.root, place.account)
                return replace(
                    candidate,
                    initdb=root / candidate.initdb.relative_to(candidate.root),
                    postgres=root / candidate.postgres.relative_to(candidate.root),
                )
            if place.account is None or place.account.may_enter(candidate.postgres.parent):
                return candidate
        unreachable = tuple(f"the server's account may not enter {found.postgres.parent}" for found in suitable)
        raise ServerMissingError(self.name, unreachable, binaries.POSTGRES_REMEDY)

    def _order(self) -> tuple[Quarters, Order]:
        self._quarters = None
        place = self._place()
        chosen = self.binaries = self._choose_binaries(place)
        password = place.home / "password"
        socket_file = place.socket_dir / f".s.PGSQL.{self.port}"
        return place, {
            "owner": os.getpid(),
            "uid": place.account.uid if place.account else None,
            "gid": place.account.gid if place.account else None,
            "lock": str(place.lock),
            "log": str(place.log),
            "folders": [str(place.socket_dir)],
            "files": {},
            "first_files": {str(password): secrets.token_urlsafe(24) + "\n"},
            "data": str(place.data),
            "prepare": self._initdb(chosen, place, password),
            "stale": [str(place.data / "postmaster.pid"), str(socket_file), f"{socket_file}.lock"],
            "pid_file": str(place.data / "postmaster.pid"),
            "command": [str(chosen.postgres), "-D", str(place.data), *self._settings(place)],
            # LC_ALL: on macOS an unset locale makes the C library start a thread, at which the server refuses to run.
            "environment": {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"},
            # SIGINT ends connections and stops in order, SIGQUIT is as after a crash; never SIGKILL first, which
            # would leave the server's children to find out.
            "stop": [(signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0)],
            "quit": [(signal.SIGQUIT, 5.0)],
            "death_signal": signal.SIGQUIT,
        }

    def _initdb(self, chosen: binaries.PostgresBinaries, place: Quarters, password: Path) -> list[str]:
        has_builtin = chosen.major >= _BUILTIN_LOCALE_SINCE
        return [
            str(chosen.initdb),
            f"--pgdata={place.data}.new",
            f"--username={USER}",
            f"--pwfile={password}",
            "--auth-local=trust",  # whoever can enter the socket's folder is its owner, or root
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            *(["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if has_builtin else []),
            *([] if self.durable else ["--no-sync"]),
        ]

    def _settings(self, place: Quarters) -> list[str]:
        folder = str(place.socket_dir).replace('"', '""')
        settings = {
            "listen_addresses": "127.0.0.1" if self._listens else "",
            "port": self.port,
            "unix_socket_directories": f'"{folder}"',
            "unix_socket_permissions": "0700",
            "max_connections": self.max_connections,
            "shared_buffers": f"{self.shared_buffers_mb}MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "logging_collector": "off",
            "max_wal_size": "512MB",
        }
        if not self.durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        if sys.platform == "linux":
            settings["huge_pages"] = "off"
        settings |= self._more_settings
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _is_ready(self, place: Quarters) -> bool:
        # The eighth line of postmaster.pid is the state, as pg_ctl reads it; the first says whose file it is.
        try:
            lines = (place.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(self._pid) and lines[7].strip() == "ready"

    def _once_ready(self) -> None:
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as db:
            if db.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,)).rowcount == 0:
                db.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
