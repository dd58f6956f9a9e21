"""Starts workers and beats out of a process that has everything loaded: what is killed every few seconds may not cost a
second of CPU each time.

    python tests/faults/nursery.py

It is told by lines of JSON on standard input which program to fork, with which arguments, environment and log, and
tells by lines on standard output what it started and how each ended. A program is what `celery -A worker …` is from the
moment at which its modules are loaded: its settings are read, its application made and its threads started after the
fork, and it leads a process group of its own. Programs die with the nursery, the nursery with its owner.

A clock that is wrong (libfaketime) must be there when a process is begun, so that there is a nursery for each.
"""

import ctypes
import functools
import gc
import importlib
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Final

from vendors.dialect_files import DIALECTS, load_dialects
from worker import loading, station

_LOADED: Final = (
    "worker.loading",
    "worker.app",
    "worker.beat",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.prefork",
    "celery.concurrency.thread",
    "celery.fixups.django",
    "celery.worker.autoscale",
    "celery.worker.components",
    "celery.worker.consumer",
    "celery.worker.strategy",
    "kombu.transport.redis",
)
_LOOK_EVERY_S: Final = 0.1
_PR_SET_PDEATHSIG: Final = 1
_HERE: Final = Path(__file__).parent


def _serve() -> list[str] | None:
    """Fork what is asked for until nobody asks any more. In a program: return its arguments."""
    _die_with(os.getppid())
    programs: set[int] = set()
    asked = b""
    while True:
        if select.select([0], [], [], _LOOK_EVERY_S)[0]:
            more = os.read(0, 1 << 16)
            if not more:
                for pid in programs:
                    os.killpg(pid, signal.SIGKILL)
                return None
            *lines, asked = (asked + more).split(b"\n")
            for line in lines:
                order = json.loads(line)
                nursery, pid = os.getpid(), os.fork()
                if not pid:
                    _die_with(nursery)
                    return _begin(order)
                programs.add(pid)
                _tell("begun", pid, 0)
        while programs:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            programs.discard(pid)
            _tell("ended", pid, os.waitstatus_to_exitcode(status))


def _tell(what: str, pid: int, code: int) -> None:
    os.write(1, f"{what} {pid} {code}\n".encode())


def _begin(order: dict[str, object]) -> list[str]:
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for there, here in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(there, here)
    os.close(nothing)
    os.close(log)
    environment = order["environment"]
    assert isinstance(environment, dict)
    clock = {name: value for name, value in os.environ.items() if name.startswith(("FAKETIME", "LD_PRELOAD"))}
    os.environ.clear()
    os.environ.update(environment | clock)
    arguments = order["arguments"]
    assert isinstance(arguments, list)
    return arguments


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    """Serve; in a program, be `celery`."""
    for name in _LOADED:
        importlib.import_module(name)
    loading.end()
    importlib.import_module("vendors.loader")
    # These are the same for all, and are read only.
    read = vars(station)["load_dialects"] = functools.cache(load_dialects)
    read(DIALECTS, _HERE / "definitions" / "dialects")
    gc.collect()
    gc.freeze()
    arguments = _serve()
    if arguments is not None:
        sys.argv = ["celery", *arguments]
        importlib.import_module("celery.bin.celery").main()


if __name__ == "__main__":
    main()
