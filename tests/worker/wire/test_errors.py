"""Errors, the plan of retries, and the canary."""

import pickle
import socket
import ssl
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from urllib3.exceptions import NameResolutionError

from worker.wire import errors
from worker.wire.canary import Egress, EgressCanary, parse_targets
from worker.wire.errors import (
    BlockedAddressError,
    BodyTooLargeError,
    CredentialScopeError,
    DeadlineReached,
    HeadersTooLargeError,
    IncompleteBodyError,
    RateLimitedLocallyError,
    RedirectRefusedError,
    RunStopped,
    TooManyRedirectsError,
    WireError,
    WireStop,
)
from worker.wire.resolver import Resolver
from worker.wire.retries import RetryPlan, is_passing

EXAMPLES: list[BaseException] = [
    BlockedAddressError("inner.example", "10.0.0.1 is not a global unicast address"),
    BodyTooLargeError(10, 11, "the answer is too large"),
    CredentialScopeError("evil.example", ("api.vendor.example",)),
    DeadlineReached(3600.0, "waiting"),
    HeadersTooLargeError(10, 100),
    IncompleteBodyError(3, 10),
    RateLimitedLocallyError("vendor", 40.0, datetime(2026, 1, 1, tzinfo=UTC)),
    RedirectRefusedError(302, "http://10.0.0.1/", "not a global unicast address"),
    RunStopped("drain"),
    TooManyRedirectsError(5, "https://x.example/"),
]


def test_every_class_has_an_example() -> None:
    classes = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, WireError | WireStop) and value not in {WireError, WireStop}
    }
    assert classes == {type(error) for error in EXAMPLES}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling_and_say_a_sentence(error: BaseException) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(again), again.args, str(again)) == (type(error), error.args, str(error))
    assert " " in str(error)


def test_what_ends_a_run_is_no_exception() -> None:
    assert not issubclass(WireStop, Exception)


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        pytest.param(requests.exceptions.ConnectTimeout("x"), True, id="connect timeout"),
        pytest.param(requests.exceptions.ReadTimeout("x"), True, id="read timeout"),
        pytest.param(requests.exceptions.ConnectionError("x"), True, id="connection"),
        pytest.param(requests.exceptions.ChunkedEncodingError("x"), True, id="chunks"),
        pytest.param(requests.exceptions.SSLError("EOF"), True, id="a broken handshake"),
        pytest.param(IncompleteBodyError(1, 2), True, id="short body"),
        pytest.param(
            caused(requests.exceptions.SSLError("x"), ssl.SSLCertVerificationError("self-signed")),
            False,
            id="certificate",
        ),
        pytest.param(
            requests.exceptions.ConnectionError(
                NameResolutionError("x", None, socket.gaierror(socket.EAI_NONAME, "no such name"))  # type: ignore[arg-type]
            ),
            True,
            id="a name error whose cause is unknown",
        ),
        pytest.param(
            caused(requests.exceptions.ConnectionError("x"), socket.gaierror(socket.EAI_NONAME, "no such name")),
            False,
            id="no such name",
        ),
        pytest.param(
            caused(requests.exceptions.ConnectionError("x"), socket.gaierror(socket.EAI_AGAIN, "later")),
            True,
            id="name server trouble",
        ),
        pytest.param(requests.exceptions.ProxyError("Tunnel connection failed: 407"), False, id="proxy credentials"),
        pytest.param(requests.exceptions.ContentDecodingError("x"), False, id="not the coding it says"),
        pytest.param(requests.exceptions.InvalidURL("x"), False, id="url"),
        pytest.param(BlockedAddressError("x", "y"), False, id="blocked"),
        pytest.param(BodyTooLargeError(1, 2, "x"), False, id="too large"),
        pytest.param(ValueError("x"), False, id="a bug"),
    ],
)
def test_only_what_passes_is_tried_again(error: Exception, *, passing: bool) -> None:
    assert is_passing(error) is passing


def test_backoff_doubles_up_to_its_bound_and_is_drawn_from_the_whole_step() -> None:
    plan = RetryPlan(first_backoff_s=0.5, longest_backoff_s=8)
    assert [plan.backoff_s(attempt, 1.0) for attempt in range(1, 8)] == [0.5, 1, 2, 4, 8, 8, 8]
    assert plan.backoff_s(3, 0.0) == 0
    assert plan.backoff_s(3, 0.5) == 1


# --- the canary -------------------------------------------------------------------------------------------------------


class Ticks:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def canary_on(*ports: int, **kwargs: Any) -> EgressCanary:
    return EgressCanary(tuple(("127.0.0.1", port) for port in ports), **kwargs)


@pytest.fixture
def dead_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_one_living_target_is_enough(dead_port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert canary_on(dead_port, listener.getsockname()[1]).ask() is Egress.ALIVE


def test_no_living_target_means_a_dead_way_out(dead_port: int) -> None:
    assert canary_on(dead_port).ask() is Egress.DEAD


def test_without_targets_nothing_is_known() -> None:
    assert EgressCanary().ask() is Egress.UNKNOWN


def test_a_target_whose_name_is_not_found_is_dead() -> None:
    def lookup(host: str, port: int) -> list[Any]:
        raise socket.gaierror(socket.EAI_AGAIN, "no name server")

    assert EgressCanary((("one.example", 443),), resolver=Resolver(lookup)).ask() is Egress.DEAD


def test_it_looks_once_a_minute(dead_port: int) -> None:
    ticks = Ticks()
    listener = socket.create_server(("127.0.0.1", 0))
    canary = canary_on(listener.getsockname()[1], clock=ticks)
    assert canary.ask() is Egress.ALIVE
    listener.close()
    ticks.now = 59
    assert canary.ask() is Egress.ALIVE
    ticks.now = 61
    assert canary.ask() is Egress.DEAD


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("", ()),
        ("one.one.one.one:443, 8.8.8.8:53", (("one.one.one.one", 443), ("8.8.8.8", 53))),
        ("[2606:4700::1111]:443", (("2606:4700::1111", 443),)),
    ],
)
def test_targets_are_read(text: str, targets: tuple[tuple[str, int], ...]) -> None:
    assert parse_targets(text) == targets


@pytest.mark.parametrize("text", ["one.example", ":443", "one.example:https", "one.example:0", "one.example:70000"])
def test_what_is_no_target_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        parse_targets(text)
