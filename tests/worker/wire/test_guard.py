"""The guard: nothing that leads inside is connected to, however it is written and whatever names resolve to."""

import socket
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.worker.wire.conftest import OpenRun, Run
from tests.worker.wire.faults import FaultServer
from vendors.wire import Request
from worker.wire.errors import BlockedAddressError
from worker.wire.guard import AddressGuard, AddressPolicy, Origin, is_address, split_origin
from worker.wire.resolver import Resolver, Target
from worker.wire.retries import RetryPlan
from worker.wire.transport import Transport

HERE = Path(__file__).parent
HOSTS = (HERE / "hostile_hosts.txt").read_text().splitlines()
"""Hosts as a customer may write them into a base URL."""
URLS = (HERE / "hostile_urls.txt").read_text().splitlines()
"""Whole URLs whose parts different readers read differently. `{p}`: the port of a listener that nobody may reach."""
URLS += [
    "http://127.0.0.1\t:{p}/",
    "http://127.0.0.1\n:{p}/",
    "http://127.0.0.1\r\nHost: example.com:{p}/",
    "http://exam\nple.com/",
    " http://127.0.0.1:{p}/",
    "http://127.0.0.1 :{p}/",
    "http://example.com 127.0.0.1:{p}/",
    "\x00http://127.0.0.1:{p}/",
    "http://127.0.0.1:{p}\x00.example.com/",
    "",
]

ADDRESSES = {
    "inner.example": ["127.0.0.1"],
    "mixed.example": ["93.184.215.14", "127.0.0.1"],
    "mixed6.example": ["93.184.215.14", "::1"],
    "nothing.example": [],
    "mapped.example": ["::ffff:127.0.0.1"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "teredo.example": ["2001:0:53aa:64c:0:0:80ff:fffe"],
    "metadata.google.internal": ["169.254.169.254"],
    "kubernetes.default.svc": ["10.96.0.1"],
}


def targets(addresses: list[str], port: int) -> list[Target]:
    return [
        (socket.AF_INET6, (address, port, 0, 0)) if ":" in address else (socket.AF_INET, (address, port))
        for address in addresses
    ]


def lookup(host: str, port: int) -> list[Target]:
    """Answer as hostile name servers do."""
    if host not in ADDRESSES:
        raise socket.gaierror(socket.EAI_NONAME, f"{host}: no such name")
    return targets(ADDRESSES[host], port)


@pytest.fixture
def canaries() -> Iterator[list[FaultServer]]:
    """Listeners on loopback, both families, on one port. Nobody may come."""
    first = FaultServer()
    found = [first]
    yield found
    first.close()
    assert first.connections == 0


@pytest.fixture
def guarded(
    canaries: list[FaultServer], open_run: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Run, int]]:
    """A run with everything open that a definition could open, but with no leave to call inside."""
    port = canaries[0].port
    guard = AddressGuard([f"http://vendor.example:{port}", f"https://vendor.example:{port}"])
    transport = Transport(resolver=Resolver(lookup))
    connected: list[Any] = []
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, lambda self, address: connected.append(address))
    yield open_run(guard=guard, transport=transport), port
    transport.close()
    assert connected == []


def refused(run: Run, url: str) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what is refused where is below; here nothing may connect
        run.session.send(Request(method="GET", url=url, endpoint="GET /", idempotent=False))
    return caught.value


def test_the_corpus_is_large_enough() -> None:
    assert len(HOSTS) + len(URLS) >= 200


@pytest.mark.parametrize("host", HOSTS)
def test_no_host_inside_is_connected_to(guarded: tuple[Run, int], host: str) -> None:
    run, port = guarded
    error = refused(run, f"http://{host}:{port}/latest/meta-data/")
    names = {link.__class__.__name__ for link in (error, error.__cause__, error.__context__)}
    assert names & {"BlockedAddressError", "InvalidURL", "MaxRetryError"}, error


@pytest.mark.parametrize("url", URLS)
def test_no_url_is_read_as_one_inside(guarded: tuple[Run, int], url: str) -> None:
    run, port = guarded
    refused(run, url.format(p=port))


