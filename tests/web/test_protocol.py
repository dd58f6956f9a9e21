"""What the door does with clients that mean ill, or break down: over plain sockets, as such clients speak."""

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest

from tests.system.stack import until
from tests.web.conftest import ORGANIZATIONS, Door, House
from web.desk import Desk
from web.protocol import LARGEST_HEAD
from web.server import Server

HURRIED_S = 0.3


def exchanged(url: str, *parts: bytes, patience_s: float = 30.0) -> bytes:
    """Send the parts, and return all that comes back until the other side hangs up."""
    host, port = url.removeprefix("http://").split(":")
    with closing(socket.create_connection((host, int(port)), timeout=patience_s)) as connected:
        for part in parts:
            connected.sendall(part)
        received = b""
        while chunk := connected.recv(65_536):
            received += chunk
        return received


@pytest.fixture(scope="module")
def hurried(serve: Callable[..., tuple[Server, Desk]]) -> str:
    """A door that waits for nobody."""
    server, _desk = serve(http_slow_after_s=HURRIED_S, http_body_limit=2048)
    return f"http://127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"", b"", id="nothing at all"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"408", id="a head that never ends"),
        pytest.param(
            b"POST /v1/keys HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", b"408", id="a body that never ends"
        ),
        pytest.param(
            b"POST /v1/keys HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
            b"408",
            id="chunks that never end",
        ),
    ],
)
def test_a_slow_client_is_sent_away(hurried: str, sent: bytes, status: bytes) -> None:
    received = exchanged(hurried, sent)

    assert received.split(b" ")[1:2] == ([status] if status else [])
    if status:
        assert b"application/problem+json" in received


def test_a_connection_that_was_used_may_rest_but_not_dawdle(hurried: str) -> None:
    asked = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

    received = exchanged(hurried, asked, b"GET /healthz HTT")

    assert received.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in received


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"GET /" + b"a" * (LARGEST_HEAD + 1) + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"431", id="an address"),
        pytest.param(
            b"GET / HTTP/1.1\r\n" + b"X-Many: 12345678\r\n" * (LARGEST_HEAD // 14) + b"\r\n", b"431", id="many headers"
        ),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"a" * (LARGEST_HEAD + 1) + b"\r\n\r\n", b"431", id="one header"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400", id="TLS"),
        pytest.param(b"HELLO\r\n\r\n", b"400", id="no HTTP"),
        pytest.param(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", b"400", id="a blank before the colon"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", b"400", id="two lengths"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"400",
            id="two ways to tell the length",
        ),
        pytest.param(b"GET /%ff%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"404", id="bytes in a path"),
    ],
)
def test_a_head_that_cannot_be_is_refused(hurried: str, sent: bytes, status: bytes) -> None:
    received = exchanged(hurried, sent)

    assert received.split(b" ")[1] == status, received
    assert b"application/problem+json" in received


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        pytest.param(b"[" * 10_000, "application/json", 400, id="an endless list"),
        pytest.param(b"[" * 100 + b"]" * 100, "application/json", 422, id="a deep list"),
        pytest.param(b'{"a":' * 200 + b"1" + b"}" * 200, "application/json", 422, id="a deep object"),
        pytest.param(b"{", "application/json", 400, id="half of an object"),
        pytest.param(b"NaN", "application/json", 400, id="no JSON number"),
        pytest.param(b'{"name": "\xff"}', "application/json", 400, id="no UTF-8"),
        pytest.param(b'{"name": "\\ud800"}', "application/json", 400, id="half of a character"),
        pytest.param(b'{"name": "a\\u0000"}', "application/json", 422, id="a NUL"),
        pytest.param(b'{"a\\u0000": 1}', "application/json", 422, id="a NUL in a name"),
        pytest.param(b"name=x", "application/x-www-form-urlencoded", 415, id="a form"),
        pytest.param(b'{"name": "x"}', "text/plain", 415, id="text"),
        pytest.param(b'{"name": "x"}', "application/json; charset=utf-16", 415, id="another charset"),
        pytest.param(b'{"name": "x"}', "", 415, id="no type"),
        pytest.param(b"", "application/json", 422, id="nothing"),
        pytest.param(b"null", "application/json", 422, id="null"),
        pytest.param(b"[]", "application/json", 422, id="a list"),
        pytest.param(b'"text"', "application/json", 422, id="a text"),
    ],
)
def test_a_body_that_cannot_be_is_refused(door: Door, body: bytes, kind: str, status: int) -> None:
    answered = door.account_client.post(ORGANIZATIONS, content=body, headers={"content-type": kind} if kind else {})

    assert answered.status_code == status, answered.text
    problem = answered.json()
    assert problem["status"] == status
    assert isinstance(problem["detail"], str)
    assert problem["request_id"] == answered.headers["x-request-id"]


