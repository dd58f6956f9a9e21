"""A vendor that lets a run through page by page, as the test says, and writes down all that it sees.

Every page carries the number of the execution that asks for it (the vendor makes one up at the first page and hands it
on in the page's token), so the log tells which calls belong together, whatever we think of them ourselves.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request as the vendor saw it. at: seconds since 1970, as the database counts them; page: from 1."""

    at: float
    vendor: str
    account: str
    execution: int
    page: int


@dataclass(slots=True)
class Reply:
    """What to answer in place of the page. status 0: hang up without an answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    drip_s: float = 0.0


class Turnstile:
    """The vendor, on a loopback port, with its accounts named by their bearer tokens (or `x-account`).

    pages: of one execution; answer: called with each call, None for the page itself.
    """

    def __init__(self, *, pages: int = 2, answer: Callable[[Call], Reply | None] = lambda _call: None) -> None:
        self.pages = pages
        self.answer = answer
        self.log: list[Call] = []
        self._seen = threading.Condition()
        self._gates: dict[str, threading.Event] = {}
        self._executions = itertools.count(1)
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for gate in list(self._gates.values()):
            gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @contextmanager
    def held(self, *accounts: str) -> Iterator[None]:
        """Let the calls of these accounts wait for their answers while the block runs."""
        for account in accounts:
            self.hold(account)
        try:
            yield
        finally:
            for account in accounts:
                self.let_through(account)

    def hold(self, account: str) -> threading.Event:
        """Let the account's calls wait from now on; those before go on once the event of their own hold is set."""
        self._gates[account] = threading.Event()
        return self._gates[account]

    def let_through(self, account: str) -> None:
        gate = self._gates.pop(account, None)
        if gate is not None:
            gate.set()

    def calls(self, account: str) -> list[Call]:
        with self._seen:
            return [call for call in self.log if call.account == account]

    def executions(self, account: str) -> int:
        """How many runs this account has seen begin."""
        return len({call.execution for call in self.calls(account)})

    def wait_for(self, account: str, calls: int = 1, within_s: float = PATIENCE_S) -> list[Call]:
        """Wait until the account has made so many calls."""
        with self._seen:
            there = self._seen.wait_for(lambda: sum(c.account == account for c in self.log) >= calls, within_s)
        assert there, f"{account} made {len(self.calls(account))} calls, {calls} were awaited"
        return self.calls(account)

    # --- for the server ----------------------------------------------------------------------------------------------

    def see(self, vendor: str, account: str, after: str | None) -> Call:
        with self._seen:
            execution, page = (int(n) for n in after.split("-")) if after else (next(self._executions), 1)
            call = Call(at=time.time(), vendor=vendor, account=account, execution=execution, page=page)
            self.log.append(call)
            self._seen.notify_all()
        return call

    def reply(self, call: Call) -> Reply:
        gate = self._gates.get(call.account)
        if gate is not None:
            gate.wait()
        found = self.answer(call)
        if found is not None and not (found.status == 200 and not found.body):
            return found
        following = f"{call.execution}-{call.page + 1}" if call.page < self.pages else None
        items = [{"id": f"{call.page}-{n}", "seen": call.page} for n in range(3)]
        page = json.dumps({"items": items, "next": following}).encode()
        return Reply(200, page, {"content-type": "application/json"}, *((found.wait_s, found.drip_s) if found else ()))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, turnstile: Turnstile) -> None:
        self.turnstile = turnstile
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 600

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        account = self.headers.get("x-account") or self.headers.get("authorization", "").removeprefix("Bearer ")
        vendor = parts.path.split("/")[1]
        after = parse_qs(parts.query).get("after")
        call = self.server.turnstile.see(vendor, account, after[0] if after else None)
        reply = self.server.turnstile.reply(call)
        time.sleep(reply.wait_s)
        if reply.status == 0:
            self.close_connection = True
            return
        with suppress(OSError):
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            if not reply.drip_s:
                self.wfile.write(reply.body)
                return
            for position in range(len(reply.body)):
                self.wfile.write(reply.body[position : position + 1])
                time.sleep(reply.drip_s)

    def log_message(self, *_: object) -> None:
        """The log is kept above."""
