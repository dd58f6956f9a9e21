"""nginx before httpbin: every fault of the wire, through a worker; each must end as somebody's to mend, with proof."""

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import pytest

from classifier.vocabulary import OWNER, HealthName, HealthStatus, ResolutionOwner
from models.history import RunView
from models.vocabulary import RunState
from tests.system.leaks import Hunt
from tests.system.stack import A_DAY_S, Installation
from tests.vendors.real.servers import Server, Servers
from worker import credentials

DEVICES: Final = {str(number) for number in range(1, 301)}
BEARER: Final = "edge-bearer-1"
MIB: Final = 1024 * 1024
_ENDS_SOON_S: Final = 4.0

HEALTHY, SERVER, CLIENT = HealthName.HEALTHY, HealthName.VENDOR_SERVER_ERROR, HealthName.VENDOR_CLIENT_ERROR
UNAUTHORIZED, LIMITED = HealthName.UNAUTHORIZED, HealthName.RATE_LIMIT_EXCEEDED
INTERNAL, TIMEOUT = HealthName.INTERNAL_ERROR, HealthName.EXECUTION_TIMEOUT


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is asked for, and what must come of it.

    path: `port+N/…` is another port; vendor: the definition, else the one for as many parts as the path has;
    landed: how many records are stored all the same; status: of the proof, None where no answer came, 0 for any.
    """

    path: str
    name: HealthName
    reasons: frozenset[str]
    vendor: str = ""
    landed: int = 0
    status: int | None = 0
    has_token: bool = False
    timeout_secs: int = 60

    @property
    def port_offset(self) -> int:
        return int(self.path[5]) if self.path.startswith("port+") else 0

    @property
    def parts(self) -> list[str]:
        return [part for part in self.path.split("/") if part and not part.startswith("port+")]


def fault(path: str, name: HealthName, *reasons: str, **more: object) -> Fault:
    return Fault(path=path, name=name, reasons=frozenset(reasons), **more)  # type: ignore[arg-type]  # checked when it is made


FAULTS: Final[Mapping[str, Fault]] = {
    # --- good answers, so that the rest is not true of everything
    "three pages": fault("data/page1.json", HEALTHY, "ok", landed=300),
    "a redirect on the same host": fault("redirect-plain", HEALTHY, "ok", landed=300),
    "a byte order mark before the JSON": fault("data/bom.json", HEALTHY, "ok", landed=100),
    "a body at 1 KB a second": fault("slowbody", HEALTHY, "ok", landed=300),
    "the same key twice, the last of them empty": fault("data/dupkeys.json", HEALTHY, "ok"),
    "no content": fault("no-content", HEALTHY, "ok", "no_data"),
    "a certificate of a trusted authority": fault(
        "port+5/data/page1.json", HEALTHY, "ok", vendor="edge_tls", landed=300
    ),
    # --- statuses
    "400": fault("httpbin/status/400", CLIENT, "bad_request", status=400),
    "401": fault("httpbin/status/401", UNAUTHORIZED, "unauthorized", status=401),
    "402": fault("httpbin/status/402", UNAUTHORIZED, "payment_required", status=402),
    "403": fault("httpbin/status/403", UNAUTHORIZED, "forbidden", status=403),
    "404": fault("httpbin/status/404", CLIENT, "not_found", status=404),
    "405": fault("httpbin/status/405", CLIENT, "unsupported", status=405),
    "409": fault("httpbin/status/409", CLIENT, "conflict", status=409),
    "410": fault("httpbin/status/410", CLIENT, "gone", status=410),
    "418, which this vendor's family means otherwise": fault(
        "httpbin/status/418", SERVER, "maintenance", status=418
    ),
    "422": fault("httpbin/status/422", CLIENT, "invalid_parameter", status=422),
    "429": fault("httpbin/status/429", LIMITED, "rate_limit", status=429),
    "500": fault("httpbin/status/500", SERVER, "server_error", status=500),
    "503": fault("httpbin/status/503", SERVER, "unavailable", status=503),
    "504": fault("httpbin/status/504", SERVER, "gateway", "vendor_timeout", status=504),
    # --- limits
    "a limit that names seconds": fault("limited429json", LIMITED, "rate_limit", status=429),
    "a limit until 2037": fault("limited429date", LIMITED, "rate_limit", status=429),
    "a limit that says 403": fault("limited403", LIMITED, "rate_limit", "quota", status=403),
    # --- middle boxes
    "maintenance with 200": fault("maintenance200", SERVER, "maintenance", "outage_page", status=200),
    "maintenance with 200 that says it is JSON": fault(
        "maintenance200json", SERVER, "maintenance", "outage_page", status=200
    ),
    "maintenance with 503": fault("maintenance503", SERVER, "maintenance", "unavailable", status=503),
    "a sign-in page with 200": fault("login200", UNAUTHORIZED, "login_page", status=200),
    "a redirect to a sign-in page": fault("login302", UNAUTHORIZED, "login_page", status=200),
    "a gateway without a server": fault("gateway502", SERVER, "gateway", status=502),
    "a gateway that waited in vain": fault("gateway504/delay/5", SERVER, "gateway", "vendor_timeout", status=504),
    "closed without an answer": fault("closed", SERVER, "connection_lost", status=None),
    "nobody listens": fault("port+6/data/page1.json", SERVER, "connection_refused", status=None),
    # --- bodies
    "JSON that ends half-way": fault("data/truncated.json", SERVER, "bad_json", "truncated_body", status=200),
    "two documents in one": fault("data/concatenated.json", SERVER, "bad_json", status=200),
    "an empty body": fault("data/empty.json", SERVER, "bad_json", "truncated_body", status=200),
    "NaN for a number": fault("data/nan.json", SERVER, "bad_json", status=200),
    "Latin-1 in JSON": fault("data/latin1.json", SERVER, "bad_json", "bad_encoding", status=200),
    "bytes that are no UTF-8": fault("data/badutf.json", SERVER, "bad_json", "bad_encoding", status=200),
    "a hundred thousand brackets": fault("data/deep.json", SERVER, "bad_json", status=200),
    "an object where a list should be": fault("data/wrongshape.json", INTERNAL, "schema", status=200),
    "null where a list should be": fault("data/nullrecords.json", INTERNAL, "schema", status=200),
    "a page that names itself as the next": fault("data/loop.json", INTERNAL, "pagination", status=200),
    "210 MB": fault("huge", INTERNAL, "body_too_large", status=200),
    "2 GiB in a gzip of 2 MB": fault("bomb", INTERNAL, "body_too_large", status=200),
    "a gzip that ends half-way": fault("badgzip", SERVER, "truncated_body", "bad_encoding", status=200),
    "plain text that says it is gzip": fault("notgzip", SERVER, "bad_encoding", status=200),
    # --- redirects
    "a redirect to the metadata service": fault("redirect-metadata", INTERNAL, "redirect_refused", status=302),
    "a redirect to a private address": fault("redirect-private", INTERNAL, "redirect_refused", status=302),
    "a redirect to another port of this machine": fault(
        "redirect-loopback", INTERNAL, "redirect_refused", status=307
    ),
    "a redirect to a file": fault("redirect-file", INTERNAL, "redirect_refused", status=302),
    "a redirect to itself": fault("redirect-loop", SERVER, "redirect_loop", status=302),
    "25 redirects": fault("port+4/redirect/25", SERVER, "redirect_loop", status=302),
    "a redirect from TLS to plain HTTP": fault(
        "port+5/down", INTERNAL, "redirect_refused", vendor="edge_tls_one", status=302
    ),
    "a redirect to another host, which never sees the token": fault(
        "redirect-otherhost", CLIENT, "redirected", has_token=True
    ),
    # --- TLS
    "a certificate that signed itself": fault(
        "port+1/data/page1.json", SERVER, "tls", vendor="edge_tls", status=None
    ),
    "a certificate that expired": fault("port+2/data/page1.json", SERVER, "tls", vendor="edge_tls", status=None),
    "a certificate for another name": fault("port+3/data/page1.json", SERVER, "tls", vendor="edge_tls", status=None),
    "plain HTTP where TLS is spoken": fault(
        "port+5/data/page1.json", CLIENT, "bad_request", "wrong_client", "invalid_parameter", status=400
    ),
    "TLS where plain HTTP is spoken": fault("data/page1.json", SERVER, "tls", vendor="edge_tls", status=None),
    # --- secrets that come back
    "an answer that repeats the token": fault("httpbin/bearer", INTERNAL, "schema", has_token=True, status=200),
    # --- time
    "a byte a second for a minute": fault("", TIMEOUT, "budget_spent", vendor="edge_drip", timeout_secs=3),
    "a body that is slower than the budget": fault("slowbody", TIMEOUT, "budget_spent", timeout_secs=3),
    "a first byte after the budget": fault("httpbin/delay/8", TIMEOUT, "budget_spent", timeout_secs=3),
}  # fmt: skip
"""Every fault at once in one worker: they run beside each other, as a vendor's outage hits many connections."""


