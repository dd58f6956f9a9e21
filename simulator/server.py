"""The server: one thread for each connection, on loopback only, ended without a trace."""

import select
import socket
import socketserver
import struct
import time
from contextlib import suppress
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

from simulator.control import World
from simulator.wire import (
    LONGEST_HEAD_BYTES,
    Answer,
    Delivery,
    MalformedRequestError,
    Request,
    json_answer,
    parse_head,
)

CHUNK_BYTES = 64 * 1024
IDLE_S = 120.0
LOOK_UP_S = 0.25
"""How often a thread that keeps a client waiting looks whether the client or the server has gone."""


class Simulator:
    """The simulated vendors on a loopback port. port 0: any free one. Starts on entry, ends every thread on exit."""

    def __init__(self, port: int = 0, *, host: str = "127.0.0.1") -> None:
        self.world = World()
        self._server = _Server((host, port), self.world)
        self._thread = Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="simulator", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Scheme and authority, without a slash at the end."""
        return self._server.origin

    def start(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close the port and every connection, and wait for the threads to end."""
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], world: World) -> None:
        super().__init__(address, _Connection)
        self.world = world
        self.stopping = Event()
        self.origin = f"http://{self.server_address[0]!s}:{self.server_address[1]}"
        self._open: set[socket.socket] = set()
        self._lock = Lock()

    def keep(self, client: socket.socket) -> None:
        """Remember a connection, so that it can be closed when the server stops."""
        with self._lock:
            self._open.add(client)

    def forget(self, client: socket.socket) -> None:
        """Stop remembering a connection."""
        with self._lock:
            self._open.discard(client)

    def hang_up(self) -> None:
        """End every connection."""
        self.stopping.set()
        with self._lock:
            for client in self._open:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)


class _Connection(socketserver.BaseRequestHandler):
    """One client: requests one after another, kept alive as the client likes."""

    request: socket.socket
    server: _Server

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request.settimeout(IDLE_S)
        self.server.keep(self.request)
        self._rest = b""

    def finish(self) -> None:
        self.server.forget(self.request)

    def handle(self) -> None:
        with suppress(OSError):
            while not self.server.stopping.is_set() and self._one():
                pass

    def _one(self) -> bool:
        """Read a request and answer it; say whether the connection is kept."""
        try:
            read = self._read()
        except MalformedRequestError as error:
            self.request.sendall(
                _whole(json_answer({"error": f"malformed request: {error}"}, status=400), keep_alive=False)
            )
            return False
        if read is None:
            return False
        request, keep_alive = read
        answer = self.server.world.answer(request, self.server.origin)
        if answer.delay_s and not self._idle(answer.delay_s):
            return False
        return self._deliver(answer, keep_alive=keep_alive, head_only=request.method == "HEAD")

    def _read(self) -> tuple[Request, bool] | None:
        while (end := self._rest.find(b"\r\n\r\n")) < 0:
            if len(self._rest) > LONGEST_HEAD_BYTES:
                raise MalformedRequestError(b"the head is longer than 64 KiB")
            received = self.request.recv(CHUNK_BYTES)
            if not received:
                return None
            self._rest += received
        request, length, keep_alive = parse_head(self._rest[:end])
        body, self._rest = self._rest[end + 4 : end + 4 + length], self._rest[end + 4 + length :]
        while len(body) < length:
            received = self.request.recv(min(CHUNK_BYTES, length - len(body)))
            if not received:
                return None
            body += received
        if not body:
            return request, keep_alive
        return Request(
            method=request.method, path=request.path, query=request.query, headers=request.headers, body=body
        ), keep_alive

    def _deliver(self, answer: Answer, *, keep_alive: bool, head_only: bool) -> bool:
        match answer.delivery:
            case Delivery.WHOLE:
                self.request.sendall(
                    answer.head(keep_alive=keep_alive) if head_only else _whole(answer, keep_alive=keep_alive)
                )
                return keep_alive
            case Delivery.RESET:
                # Closing with a linger time of nothing sends RST in place of FIN.
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.request.close()
            case Delivery.TRUNCATED:
                self.request.sendall(answer.head(keep_alive=False) + answer.body[: len(answer.body) // 2])
            case Delivery.DRIP:
                self.request.sendall(answer.head(keep_alive=False))
                while self._idle(answer.gap_s):
                    self.request.sendall(b" ")
            case Delivery.HANG:
                while self._idle(LOOK_UP_S):
                    pass
            case Delivery.CLOSED:
                pass
        return False

    def _idle(self, seconds: float) -> bool:
        """Let time pass; False where the client or the server has gone meanwhile."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            if self.server.stopping.is_set():
                return False
            readable, _, _ = select.select([self.request], [], [], min(left_s, LOOK_UP_S))
            if readable:
                if not self.request.recv(1, socket.MSG_PEEK):
                    return False
                # The client sends on without waiting: nothing to be heard here, so only the time is left to pass.
                time.sleep(min(left_s, LOOK_UP_S))
        return not self.server.stopping.is_set()


def _whole(answer: Answer, *, keep_alive: bool) -> bytes:
    return answer.head(keep_alive=keep_alive) + answer.body