def test_a_name_that_is_bound_anew_gains_nothing(open_run: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look-up says something else. There is one for each connection, which goes where it said, or nowhere."""
    answers = [["93.184.215.14"], ["127.0.0.1"], ["10.0.0.1"]]
    connected: list[Any] = []
    transport = Transport(resolver=Resolver(lambda _, port: targets(answers.pop(0), port)))

    def connect(self: socket.socket, address: Any) -> None:
        connected.append(address)
        raise ConnectionRefusedError(111, "refused, so that the test goes nowhere")

    monkeypatch.setattr(socket.socket, "connect", connect)
    guard = AddressGuard(["https://rebound.example"])
    run = open_run(guard=guard, transport=transport, plan=RetryPlan(attempts=1))
    assert isinstance(refused(run, "https://rebound.example/"), requests.exceptions.ConnectionError)
    assert connected == [("93.184.215.14", 443)]
    assert isinstance(refused(run, "https://rebound.example/"), BlockedAddressError)
    assert isinstance(refused(run, "https://rebound.example/"), BlockedAddressError)
    assert len(connected) == 1
    transport.close()


def test_a_dead_address_leaves_time_for_the_next(open_run: OpenRun, server: FaultServer) -> None:
    dead = FaultServer(host="127.0.0.1")
    dead.close()
    addresses = [(socket.AF_INET6, ("::1", server.port, 0, 0)), (socket.AF_INET, ("127.0.0.1", server.port))]
    transport = Transport(resolver=Resolver(lambda host, port: addresses))  # type: ignore[arg-type, return-value]
    guard = AddressGuard([f"http://vendor.example:{server.port}"], policy=AddressPolicy(allow_loopback=True))
    run = open_run(guard=guard, transport=transport)
    url = f"http://vendor.example:{server.port}/"
    assert run.session.send(Request(method="GET", url=url, endpoint="GET /")).status == 200
    assert server.seen[0].headers["host"] == f"vendor.example:{server.port}"
    transport.close()


def test_a_connection_made_where_loopback_is_allowed_is_of_no_use_where_it_is_not(
    server: FaultServer, open_run: OpenRun
) -> None:
    transport = Transport(resolver=Resolver(lambda _, port: targets(["127.0.0.1"], port)))
    url = f"http://vendor.example:{server.port}/"
    loose = open_run(guard=AddressGuard([url], policy=AddressPolicy(allow_loopback=True)), transport=transport)
    assert loose.session.send(Request(method="GET", url=url, endpoint="GET /")).status == 200
    strict = open_run(guard=AddressGuard([url]), transport=transport)
    assert isinstance(refused(strict, url), BlockedAddressError)
    assert len(server.seen) == 1
    transport.close()


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "93.184.215.14",
        "172.15.255.255",
        "172.32.0.1",
        "100.63.0.1",
        "100.128.0.1",
        "223.255.255.1",
        "192.0.1.1",
        "198.17.255.255",
        "198.20.0.1",
        "2606:4700::1111",
        "2a00:1450:4001::200e",
        "2001:4860:4860::8888",
        "64:ff9b::808:808",
        "::ffff:8.8.8.8",
        "2400:cb00::1",
        "2003::1",
    ],
)
def test_global_addresses_may_be_called(address: str) -> None:
    assert AddressPolicy().problem_of(address) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_loopback_may_be_called_where_it_is_allowed_and_nothing_else_inside(address: str) -> None:
    policy = AddressPolicy(allow_loopback=True)
    assert policy.problem_of(address) is None
    assert policy.problem_of("10.0.0.1")
    assert policy.problem_of("169.254.169.254")
    assert policy.problem_of("0.0.0.0")  # noqa: S104 - an address to refuse


def test_an_operator_may_open_a_network() -> None:
    policy = AddressPolicy(allowed_networks=(ip_network("10.20.0.0/16"), ip_network("fd12::/16")))
    assert policy.problem_of("10.20.30.40") is None
    assert policy.problem_of("::ffff:10.20.30.40") is None
    assert policy.problem_of("fd12::1") is None
    assert policy.problem_of("10.21.0.1")
    assert policy.problem_of("127.0.0.1")


@pytest.mark.parametrize(
    ("bases", "url", "allowed"),
    [
        pytest.param(["https://api.vendor.example"], "https://api.vendor.example/v1", True, id="https"),
        pytest.param(["https://api.vendor.example"], "https://cdn.other.example/export", True, id="another host"),
        pytest.param(
            ["https://api.vendor.example"], "http://api.vendor.example/v1", False, id="http for an https vendor"
        ),
        pytest.param(["https://api.vendor.example"], "https://api.vendor.example:8443/", False, id="another port"),
        pytest.param(["https://api.vendor.example:8443"], "https://api.vendor.example:8443/", True, id="its own port"),
        pytest.param(["https://api.vendor.example:8443"], "https://api.vendor.example/", True, id="443 beside its own"),
        pytest.param(["http://api.vendor.example"], "http://api.vendor.example/", True, id="http for an http vendor"),
        pytest.param(["http://api.vendor.example:8080"], "http://api.vendor.example/", True, id="80 beside its own"),
        pytest.param(["http://api.vendor.example"], "https://api.vendor.example/", True, id="upwards"),
        pytest.param(["http://api.vendor.example"], "http://api.vendor.example:22/", False, id="ssh"),
        pytest.param(
            ["https://x.example", "https://id.example:9443"], "https://x.example:9443/", True, id="token's port"
        ),
    ],
)
def test_schemes_and_ports_are_those_of_the_definition(bases: list[str], url: str, *, allowed: bool) -> None:
    guard = AddressGuard(bases)
    if allowed:
        guard.check(url)
    else:
        with pytest.raises(BlockedAddressError):
            guard.check(url)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.Vendor.example/x?y#z", Origin("https", "api.vendor.example", 443)),
        ("HTTPS://api.vendor.example.", Origin("https", "api.vendor.example", 443)),
        ("http://[2606:4700:0:0::1111]:8080/", Origin("http", "2606:4700::1111", 8080)),
        ("https://134744072/", Origin("https", "8.8.8.8", 443)),
        ("https://bücher.example/", Origin("https", "xn--bcher-kva.example", 443)),
        ("https://a_b.example:443", Origin("https", "a_b.example", 443)),
        ("https://x.example?y", Origin("https", "x.example", 443)),
    ],
)
def test_origins_have_one_form(url: str, origin: Origin) -> None:
    assert split_origin(url) == origin
    assert split_origin(str(origin)) == origin


@pytest.mark.parametrize(("host", "is_one"), [("1.2.3.4", True), ("::1", True), ("a.example", False), ("x1", False)])
def test_addresses_are_told_from_names(host: str, *, is_one: bool) -> None:
    assert is_address(host) is is_one
