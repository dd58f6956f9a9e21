"""Where a customer's options lead: never to this machine, nor to its neighbours, however they are written."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.vocabulary import Scope
from tests.web.conftest import ORGANIZATIONS, Door, House
from tests.worker.wire.faults import FaultServer
from tests.worker.wire.test_guard import ADDRESSES, HOSTS, URLS, lookup
from web.desk import Desk
from web.server import Server
from worker.wire.resolver import Resolver
from worker.wire.transport import Transport

DEFINITION = """
vendor: anywhere
title: Anywhere
category: IDP
credentials:
  properties: {token: {type: string, secret: true, title: Token, description: A token.}}
  required: [token]
settings:
  properties:
    host: {type: string, title: Host, description: Of the server.}
    port: {type: integer, title: Port, description: Of the server.}
  required: [host, port]
base_url: https://${settings.host}:${settings.port}
allowed_hosts: ['*.example', '127.0.0.1', localhost, '169.254.169.254', metadata.google.internal]
auth: {type: bearer, token: '${credentials.token}'}
check: {path: /latest/meta-data/}
data_types:
  users: {request: {path: /users}, id: id}
"""
"""As careless as a definition may be: the loader refuses one whose customers may write any host at all."""
CANARY = "s3cr3t-of-a-canary"


@pytest.fixture
def canary() -> Iterator[FaultServer]:
    """A listener on loopback, both families. Nobody may come."""
    server = FaultServer()
    yield server
    server.close()
    assert server.connections == 0


def test_no_option_leads_to_loopback_or_link_local(  # noqa: PLR0917 - fixtures
    serve: Callable[..., tuple[Server, Desk]],
    door: Door,
    house: House,
    canary: FaultServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "anywhere.yaml").write_text(DEFINITION)
    server, desk = serve(vendors_dir=tmp_path, allow_loopback_vendors=False)
    desk.station.transport = Transport(resolver=Resolver(lookup))
    connected: list[Any] = []
    original = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[1] == canary.port:
            connected.append(address)
        original(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    path = f"http://127.0.0.1:{server.port}{ORGANIZATIONS}/{house.organization_id}/connections"
    tried = 0
    with door.client(door.key(Scope.WRITE, house.organization_id)) as client:
        for host in (*HOSTS, *URLS, *ADDRESSES):
            body = {
                "vendor": "anywhere",
                "credentials": {"token": CANARY},
                "options": {"host": host.format(p=canary.port), "port": canary.port},
            }
            answered = client.post(path, json=body)
            assert answered.status_code == 422, f"{host!r}: {answered.status_code} {answered.text}"
            assert CANARY not in answered.text
            tried += 1
        assert client.get(path).json()["items"] == []
    assert tried >= 200
    assert connected == []
