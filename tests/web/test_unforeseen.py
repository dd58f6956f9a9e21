"""What nobody foresaw: told to the client in the one shape that errors have, and to the operator with all of it."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx
import pytest
import structlog

from models.vocabulary import Scope
from tests.web.conftest import PATIENCE_S, Door
from web.desk import Desk
from web.server import Server

SECRET: Final = "the text of an error, which may be anybody's"
SECURE: Final = {"x-content-type-options": "nosniff", "cache-control": "no-store", "x-frame-options": "DENY"}


class Broken:
    """Stands for what reads lists."""

    async def rows(self, *_arguments: Any) -> list[Any]:
        raise LookupError(SECRET)

    async def close(self) -> None:
        """Nothing was opened."""


@pytest.fixture
def log() -> Iterator[list[dict[str, Any]]]:
    """Take in what is logged, in whichever thread. Not by structlog.testing: its lines lack what is bound."""
    lines: list[dict[str, Any]] = []

    def kept(_logger: object, _method: str, line: dict[str, Any]) -> dict[str, Any]:
        lines.append(dict(line))
        raise structlog.DropEvent

    processors = structlog.get_config()["processors"]
    before = list(processors)
    processors[:] = [structlog.contextvars.merge_contextvars, kept]  # loggers keep the list that they began with
    yield lines
    processors[:] = before


def broken(*_arguments: Any, **_named: Any) -> None:
    raise LookupError(SECRET)


WAYS: Final = [
    pytest.param("GET", "/v1/provisioning/connections", None, id="on the event loop, the short way"),
    pytest.param("GET", "/v1/keys", None, id="in a thread, the short way"),
    pytest.param("POST", "/v1/provisioning/organizations", {"name": "Umbra"}, id="with a body, the long way"),
]


@pytest.fixture
def client(
    door: Door, serve: Callable[..., tuple[Server, Desk]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[httpx.Client]:
    """A client of a door behind which things break."""
    server, desk = serve()
    desk.__dict__["reading"] = Broken()
    monkeypatch.setattr("models.api_keys.list_keys", broken)
    monkeypatch.setattr("models.connections.create_organization", broken)
    headers = {"x-api-key": door.key(Scope.ADMIN), "x-request-id": "asked-1"}
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers=headers, timeout=PATIENCE_S) as asking:
        yield asking


@pytest.mark.parametrize(("method", "path", "body"), WAYS)
def test_what_nobody_foresaw_is_a_problem_with_the_request_id_and_is_logged(
    client: httpx.Client, log: list[dict[str, Any]], method: str, path: str, body: dict[str, str] | None
) -> None:
    answered = client.request(method, path, json=body)
    again = client.get("/healthz")  # the connection lives on, and so does the server

    assert answered.status_code == 500
    assert answered.headers["content-type"] == "application/problem+json"
    assert answered.headers["x-request-id"] == "asked-1"
    assert {name: answered.headers.get(name) for name in SECURE} == SECURE
    document = answered.json()
    assert (document["status"], document["request_id"]) == (500, "asked-1")
    assert SECRET not in answered.text
    assert again.status_code == 200
    (told,) = [line for line in log if line["event"] == "request.broke"]
    assert told["error"] == "LookupError"
    assert told["request_id"] == "asked-1"
    assert str(told["exc_info"]) == SECRET
    (line,) = [line for line in log if line["event"] == "request.answered" and line["path"] == path]
    assert (line["status"], line["request_id"]) == (500, "asked-1")
