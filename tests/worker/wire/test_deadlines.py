"""Whatever a vendor does or does not do, an exchange ends when the run's time is up.

No test looks at a clock: each server would go on for far longer than the run's budget, so a run that ends before its
server has finished was ended by its deadline.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from classifier.outcome import OwnSide
from tests.worker.wire.conftest import Authority, OpenRun
from tests.worker.wire.faults import FaultServer, Peer
from vendors.wire import Request
from worker.wire.body import ReadLimits
from worker.wire.errors import DeadlineReached
from worker.wire.guard import AddressGuard, AddressPolicy
from worker.wire.resolver import Resolver
from worker.wire.transport import Transport

LONG = 400  # bytes at ten a second: forty seconds
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def drip_headers(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\n")
    peer.drip(b"X-Slow: " + b"z" * LONG + b"\r\n\r\n")


def drip_status_line(peer: Peer) -> None:
    peer.drip(b"HTTP/1.1 200 " + b"O" * LONG)


def endless_interim_answers(peer: Peer) -> None:
    for _ in range(LONG):
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.server.pause(0.1)
    peer.server.finished.set()


def drip_body(peer: Peer) -> None:
    peer.send(HEAD + f"Content-Length: {LONG}\r\n\r\n".encode())
    peer.drip(b"x" * LONG)


def drip_chunks(peer: Peer) -> None:
    peer.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(LONG):
        peer.send(b"1\r\nx\r\n")
        peer.server.pause(0.1)
    peer.server.finished.set()


def drip_chunk_size(peer: Peer) -> None:
    peer.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    peer.drip(b"0" * LONG)


def drip_trailers(peer: Peer) -> None:
    peer.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    peer.drip(b"X-Trailer: y\r\n" * LONG)


def drip_until_closed(peer: Peer) -> None:
    peer.send(HEAD + b"Connection: close\r\n\r\n")
    peer.drip(b"x" * LONG)


def say_nothing(peer: Peer) -> None:
    peer.hang()


def stop_in_the_body(peer: Peer) -> None:
    peer.send(HEAD + b"Content-Length: 10\r\n\r\nabc")
    peer.hang()


FAULTS = [
    pytest.param(fault, id=fault.__name__.replace("_", " "))
    for fault in (
        drip_headers,
        drip_status_line,
        endless_interim_answers,
        drip_body,
        drip_chunks,
        drip_chunk_size,
        drip_trailers,
        drip_until_closed,
        say_nothing,
        stop_in_the_body,
    )
]


def get(url: str, **kwargs: Any) -> Request:
    return Request(**{"method": "GET", "url": url, "endpoint": "GET /things", "data_type": "things", **kwargs})


@pytest.mark.parametrize("fault", FAULTS)
class TestSlowVendors:
    def test_end_with_the_budget(self, server: FaultServer, open_run: OpenRun, fault: Callable[[Peer], None]) -> None:
        url = server.on("/things", fault)
        run = open_run(server, budget_s=0.4)
        with pytest.raises(DeadlineReached):
            run.session.send(get(url))
        assert server.hung_up.wait(10)
        assert not server.finished.is_set()
        assert run.session.own_side() == {OwnSide.BUDGET_SPENT}
        last = run.capture.last("things")
        assert last is not None
        assert last.exception[0].name == "DeadlineReached"

    def test_end_with_the_budget_over_tls(
        self, authority: Authority, open_run: OpenRun, fault: Callable[[Peer], None]
    ) -> None:
        server = FaultServer(tls=authority.server_context())
        transport = Transport(ca_file=authority.file)
        try:
            url = server.on("/things", fault)
            with pytest.raises(DeadlineReached):
                open_run(server, budget_s=0.4, transport=transport).session.send(get(url))
            assert server.hung_up.wait(10)
            assert not server.finished.is_set()
        finally:
            transport.close()
            server.close()

    def test_end_with_the_budget_when_streamed(
        self, server: FaultServer, open_run: OpenRun, fault: Callable[[Peer], None]
    ) -> None:
        url = server.on("/things", fault)
        run = open_run(server, budget_s=0.4)
        with pytest.raises(DeadlineReached), run.session.stream(get(url)) as answer:
            for _ in answer.chunks():
                pass
        assert server.hung_up.wait(10)
        assert not server.finished.is_set()

    def test_may_take_no_longer_than_one_answer_may(
        self, server: FaultServer, open_run: OpenRun, fault: Callable[[Peer], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("worker.wire.session.CONNECT_TIMEOUT_S", 0.2)
        url = server.on("/things", fault)
        run = open_run(server, limits=ReadLimits(answer_s=0.4))
        with pytest.raises((requests.exceptions.Timeout, requests.exceptions.ConnectionError)) as caught:
            run.session.send(get(url, timeout_s=0.3, idempotent=False))
        assert type(caught.value) is requests.exceptions.ReadTimeout  # the vendor's, not the run's
        assert server.hung_up.wait(10)
        assert not server.finished.is_set()


def test_a_neighbour_s_connection_is_not_cut(server: FaultServer, open_run: OpenRun) -> None:
    """The connection of an exchange that was cut is closed, and one that ended well goes on working."""
    slow = server.on("/slow", drip_body)
    fast = server.on("/fast", lambda peer: peer.answer())
    open_run(server).session.send(get(fast))
    with pytest.raises(DeadlineReached):
        open_run(server, budget_s=0.5).session.send(get(slow))
    run = open_run(server)
    for _ in range(3):
        assert run.session.send(get(fast)).status == 200
    assert all(row["error"] is None for row in run.capture.summary())


def test_a_silent_tls_handshake_ends(open_run: OpenRun, authority: Authority) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
    guard = AddressGuard([url], policy=AddressPolicy(allow_loopback=True))
    with listener, pytest.raises(DeadlineReached):
        open_run(guard=guard, budget_s=0.5).session.send(get(url))


def test_a_dripping_tls_handshake_ends(open_run: OpenRun) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()
    finished = threading.Event()

    def drip() -> None:
        sock, _ = listener.accept()
        with sock:
            try:
                sock.sendall(b"\x16\x03\x03\x40\x00")  # a handshake record of 16 KiB, of which one byte comes at a time
                for _ in range(LONG):
                    sock.sendall(b"\x02")
                    if over.wait(0.1):
                        return
                finished.set()
            except OSError:
                return

    thread = threading.Thread(target=drip)
    thread.start()
    url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
    guard = AddressGuard([url], policy=AddressPolicy(allow_loopback=True))
    try:
        with pytest.raises((DeadlineReached, requests.exceptions.SSLError)):
            open_run(guard=guard, budget_s=0.4).session.send(get(url))
        assert not finished.is_set()
    finally:
        over.set()
        thread.join()
        listener.close()


@pytest.fixture
def hanging_resolver() -> Iterator[Resolver]:
    over = threading.Event()

    def lookup(host: str, port: int) -> list[Any]:
        over.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "over")

    yield Resolver(lookup, most_lookups=2)
    over.set()


def test_a_name_server_that_hangs_ends_with_the_budget(open_run: OpenRun, hanging_resolver: Resolver) -> None:
    transport = Transport(resolver=hanging_resolver)
    run = open_run(guard=AddressGuard(), budget_s=0.5, transport=transport)
    with pytest.raises(DeadlineReached):
        run.session.send(get("https://api.vendor.example/"))
    transport.close()


def test_a_name_server_that_hangs_costs_one_thread_a_name(hanging_resolver: Resolver) -> None:
    for _ in range(3):
        with pytest.raises(socket.gaierror, match="took longer"):
            hanging_resolver.resolve("one.example", 443, 0.01)
    with pytest.raises(socket.gaierror, match="took longer"):
        hanging_resolver.resolve("two.example", 443, 0.01)
    with pytest.raises(socket.gaierror, match="too many"):
        hanging_resolver.resolve("three.example", 443, 0.01)


def test_a_spent_budget_makes_no_call(server: FaultServer, open_run: OpenRun) -> None:
    run = open_run(server, budget_s=0.0)
    with pytest.raises(DeadlineReached):
        run.session.send(get(server.url + "/things"))
    assert (server.seen, run.capture.requests) == ([], 0)


def test_the_deadline_passes_through_code_that_catches_every_exception(server: FaultServer, open_run: OpenRun) -> None:
    url = server.on("/things", say_nothing)
    run = open_run(server, budget_s=0.3)

    def careless() -> str:
        try:
            run.session.send(get(url))
        except Exception:  # noqa: BLE001 - the point of the test
            return "swallowed"
        return "answered"

    with pytest.raises(DeadlineReached):
        careless()
