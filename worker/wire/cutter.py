"""Ends exchanges that outlive their deadline, from outside: a read blocked in C wakes up when its socket is shut down.

A socket's own timeout counts from one received byte to the next, so a peer that sends a byte a second is never too slow
for it. One thread per process looks at all exchanges under way four times a second and shuts down the sockets of those
whose time is up. An exchange costs two dictionary operations.
"""

import contextlib
import os
import socket
import threading
import time
from typing import Final, Protocol

_PERIOD_S: Final = 0.25


class Connection(Protocol):
    """The part of an HTTP connection that matters here: its socket while it has one, and whom it works for."""

    sock: socket.socket | None
    cut: "Cut | None"


class Cut:
    """One exchange's time. deadline: by the monotonic clock; is_cut: it was ended; reason: why it ended early."""

    __slots__ = ("connection", "deadline", "is_cut", "reason", "sock")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.connection: Connection | None = None
        self.sock: socket.socket | None = None  # a connection lets go of it where an answer ends with its close
        self.is_cut = False
        self.reason = ""

    def end(self, reason: str = "") -> None:
        """End the exchange now. Safe from any thread, and more than once."""
        if not self.is_cut:
            self.reason = reason
            self.is_cut = True
        connection = self.connection
        if connection is None or connection.cut is not self:  # it works for somebody else by now
            return
        sock = connection.sock or self.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown: that one would drop to plain text for whoever reads in the same moment.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class Cutter:
    """The process's thread that ends exchanges, started with the first one. Survives a fork."""

    def __init__(self, *, period_s: float = _PERIOD_S) -> None:
        self._period_s = period_s
        self._cuts: set[Cut] = set()
        self._lock = threading.Lock()
        self._pid = 0
        self._closed = threading.Event()

    def watch(self, cut: Cut) -> None:
        """Watch an exchange from now on."""
        if self._pid != os.getpid():
            self._start()
        self._cuts.add(cut)

    def release(self, cut: Cut) -> None:
        """Watch it no longer."""
        self._cuts.discard(cut)

    def close(self) -> None:
        """End the thread."""
        self._closed.set()

    def _start(self) -> None:
        with self._lock:
            if self._pid == os.getpid():
                return
            self._cuts = set()  # after a fork: the parent's exchanges are not ours
            self._closed = threading.Event()
            threading.Thread(target=self._run, args=(self._closed,), name="wire deadlines", daemon=True).start()
            self._pid = os.getpid()

    def _run(self, closed: threading.Event) -> None:
        while not closed.wait(self._period_s):
            now = time.monotonic()
            try:
                cuts = tuple(self._cuts)
            except RuntimeError:  # the set changed while it was copied: next time
                continue
            for cut in cuts:
                if cut.deadline <= now or cut.is_cut:  # again each time: its socket may have come since
                    cut.end()
