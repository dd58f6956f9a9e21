"""The world outside of a soak, in a process of its own: a cheap vendor with moods, and a way to PostgreSQL that loses.

    python tests/faults/outside.py LOG SEED SOCKET_FOLDER PORT

The vendor answers two pages to an execution, whose number it makes up at the first page and hands on in the page's
token and in its records. What it sees goes to LOG, a line a call, in the order of its coming. In SOCKET_FOLDER lies the
socket of the real server, of which OURS is a copy that may be told to lose answers. Commands come by standard input, a
line each: `moody`, `calm`, `lose N` (the answers to the next N statements are lost after they were carried out). It
ends with its standard input.
"""

import asyncio
import json
import random
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

PAGES: Final = 2
OURS: Final = "ways"
FLUSH_S: Final = 0.1
MOODY: Final = 0.16
"""Of two calls that a run takes, so that three runs of ten meet a fault."""

_LINE: Final = re.compile(rb"GET /(\w+)/(\w+)(?:\?after=(\d+)-(\d+))?[ &]")
_ACCOUNT: Final = re.compile(rb"\r\n[Aa]uthorization: Bearer ([^\r]+)")
_JSON: Final = "application/json"
_REASONS: Final = {200: "OK", 401: "Unauthorized", 403: "Forbidden", 429: "Too Many", 500: "Oops", 503: "Away"}

Answer = tuple[float, int, str, bytes, str, float]
"""wait_s, status (0: hang up), content type, body, more header lines, seconds between the bytes of a drip."""


class Vendor:
    """What the vendor is like and what it saw."""

    def __init__(self, log: Path, seed: int) -> None:
        self._log = log.open("a", encoding="ascii", buffering=1 << 16)
        self._lot = random.Random(seed)  # noqa: S311 - breaks things at random, guards nothing
        self._executions = 0
        self.is_moody = True

    def answer(self, vendor: str, what: str, account: str, after: tuple[int, int] | None) -> Answer:
        """Write the call down and make up an answer."""
        if after is None:
            self._executions += 1
            execution, page = self._executions, 1 if what == "items" else 0
        else:
            execution, page = after
        lot = self._lot
        wait_s = lot.uniform(0.02, 0.2)
        mood = lot.choice(_MOODS) if self.is_moody and lot.random() < MOODY else None
        name = "well" if mood is None else mood.__name__
        self._log.write(f"{time.time():.6f} {vendor} {account} {execution} {page} {name}\n")
        if mood is not None:
            return mood(account, execution, wait_s)
        number = int(account.rsplit("-", 2)[1])
        items = [
            {"id": f"{page}-0", "execution": execution, "account": number},
            {"id": f"{page}-1", "account": number},
        ]
        following = f"{execution}-{page + 1}" if page < PAGES else None
        body = json.dumps({"execution": execution, "items": items, "next": following}).encode()
        return wait_s, 200, _JSON, body, "", 0.0

    def flush(self) -> None:
        """Let readers see what was written."""
        self._log.flush()


def _failing(status: int, text: str, more: str = "") -> Callable[[str, int, float], Answer]:
    def answer(account: str, execution: int, wait_s: float) -> Answer:
        # An echo of the token, as careless vendors make it.
        body = json.dumps({"error": text, "execution": execution, "token": account}).encode()
        return wait_s, status, _JSON, body, more, 0.0

    answer.__name__ = f"{status}"
    return answer


def hangs_up(_account: str, _execution: int, wait_s: float) -> Answer:
    return wait_s, 0, "", b"", "", 0.0


def html(_account: str, _execution: int, wait_s: float) -> Answer:
    return wait_s, 200, "text/html", b"<html>sign in</html>", "", 0.0


def drips(_account: str, _execution: int, _wait_s: float) -> Answer:
    return 0.0, 200, _JSON, b'{"items": []' + b" " * 20 + b"}", "", 0.15


def slow(account: str, execution: int, wait_s: float) -> Answer:
    """Answer badly, and late: whoever was frozen meanwhile has a verdict in hand and nothing to store."""
    return (10 + 20 * wait_s, *_failing(401, "invalid_token")(account, execution, wait_s)[1:])


