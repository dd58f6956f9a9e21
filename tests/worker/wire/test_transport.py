"""The way out: verified TLS, pooled connections that no fork shares, a proxy only where one is set."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.worker.wire.conftest import Authority, OpenRun
from tests.worker.wire.faults import FaultServer
from vendors.wire import Request
from worker.wire.errors import BlockedAddressError
from worker.wire.guard import AddressGuard, AddressPolicy
from worker.wire.transport import Transport


def get(url: str, **kwargs: Any) -> Request:
    return Request(**{"method": "GET", "url": url, "endpoint": "GET /", "data_type": "things", **kwargs})


class TestTLS:
    @pytest.mark.parametrize(
        ("how", "works"),
        [
            pytest.param({}, True, id="good"),
            pytest.param({"self_signed": True}, False, id="self-signed"),
            pytest.param({"days": -1}, False, id="expired"),
            pytest.param({"address": "127.0.0.9"}, False, id="another address"),
            pytest.param({"address": "other.example"}, False, id="another name"),
        ],
    )
    def test_certificates_are_verified(
        self, authority: Authority, open_run: OpenRun, how: dict[str, Any], *, works: bool
    ) -> None:
        server = FaultServer(tls=authority.server_context(**how))
        transport = Transport(ca_file=authority.file)
        run = open_run(server, transport=transport)
        try:
            if works:
                assert run.session.send(get(server.url + "/")).status == 200
            else:
                with pytest.raises(requests.exceptions.SSLError):
                    run.session.send(get(server.url + "/"))
                assert server.seen == []
                assert run.capture.requests == 1  # a certificate does not mend itself within seconds
        finally:
            transport.close()
            server.close()

    def test_an_authority_that_nobody_named_is_not_trusted(self, authority: Authority, open_run: OpenRun) -> None:
        server = FaultServer(tls=authority.server_context())
        try:
            with pytest.raises(requests.exceptions.SSLError):
                open_run(server).session.send(get(server.url + "/"))
            with pytest.raises(requests.exceptions.SSLError):
                open_run(server).session.http.get(server.url + "/", verify=False)
        finally:
            server.close()

    def test_keys_are_not_logged_where_the_environment_asks_for_it(
        self, authority: Authority, open_run: OpenRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
    ) -> None:
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
        server = FaultServer(tls=authority.server_context())
        transport = Transport(ca_file=authority.file)
        try:
            open_run(server, transport=transport).session.send(get(server.url + "/"))
            assert not (tmp_path / "keys").exists()
        finally:
            transport.close()
            server.close()

    def test_tls_to_a_port_that_speaks_plain_http_fails(self, open_run: OpenRun) -> None:
        listener = socket.create_server(("127.0.0.1", 0))

        def answer() -> None:
            for _ in range(3):
                sock, _ = listener.accept()
                with sock:
                    sock.recv(65536)
                    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        run = open_run(guard=AddressGuard([url], policy=AddressPolicy(allow_loopback=True)))
        with pytest.raises(requests.exceptions.SSLError):
            run.session.send(get(url))
        thread.join()
        listener.close()

    def test_plain_http_to_a_port_that_speaks_tls_fails(self, authority: Authority, open_run: OpenRun) -> None:
        server = FaultServer(tls=authority.server_context())
        server.url = server.url.replace("https", "http")
        try:
            with pytest.raises(requests.exceptions.ConnectionError):
                open_run(server).session.send(get(server.url + "/"))
        finally:
            server.close()


def test_connections_are_kept_over_runs(server: FaultServer, open_run: OpenRun) -> None:
    for _ in range(5):
        open_run(server).session.send(get(server.url + "/"))
    assert server.connections == 1


def test_a_connection_that_the_vendor_closed_meanwhile_is_not_used(server: FaultServer, open_run: OpenRun) -> None:
    def once(peer: Any) -> None:
        peer.answer()
        peer.close()

    url = server.on("/", once)
    run = open_run(server)
    for _ in range(3):
        run.session.send(get(url))
    assert server.connections == len(server.seen) >= 3


def test_many_threads_share_one_transport(server: FaultServer, open_run: OpenRun) -> None:
    url = server.on("/", lambda peer: peer.answer(200, b'"%b"' % peer.seen.headers["x-me"].encode()))
    failures: list[str] = []

    def work(name: str) -> None:
        run = open_run(server)
        bodies = {run.session.send(get(url, headers={"X-Me": name})).body for _ in range(20)}
        if bodies != {b'"%b"' % name.encode()}:
            failures.append(name)

    threads = [threading.Thread(target=work, args=(f"thread-{n}",)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(server.seen) == 320


def test_few_origins_are_kept_open(open_run: OpenRun) -> None:
    servers = [FaultServer() for _ in range(4)]
    transport = Transport(most_origins=2)
    try:
        run = open_run(*servers, transport=transport)
        for server in servers:
            run.session.send(get(server.url + "/"))
        assert len(transport._pools) == 2
        run.session.send(get(servers[0].url + "/"))
        assert servers[0].connections == 2
    finally:
        transport.close()
        for server in servers:
            server.close()


def test_a_forked_process_opens_connections_of_its_own(server: FaultServer, open_run: OpenRun) -> None:
    run = open_run(server, budget_s=30)
    run.session.send(get(server.url + "/"))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            answer = run.session.send(get(server.url + "/"))
            os.write(write, str(answer.status).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == "200"
    os.waitpid(child, 0)
    assert server.connections == 2
    assert run.session.send(get(server.url + "/")).status == 200
    assert server.connections == 2


def test_nothing_goes_out_without_a_guard(transport: Transport) -> None:
    session = requests.Session()
    session.mount("http://", transport)
    with pytest.raises(TypeError, match="VendorSession"):
        session.get("http://127.0.0.1:9/")


class Proxy:
    """A forwarding and tunnelling proxy, of which only the request line matters."""

    def __init__(self, refuse: bytes = b"") -> None:
        self.refuse = refuse
        self.heads: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(65536)
            self.heads.append(head.decode("latin-1"))
            if self.refuse:
                sock.sendall(self.refuse)
                return
            line = head.split(b"\r\n")[0].decode()
            if not line.startswith("CONNECT"):
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nfwd")
                return
            port = line.split(" ")[1].rpartition(":")[2]
            with socket.create_connection(("127.0.0.1", int(port))) as upstream:
                sock.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                back = threading.Thread(target=pump, args=(upstream, sock), daemon=True)
                back.start()
                pump(sock, upstream)
                back.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    found = Proxy()
    yield found
    found.close()


class TestProxy:
    def test_plain_calls_are_forwarded(self, proxy: Proxy, server: FaultServer, open_run: OpenRun) -> None:
        transport = Transport(egress_proxy=f"http://user:p%40ss@127.0.0.1:{proxy.port}")
        answer = open_run(server, transport=transport).session.send(get(server.url + "/x?y=1"))
        transport.close()
        assert answer.body == b"fwd"
        assert proxy.heads[0].startswith(f"GET {server.url}/x?y=1 HTTP/1.1")
        assert "roxy-authorization: Basic dXNlcjpwQHNz" in proxy.heads[0].replace("Proxy-Auth", "Proxy-auth")
        assert server.connections == 0

    def test_https_goes_through_a_tunnel_and_is_verified(
        self, proxy: Proxy, authority: Authority, open_run: OpenRun
    ) -> None:
        server = FaultServer(tls=authority.server_context())
        transport = Transport(ca_file=authority.file, egress_proxy=f"http://127.0.0.1:{proxy.port}")
        run = open_run(server, transport=transport)
        assert run.session.send(get(server.url + "/", auth_headers={"X-Api-Key": "0123456789"})).status == 200
        assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{server.port}")
        assert "0123456789" not in proxy.heads[0]
        transport.close()
        server.close()

    @pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "127.1", "[::1]", "localhost"])
    def test_addresses_inside_are_refused_before_the_proxy_sees_them(
        self, proxy: Proxy, open_run: OpenRun, host: str
    ) -> None:
        transport = Transport(egress_proxy=f"http://127.0.0.1:{proxy.port}")
        run = open_run(guard=AddressGuard(["http://vendor.example"]), transport=transport)
        with pytest.raises(BlockedAddressError):
            run.session.send(get(f"http://{host}/"))
        assert proxy.heads == []
        transport.close()

    def test_a_proxy_that_refuses_us_is_our_own_side_s_fault(self, authority: Authority, open_run: OpenRun) -> None:
        proxy = Proxy(refuse=b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        server = FaultServer(tls=authority.server_context())
        transport = Transport(ca_file=authority.file, egress_proxy=f"http://127.0.0.1:{proxy.port}")
        run = open_run(server, transport=transport)
        with pytest.raises(requests.exceptions.ProxyError):
            run.session.send(get(server.url + "/"))
        assert run.capture.requests == 1
        transport.close()
        server.close()
        proxy.close()
