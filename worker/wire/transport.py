"""The one way out of the process: pooled connections, pinned to addresses that the policy let pass, verified TLS.

Shared by all runs of a process; holds nothing of any run. It never repeats a request by itself (urllib3's own retries
hide exchanges), follows no redirect, reads no proxy, certificate bundle or netrc from the environment.
"""

import os
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any, Final, cast

import certifi
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.poolmanager import ProxyManager
from urllib3.response import BaseHTTPResponse
from urllib3.util.request import make_headers
from urllib3.util.timeout import Timeout
from urllib3.util.url import parse_url

from worker.wire.cutter import Cut, Cutter
from worker.wire.guard import AddressPolicy, Origin, is_address
from worker.wire.resolver import Resolver, Target

_CONNECTIONS_PER_ORIGIN: Final = 64
_MOST_ORIGINS: Final = 256


class _Now(threading.local):
    """Which exchange this thread is in the middle of, where to, what it may connect to, what to call before sending."""

    cut: Cut | None = None
    ready: Callable[[], None] | None = None
    origin: Origin = Origin("https", "", 443)
    policy: AddressPolicy = AddressPolicy()


_now = _Now()


class _Tracked:
    """A connection that tells the exchange it works for which socket to shut down."""

    cut: Cut | None = None
    requests_sent = 0

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request, under the eyes of the exchange that this thread is in."""
        cut = _now.cut
        self.cut = cut
        if cut is not None:
            cut.connection = cast("Any", self)
        if _now.ready is not None:
            if cast("Any", self).sock is None:
                cast("Any", self).connect()
            _now.ready()
        self.requests_sent += 1
        super().request(*args, **kwargs)  # type: ignore[misc]
        if cut is not None:
            cut.sock = cast("Any", self).sock


class _Pinned(_Tracked):
    """A connection to an address that the policy let pass, and to none besides."""

    policy: AddressPolicy
    resolver: Resolver
    port: int
    timeout: float | None
    _dns_host: str

    def _new_conn(self) -> socket.socket:
        this = cast("HTTPConnection", self)
        host = self._dns_host
        deadline = monotonic() + (self.timeout if isinstance(self.timeout, int | float) else 60.0)
        try:
            targets = self._targets(host, max(0.001, deadline - monotonic()))
        except socket.gaierror as error:
            raise NameResolutionError(host, this, error) from error
        self.policy.check_all(host, (str(address[0]) for _, address in targets))
        failure: OSError | None = None
        for n, (family, address) in enumerate(targets):
            left_s = deadline - monotonic()
            if left_s <= 0:
                break
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                for option in this.socket_options or ():
                    sock.setsockopt(*option)
                sock.settimeout(max(0.001, left_s / (len(targets) - n)))  # a dead address leaves time for the next
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
            else:
                sock.settimeout(max(0.001, deadline - monotonic()))  # what is left is for the TLS handshake
                return sock
        if failure is None or isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(
                this, f"Connection to {host} timed out. (connect timeout={self.timeout})"
            ) from failure
        raise NewConnectionError(this, f"Failed to establish a new connection: {failure}") from failure

    def _targets(self, host: str, timeout_s: float) -> list[Target]:
        if is_address(host):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return [(family, (host, self.port))]
        return self.resolver.resolve(host, self.port, timeout_s)


class _PinnedHTTP(_Pinned, HTTPConnection):
    def __init__(self, *args: Any, policy: AddressPolicy, resolver: Resolver, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.policy, self.resolver = policy, resolver


class _PinnedHTTPS(_Pinned, HTTPSConnection):
    def __init__(self, *args: Any, policy: AddressPolicy, resolver: Resolver, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.policy, self.resolver = policy, resolver


class _PinnedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _PinnedHTTP


class _PinnedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _PinnedHTTPS


class _ProxiedHTTP(_Tracked, HTTPConnection):
    pass


class _ProxiedHTTPS(_Tracked, HTTPSConnection):
    pass


class _ProxiedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _ProxiedHTTP


class _ProxiedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _ProxiedHTTPS


class Transport(HTTPAdapter):
    """Sends one prepared request and returns the answer with its body unread. One per process, shared by all threads.

    ca_file: a file of certificates trusted besides certifi's (a company's own authority); egress_proxy: the URL of the
    proxy that all calls go through (`http://proxy.example:3128`, user information in it is sent to the proxy alone).
    Behind a proxy it is the proxy that looks names up and connects, so keeping it away from inner addresses is the
    proxy's task; addresses written as such are refused here all the same.
    """

    def __init__(
        self,
        *,
        resolver: Resolver | None = None,
        ca_file: Path | str | None = None,
        egress_proxy: str | None = None,
        connections_per_origin: int = _CONNECTIONS_PER_ORIGIN,
        most_origins: int = _MOST_ORIGINS,
    ) -> None:
        self.resolver = resolver or Resolver()
        self.cutter = Cutter()
        self._connections_per_origin, self._most_origins = connections_per_origin, most_origins
        self._pools: dict[tuple[Origin, AddressPolicy], HTTPConnectionPool] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._tls = _tls_context(ca_file)
        self._proxy = _proxy_manager(egress_proxy, self._tls, connections_per_origin) if egress_proxy else None
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: object, **kwargs: object) -> None:
        """Make nothing: the pools are our own, one per origin and policy."""

    def close(self) -> None:
        """Close all pooled connections and the thread that watches deadlines. Also what a closing Session calls."""
        self.cutter.close()
        self._clear()

    def deliver(
        self,
        request: PreparedRequest,
        origin: Origin,
        *,
        policy: AddressPolicy,
        cut: Cut,
        connect_timeout_s: float,
        read_timeout_s: float,
        ready: Callable[[], None] | None = None,
    ) -> BaseHTTPResponse:
        """Send one request and return its answer, body unread; the exchange is watched until `cutter.release(cut)`.

        ready: called once there is a connection, as the last thing before the request goes out; may wait, and raise.

        Raises requests' exceptions, BlockedAddressError where a name resolved to an address that may not be called.
        """
        if self._pid != os.getpid():
            self._forget_parent()
        _now.cut, _now.origin, _now.policy, _now.ready = cut, origin, policy, ready
        self.cutter.watch(cut)
        try:
            timeout = Timeout(connect=connect_timeout_s, read=read_timeout_s)
            answer: object = super().send(request, stream=True, timeout=timeout)  # type: ignore[arg-type]
            return cast("BaseHTTPResponse", answer)
        finally:
            _now.cut = _now.ready = None

    def send(self, *args: Any, **kwargs: Any) -> Response:  # noqa: ARG002 - the signature is requests'
        """Refuse: without a run's guard nothing goes out."""
        raise TypeError("a Transport only delivers for a VendorSession; mount a RunAdapter")

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,  # noqa: ARG002 - the signature is requests'
        verify: Any,  # noqa: ARG002
        proxies: Mapping[str, str] | None = None,  # noqa: ARG002
        cert: Any = None,  # noqa: ARG002
    ) -> HTTPConnectionPool:
        """Return the pool for the origin that the guard read out of this request's URL."""
        origin, policy = _now.origin, _now.policy
        if self._proxy is not None:
            return self._proxy.connection_from_host(origin.host, origin.port, origin.scheme)
        pool = self._pools.get((origin, policy))
        return pool if pool is not None else self._new_pool(origin, policy)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Do nothing: each pool has the one TLS context, which always verifies."""

    def request_url(self, request: PreparedRequest, proxies: Mapping[str, str] | None) -> str:  # noqa: ARG002
        """Return what stands in the request line: the path, or the whole URL for a proxy that forwards."""
        if self._proxy is not None and _now.origin.scheme == "http":
            return str(request.url).partition("#")[0]
        return request.path_url

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:  # noqa: ARG002
        """Hand the answer on as urllib3 has it: requests' own wrapping costs a cookie jar that nobody wants."""
        return cast("Response", resp)

    def _new_pool(self, origin: Origin, policy: AddressPolicy) -> HTTPConnectionPool:
        with self._lock:
            pool = self._pools.get((origin, policy))
            if pool is not None:
                return pool
            pinned: dict[str, Any] = {"policy": policy, "resolver": self.resolver}
            size = self._connections_per_origin
            if origin.scheme == "https":
                pool = _PinnedHTTPSPool(origin.host, origin.port, maxsize=size, ssl_context=self._tls, **pinned)
            else:
                pool = _PinnedHTTPPool(origin.host, origin.port, maxsize=size, **pinned)
            while len(self._pools) >= self._most_origins:
                self._pools.pop(next(iter(self._pools))).close()
            self._pools[origin, policy] = pool
            return pool

    def _clear(self) -> None:
        with self._lock:
            pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.close()
        if self._proxy is not None:
            self._proxy.clear()

    def _forget_parent(self) -> None:
        """Drop what came over a fork: two processes on one socket would read each other's answers."""
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self.resolver.forget_parent()
        self._clear()  # closes this process's copies of the sockets; nothing is sent, so the parent feels nothing


def _tls_context(ca_file: Path | str | None) -> ssl.SSLContext:
    """Return a context that verifies certificate and name. Not `create_default_context`: that reads SSLKEYLOGFILE."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION
    context.load_verify_locations(certifi.where())
    if ca_file is not None:
        context.load_verify_locations(str(ca_file))
    return context


def _proxy_manager(url: str, tls: ssl.SSLContext, maxsize: int) -> ProxyManager:
    parsed = parse_url(url)
    auth: Mapping[str, str] = {}
    if parsed.auth:
        auth = make_headers(proxy_basic_auth=parsed.auth_decoded_joined)
    manager = ProxyManager(
        parsed._replace(auth=None).url,
        num_pools=_MOST_ORIGINS,
        proxy_headers=auth,
        maxsize=maxsize,
        ssl_context=tls,
        proxy_ssl_context=tls,
    )
    manager.pool_classes_by_scheme = {"http": _ProxiedHTTPPool, "https": _ProxiedHTTPSPool}
    return manager
