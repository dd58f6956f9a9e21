"""Whether a secret got out of the vault: every table, every command that Redis saw, every log, in every encoding."""

import base64
import html
import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, quote_plus

import psycopg
import redis

SHORTEST: Final = 8
"""Shorter secrets would be found by chance."""

_SEALED: Final = ("credential", "sealed")
_STOP: Final = "connection-health-tests-stop-listening"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """One place where a secret stands. secret: what it is, not the secret itself."""

    secret: str
    form: str
    place: str


def forms(secret: str) -> Iterator[tuple[str, bytes]]:
    """Yield the ways in which a text that holds the secret may spell it, each with its name."""
    raw = secret.encode()
    yield "raw", raw
    yield "URL", quote(secret, safe="").encode()
    yield "form", quote_plus(secret).encode()
    yield "JSON", json.dumps(secret)[1:-1].encode()
    yield "HTML", html.escape(secret).encode()
    yield "hex", raw.hex().encode()
    yield "HEX", raw.hex().upper().encode()
    yield "UTF-16", secret.encode("utf-16-le")
    for offset in range(3):  # base64 spells the same bytes in three ways, by where they stand
        first, last = -(-offset * 8 // 6), (offset + len(raw)) * 8 // 6
        packed = base64.b64encode(b"\0" * offset + raw)[first:last]
        yield f"base64, offset {offset}", packed
        yield f"base64url, offset {offset}", packed.translate(bytes.maketrans(b"+/", b"-_"))


class RedisTap:
    """Hears every command that a Redis gets. A context manager: entering listens, leaving stops."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._heard: list[str] = []
        self._listens = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="redis tap", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listens.wait(30), "Redis does not let anybody listen"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with redis.Redis.from_url(self._url) as client:
            client.echo(_STOP)
        self._thread.join(30)

    @property
    def heard(self) -> bytes:
        return "\n".join(self._heard).encode()

    def _listen(self) -> None:
        # Without a time limit: where nobody speaks for a while, there is nothing to hear.
        with redis.Redis.from_url(self._url, socket_timeout=None) as client, client.monitor() as monitor:
            self._listens.set()
            for said in monitor.listen():
                self._heard.append(str(said["command"]))
                if _STOP in self._heard[-1]:
                    return


@dataclass(kw_only=True)
class Hunt:
    """Where to look. secrets: what each is -> the secret."""

    database_url: str
    tap: RedisTap
    folder: Path
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    def add(self, **secrets: str) -> None:
        """Look for these, too; each under the name of what it is, numbered where there are several."""
        for name, secret in secrets.items():
            assert len(secret) >= SHORTEST, f"{name} is too short to be looked for"
            if secret not in self.secrets.values():
                self.secrets[f"{name} {len(self.secrets) + 1}"] = secret

    def leaks(self, *, is_quiet: bool = False) -> list[Leak]:
        """Return every place where a secret stands outside the vault's sealed column.

        is_quiet: there may be nothing to look at; else that fails, as it would prove nothing.
        """
        places = [*_tables(self.database_url), ("Redis", self.tap.heard), *_files(self.folder)]
        looked_at = {name for name, content in places if content}
        assert is_quiet or {"Redis", "table run_history", "log worker-1.log"} <= looked_at, looked_at
        return list(found_in(places, self.secrets.items()))


def found_in(places: Iterable[tuple[str, bytes]], secrets: Iterable[tuple[str, str]]) -> Iterator[Leak]:
    """Yield each place and form in which one of the secrets stands."""
    spelled = [(name, form, probe) for name, secret in secrets for form, probe in dict(forms(secret)).items()]
    for place, content in places:
        for name, form, probe in spelled:
            if probe in content:
                yield Leak(secret=name, form=form, place=place)


def _tables(database_url: str) -> Iterator[tuple[str, bytes]]:
    with psycopg.connect(database_url) as db:
        columns: dict[str, list[str]] = {}
        for table, column in db.execute(
            "SELECT c.table_name, c.column_name FROM information_schema.columns c JOIN pg_class p"
            " ON p.relname = c.table_name AND NOT p.relispartition AND p.relkind IN ('r', 'p')"
            " WHERE c.table_schema = 'public' ORDER BY c.table_name, c.ordinal_position"
        ):
            if (table, column) != _SEALED:
                columns.setdefault(table, []).append(column)
        for table, names in columns.items():
            yield f"table {table}", _copied(db, table, names)


def _copied(db: psycopg.Connection[Any], table: str, names: list[str]) -> bytes:
    listed = ", ".join(f'"{name}"' for name in names)
    with db.cursor().copy(f'COPY (SELECT {listed} FROM "{table}") TO STDOUT'.encode()) as rows:  # noqa: S608 - names from the catalogue
        return b"".join(bytes(row) for row in rows)


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.glob("*.log")):
        yield f"log {path.name}", path.read_bytes()


@contextmanager
def hunting(database_url: str, redis_url: str, folder: Path) -> Iterator[Hunt]:
    """Listen to Redis for the time of the block; at any time in it, ask for leaks."""
    with RedisTap(redis_url) as tap:
        yield Hunt(database_url=database_url, tap=tap, folder=folder)
