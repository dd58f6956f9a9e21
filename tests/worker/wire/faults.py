"""A vendor made of raw sockets, on loopback: each path has a script that says what goes over the wire, byte by byte."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Script = Callable[["Peer"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request as it arrived. headers: names in lower case."""

    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class HangupError(Exception):
    """The script is over, and so is the connection."""


class Peer:
    """One request's other end."""

    def __init__(self, sock: socket.socket, seen: Seen, server: "FaultServer") -> None:
        self.sock, self.seen, self.server = sock, seen, server

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError as error:
            self.server.hung_up.set()
            raise HangupError from error

    def answer(self, status: int = 200, body: bytes = b"{}", **headers: str) -> None:
        named = {"content_type": "application/json", "content_length": str(len(body)), **headers}
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in named.items()]
        self.send(f"HTTP/1.1 {status} Status\r\n".encode() + "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def drip(self, data: bytes, *, every_s: float = 0.1) -> None:
        """Send byte by byte; `server.finished` says that all of it was taken."""
        for byte in data:
            self.send(bytes((byte,)))
            self.server.pause(every_s)
        self.server.finished.set()

    def hang(self) -> None:
        """Say nothing until the test is over or the other side hangs up."""
        self.sock.settimeout(30)
        with contextlib.suppress(OSError):
            self.sock.recv(1)
        self.server.hung_up.set()
        raise HangupError

    def reset(self) -> None:
        """End the connection with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        raise HangupError

    def close(self) -> None:
        raise HangupError


class FaultServer:
    """Listens on a port of its own. scripts: path without query -> script; `*` for any."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.scripts: dict[str, Script] = {"*": lambda peer: peer.answer()}
        self.seen: list[Seen] = []
        self.connections = 0
        self.accepted = threading.Event()
        self.hung_up = threading.Event()
        self.finished = threading.Event()
        self._over = threading.Event()
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def on(self, path: str, script: Script) -> str:
        """Run a script for a path. Returns its URL."""
        self.scripts[path] = script
        return self.url + path

    def in_turn(self, path: str, *scripts: Script) -> str:
        """Run one script after the other, the last one for good."""
        left = list(scripts)

        def next_script(peer: Peer) -> None:
            (left.pop(0) if len(left) > 1 else left[0])(peer)

        return self.on(path, next_script)

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the test."""
        if self._over.wait(seconds):
            raise HangupError

    def close(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in tuple(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(10)
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self.accepted.set()
            self._open.add(sock)
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        sock: socket.socket = plain
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(plain, server_side=True)
                self._open.add(sock)
            with contextlib.suppress(HangupError):
                for seen in self._requests(sock):
                    self.seen.append(seen)
                    path = seen.target.partition("?")[0]
                    self.scripts.get(path, self.scripts["*"])(Peer(sock, seen, self))
        except OSError:
            self.hung_up.set()
        finally:
            sock.close()
            plain.close()
            self._open -= {sock, plain}

    @staticmethod
    def _requests(sock: socket.socket) -> Iterator[Seen]:
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                data = sock.recv(65536)
                if not data:
                    return
                buffer += data
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ", 2)
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            length = int(headers.get("content-length", "0"))
            while len(buffer) < length:
                buffer += sock.recv(65536)
            body, buffer = buffer[:length], buffer[length:]
            yield Seen(method=method, target=target, headers=headers, body=body)
