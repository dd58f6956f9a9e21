"""Asks whether our own way out works, when calls to a vendor fail: then a failure is ours and not the vendor's."""

import socket
import threading
from collections.abc import Callable, Sequence
from enum import StrEnum
from time import monotonic
from typing import Final

from worker.wire.resolver import Resolver

_TIMEOUT_S: Final = 3.0
_KEEP_S: Final = 60.0


class Egress(StrEnum):
    """Whether the way out works."""

    UNKNOWN = "unknown"
    ALIVE = "alive"
    DEAD = "dead"


class EgressCanary:
    """The operator's list of well-known places, one of which can be reached while the way out works. One per process.

    targets: host and port of each; empty: nothing is known, and each failure counts as the vendor's. Where calls leave
    through a proxy, name the proxy. An answer is kept for a minute, so a vendor's outage costs one look a minute.
    """

    def __init__(
        self,
        targets: Sequence[tuple[str, int]] = (),
        *,
        resolver: Resolver | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._targets, self._clock = tuple(targets), clock
        self._resolver = resolver or Resolver()
        self._lock = threading.Lock()
        self._known = Egress.UNKNOWN
        self._until = float("-inf")

    def ask(self) -> Egress:
        """Return how the way out is; looks at most once a minute, for three seconds a target at most."""
        if not self._targets:
            return Egress.UNKNOWN
        with self._lock:  # who fails in the same moment waits for the one look
            if self._clock() >= self._until:
                is_alive = any(self._can_reach(host, port) for host, port in self._targets)
                self._known = Egress.ALIVE if is_alive else Egress.DEAD
                self._until = self._clock() + _KEEP_S
            return self._known

    def _can_reach(self, host: str, port: int) -> bool:
        try:
            for family, address in self._resolver.resolve(host, port, _TIMEOUT_S):
                with socket.socket(family, socket.SOCK_STREAM) as sock:
                    sock.settimeout(_TIMEOUT_S)
                    if sock.connect_ex(address) == 0:
                        return True
        except OSError:
            return False
        return False


def parse_targets(text: str) -> tuple[tuple[str, int], ...]:
    """Read `host:port` pairs, separated by commas. Raises ValueError with a sentence."""
    targets: list[tuple[str, int]] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        host, _, port = part.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{part!r} is no host:port; write for example one.one.one.one:443")
        targets.append((host.strip("[]"), int(port)))
    return tuple(targets)
