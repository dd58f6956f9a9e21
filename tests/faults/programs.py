"""Programs out of a nursery (nursery.py), for whoever starts so many that their loading would be most of the work."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.system.stack import Program

_NURSERY: Final = Path(__file__).parent / "nursery.py"
_ROOT: Final = Path(__file__).parents[2]


class Nursery:
    """One nursery. environment: what has to be there before a program begins."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_NURSERY)],
            cwd=_ROOT,
            env={**environment, "PYTHONPATH": os.pathsep.join([environment.get("PYTHONPATH", ""), str(_ROOT)])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._told = threading.Condition()
        self._begun: list[int] = []
        self._codes: dict[int, int] = {}
        self._lock = threading.Lock()
        self._listening = threading.Thread(target=self._listen, name="nursery", daemon=True)
        self._listening.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def fork(self, arguments: list[str], environment: Mapping[str, str], log: Path) -> "Forked":
        """Start a program. arguments: those of `celery`."""
        order = {"arguments": arguments, "environment": dict(environment), "log": str(log)}
        with self._lock, self._told:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            assert self._told.wait_for(lambda: self._begun, 60), "the nursery does not answer"
            return Forked(self, self._begun.pop())

    def code_of(self, pid: int, within_s: float = 0.0) -> int | None:
        """Return how a program ended, None while it goes on."""
        with self._told:
            self._told.wait_for(lambda: pid in self._codes, within_s)
            return self._codes.get(pid)

    def close(self) -> None:
        """End it, and every program with it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._listening.join(10)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            what, pid, code = line.split()
            with self._told:
                if what == "begun":
                    self._begun.append(int(pid))
                else:
                    self._codes[int(pid)] = int(code)
                self._told.notify_all()


class Forked:
    """One program, with as much of `subprocess.Popen` as `Program` and a soak use."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery, self.pid = nursery, pid

    @property
    def returncode(self) -> int | None:
        return self._nursery.code_of(self.pid)

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float = 60.0) -> int:
        """Return its exit code. Raises subprocess.TimeoutExpired where it goes on for longer."""
        code = self._nursery.code_of(self.pid, timeout)
        if code is None:
            raise subprocess.TimeoutExpired("celery", timeout)
        return code

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it ended, and we have not heard of it yet
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkedProgram(Program):
    """A program out of a nursery."""

    def __init__(
        self, nursery: Nursery, name: str, arguments: list[str], environment: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self.log_path = folder / f"{name}.log"
        self._process = nursery.fork(arguments, environment, self.log_path)  # type: ignore[assignment] # as much as we use
