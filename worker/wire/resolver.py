"""Looks names up without being held up: `getaddrinfo` knows no time limit and cannot be interrupted."""

import socket
import threading
from collections.abc import Callable
from typing import Final

SockAddr = tuple[str, int] | tuple[str, int, int, int]
Target = tuple[socket.AddressFamily, SockAddr]
Lookup = Callable[[str, int], list[Target]]

_MOST_LOOKUPS: Final = 64


def system_lookup(host: str, port: int) -> list[Target]:
    """Ask the system. Raises socket.gaierror."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, (str(address[0]), *address[1:])) for family, _, _, _, address in found]


class Resolver:
    """Looks names up in threads that may hang as long as they like; whoever asked waits no longer than it wants to.

    One thread per name at a time, so a name server that hangs costs one thread per name, and no more than most_lookups
    in all. The threads are daemons: they hold up no exit.
    """

    def __init__(self, lookup: Lookup = system_lookup, *, most_lookups: int = _MOST_LOOKUPS) -> None:
        self._lookup, self._most_lookups = lookup, most_lookups
        self.forget_parent()

    def forget_parent(self) -> None:
        """Start afresh, as a forked process must: the threads that looked names up are not in it."""
        self._slots = threading.BoundedSemaphore(self._most_lookups)
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], _Pending] = {}

    def resolve(self, host: str, port: int, timeout_s: float) -> list[Target]:
        """Return the host's addresses. Raises socket.gaierror, with EAI_AGAIN where the time was up."""
        with self._lock:
            pending = self._running.get((host, port))
            if pending is None:
                pending = self._running[host, port] = _Pending()
                if not self._slots.acquire(blocking=False):
                    del self._running[host, port]
                    raise socket.gaierror(socket.EAI_AGAIN, f"too many name look-ups hang; {host} was not looked up")
                threading.Thread(
                    target=self._look_up, args=(host, port, pending), name=f"resolve {host}", daemon=True
                ).start()
        if not pending.done.wait(timeout_s):
            raise socket.gaierror(socket.EAI_AGAIN, f"looking up {host} took longer than {timeout_s:.1f} s")
        if pending.error is not None:
            raise pending.error
        return pending.found

    def _look_up(self, host: str, port: int, pending: "_Pending") -> None:
        try:
            pending.found = self._lookup(host, port)
        except OSError as error:  # socket.gaierror is one
            pending.error = error
        except UnicodeError as error:
            pending.error = socket.gaierror(socket.EAI_NONAME, str(error))
        finally:
            with self._lock:
                self._running.pop((host, port), None)
            self._slots.release()
            pending.done.set()


class _Pending:
    __slots__ = ("done", "error", "found")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.found: list[Target] = []
        self.error: OSError | None = None
