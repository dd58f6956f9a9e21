"""Reading: limits on size, ratio and header, and bodies that are not what they should be."""

import gzip
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.worker.wire.conftest import OpenRun
from tests.worker.wire.faults import FaultServer, Peer
from vendors.wire import Request
from worker.wire.body import ReadLimits
from worker.wire.errors import BodyTooLargeError, HeadersTooLargeError, IncompleteBodyError

BODY = b'{"items": [' + b",".join(b'{"id": %d}' % n for n in range(5000)) + b"]}"


def get(url: str, **kwargs: Any) -> Request:
    return Request(
        **{
            "method": "GET",
            "url": url,
            "endpoint": "GET /things",
            "data_type": "things",
            "idempotent": False,
            **kwargs,
        }
    )


def raw_deflate(data: bytes) -> bytes:
    z = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return z.compress(data) + z.flush()


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        pytest.param("gzip", gzip.compress(BODY), id="gzip"),
        pytest.param("x-gzip", gzip.compress(BODY), id="gzip by its old name"),
        pytest.param("GZIP", gzip.compress(BODY[:999]) + gzip.compress(BODY[999:]), id="gzip in two members"),
        pytest.param("gzip", gzip.compress(BODY) + b"\0" * 20, id="gzip with padding"),
        pytest.param("deflate", zlib.compress(BODY), id="deflate"),
        pytest.param("deflate", raw_deflate(BODY), id="deflate without its header"),
        pytest.param("identity", BODY, id="identity"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_packed_bodies_are_unpacked(
    server: FaultServer, open_run: OpenRun, coding: str, packed: bytes, *, chunked: bool
) -> None:
    def script(peer: Peer) -> None:
        if not chunked:
            peer.answer(200, packed, Content_Encoding=coding)
            return
        peer.send(f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for at in range(0, len(packed), 777):
            piece = packed[at : at + 777]
            peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        peer.send(b"0\r\n\r\n")

    url = server.on("/things", script)
    run = open_run(server)
    assert run.session.send(get(url)).body == BODY
    assert run.capture.bytes_received == len(packed)
    assert run.session.send(get(url)).body == BODY
    assert server.connections == 1


def test_deflate_that_comes_one_byte_at_a_time_is_unpacked(server: FaultServer, open_run: OpenRun) -> None:
    packed = raw_deflate(b"hello hello hello")

    def script(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.send(b"".join(b"1\r\n%c\r\n" % byte for byte in packed) + b"0\r\n\r\n")

    assert open_run(server).session.send(get(server.on("/", script))).body == b"hello hello hello"


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body_are_whole(server: FaultServer, open_run: OpenRun, status: int) -> None:
    url = server.on(
        "/things", lambda peer: peer.send(f"HTTP/1.1 {status} X\r\nContent-Encoding: gzip\r\n\r\n".encode())
    )
    run = open_run(server)
    for _ in range(2):
        answer = run.session.send(get(url))
        assert (answer.status, answer.body) == (status, b"")
    assert server.connections == 1


def test_the_answer_to_head_has_no_body(server: FaultServer, open_run: OpenRun) -> None:
    url = server.on("/things", lambda peer: peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"))
    run = open_run(server)
    for _ in range(2):
        assert run.session.send(get(url, method="HEAD")).body == b""
    assert server.connections == 1


@pytest.mark.parametrize(
    ("head", "body", "error"),
    [
        pytest.param("Content-Length: 100", b"abc", IncompleteBodyError, id="shorter than promised"),
        pytest.param("Transfer-Encoding: chunked", b"5\r\nab", IncompleteBodyError, id="a chunk that breaks off"),
        pytest.param("Transfer-Encoding: chunked", b"3\r\nabc\r\n", IncompleteBodyError, id="chunks without an end"),
        pytest.param(
            "Transfer-Encoding: chunked",
            b"zz\r\nabc\r\n",
            (requests.exceptions.ChunkedEncodingError, IncompleteBodyError),
            id="a chunk size that is none",
        ),
        pytest.param(
            "Content-Encoding: gzip\r\nConnection: close",
            gzip.compress(BODY)[:-20],
            IncompleteBodyError,
            id="gzip that breaks off",
        ),
        pytest.param(
            "Content-Encoding: gzip\r\nContent-Length: 5",
            b"{'a'}",
            requests.exceptions.ContentDecodingError,
            id="text that says it is gzip",
        ),
        pytest.param(
            "Content-Encoding: br\r\nContent-Length: 2",
            b"ab",
            requests.exceptions.ContentDecodingError,
            id="a coding that we did not ask for",
        ),
        pytest.param(
            "Content-Encoding: gzip, gzip\r\nContent-Length: 2",
            b"ab",
            requests.exceptions.ContentDecodingError,
            id="codings on top of each other",
        ),
    ],
)
def test_bodies_that_are_not_whole_or_not_readable_are_errors(
    server: FaultServer, open_run: OpenRun, head: str, body: bytes, error: type[Exception]
) -> None:
    def script(peer: Peer) -> None:
        peer.send(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + body)
        peer.close()

    run = open_run(server)
    with pytest.raises(error):
        run.session.send(get(server.on("/things", script)))
    last = run.capture.last("things")
    assert last is not None
    assert (last.status, bool(last.exception)) == (200, True)


def test_a_body_longer_than_promised_does_not_spill_into_the_next_answer(
    server: FaultServer, open_run: OpenRun
) -> None:
    url = server.on("/things", lambda peer: peer.answer(200, b"abcdefgh", content_length="3"))
    run = open_run(server)
    assert run.session.send(get(url)).body == b"abc"
    server.on("/things", lambda peer: peer.answer(200, b"second"))
    assert run.session.send(get(url)).body == b"second"


@pytest.mark.parametrize("body", [b"\xff\xfe\x00caf\xe9", b"<html>Maintenance</html>", b"", b"\xef\xbb\xbf{}"])
def test_a_body_that_is_no_json_is_handed_on_as_it_came(server: FaultServer, open_run: OpenRun, body: bytes) -> None:
    assert open_run(server).session.send(get(server.on("/", lambda peer: peer.answer(200, body)))).body == body


def test_a_gzip_bomb_is_noticed_early(server: FaultServer, open_run: OpenRun) -> None:
    zeros = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    packed = b"".join(zeros.compress(bytes(1_000_000)) for _ in range(300)) + zeros.flush()  # 0.3 MB -> 300 MB
    url = server.on("/things", lambda peer: peer.answer(200, packed, Content_Encoding="gzip"))
    run = open_run(server, limits=ReadLimits(body_bytes=1_000_000_000))
    with pytest.raises(BodyTooLargeError, match="200 times"):
        run.session.send(get(url))
    assert run.capture.bytes_received <= 64 * 1024


def test_a_page_that_packs_well_is_no_bomb(server: FaultServer, open_run: OpenRun) -> None:
    packed = gzip.compress(bytes(9_000_000))
    url = server.on("/things", lambda peer: peer.answer(200, packed, Content_Encoding="gzip"))
    assert len(open_run(server).session.send(get(url)).body) == 9_000_000


@pytest.mark.parametrize(
    "head",
    ["Content-Length: 90000000", "Connection: close", "Transfer-Encoding: chunked"],
)
def test_an_endless_body_ends_at_the_limit(server: FaultServer, open_run: OpenRun, head: str) -> None:
    def script(peer: Peer) -> None:
        peer.send(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
        piece = b"x" * 100_000
        for _ in range(900):
            peer.send(b"%x\r\n%b\r\n" % (len(piece), piece) if "chunked" in head else piece)
        peer.server.finished.set()

    run = open_run(server, limits=ReadLimits(body_bytes=1_000_000))
    with pytest.raises(BodyTooLargeError):
        run.session.send(get(server.on("/things", script)))
    assert run.capture.bytes_received <= 1_100_000
    assert server.hung_up.wait(10)
    assert not server.finished.is_set()


def test_an_error_page_without_an_end_is_cut_and_still_says_its_status(server: FaultServer, open_run: OpenRun) -> None:
    url = server.on("/things", lambda peer: peer.answer(500, b"y" * 5_000_000))
    answer = open_run(server).session.send(get(url))
    assert (answer.status, len(answer.body)) == (500, 1024 * 1024)


def many_fields(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\n")
    for n in range(100_000):
        peer.send(f"X-{n}: y\r\n".encode())
    peer.server.finished.set()


def long_line(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\nX-Long: ")
    for _ in range(1000):
        peer.send(b"y" * 100_000)
    peer.server.finished.set()


def large_fields(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")
    for n in range(80):
        peer.send(f"X-{n}: ".encode() + b"y" * 10_000 + b"\r\n")
    peer.send(b"\r\n")


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param(many_fields, requests.exceptions.ConnectionError, id="fields without an end"),
        pytest.param(long_line, requests.exceptions.ConnectionError, id="a line without an end"),
        pytest.param(large_fields, HeadersTooLargeError, id="fields that are large together"),
    ],
)
def test_headers_without_an_end_are_refused(
    server: FaultServer, open_run: OpenRun, script: Callable[[Peer], None], error: type[Exception]
) -> None:
    with pytest.raises(error):
        open_run(server).session.send(get(server.on("/things", script)))
    assert not server.finished.is_set()
