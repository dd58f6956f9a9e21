"""Redirects: followed a few steps, never inwards, never down to plain http, never with credentials to strangers."""

from typing import Any

import pytest

from tests.worker.wire.conftest import SECRET, Authority, OpenRun
from tests.worker.wire.faults import FaultServer
from vendors.wire import Request
from worker.wire.errors import RedirectRefusedError, TooManyRedirectsError
from worker.wire.guard import AddressGuard, AddressPolicy
from worker.wire.transport import Transport


def get(url: str, **kwargs: Any) -> Request:
    return Request(**{"method": "GET", "url": url, "endpoint": "GET /things", "data_type": "things", **kwargs})


def leads_to(server: FaultServer, location: str, status: int = 302, path: str = "/from") -> str:
    return server.on(path, lambda peer: peer.answer(status, b"moved", Location=location))


def test_a_redirect_is_followed_and_both_hops_are_captured(server: FaultServer, open_run: OpenRun) -> None:
    run = open_run(server)
    answer = run.session.send(get(leads_to(server, "/to?page=2"), auth_headers={"Authorization": f"Bearer {SECRET}"}))
    assert (answer.status, answer.url) == (200, server.url + "/to?page=2")
    assert [seen.target for seen in server.seen] == ["/from", "/to?page=2"]
    assert server.seen[1].headers["authorization"] == f"Bearer {SECRET}"
    assert [row["status"] for row in run.capture.summary()] == [302, 200]


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/internal",
        "http://[fd00:ec2::254]/",
        "file:///etc/hostname",
        "gopher://127.0.0.1:70/_x",
        "ftp://127.0.0.1/x",
        "//169.254.169.254/",
        "http://2852039166/",
        "http://user:pw@127.0.0.1/",
        "http://127.0.0.1:22/",
        "javascript:alert(1)",
        "http://[::1",
    ],
)
def test_a_redirect_inwards_is_refused(server: FaultServer, open_run: OpenRun, location: str) -> None:
    run = open_run(server)
    with pytest.raises(RedirectRefusedError):
        run.session.send(get(leads_to(server, location)))
    assert len(server.seen) == 1
    last = run.capture.last("things")
    assert last is not None
    assert (last.status, last.exception[0].name) == (302, "RedirectRefusedError")


def test_a_redirect_to_loopback_is_refused_where_loopback_is_not_allowed(
    server: FaultServer, other_server: FaultServer, open_run: OpenRun
) -> None:
    """The first hop is let through as the operator's own network would be; the second leads elsewhere inside."""
    guard = AddressGuard([server.url, other_server.url], policy=AddressPolicy())
    guard._origins[server.url] = AddressGuard([server.url], policy=AddressPolicy(allow_loopback=True)).check(server.url)
    run = open_run(guard=guard)
    with pytest.raises(Exception, match="refused"):
        run.session.send(get(leads_to(server, other_server.url + "/x")))
    assert other_server.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_another_origin_gets_no_credentials(
    server: FaultServer, other_server: FaultServer, open_run: OpenRun, status: int
) -> None:
    run = open_run(server, other_server)
    server.on("/login", lambda peer: peer.answer(200, b"{}", Set_Cookie="sid=0123456789abcdef; Path=/"))
    run.session.send(get(server.url + "/login"))
    url = leads_to(server, other_server.url + "/to", status)
    run.session.send(
        get(
            url,
            headers={"Authorization": "Basic b3duOnB3", "X-Note": f"it is {SECRET}", "X-Plain": "yes"},
            auth_headers={"X-Strange-Name": SECRET},
            auth_query=(("k", SECRET),),
        )
    )
    [seen] = other_server.seen
    assert not {"authorization", "x-strange-name", "x-note", "cookie"} & set(seen.headers)
    assert (seen.target, seen.headers["x-plain"]) == ("/to", "yes")
    assert server.seen[1].headers["x-strange-name"] == SECRET
    hop, target = run.capture.kept()[-2:]
    assert (hop.without_credentials, target.without_credentials) == (False, True)
    assert run.capture.evidence(target.as_exchange())["without_credentials"] is True
    assert "without_credentials" not in run.capture.evidence(hop.as_exchange())


def test_an_origin_that_the_request_names_gets_them(
    server: FaultServer, other_server: FaultServer, open_run: OpenRun
) -> None:
    run = open_run(server, other_server)
    url = leads_to(server, other_server.url + "/to")
    run.session.send(get(url, auth_headers={"X-Api-Key": SECRET}, send_auth_to=(other_server.url,)))
    assert other_server.seen[0].headers["x-api-key"] == SECRET
    assert not run.capture.kept()[-1].without_credentials


