"""Counters for /metrics, in Prometheus' text format. Of a request stands its route there, never its address."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from classifier.vocabulary import OWNER, HealthName

MEDIA_TYPE: Final = CONTENT_TYPE_LATEST
_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """One process's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        prefix = "connection_health_http_"
        self._requests = Counter(
            f"{prefix}requests", "Requests by route and status.", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            f"{prefix}request_seconds",
            "How long requests took.",
            ["method", "route"],
            buckets=_BOUNDS_S,
            registry=self.registry,
        )
        self._in_flight = Gauge(f"{prefix}requests_in_flight", "Requests being answered.", registry=self.registry)
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._connections = Gauge(
            "connection_health_connections",
            "Connections by health, without deleted ones; at most some seconds old.",
            ["health", "resolution_owner"],
            registry=self.registry,
        )

    def set_healths(self, counted: Mapping[str, int] | None) -> None:
        """Show how many connections there are of each health; None: nobody knows just now."""
        self._connections.clear()
        for name, number in (counted or {}).items():
            owner = "" if name not in set(HealthName) else OWNER[HealthName(name)].value
            self._connections.labels(name, owner).set(number)

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count a request as long as the block lasts."""
        self._in_flight.inc()
        try:
            yield
        finally:
            self._in_flight.dec()

    def observe(self, method: str, route: str, status: int, took_s: float) -> None:
        """Count an answered request."""
        of = method, route, status
        if of not in self._known:  # to find a counter by its labels takes longer than to count
            self._known[of] = self._requests.labels(method, route, str(status)), self._seconds.labels(method, route)
        requests, seconds = self._known[of]
        requests.inc()
        seconds.observe(took_s)

    def text(self) -> bytes:
        """Return everything as Prometheus reads it."""
        return generate_latest(self.registry)
