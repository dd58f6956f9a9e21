"""Every fault, as a client meets it, and what it matches."""

import socket
from collections.abc import Callable

import pytest
import requests

from simulator.client import Control, SimulatorError
from simulator.faults import FaultKind
from simulator.server import Simulator

HEADERS = {"Authorization": "Bearer granite_north_1"}


@pytest.fixture
def get(simulator: Simulator, web: requests.Session) -> Callable[..., requests.Response]:
    def get(path: str = "/alerts", *, timeout: float = 5, token: str = "granite_north_1") -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return web.get(f"{simulator.url}/granite_edr{path}", headers=headers, timeout=timeout)

    return get


Get = Callable[..., requests.Response]
STATUSES = {
    FaultKind.UNAVAILABLE: 503,
    FaultKind.QUOTA: 429,
    FaultKind.UNAUTHORIZED: 401,
    FaultKind.FORBIDDEN: 403,
    FaultKind.GONE: 410,
    FaultKind.NOT_FOUND: 404,
    FaultKind.BAD_REQUEST: 400,
    FaultKind.ODD_SHAPE: 200,
    FaultKind.BROKEN_JSON: 200,
    FaultKind.OUTAGE_PAGE: 200,
    FaultKind.STATUS: 500,
    FaultKind.SLOW: 200,
}
EXCEPTIONS: dict[FaultKind, type[requests.RequestException]] = {
    FaultKind.CLOSED: requests.ConnectionError,
    FaultKind.RESET: requests.ConnectionError,
    FaultKind.TRUNCATED: requests.exceptions.ChunkedEncodingError,
    FaultKind.HANG: requests.ReadTimeout,
}


@pytest.mark.parametrize(("kind", "status"), STATUSES.items())
def test_a_fault_that_answers_has_its_status_and_the_vendor_is_well_afterwards(
    control: Control, get: Get, kind: FaultKind, status: int
) -> None:
    control.fault("granite_edr", kind, wait_s=0)
    assert get().status_code == status
    control.clear()
    assert get().json()["result"]["total"] == 850


@pytest.mark.parametrize(("kind", "exception"), EXCEPTIONS.items())
def test_a_fault_that_does_not_answer_is_an_exception_of_requests(
    control: Control, get: Get, kind: FaultKind, exception: type[Exception]
) -> None:
    control.fault("granite_edr", kind)
    with pytest.raises(exception):
        get(timeout=0.3)
    control.clear()
    assert get().status_code == 200


def test_a_drip_never_lets_a_single_read_time_out_and_never_ends(simulator: Simulator, control: Control) -> None:
    control.fault("granite_edr", FaultKind.DRIP, wait_s=0.01)
    with requests.get(f"{simulator.url}/granite_edr/alerts", headers=HEADERS, timeout=5, stream=True) as answer:
        drops = answer.iter_content(1)
        assert b"".join(next(drops) for _ in range(20)) == b" " * 20
        assert int(answer.headers["Content-Length"]) > 1_000_000


def test_every_kind_of_fault_is_met_in_these_tests() -> None:
    assert set(FaultKind) == {*STATUSES, *EXCEPTIONS, FaultKind.DRIP}


def test_an_outage_page_can_say_when_to_come_back(control: Control, get: Get) -> None:
    control.fault("granite_edr", "unavailable", wait_s=7)
    assert get().headers["Retry-After"] == "7"


def test_a_fault_strikes_one_account_and_one_path(control: Control, get: Get) -> None:
    control.fault("granite_edr", "gone", account="north", path="/alerts")
    assert get("/alerts").status_code == 410
    assert get("/devices").status_code == 200
    assert get("/alerts", token="granite_south_1").status_code == 200


@pytest.mark.parametrize(
    ("how", "statuses"),
    [
        pytest.param({"times": 2}, [410, 410, 200, 200], id="so many times"),
        pytest.param({"after": 2}, [200, 200, 410, 410], id="after so many"),
        pytest.param({"every": 2}, [410, 200, 410, 200], id="every second one"),
        pytest.param({"after": 1, "every": 2, "times": 1}, [200, 410, 200, 200], id="all together"),
    ],
)
def test_a_fault_strikes_when_it_is_told_to(
    control: Control, get: Get, how: dict[str, int], statuses: list[int]
) -> None:
    control.fault("granite_edr", "gone", **how)
    assert [get().status_code for _ in statuses] == statuses


def test_a_fault_ends_by_the_vendors_clock(control: Control, get: Get) -> None:
    control.fault("granite_edr", "gone", for_s=3600)
    assert get().status_code == 410
    control.advance(3600)
    assert get().status_code == 200


@pytest.mark.parametrize(
    ("document", "said"),
    [
        pytest.param({"vendor": "granit-edr", "kind": "gone"}, "no vendor named", id="unknown vendor"),
        pytest.param({"vendor": "*", "kind": "explode"}, "no fault of kind", id="unknown kind"),
        pytest.param({"vendor": "*", "kind": "gone", "timse": 1}, "unknown member", id="misspelt member"),
        pytest.param({"vendor": "*", "kind": "gone", "times": -1}, "times must be", id="negative number"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_with_what_is_possible(
    control: Control, document: dict[str, object], said: str
) -> None:
    with pytest.raises(SimulatorError, match=said):
        control.fault(**document)  # type: ignore[arg-type]  # wrong on purpose


def test_the_log_tells_what_the_vendor_saw(control: Control, get: Get) -> None:
    get()
    control.fault("granite_edr", "closed")
    with pytest.raises(requests.ConnectionError):
        get("/devices")
    seen = control.requests(vendor="granite_edr")
    # requests may open a second connection for the same request where the kept one was closed under it.
    assert [(each["account"], each["path"], each["status"], each["fault"]) for each in seen[:2]] == [
        ("north", "/alerts", 200, None),
        ("north", "/devices", 0, "closed"),
    ]
    assert control.requests(vendor="granite_edr", after=seen[-1]["seq"]) == []


def test_a_reset_brings_back_the_first_state(control: Control, get: Get) -> None:
    control.fault("*", "gone")
    control.act("granite_edr", "north", "expire_token")
    control.reset()
    assert get().status_code == 200
    assert control.state()["requests"] == 1


@pytest.mark.parametrize(
    ("vendor", "action", "how", "said"),
    [
        pytest.param("nobody", "credentials", {}, "no vendor named", id="unknown vendor"),
        pytest.param("acme_idp", "dance", {}, "no action", id="unknown action"),
        pytest.param("cedar_cloud", "grant", {"scopes": ["all"]}, "no scope", id="unknown scope"),
        pytest.param("acme_idp", "records", {"cats": 3}, "groups, users", id="unknown collection"),
        pytest.param("pebble_tickets", "spend_quota", {"for_s": "long"}, "for_s must be", id="a word for a number"),
    ],
)
def test_an_action_that_cannot_be_is_refused_with_what_is_possible(
    control: Control, vendor: str, action: str, how: dict[str, object], said: str
) -> None:
    with pytest.raises(SimulatorError, match=said):
        control.act(vendor, "north", action, **how)


def test_bytes_that_are_no_request_are_answered_400_and_hurt_nobody(simulator: Simulator, get: Get) -> None:
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=5) as client:
        client.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert get().status_code == 200