@pytest.fixture(scope="module")
def edge(servers: Servers) -> Server:
    return servers.get("edge")


@pytest.fixture(scope="module")
def extra_settings(edge: Server) -> dict[str, object]:
    return {"ca_file": edge.state / "tls" / "ca.crt"}


@pytest.fixture(scope="module")
def connected(installation: Installation, edge: Server, hunt: Hunt) -> dict[str, UUID]:
    """A connection to every fault, all due at once."""
    hunt.add(bearer=BEARER, api_key="edge-key-1", password="edge-password")
    return {label: _connect(installation, edge, found) for label, found in FAULTS.items()}


def _connect(installation: Installation, edge: Server, found: Fault) -> UUID:
    parts = found.parts
    options: dict[str, object] = {
        "port": str(edge.port + found.port_offset),
        **dict(zip(("first", "second", "third"), parts, strict=False)),
    }
    if found.has_token:
        options["method"] = "bearer"
    return installation.connect(
        found.vendor or ("edge_one", "edge_two", "edge_three")[len(parts) - 1],
        {"token": BEARER} if found.has_token else {},
        options,
        timeout_secs=found.timeout_secs,
    )


@pytest.mark.parametrize("label", FAULTS)
def test_every_fault_has_a_name_an_owner_and_a_proof(
    label: str, installation: Installation, connected: dict[str, UUID]
) -> None:
    expected = FAULTS[label]

    run = installation.run_after(connected[label], 0)

    assert run.name is expected.name, (run.name, run.reason, run.sentence)
    assert run.reason in expected.reasons, run.sentence
    health = installation.health(connected[label])
    assert health.owner is OWNER[expected.name]
    assert health.sentence
    assert health.next_step
    assert len(installation.record_ids(connected[label], "things")) == expected.landed
    if expected.name is HEALTHY:
        assert (run.state, health.status, run.details) == (RunState.SUCCEEDED, HealthStatus.HEALTHY, [])
        return
    assert (run.state, health.status) == (RunState.FAILED, HealthStatus.UNHEALTHY)
    assert [detail["data_export_type"] for detail in run.details] == ["things"]
    assert run.evidence is not None
    if expected.status != 0:
        assert run.evidence["status"] == expected.status
    assert run.evidence["status"] is not None or run.evidence["exception"]


