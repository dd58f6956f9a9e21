"""What a run's code forks: it dies with the worker, and cannot speak over the worker's connections.

A process that code of somebody else's forks inherits our sockets. It keeps them open when we are gone, so that
PostgreSQL takes a dead worker for a living client; and where it comes back from the code that forked it, as by
`sys.exit`, it would go on with our run over our own connection. Programs started by `subprocess` inherit nothing.
"""

import contextlib
import ctypes
import os
import signal
import socket
import stat
import sys
from pathlib import Path
from typing import Final

from worker.in_flight import InFlight

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None
_registered: list[InFlight] = []


def tie(in_flight: InFlight) -> None:
    """Tie what the code of these runs forks to this process, from now on. One registry a process: the last counts."""
    if not _registered:
        os.register_at_fork(after_in_child=_after_fork)
    _registered[:] = [in_flight]


def _after_fork() -> None:
    # A pool's own children are forked by no run, and come by their connections in `Station.after_fork`.
    if not _registered[0].runs_here():
        return
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    silence_sockets()


def silence_sockets() -> None:
    """Put nothing in the place of every socket that leads to somebody else. Pairs of its own a process may keep."""
    try:
        descriptors = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    except OSError:  # not Linux
        return
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode) and _leads_elsewhere(descriptor):
                os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)


def _leads_elsewhere(descriptor: int) -> bool:
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        return bool(sock.getpeername())
