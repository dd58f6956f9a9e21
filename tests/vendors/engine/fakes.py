"""A vendor as a function from request to answer, a session that asks it, and definitions written as dicts."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

from vendors.connector import open_connector
from vendors.definition import Definition
from vendors.loader import load_definition
from vendors.page import Connector, CursorState, Page
from vendors.parents import ParentSource
from vendors.wire import Action, Answer, Decision, Request, StreamedAnswer, TokenKeeper, TokenLock

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
BASE = "https://api.lantern.example/v1"


@dataclass(slots=True, kw_only=True)
class Reply:
    """An answer. body: bytes as they are, text encoded, anything else as JSON."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""

    def raw(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


@dataclass(slots=True, kw_only=True)
class FakeAnswer:
    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes

    def chunks(self) -> Iterator[bytes]:
        for at in range(0, len(self.body), 1000):
            yield self.body[at : at + 1000]


Vendor = Callable[[Request], Any]


class FakeSession:
    """Asks a function. A reply that is no Reply is a JSON body with status 200; an exception is raised."""

    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.requests: list[Request] = []
        self.hidden: set[str] = set()
        self.slept: list[float] = []

    def send(self, request: Request) -> Answer:
        return self._answer(request)

    @contextmanager
    def stream(self, request: Request) -> Iterator[StreamedAnswer]:
        yield self._answer(request)

    def decide(self, request: Request, answer: Answer) -> Decision:
        said = request.policy(answer) if request.policy is not None else None
        if said is not None:
            return said
        if 200 <= answer.status < 300:
            return Decision(action=Action.ACCEPT)
        if answer.status == 429:
            return Decision(action=Action.RATE_LIMITED)
        return Decision(action=Action.RETRY if answer.status >= 500 else Action.FAIL)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def hide(self, secret: str) -> None:
        self.hidden.add(secret)

    def _answer(self, request: Request) -> FakeAnswer:
        self.requests.append(request)
        found = self.vendor(request)
        if isinstance(found, BaseException):
            raise found
        reply = found if isinstance(found, Reply) else Reply(body=found)
        headers = {"content-type": "application/json", **{name.lower(): text for name, text in reply.headers.items()}}
        url = reply.url or request.url + (f"?{urlencode(request.query)}" if request.query else "")
        return FakeAnswer(status=reply.status, url=url, headers=headers, body=reply.raw())

    def asked(self, index: int = -1) -> dict[str, str]:
        """The query of a request."""
        return dict(self.requests[index].query)


class Tokens:
    """A keeper in memory, with a real lock."""

    def __init__(self, document: Mapping[str, object] | None = None) -> None:
        self.document = document
        self.saved: list[Mapping[str, object]] = []
        self._lock = threading.RLock()

    def load(self) -> Mapping[str, object] | None:
        return self.document

    @contextmanager
    def exclusive(self) -> Iterator[TokenLock]:
        with self._lock:
            yield self

    def save(self, document: Mapping[str, object]) -> None:
        self.document = dict(document)
        self.saved.append(self.document)


CREDENTIALS: dict[str, Any] = {
    "properties": {"token": {"type": "string", "secret": True}},
    "required": ["token"],
}


def define(data_types: Mapping[str, Any] | None = None, **top: Any) -> Definition:
    """Load a definition as a file would be. data_types: by name; top: members that replace the usual ones."""
    document = {
        "vendor": "lantern",
        "base_url": BASE,
        "credentials": CREDENTIALS,
        "auth": {"type": "bearer", "token": "${credentials.token}"},
        "check": {"path": "/me"},
        "data_types": data_types or {"things": THINGS},
        **top,
    }
    return _loaded(json.dumps(document))


@lru_cache(maxsize=256)
def _loaded(text: str) -> Definition:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "lantern.yaml"
        path.write_text(text, encoding="utf-8")
        return load_definition(path)


THINGS: dict[str, Any] = {"request": {"path": "/things"}, "records": {"path": "items"}, "id": "id"}


def connect(definition: Definition, **given: Any) -> Connector:
    """Open a connector. given: what replaces the usual credentials, settings, tokens, now, parents, app."""
    tokens: TokenKeeper = given.get("tokens") or Tokens()
    parents: ParentSource | None = given.get("parents")
    return open_connector(
        definition,
        credentials=given.get("credentials", {"token": "t0ken"}),
        settings=given.get("settings", {}),
        tokens=tokens,
        now=given.get("now", NOW),
        parents=parents,
        app=given.get("app"),
    )


@dataclass(slots=True)
class Read:
    """What reading a data type came to. cursor: the last that may be stored, given what was handed over."""

    pages: list[Page]
    session: FakeSession
    cursor: CursorState | None = None
    error: BaseException | None = None

    @property
    def ids(self) -> list[str]:
        return [record.id for page in self.pages for record in page.records]

    @property
    def payloads(self) -> list[Mapping[str, object]]:
        return [record.payload for page in self.pages for record in page.records]

    @property
    def full_pass(self) -> bool:
        return any(page.full_pass for page in self.pages)

    @property
    def skipped(self) -> int:
        return sum(len(page.skipped) for page in self.pages)


def read(
    definition: Definition, vendor: Vendor, data_type: str = "things", cursor: CursorState | None = None, **given: Any
) -> Read:
    """Read a data type to its end. Raises what the connector raises."""
    found = read_until_error(definition, vendor, data_type, cursor, **given)
    if found.error is not None:
        raise found.error
    return found


def read_until_error(
    definition: Definition, vendor: Vendor, data_type: str = "things", cursor: CursorState | None = None, **given: Any
) -> Read:
    """Read a data type as a run does: each page's cursor is kept with it, until the end or an error."""
    session = FakeSession(vendor)
    found = Read([], session, cursor)
    try:
        for page in connect(definition, **given).pull(session, data_type, cursor):
            found.pages.append(page)
            if page.cursor is not None:
                found.cursor = json.loads(json.dumps(page.cursor))  # as a database would give it back
    except Exception as error:  # noqa: BLE001 - handed to the caller
        found.error = error
    return found