_MOODS: Final[list[Callable[[str, int, float], Answer]]] = [
    _failing(401, "invalid_token"),
    _failing(403, "insufficient_scope"),
    _failing(429, "slow down", "retry-after: 2\r\n"),
    _failing(500, "oops"),
    _failing(503, "maintenance"),
    hangs_up,
    html,
    drips,
    slow,
    slow,
]


class _Customer(asyncio.Protocol):
    """One connection that a worker holds to the vendor: HTTP/1.1, GET only, one request at a time."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._transport: Any = None
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if not self._heard.endswith(b"\r\n\r\n"):
            return
        line, account = _LINE.match(self._heard), _ACCOUNT.search(self._heard)
        self._heard = b""
        if line is None or account is None:
            self._transport.close()
            return
        after = (int(line[3]), int(line[4])) if line[3] else None
        answer = self._vendor.answer(line[1].decode(), line[2].decode(), account[1].decode(), after)
        asyncio.get_running_loop().call_later(answer[0], self._reply, answer)

    def _reply(self, answer: Answer) -> None:
        _, status, kind, body, more, drip_s = answer
        if status == 0:
            self._transport.close()
            return
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: {kind}\r\n{more}content-length: {len(body)}\r\n\r\n"
        )
        if not drip_s:
            self._transport.write(head.encode() + body)
            return
        self._transport.write(head.encode())
        self._drip(body, drip_s)

    def _drip(self, body: bytes, drip_s: float) -> None:
        if body and not self._transport.is_closing():
            self._transport.write(body[:1])
            asyncio.get_running_loop().call_later(drip_s, self._drip, body[1:], drip_s)


class Ways:
    """The lossy way to PostgreSQL."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.to_lose = 0

    def lose(self, count: int) -> None:
        """Lose the answers to so many of the statements that come within a second."""
        self.to_lose = count
        asyncio.get_running_loop().call_later(1.0, self._lose_no_more)

    def _lose_no_more(self) -> None:
        self.to_lose = 0


class _Way(asyncio.Protocol):
    """One client's connection: passes on what it says."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._client: Any = None
        self._server: Any = None
        self._early: list[bytes] = []
        self.loses = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._client = transport
        self._opening = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._server, _ = await loop.create_unix_connection(lambda: _Back(self), str(self._ways.target))
        except OSError:
            self.cut()
            return
        for data in self._early:
            self._server.write(data)

    def data_received(self, data: bytes) -> None:
        if self._server is None:
            self._early.append(data)
            return
        # A parse or a bind: a statement, not a login.
        if self._ways.to_lose > 0 and data[:1] in b"PBQ":
            self._ways.to_lose -= 1
            self.loses = True
        self._server.write(data)

    def answered(self, data: bytes) -> None:
        if self.loses:
            self.cut()  # the server answers once it has committed
        else:
            self._client.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.cut()

    def cut(self) -> None:
        for end in (self._client, self._server):
            if end is not None:
                end.abort()


class _Back(asyncio.Protocol):
    def __init__(self, way: _Way) -> None:
        self._way = way

    def data_received(self, data: bytes) -> None:
        self._way.answered(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._way.cut()


async def serve(log: Path, seed: int, folder: Path, port: int) -> None:
    """Serve until standard input ends; the vendor's port is the first line that is told."""
    vendor, ways = Vendor(log, seed), Ways(folder / f".s.PGSQL.{port}")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Customer(vendor), "127.0.0.1", 0, backlog=1024)
    (folder / OURS).mkdir(mode=0o700, exist_ok=True)
    lossy = await loop.create_unix_server(lambda: _Way(ways), str(folder / OURS / f".s.PGSQL.{port}"), backlog=512)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)

    async def flush() -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            vendor.flush()

    flushing = asyncio.ensure_future(flush())
    while line := (await commands.readline()).decode().split():
        match line:
            case ["moody"] | ["calm"]:
                vendor.is_moody = line == ["moody"]
            case ["lose", count]:
                ways.lose(int(count))
            case _:
                sys.stderr.write(f"nobody knows {line}\n")
    flushing.cancel()
    vendor.flush()
    server.close()
    lossy.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
