"""What stands between a program and a server, and passes on, holds up, cuts or answers itself, as a drill says.

For PostgreSQL it reads the protocol, so that a fault strikes one statement at one moment: before the server has it,
after the server has carried it out and before the answer is there.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Final, Self

from tests.system.stack import Installation, until

CLAIM: Final = "INSERT INTO run ("
FINISH: Final = "SET active_seq = NULL, crash_streak = 0,"
LAND: Final = "FOR KEY SHARE"
RENEW: Final = "UPDATE worker SET lease_until = now() + "
TAKE_DUE: Final = "SET hinted_at = now()"
REAP: Final = "crash_streak = s.crash_streak + 1"
"""Words that only this statement has, of those that workers send."""

_SSL, _GSS = 80877103, 80877104
_PIECE: Final = 65536


class Then(Enum):
    """What becomes of a statement that was struck.

    CUT: the connection is reset, and the server never had the statement. CUT_AFTER: the server has carried it out, and
    the connection is reset before the answer. REFUSE: the server never had it, and the program is told an error.
    """

    PASS = auto()
    CUT = auto()
    CUT_AFTER = auto()
    REFUSE = auto()


@dataclass(slots=True, kw_only=True)
class Strike:
    """A fault for the next `times` statements that hold these words.

    of: words of an earlier statement of the same transaction, where it must be that one; call: what to do at that
    moment, in the thread of the connection; struck: how often it has come to it.
    """

    words: str
    of: str = ""
    then: Then
    times: int = 1
    sqlstate: str = "40001"
    call: Callable[[], object] = lambda: None
    struck: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def takes(self, text: str, before: str) -> bool:
        """Say whether this statement is struck, and count it. before: what its transaction has said."""
        with self._lock:
            if self.words not in text or self.of not in before or self.struck >= self.times:
                return False
            self.struck += 1
            return True

    def wait(self) -> None:
        """Wait until it has struck as often as it may."""
        until(lambda: self.struck >= self.times, f"{self.words!r} is struck {self.times} times")


class Between:
    """A port on loopback that leads to a server's socket. A context manager."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.delay_s = 0.0
        """How long each piece is held up, on its way there and on its way back."""
        self.is_deaf = False
        """Connections are taken, and nothing of what they say is passed on: as behind a firewall that drops."""
        self._is_closed = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._thread = threading.Thread(target=self._accept, name="between", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()
        self._thread.join(10)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def reset(self) -> None:
        """Reset every connection there is. New ones are taken."""
        with self._lock:
            for end in self._open:
                _reset(end)

    def _accept(self) -> None:
        while not self._is_closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="between", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        with client, server:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {client, server}
            with suppress(OSError, _EndedError):
                server.connect(str(self.target))
                self._carry(client, server)
            with self._lock:
                self._open -= {client, server}
            _reset(client)

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        back = threading.Thread(target=self._pump, args=(server, client), name="between", daemon=True)
        back.start()
        self._pump(client, server)
        back.join()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                if not self.is_deaf:
                    time.sleep(self.delay_s)
                    sink.sendall(piece)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class BetweenPostgres(Between):
    """Likewise, and it knows what is said to PostgreSQL."""

    def __init__(self, target: Path) -> None:
        super().__init__(target)
        self._strikes: list[Strike] = []

    def url(self, installation: Installation) -> str:
        """Return the address of an installation's database, by way of here."""
        before, _, _ = installation.database_url.partition("?")
        user, _, database = before.removeprefix("postgresql://").partition("@/")
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}?sslmode=disable&gssencmode=disable"

    def strike(self, strike: Strike) -> Strike:
        """Let a fault happen from now on."""
        self._strikes.append(strike)
        return strike

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        _Conversation(self, client, server).carry()

    def struck(self, text: str, before: str) -> Strike | None:
        return next((strike for strike in self._strikes if strike.takes(text, before)), None)


class _EndedError(Exception):
    """One of the two has hung up."""


class _Conversation:
    """One connection. psycopg waits for each answer before it says the next thing, so there is one at a time."""

    def __init__(self, wire: BetweenPostgres, client: socket.socket, server: socket.socket) -> None:
        self._wire, self._client, self._server = wire, client, server
        self._statements: dict[bytes, str] = {}
        self._swallowed: Strike | None = None
        self._status = b"I"
        self._before = ""

    def carry(self) -> None:
        self._greet()
        back = threading.Thread(target=self._answers, name="between", daemon=True)
        back.start()
        try:
            self._questions()
        finally:
            for end in (self._client, self._server):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            back.join()

    def _greet(self) -> None:
        while True:
            head = _exactly(self._client, 8)
            length, code = struct.unpack("!II", head)
            if code not in {_SSL, _GSS}:
                self._server.sendall(head + _exactly(self._client, length - 8))
                return
            self._client.sendall(b"N")

    def _questions(self) -> None:
        batch, text = b"", ""
        while True:
            kind, body = _message(self._client)
            batch += kind + struct.pack("!I", len(body) + 4) + body
            if kind == b"P":
                name, query, *_ = body.split(b"\0", 2)
                self._statements[name] = query.decode()
            elif kind == b"B":
                _, name, *_ = body.split(b"\0", 2)
                text = self._statements.get(name, "")
            elif kind == b"Q":
                text = body.rstrip(b"\0").decode()
            if kind not in {b"P", b"B", b"D", b"E"}:  # the batch is whole: Sync, Query, a piece of COPY, the end
                self._ask(batch, text)
                batch, text = b"", ""

    def _ask(self, batch: bytes, text: str) -> None:
        time.sleep(self._wire.delay_s)
        self._before = "" if self._status == b"I" else self._before
        strike = self._wire.struck(text, self._before) if text else None
        self._before += text
        if strike is None or strike.then is Then.PASS:
            if strike is not None:
                strike.call()
            self._server.sendall(batch)
        elif strike.then is Then.CUT_AFTER:
            self._swallowed = strike
            self._server.sendall(batch)
        elif strike.then is Then.CUT:
            strike.call()
            _reset(self._client)
            raise _EndedError
        else:
            strike.call()
            status = b"I" if self._status == b"I" else b"E"
            self._client.sendall(_error(strike.sqlstate) + b"Z" + struct.pack("!I", 5) + status)

    def _answers(self) -> None:
        with suppress(OSError, _EndedError):
            while True:
                kind, body = _message(self._server)
                if kind == b"Z":
                    self._status = body
                if self._swallowed is None:
                    time.sleep(self._wire.delay_s if kind == b"Z" else 0)
                    self._client.sendall(kind + struct.pack("!I", len(body) + 4) + body)
                elif kind == b"Z":
                    self._swallowed.call()
                    _reset(self._client)
                    return
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _error(sqlstate: str) -> bytes:
    fields = (b"SERROR", b"VERROR", b"C" + sqlstate.encode(), b"Mstruck between the program and the server", b"")
    body = b"\0".join(fields) + b"\0"
    return b"E" + struct.pack("!I", len(body) + 4) + body


def _message(source: socket.socket) -> tuple[bytes, bytes]:
    kind = _exactly(source, 1)
    (length,) = struct.unpack("!I", _exactly(source, 4))
    return kind, _exactly(source, length - 4)


def _exactly(source: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        piece = source.recv(count - len(found))
        if not piece:
            raise _EndedError
        found += piece
    return bytes(found)


def _reset(end: socket.socket) -> None:
    """Let the other end see a reset rather than an orderly close."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
