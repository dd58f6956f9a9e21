"""One server process as its owner sees it: start, stop, kill. What it is made of is in guard.py."""

import json
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from embedded import guard, quarters
from embedded.errors import DirectoryBusyError, NotRunningError, ServerFailedError
from embedded.quarters import Quarters

_GUARD: Final = Path(guard.__file__)
_LOOK_AGAIN_S: Final = 0.01
_LOG_LIMIT_BYTES: Final = 10_000_000


class Server(ABC):
    """A server that lives as long as its owner lets it, and never longer than its owner.

    A context manager: entering starts it, leaving stops it. Its data stay in the folder.
    """

    name: str
    start_within_s = 60.0

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._guard: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of the server itself; NotRunningError where it is not running."""
        if self._pid is None or not self.alive:
            raise NotRunningError(self.name)
        return self._pid

    @property
    def alive(self) -> bool:
        """Whether the server runs. False too where it ended on its own."""
        return self._guard is not None and self._guard.poll() is None

    def start(self) -> None:
        """Start, and return once it answers; nothing happens where it runs. Raises an EmbeddedError."""
        if self.alive:
            return
        self.stop()
        place, order = self._order()
        _shorten(place.log)
        # -I and -S: the guard needs the standard library alone, and starts in a few milliseconds.
        command = [sys.executable, "-I", "-S", os.fspath(_GUARD)]
        self._guard = subprocess.Popen(  # noqa: S603 -- our own program
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, cwd="/"
        )
        try:
            _pipe(self._guard.stdin).write(json.dumps(order).encode() + b"\n")
            _pipe(self._guard.stdin).flush()
            self._pid = self._announced_pid(place)
            self._await_ready(place)
            self._once_ready()
        except BaseException:
            self.stop(immediate=True)
            raise

    def stop(self, *, immediate: bool = False) -> None:
        """Stop, and return once no process of it is left; nothing happens where it does not run.

        immediate: as after a power failure, without a checkpoint; what was committed is there after the next start.
        """
        self._command(b"quit\n" if immediate else b"stop\n")
        self._reap()

    def restart(self, *, immediate: bool = False) -> None:
        """Stop and start; the addresses stay the same."""
        self.stop(immediate=immediate)
        self.start()

    def kill(self) -> None:
        """Kill -9 the server, and return once no process of it is left. For fault drills."""
        os.kill(self.pid, signal.SIGKILL)
        self._reap()

    def remove(self) -> None:
        """Stop, and remove all that it left, wherever it lies."""
        self.stop()
        quarters.remove(self.data_dir)

    @abstractmethod
    def _order(self) -> tuple[Quarters, guard.Order]:
        """Make the folders and say what to start."""

    @abstractmethod
    def _is_ready(self, place: Quarters) -> bool:
        """Tell whether it answers."""

    def _once_ready(self) -> None:  # noqa: B027 -- most servers have nothing more to do
        """Do what a first start leaves to do."""

    def _announced_pid(self, place: Quarters) -> int:
        running = self._running_guard()
        told = json.loads(_pipe(running.stdout).readline() or b'{"error": "its guard died", "busy": false}')
        if "pid" in told:
            return int(told["pid"])
        if told["busy"]:
            holder = told["error"]
            raise DirectoryBusyError(place.home, int(holder) if holder.isdecimal() else None)
        raise ServerFailedError(self.name, told["error"], _tail(place.log))

    def _await_ready(self, place: Quarters) -> None:
        give_up_at = time.monotonic() + self.start_within_s
        while not self._is_ready(place):
            if not self.alive:
                raise ServerFailedError(self.name, "it ended", _tail(place.log))
            if time.monotonic() > give_up_at:
                problem = f"it was not ready within {self.start_within_s:g} s"
                raise ServerFailedError(self.name, problem, _tail(place.log))
            time.sleep(_LOOK_AGAIN_S)

    def _running_guard(self) -> subprocess.Popen[bytes]:
        if self._guard is None:
            raise NotRunningError(self.name)
        return self._guard

    def _command(self, word: bytes) -> None:
        if self._guard is None:
            return
        try:
            _pipe(self._guard.stdin).write(word)
            _pipe(self._guard.stdin).close()
        except (BrokenPipeError, ValueError):
            return  # the guard is gone already, or the pipe was closed by an earlier stop

    def _reap(self) -> None:
        if self._guard is None:
            return
        self._guard.wait()
        for end in (self._guard.stdin, self._guard.stdout):
            try:
                _pipe(end).close()
            except BrokenPipeError:
                continue
        self._guard = self._pid = None


def _pipe(end: IO[bytes] | None) -> IO[bytes]:
    if end is None:
        raise ValueError("not a pipe")
    return end


def _tail(log: Path, lines: int = 15) -> str:
    try:
        with log.open(encoding="utf-8", errors="replace") as text:
            return "".join(deque(text, lines)).strip()
    except OSError:
        return ""


def _shorten(log: Path) -> None:
    if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
        log.replace(log.with_name("log.1"))