def test_a_type_given_twice_is_refused(door: Door) -> None:
    headers = [("content-type", "application/json"), ("content-type", "text/plain")]

    assert door.account_client.post(ORGANIZATIONS, content=b'{"name":"x"}', headers=headers).status_code == 400


@pytest.mark.parametrize("how", ["announced", "in chunks"])
def test_too_large_a_body_is_refused(hurried: str, how: str) -> None:
    head = b"POST /v1/keys HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    body = (
        b"Content-Length: 3000\r\n\r\n"
        if how == "announced"
        else (b"Transfer-Encoding: chunked\r\n\r\n400\r\n" + b" " * 1024 + b"\r\n" + b"800\r\n" + b" " * 2048 + b"\r\n")
    )

    assert exchanged(hurried, head + body).split(b" ")[1] == b"413"


def test_every_address_tells_its_head_and_its_methods(house: House) -> None:
    made = house.connect()
    of = house.of(made["id"])
    client = house.client

    head, whole = client.head(of), client.get(of)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == whole.headers["etag"]
    asked = client.options(of)
    assert (asked.status_code, asked.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS, PATCH")
    refused = client.put(of, json={})
    assert (refused.status_code, refused.headers["allow"]) == (405, "DELETE, GET, HEAD, OPTIONS, PATCH")
    assert client.options(f"{house.path}/connections").headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert client.get("/nowhere").json()["detail"] == "There is nothing at this address."


def test_every_answer_has_the_headers_that_keep_browsers_honest(door: Door) -> None:
    with door.client() as client:
        for path in ("/healthz", "/v1/keys", "/nowhere", "/openapi.json"):
            headers = client.get(path, headers={"origin": "https://elsewhere.example"}).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["content-security-policy"].startswith("default-src 'none'")
            assert "access-control-allow-origin" not in headers
            assert "server" not in headers
        given = client.get("/healthz", headers={"x-request-id": "mine-1"}).headers["x-request-id"]
        odd = client.get("/healthz", headers={"x-request-id": "a b\tc"}).headers["x-request-id"]
    assert given == "mine-1"
    assert odd != "a b\tc"


def test_pages_of_a_named_origin_may_call(serve: Callable[..., tuple[Server, Desk]], door: Door) -> None:
    server, _desk = serve(cors_origins="https://app.example.com")
    url = f"http://127.0.0.1:{server.port}{ORGANIZATIONS}"
    with door.client() as client:
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
        good = client.options(url, headers={"origin": "https://app.example.com", **asked})
        bad = client.options(url, headers={"origin": "https://elsewhere.example", **asked})
    assert good.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "access-control-allow-origin" not in bad.headers


def test_a_key_may_send_so_many_requests_a_minute(door: Door) -> None:
    with door.client(door.key(requests_per_minute=30)) as client:
        answered = [client.get("/v1/key") for _ in range(40)]
    refused = [each for each in answered if each.status_code == 429]
    assert answered[0].status_code == 200
    assert refused
    assert 1 <= int(refused[0].headers["retry-after"]) <= 70  # a minute, and the bucket that is on
    assert "30 requests a minute" in refused[0].json()["detail"]


def test_every_answer_to_a_key_tells_what_is_left_to_it(door: Door, house: House) -> None:
    with door.client(door.key(requests_per_minute=10)) as client:
        answered = [
            client.get("/v1/key"),
            client.get(f"{house.path}/connections"),
            client.get(f"{house.path}/connections?helth=x"),
            client.get(f"{ORGANIZATIONS}/{uuid4()}"),
            client.post(ORGANIZATIONS, json={"name": "Quota"}),
            client.post(ORGANIZATIONS, json={"nome": "Quota"}),
            client.head(house.path),
        ]
        answered += [client.get("/v1/key") for _ in range(5)]
    assert [each.status_code for each in answered[:7]] == [200, 200, 422, 404, 201, 422, 200]
    assert [each.headers.get("ratelimit-policy") for each in answered if each.status_code != 422] == [
        '"key";q=10;w=60'
    ] * (len(answered) - 2)
    left = [re.fullmatch(r'"key";r=(\d+)(?:;t=(\d+))?', each.headers["ratelimit"]) for each in answered[4:]]
    assert all(left)
    assert answered[-1].status_code == 429
    assert answered[-1].headers["ratelimit"] == f'"key";r=0;t={answered[-1].headers["retry-after"]}'
    assert answered[0].headers["ratelimit"] == '"key";r=9'


def test_without_a_key_no_limit_is_told(door: Door) -> None:
    with door.client() as client:
        assert "ratelimit" not in client.get("/healthz").headers
        assert "ratelimit" not in client.get("/v1/key").headers


def test_who_comes_when_too_many_are_there_is_told_when_to_come_again(
    serve: Callable[..., tuple[Server, Desk]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.server.MOST_CONNECTIONS", 2)
    server, _desk = serve()
    url = f"http://127.0.0.1:{server.port}"
    asked = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stayed = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            stayed.sendall(asked)
            assert stayed.recv(65_536).startswith(b"HTTP/1.1 200")
        head, _, body = exchanged(url, asked.replace(b"GET", b"POST") + b"{").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503")
    assert b"\r\nretry-after: 5\r\n" in head
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == 503
    last = asked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    until(lambda: exchanged(url, last).startswith(b"HTTP/1.1 200"), "there is room again")


def test_what_is_being_answered_is_finished_before_the_end(
    serve: Callable[..., tuple[Server, Desk]], door: Door, house: House
) -> None:
    """A test of credentials is on at a vendor that takes its time; the server is told to end meanwhile."""
    server, _desk = serve(http_drain_s=30)
    vendor = socket.create_server(("127.0.0.1", 0))
    came, go_on = threading.Event(), threading.Event()

    def dawdle() -> None:
        connected, _ = vendor.accept()
        with connected:
            connected.recv(65_536)
            came.set()
            go_on.wait(60)
            connected.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    threading.Thread(target=dawdle, daemon=True).start()
    answers: list[Any] = []
    body = {**house.body(), "options": {"port": vendor.getsockname()[1]}}
    url = f"http://127.0.0.1:{server.port}{house.path}/connections"

    def ask() -> None:
        with door.client(door.account_key) as client:
            answers.append(client.post(url, json=body))

    asking = threading.Thread(target=ask)
    asking.start()
    assert came.wait(60)
    server.should_exit = True
    go_on.set()
    asking.join(60)
    vendor.close()

    assert answers[0].status_code == 422
    assert "401" in answers[0].json()["detail"]


def test_nobody_waits_for_those_who_wait_for_vendors(door: Door, house: House) -> None:
    """More tests of credentials than handlers have threads are on; a list is answered all the same."""
    vendor = socket.create_server(("127.0.0.1", 0), backlog=128)
    connected: list[socket.socket] = []
    enough = threading.Event()

    def accept() -> None:
        while True:
            try:
                connected.append(vendor.accept()[0])
            except OSError:
                return
            if len(connected) >= 20:
                enough.set()

    threading.Thread(target=accept, daemon=True).start()
    body = json.dumps({**house.body(), "options": {"port": vendor.getsockname()[1]}})
    clients = [door.client(door.account_key) for _ in range(50)]
    path = f"{house.path}/connections"
    threads = [
        threading.Thread(
            target=each.post, args=(path,), kwargs={"content": body, "headers": {"content-type": "application/json"}}
        )
        for each in clients
    ]
    for thread in threads:
        thread.start()
    try:
        assert enough.wait(60)
        assert house.client.get(path).status_code == 200
    finally:
        vendor.close()
        while any(thread.is_alive() for thread in threads):
            while connected:
                connected.pop().close()
            threads[0].join(0.05)
            threads = [thread for thread in threads if thread.is_alive()] or threads[:1]
        for client in clients:
            client.close()
