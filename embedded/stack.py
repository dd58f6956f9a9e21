"""Both servers at once."""

from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from embedded.postgres import Postgres
from embedded.redis import Redis


class Stack:
    """PostgreSQL and Redis below one folder. A context manager: entering starts both, leaving stops both.

    ports: whether they listen on 127.0.0.1 too, each on a free port.
    """

    def __init__(self, directory: Path, *, ports: bool = False, durable: bool = True) -> None:
        port = 0 if ports else None
        self.directory = directory
        self.postgres = Postgres(directory / "postgres", port=port, durable=durable)
        self.redis = Redis(directory / "redis", port=port)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether both run."""
        return self.postgres.alive and self.redis.alive

    def start(self) -> None:
        """Start both, or none. Raises an EmbeddedError."""
        with ExitStack() as undo:
            for server in (self.postgres, self.redis):
                undo.callback(server.stop)
                server.start()
            undo.pop_all()

    def stop(self) -> None:
        """Stop both; the data stay."""
        try:
            self.redis.stop()
        finally:
            self.postgres.stop()

    def remove(self) -> None:
        """Stop both and remove all that they left, wherever it lies."""
        self.redis.remove()
        self.postgres.remove()
        with suppress(OSError):  # not there, or it holds other things too
            self.directory.rmdir()