@pytest.mark.parametrize(
    ("label", "least", "most"),
    [
        pytest.param("a limit that names seconds", 6, 8, id="seven seconds"),
        pytest.param("a limit until 2037", A_DAY_S - 2, A_DAY_S + 1, id="a date far off: a day at most"),
        pytest.param("a limit that says 403", A_DAY_S - 2, A_DAY_S + 1, id="a reset in 2100: a day at most"),
        pytest.param("maintenance with 503", 119, 121, id="two minutes"),
        pytest.param("503", 45, 61, id="no wait named: a minute"),
    ],
)
def test_the_next_run_is_due_when_the_vendor_said(
    label: str, least: float, most: float, installation: Installation, connected: dict[str, UUID]
) -> None:
    run = installation.run_after(connected[label], 0)

    due_at = _due_after(installation, connected[label], run)

    assert run.finished_at is not None
    assert timedelta(seconds=least) <= due_at - run.finished_at <= timedelta(seconds=most)


def _due_after(installation: Installation, connection_id: UUID, run: RunView) -> datetime:
    """Return when the run after this one was, or is, due."""
    view = installation.view(connection_id)
    if view.run_seq == run.run_seq:
        return view.next_due_at
    return installation.run_after(connection_id, run.run_seq).scheduled_for


@pytest.mark.parametrize("label", [label for label, found in FAULTS.items() if found.name is TIMEOUT])
def test_a_run_ends_with_its_budget(label: str, installation: Installation, connected: dict[str, UUID]) -> None:
    run = installation.run_after(connected[label], 0)

    assert run.finished_at is not None
    took_s = (run.finished_at - run.started_at).total_seconds()
    budget_s = FAULTS[label].timeout_secs
    assert budget_s - 0.5 <= took_s <= budget_s + _ENDS_SOON_S  # by the database's own clock
    assert installation.health(connected[label]).owner is ResolutionOwner.LEEN


