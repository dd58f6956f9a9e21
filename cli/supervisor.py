"""Child processes that are started again when they end, later each time, and are gone when we go."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

FIRST_BACKOFF_S: Final = 0.5
LONGEST_BACKOFF_S: Final = 30.0
STEADY_AFTER_S: Final = 60.0
"""Who has lived so long is started again at once, as if for the first time."""
LOG_LIMIT_BYTES: Final = 20_000_000
LAST_WORDS_BYTES: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A Python module to be run as a program. log: where it writes to."""

    name: str
    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    stop_within_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """A program ended on its own. code: its exit code, negative for a signal; again_in_s: until it is started again."""

    name: str
    code: int
    again_in_s: float
    log: Path

    def __str__(self) -> str:
        how = f"by signal {-self.code}" if self.code < 0 else f"with {self.code}"
        words = self._last_words()
        said = f", saying: {words}" if words else ""
        return f"{self.name} ended {how}{said}; it starts again in {self.again_in_s:g} s. Its log: {self.log}"

    def _last_words(self) -> str:
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - LAST_WORDS_BYTES))
                lines = log.read().decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


class _Child:
    """One program: its process while it runs, else the time at which it is to be started again."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at_s = 0.0
        self.start_at_s = 0.0
        self.backoff_s = FIRST_BACKOFF_S

    def start(self) -> None:
        program = self.program
        program.log.parent.mkdir(parents=True, exist_ok=True)
        if program.log.exists() and program.log.stat().st_size > LOG_LIMIT_BYTES:
            program.log.replace(program.log.with_suffix(".log.1"))
        command = [sys.executable, "-m", "cli.child", str(os.getpid()), program.module, *program.arguments]
        with program.log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches us alone, and we end our children in order.
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(program.environment),
                start_new_session=True,
            )
        self.started_at_s = time.monotonic()

    def tend(self, now_s: float) -> Restart | None:
        if self.process is None:
            if now_s >= self.start_at_s:
                self.start()
            return None
        code = self.process.poll()
        if code is None:
            return None
        self._signal(signal.SIGKILL)  # what it may have left in its group
        if now_s - self.started_at_s >= STEADY_AFTER_S:
            self.backoff_s = FIRST_BACKOFF_S
        restart = Restart(name=self.program.name, code=code, again_in_s=self.backoff_s, log=self.program.log)
        self.process, self.start_at_s = None, now_s + self.backoff_s
        self.backoff_s = min(self.backoff_s * 2, LONGEST_BACKOFF_S)
        return restart

    def ask_to_stop(self) -> None:
        self._signal(signal.SIGTERM)

    def stop(self, deadline_s: float) -> None:
        if self.process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, deadline_s - time.monotonic()))
        self._signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError, PermissionError):  # gone already
                os.killpg(self.process.pid, number)


class Supervisor:
    """Keeps programs running. A context manager: entering starts them, leaving ends every process of their groups.

    It has no thread: whoever holds it calls `tend` again and again.
    """

    def __init__(self, programs: Sequence[Program]) -> None:
        self._children = [_Child(program) for program in programs]

    def __enter__(self) -> Self:
        try:
            for child in self._children:
                child.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each program that runs."""
        return {child.program.name: child.process.pid for child in self._children if child.process is not None}

    def tend(self) -> list[Restart]:
        """Notice who has ended, and start again whose time has come."""
        now_s = time.monotonic()
        return [restart for child in self._children if (restart := child.tend(now_s)) is not None]

    def stop(self) -> None:
        """Ask every program to end, give it its time, then end it."""
        for child in self._children:
            child.ask_to_stop()
        began_s = time.monotonic()
        for child in self._children:
            child.stop(began_s + child.program.stop_within_s)
