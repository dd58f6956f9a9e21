"""What a hostile vendor sends, byte by byte. Each script answers one request (tests/worker/wire/faults.py)."""

import functools
import gzip
import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.worker.wire.faults import FaultServer, Peer, Script

HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
TEN_GB: Final = 10 * 1024**3
GAP_S: Final = 0.2
"""Between two pieces of what drips: ten times less than any time limit that counts from piece to piece."""

MIB: Final = 1024 * 1024


def hang(peer: Peer) -> None:
    peer.hang()


def hang_in_the_header(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Ty")
    peer.hang()


def hang_in_the_body(peer: Peer) -> None:
    peer.send(HEAD + b'Content-Length: 1000\r\n\r\n{"items": [')
    peer.hang()


def drip_the_body(peer: Peer) -> None:
    peer.send(HEAD + b"Content-Length: 1000000\r\n\r\n")
    peer.drip(b" " * 1_000_000, every_s=GAP_S)


def drip_the_header(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\n")
    peer.drip(b"X-Slow: " + b"z" * 60_000, every_s=GAP_S)


def drip_chunks(peer: Peer) -> None:
    peer.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(1_000_000):
        peer.send(b"1\r\n \r\n")
        peer.server.pause(GAP_S)


def drip_interim_answers(peer: Peer) -> None:
    for _ in range(1_000_000):
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.server.pause(GAP_S)


def endless_headers(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\n")
    for number in itertools.count():
        peer.send(b"X-%d: y\r\n" % number * 100)


def one_endless_header(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    while True:
        peer.send(b"z" * 65536)


def large_headers(peer: Peer) -> None:
    headers = "".join(f"X-{n}: {'z' * 6000}\r\n" for n in range(60)).encode()
    peer.send(HEAD + headers + b'Content-Length: 13\r\n\r\n{"items": []}')


class Flood:
    """Sends a head, then pieces for as long as somebody takes them. sent_bytes: how many were taken in one answer."""

    def __init__(self, head: bytes, piece: bytes) -> None:
        self._head, self._piece = head, piece
        self.sent_bytes = 0

    def __call__(self, peer: Peer) -> None:
        peer.send(self._head)
        sent_bytes = 0
        while sent_bytes < TEN_GB:
            peer.send(self._piece)
            sent_bytes += len(self._piece)
            self.sent_bytes = max(self.sent_bytes, sent_bytes)


def floods() -> dict[str, Flood]:
    """Return the bodies of ten gigabytes, each under its name."""
    lines = b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\n\r\n"
    return {
        "ten-gigabytes": Flood(HEAD + f"Content-Length: {TEN_GB}\r\n\r\n".encode(), b" " * MIB),
        "endless-chunks": Flood(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"100000\r\n" + b" " * MIB + b"\r\n"),
        "one-endless-line": Flood(lines + b'{"id": "', b"z" * MIB),
        "endless-empty-lines": Flood(lines, b"\n" * MIB),
    }


def gzip_bomb(peer: Peer) -> None:
    peer.answer(body=bomb(), content_encoding="gzip")


def gzip_that_is_none(peer: Peer) -> None:
    peer.answer(body=b'{"items": []}', content_encoding="gzip")


def deep_json(peer: Peer) -> None:
    peer.answer(body=b'{"items": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def json_bomb(peer: Peer) -> None:
    peer.answer(body=b'{"items": [' + b"{}," * 5_000_000 + b"{}]}")


def redirect_to_itself(peer: Peer) -> None:
    peer.answer(302, b"", location=peer.seen.target)


def redirect_for_ever(peer: Peer) -> None:
    peer.answer(307, b"", location=f"{peer.seen.target.partition('?')[0]}?n={len(peer.server.seen)}")


def redirect_inwards(peer: Peer) -> None:
    peer.answer(302, b"", location="http://169.254.169.254/latest/meta-data/")


def reset_at_once(peer: Peer) -> None:
    peer.reset()


def reset_in_the_body(peer: Peer) -> None:
    peer.send(HEAD + b'Content-Length: 1000\r\n\r\n{"items": [')
    peer.reset()


def close_at_once(peer: Peer) -> None:
    peer.close()


def close_in_the_body(peer: Peer) -> None:
    peer.send(HEAD + b'Content-Length: 1000\r\n\r\n{"items": [')
    peer.close()


def close_in_the_chunks(peer: Peer) -> None:
    peer.send(HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"ite\r\n')
    peer.close()


def no_http(peer: Peer) -> None:
    peer.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    peer.close()


def an_answer(status: int, body: bytes, **headers: str) -> Script:
    """Return a script that answers in good order."""
    return lambda peer: peer.answer(status, body, **headers)


@functools.cache
def bomb() -> bytes:
    """Return 128 KiB that unpack to 128 MiB."""
    return gzip.compress(bytes(128 * MIB), 9)


@contextmanager
def silent_listener(greeting: bytes = b"") -> Iterator[int]:
    """Take connections on a port and say nothing after the greeting: what a TLS handshake stalls at."""
    listener = socket.create_server(("127.0.0.1", 0))
    kept: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
                kept.append(sock)
                sock.sendall(greeting)
            except OSError:
                if listener.fileno() < 0:
                    return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for sock in kept:
            sock.close()
        thread.join()


@contextmanager
def fault_server(scripts: dict[str, Script], **how: object) -> Iterator[FaultServer]:
    """Serve each script under its name."""
    server = FaultServer(**how)  # type: ignore[arg-type]
    for name, script in scripts.items():
        server.on(f"/{name}/items", script)
    try:
        yield server
    finally:
        server.close()