def test_an_answer_that_repeats_the_token_is_shown_without_it(
    installation: Installation, connected: dict[str, UUID]
) -> None:
    run = installation.run_after(connected["an answer that repeats the token"], 0)

    assert run.evidence is not None
    assert '"authenticated":true' in run.evidence["body"]
    assert BEARER not in run.evidence["body"]


def test_a_worker_that_met_every_fault_lives_and_stayed_small(
    installation: Installation, connected: dict[str, UUID]
) -> None:
    for connection_id in connected.values():
        installation.run_after(connection_id, 0)

    worker = installation.programs[0]

    assert worker.is_alive
    assert worker.peak_memory_bytes < 600 * MIB
    for words in ("Traceback", "run.broke", "run.stuck", "run.unrecorded"):
        assert words not in worker.log


@pytest.mark.parametrize(
    ("method", "given"),
    [
        pytest.param("none", {}, id="none"),
        pytest.param("key", {"api_key": "edge-key-1"}, id="an API key"),
        pytest.param("bearer", {"token": BEARER}, id="a bearer token"),
        pytest.param("basic", {"username": "sync", "password": "edge-password"}, id="user name and password"),
    ],
)
def test_each_way_to_authenticate_reads_everything_and_then_only_what_is_new(
    method: str, given: dict[str, object], installation: Installation, edge: Server, hunt: Hunt
) -> None:
    folder = "data" if method == "none" else method
    options = {"port": edge.port_text, "method": method, "folder": folder}
    connection_id, report = credentials.create(
        installation.station,
        organization_id=installation.organization_id,
        vendor="edge",
        credentials=given,
        options=options,
        identifier=None,
        refresh_interval_secs=A_DAY_S,
        timeout_secs=60,
    )
    if method == "basic":
        hunt.add(basic=base64.b64encode(b"sync:edge-password").decode())

    first = installation.run_after(connection_id, 0)
    second = installation.run_now(connection_id)

    assert report is not None
    assert report.is_valid
    assert first.name is second.name is HEALTHY
    assert installation.record_ids(connection_id, "devices") == DEVICES
    assert (first.records_new, second.records_new, second.records_changed) == (300, 0, 0)


@pytest.mark.parametrize(
    ("method", "given"),
    [
        pytest.param("key", {"api_key": "wrong-api-key-1"}, id="an API key: 403 and a page"),
        pytest.param("bearer", {"token": "wrong-bearer-1"}, id="a bearer token: 401 and a page"),
        pytest.param("basic", {"username": "sync", "password": "wrong-password-1"}, id="a password: 401 and a page"),
    ],
)
def test_wrong_credentials_are_the_customers_to_mend(
    method: str, given: dict[str, object], installation: Installation, edge: Server, hunt: Hunt
) -> None:
    hunt.add(wrong=str(list(given.values())[-1]))
    connection_id = installation.connect("edge", given, {"port": edge.port_text, "method": method, "folder": method})

    run = installation.run_after(connection_id, 0)

    assert run.name is UNAUTHORIZED
    assert installation.health(connection_id).owner is ResolutionOwner.CUSTOMER
    assert run.details[0]["data_export_type"] == "devices"


@pytest.fixture
def without_our_authority(
    installation: Installation, edge: Server
) -> Iterator[Callable[[str], credentials.ProbeReport]]:
    """Try a path over TLS with the certificates that everybody trusts."""
    environment = {key: value for key, value in installation.environment().items() if not key.endswith("CA_FILE")}
    settings = type(installation.station.settings).read(
        {key: value for key, value in environment.items() if key.startswith("CONNECTION_HEALTH_")}
    )
    with closing(type(installation.station).of(settings)) as station:
        yield lambda vendor: credentials.probe(station, vendor, credentials={}, options={"port": str(edge.port + 5)})


def test_a_certificate_of_an_authority_that_nobody_trusts_is_refused(
    without_our_authority: Callable[[str], credentials.ProbeReport],
) -> None:
    report = without_our_authority("edge_tls")

    assert not report.is_valid
    assert report.verdict.reason == "tls"


def test_no_secret_got_out(installation: Installation, hunt: Hunt, connected: dict[str, UUID]) -> None:
    for connection_id in connected.values():
        installation.run_after(connection_id, 0)

    assert hunt.leaks() == []