def test_a_key_in_the_query_comes_along_within_its_origin(server: FaultServer, open_run: OpenRun) -> None:
    open_run(server).session.send(get(leads_to(server, "/to?page=2"), auth_query=(("key", "0123456789"),)))
    assert server.seen[1].target == "/to?page=2&key=0123456789"
    open_run(server).session.send(get(leads_to(server, "/to?key=0123456789"), auth_query=(("key", "0123456789"),)))
    assert server.seen[3].target == "/to?key=0123456789"


def test_a_url_that_carries_a_credential_elsewhere_is_refused(
    server: FaultServer, other_server: FaultServer, open_run: OpenRun
) -> None:
    run = open_run(server, other_server)
    url = leads_to(server, other_server.url + "/?token=s3cr3t%2FValue%2Bwith%3Dsigns")
    with pytest.raises(RedirectRefusedError, match="credential") as caught:
        run.session.send(get(url))
    assert other_server.seen == []
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "PUT", "GET"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
        (302, "PUT", "PUT"),
        (303, "HEAD", "HEAD"),
    ],
)
def test_methods_change_as_the_status_says(
    server: FaultServer, open_run: OpenRun, status: int, method: str, then: str
) -> None:
    if method == "HEAD":
        server.on("/from", lambda peer: peer.send(b"HTTP/1.1 303 See\r\nLocation: /to\r\nContent-Length: 0\r\n\r\n"))
        server.on("/to", lambda peer: peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"))
    url = server.url + "/from" if method == "HEAD" else leads_to(server, "/to", status)
    body = {} if method == "HEAD" else {"json": {"a": 1}}
    open_run(server).session.send(get(url, method=method, **body))
    seen = server.seen[1]
    assert seen.method == then
    assert seen.body == (b'{"a":1}' if then in {"POST", "PUT"} else b"")
    assert ("content-type" in seen.headers) is (then in {"POST", "PUT"})


@pytest.mark.parametrize("status", [307, 308])
def test_a_body_is_not_carried_to_another_origin(
    server: FaultServer, other_server: FaultServer, open_run: OpenRun, status: int
) -> None:
    run = open_run(server, other_server)
    with pytest.raises(RedirectRefusedError, match="body"):
        run.session.send(get(leads_to(server, other_server.url + "/to", status), method="POST", form=(("a", "b"),)))
    assert other_server.seen == []


def test_a_loop_ends(server: FaultServer, open_run: OpenRun) -> None:
    run = open_run(server)
    with pytest.raises(TooManyRedirectsError):
        run.session.send(get(leads_to(server, "/from")))
    assert len(server.seen) == 6
    assert run.capture.requests == 6


def test_https_does_not_lead_down_to_http(server: FaultServer, authority: Authority, open_run: OpenRun) -> None:
    secure = FaultServer(tls=authority.server_context())
    transport = Transport(ca_file=authority.file)
    try:
        url = leads_to(secure, server.url + "/to")
        with pytest.raises(RedirectRefusedError, match="plain http"):
            open_run(secure, server, transport=transport).session.send(get(url))
        assert server.seen == []
        up = leads_to(server, secure.url + "/to", path="/up")
        assert open_run(secure, server, transport=transport).session.send(get(up)).status == 200
    finally:
        transport.close()
        secure.close()


@pytest.mark.parametrize("status", [300, 302, 304, 399])
def test_an_answer_without_a_way_to_go_stands(server: FaultServer, open_run: OpenRun, status: int) -> None:
    url = server.on("/from", lambda peer: peer.send(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()))
    assert open_run(server).session.send(get(url)).status == status


def test_a_location_in_utf_8_is_read_as_such(server: FaultServer, open_run: OpenRun) -> None:
    def script(peer: Any) -> None:
        peer.send("HTTP/1.1 302 X\r\nContent-Length: 0\r\nLocation: /größe\r\n\r\n".encode())

    open_run(server).session.send(get(server.on("/from", script)))
    assert server.seen[1].target == "/gr%C3%B6%C3%9Fe"


def test_a_huge_redirect_page_is_not_read_to_its_end(server: FaultServer, open_run: OpenRun) -> None:
    url = server.on("/from", lambda peer: peer.answer(302, b"x" * 20_000_000, Location="/to"))
    run = open_run(server)
    assert run.session.send(get(url)).status == 200
    assert run.capture.bytes_received < 2_000_000
