"""Sending: what goes out, what comes back, what is sent again and what is not."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
import requests

from classifier.outcome import OwnSide
from classifier.vocabulary import Phase
from tests.worker.wire.conftest import SECRET, OpenRun
from tests.worker.wire.faults import FaultServer, Peer
from vendors.wire import Action, Decision, Request
from worker.wire.answers import WireAnswer, WireStream
from worker.wire.body import ReadLimits
from worker.wire.canary import EgressCanary
from worker.wire.errors import BodyTooLargeError, CredentialScopeError, DeadlineReached, RunStopped
from worker.wire.guard import AddressGuard, AddressPolicy


def get(url: str, **kwargs: Any) -> Request:
    return Request(**{"method": "GET", "url": url, "endpoint": "GET /things", "data_type": "things", **kwargs})


def test_an_answer_comes_whole_and_is_captured(server: FaultServer, open_run: OpenRun) -> None:
    url = server.on("/things", lambda peer: peer.answer(200, b'{"items": []}', X_Total="0"))
    run = open_run(server)
    answer = run.session.send(get(url, query=(("page", "1"), ("tag", "a b"))))
    assert (answer.status, answer.body, answer.headers["x-total"]) == (200, b'{"items": []}', "0")
    assert server.seen[0].target == "/things?page=1&tag=a+b"
    assert run.session.decide(get(url), answer).action is Action.ACCEPT
    [row] = run.capture.summary()
    assert (row["n"], row["data_type"], row["status"], row["bytes"], row["attempt"]) == (1, "things", 200, 13, 1)
    last = run.capture.last("things")
    assert last is not None
    assert (last.status, last.body, last.phase) == (200, b'{"items": []}', Phase.DATA)


@pytest.mark.parametrize(
    ("given", "content_type", "body"),
    [
        pytest.param({"json": {"a": [1]}}, "application/json", b'{"a":[1]}', id="json"),
        pytest.param(
            {"form": (("a", "1 2"), ("a", "3"))}, "application/x-www-form-urlencoded", b"a=1+2&a=3", id="form"
        ),
        pytest.param({"content": b"\x00\x01", "headers": {"Content-Type": "x/y"}}, "x/y", b"\x00\x01", id="content"),
        pytest.param({}, None, b"", id="an empty body has a length"),
    ],
)
def test_bodies_go_out_as_asked(
    server: FaultServer, open_run: OpenRun, given: dict[str, Any], content_type: str | None, body: bytes
) -> None:
    open_run(server).session.send(get(server.url + "/things", method="POST", **given))
    [seen] = server.seen
    assert (seen.method, seen.headers.get("content-type"), seen.body) == ("POST", content_type, body)
    assert seen.headers["content-length"] == str(len(body))


def test_we_say_who_we_are_and_take_no_advice_from_the_environment(
    server: FaultServer, open_run: OpenRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login impostor password impostor\n")
    netrc.chmod(0o600)
    for name, value in {
        "NETRC": str(netrc),
        "HTTP_PROXY": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
        "REQUESTS_CA_BUNDLE": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.lower(), value)
    run = open_run(server, user_agent="connection-health/9.9 (ops@example.org)")
    assert run.session.send(get(server.url + "/things")).status == 200
    assert run.session.http.get(server.url + "/things").status_code == 200
    assert all("authorization" not in seen.headers for seen in server.seen)
    assert {seen.headers["user-agent"] for seen in server.seen} == {"connection-health/9.9 (ops@example.org)"}


def test_a_host_header_of_the_definition_s_own_is_not_sent(server: FaultServer, open_run: OpenRun) -> None:
    open_run(server).session.send(get(server.url + "/things", headers={"Host": "inner.example"}))
    assert server.seen[0].headers["host"] == server.url.removeprefix("http://")


def test_a_credential_with_a_line_break_is_refused_and_not_shown(server: FaultServer, open_run: OpenRun) -> None:
    run = open_run(server)
    with pytest.raises(requests.exceptions.InvalidHeader) as caught:
        run.session.send(get(server.url + "/", auth_headers={"X-Api-Key": SECRET + "\r\nX-Evil: 1"}))
    assert SECRET not in str(caught.value)
    assert SECRET not in str(run.capture.summary())
    assert server.seen == []


@pytest.mark.parametrize("text", ["naïve", "日本"])
def test_header_values_beyond_ascii_go_out_as_utf_8(server: FaultServer, open_run: OpenRun, text: str) -> None:
    open_run(server).session.send(get(server.url + "/", headers={"X-Name": text}))
    assert server.seen[0].headers["x-name"].encode("latin-1").decode() == text


# --- repeating --------------------------------------------------------------------------------------------------------


def too_many(peer: Peer) -> None:
    peer.answer(429, b'{"error": "slow down"}', Retry_After="2")


def fine(peer: Peer) -> None:
    peer.answer(200, b'{"ok": true}')


def test_a_throttled_request_is_sent_again_after_the_wait_asked_for(server: FaultServer, open_run: OpenRun) -> None:
    url = server.in_turn("/things", too_many, fine)
    run = open_run(server)
    assert run.session.send(get(url)).status == 200
    assert 2.0 <= sum(run.waits) <= 3.0
    first, second = run.capture.summary()
    assert (first["status"], first["attempt"], first["decision"]) == (429, 1, "rate_limited")
    assert (second["status"], second["attempt"]) == (200, 2)
    assert second["waited_ms"] == pytest.approx(sum(run.waits) * 1000, abs=2)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_vendor_s_fault_is_tried_three_times_and_then_stands(
    server: FaultServer, open_run: OpenRun, status: int
) -> None:
    url = server.on("/things", lambda peer: peer.answer(status, b"<html>oops</html>", Content_Type="text/html"))
    run = open_run(server)
    assert run.session.send(get(url)).status == status
    assert [row["attempt"] for row in run.capture.summary()] == [1, 2, 3]
    assert run.waits  # full jitter: the draw is the whole step here
    assert sum(run.waits) == pytest.approx(0.5 + 1.0)


def test_a_wait_too_long_for_a_worker_is_not_sat_out(server: FaultServer, open_run: OpenRun) -> None:
    url = server.on("/things", lambda peer: peer.answer(429, b"{}", Retry_After="31"))
    run = open_run(server, budget_s=3600.0)
    assert run.session.send(get(url)).status == 429
    assert (len(server.seen), run.waits) == (1, [])


def test_a_wait_longer_than_the_budget_is_not_sat_out(server: FaultServer, open_run: OpenRun) -> None:
    url = server.on("/things", lambda peer: peer.answer(429, b"{}", Retry_After="20"))
    run = open_run(server, budget_s=10.0)
    assert run.session.send(get(url)).status == 429
    assert (len(server.seen), run.waits) == (1, [])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_an_answer_that_will_not_change_is_not_asked_for_again(
    server: FaultServer, open_run: OpenRun, status: int
) -> None:
    url = server.on("/things", lambda peer: peer.answer(status, b'{"message": "no"}'))
    assert open_run(server).session.send(get(url)).status == status
    assert len(server.seen) == 1


def close_without_an_answer(peer: Peer) -> None:
    peer.close()


def reset(peer: Peer) -> None:
    peer.reset()


def short_body(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234")
    peer.close()


def broken_chunk(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12")
    peer.close()


def reset_in_the_body(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234")
    peer.reset()


def another_protocol(peer: Peer) -> None:
    peer.send(b"SSH-2.0-OpenSSH\r\n")
    peer.close()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, id=fault.__name__.replace("_", " "))
        for fault in (
            close_without_an_answer,
            reset,
            short_body,
            broken_chunk,
            reset_in_the_body,
            another_protocol,
        )
    ],
)
class TestPassingFailures:
    def test_are_tried_again(self, server: FaultServer, open_run: OpenRun, fault: Callable[[Peer], None]) -> None:
        url = server.in_turn("/things", fault, fine)
        run = open_run(server)
        assert run.session.send(get(url)).status == 200
        first, second = run.capture.summary()
        assert first["error"]
        assert (second["status"], second["error"]) == (200, None)

    def test_are_raised_when_they_last(
        self, server: FaultServer, open_run: OpenRun, fault: Callable[[Peer], None]
    ) -> None:
        url = server.on("/things", fault)
        run = open_run(server)
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which class each fault has is in test_body.py
            run.session.send(get(url))
        assert [row["attempt"] for row in run.capture.summary()] == [1, 2, 3]
        last = run.capture.last("things")
        assert last is not None
        assert last.exception[0].name == type(caught.value).__name__

    def test_leave_a_request_that_may_not_be_repeated_alone(
        self, server: FaultServer, open_run: OpenRun, fault: Callable[[Peer], None]
    ) -> None:
        url = server.on("/things", fault)
        with pytest.raises(Exception):  # noqa: B017, PT011 - as above
            open_run(server).session.send(get(url, method="POST", idempotent=False))
        assert len(server.seen) == 1


def test_what_never_reached_the_vendor_is_repeated_even_if_it_must_not_run_twice(
    server: FaultServer, open_run: OpenRun
) -> None:
    run = open_run(server)
    url = server.url + "/things"
    server.close()
    with pytest.raises(requests.exceptions.ConnectionError):
        run.session.send(get(url, method="POST", idempotent=False))
    assert [row["attempt"] for row in run.capture.summary()] == [1, 2, 3]
    last = run.capture.last("things")
    assert last is not None
    assert any(link.name == "ConnectionRefusedError" for link in last.exception)


def test_a_throttled_request_that_must_not_run_twice_is_repeated_as_it_did_not_run(
    server: FaultServer, open_run: OpenRun
) -> None:
    url = server.in_turn("/things", too_many, fine)
    assert open_run(server).session.send(get(url, method="POST", idempotent=False)).status == 200


def test_a_fault_after_which_nobody_knows_whether_it_ran_is_not_repeated(
    server: FaultServer, open_run: OpenRun
) -> None:
    url = server.in_turn("/things", lambda peer: peer.answer(500), fine)
    assert open_run(server).session.send(get(url, method="POST", idempotent=False)).status == 500


def test_the_definition_s_own_rules_come_first(server: FaultServer, open_run: OpenRun) -> None:
    url = server.in_turn("/things", lambda peer: peer.answer(404, b'{"code": "warming_up"}'), fine)

    def policy(answer: Any) -> Decision | None:
        return Decision(action=Action.RETRY, wait_s=1.5, rule="own") if answer.status == 404 else None

    run = open_run(server)
    assert run.session.send(get(url, policy=policy)).status == 200
    assert 1.5 <= sum(run.waits) <= 2.5
    assert run.capture.summary()[0]["decision"] == "retry"


def test_a_rule_that_accepts_a_fault_is_heeded(server: FaultServer, open_run: OpenRun) -> None:
    url = server.on("/things", lambda peer: peer.answer(500))
    run = open_run(server)
    answer = run.session.send(get(url, policy=lambda _: Decision(action=Action.EMPTY)))
    assert (answer.status, len(server.seen)) == (500, 1)
    assert run.session.decide(get(url), answer).action is Action.EMPTY


@pytest.mark.parametrize(
    ("status", "body", "phase", "action"),
    [
        pytest.param(401, b'{"error": "invalid_token"}', Phase.DATA, Action.REAUTHENTICATE, id="a stale token"),
        pytest.param(401, b'{"error": "invalid_client"}', Phase.TOKEN, Action.FAIL, id="a wrong client"),
        pytest.param(404, b'{"message": "no such thing"}', Phase.DATA, Action.FAIL, id="a wrong path"),
    ],
)
def test_the_default_policy_says_what_to_do(
    server: FaultServer, open_run: OpenRun, *, status: int, body: bytes, phase: Phase, action: Action
) -> None:
    url = server.on("/things", lambda peer: peer.answer(status, body))
    run = open_run(server)
    request = get(url, phase=phase)
    assert run.session.decide(request, run.session.send(request)).action is action


# --- streaming --------------------------------------------------------------------------------------------------------


def test_a_stream_yields_pieces_and_is_captured_when_it_ends(server: FaultServer, open_run: OpenRun) -> None:
    body = b'{"n": 1}\n' * 40_000
    url = server.on("/things", lambda peer: peer.answer(200, body))
    run = open_run(server)
    with run.session.stream(get(url)) as answer:
        assert isinstance(answer, WireStream)
        assert run.session.decide(get(url), answer).action is Action.ACCEPT
        pieces = list(answer.chunks())
    assert len(pieces) > 1
    assert b"".join(pieces) == body
    [row] = run.capture.summary()
    assert (row["bytes"], row["error"]) == (len(body), None)
    last = run.capture.last("things")
    assert last is not None
    assert body.startswith(last.body)
    assert 0 < len(last.body) <= 64 * 1024


def test_a_stream_that_fails_to_open_comes_whole_after_retries(server: FaultServer, open_run: OpenRun) -> None:
    url = server.on("/things", lambda peer: peer.answer(500, b'{"message": "oops"}'))
    run = open_run(server)
    with run.session.stream(get(url)) as answer:
        assert isinstance(answer, WireAnswer)
        assert list(answer.chunks()) == [b'{"message": "oops"}']
    assert len(server.seen) == 3


def test_a_stream_left_early_gives_its_connection_up(server: FaultServer, open_run: OpenRun) -> None:
    url = server.on("/things", lambda peer: peer.answer(200, b"x" * 8_000_000))
    run = open_run(server)
    with run.session.stream(get(url)) as answer:
        next(iter(answer.chunks()))
    assert server.hung_up.wait(10)
    assert run.capture.summary()[0]["error"] is None
    server.on("/things", fine)
    assert run.session.send(get(url)).body == b'{"ok": true}'


def test_a_stream_that_breaks_off_is_captured_with_what_came(server: FaultServer, open_run: OpenRun) -> None:
    def break_off(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcd")
        peer.close()

    url = server.on("/things", break_off)
    run = open_run(server)
    with pytest.raises(Exception, match="incomplete body: 4 bytes of 9"), run.session.stream(get(url)) as answer:
        list(answer.chunks())
    last = run.capture.last("things")
    assert last is not None
    assert (last.body, last.exception[0].name) == (b"abcd", "IncompleteBodyError")


def test_a_stream_has_a_limit_of_its_own(server: FaultServer, open_run: OpenRun) -> None:
    url = server.on("/things", lambda peer: peer.answer(200, b"x" * 2_000_000))
    run = open_run(server, limits=ReadLimits(body_bytes=100, stream_bytes=1_000_000))
    with pytest.raises(BodyTooLargeError), run.session.stream(get(url)) as answer:
        for _ in answer.chunks():
            pass
    with pytest.raises(BodyTooLargeError):
        run.session.send(get(url))


# --- stopping ---------------------------------------------------------------------------------------------------------


def test_a_run_that_must_stop_makes_no_further_call(server: FaultServer, open_run: OpenRun) -> None:
    calls = itertools.count()

    def stop() -> None:
        if next(calls):
            raise RunStopped("superseded")

    run = open_run(server, stop=stop)
    run.session.send(get(server.url + "/things"))
    with pytest.raises(RunStopped, match="superseded"):
        run.session.send(get(server.url + "/things"))
    assert len(server.seen) == 1


def test_a_wait_ends_where_the_run_must_stop(server: FaultServer, open_run: OpenRun) -> None:
    naps: list[float] = []

    def stop() -> None:
        if len(naps) == 2:
            raise RunStopped("drain")

    run = open_run(server, stop=stop, wait=naps.append)
    with pytest.raises(RunStopped):
        run.session.sleep(20)
    assert len(naps) == 2


def test_a_wait_that_outlasts_the_budget_is_not_begun(server: FaultServer, open_run: OpenRun) -> None:
    run = open_run(server, budget_s=5.0)
    with pytest.raises(DeadlineReached):
        run.session.sleep(6)
    assert run.waits == []


def test_another_thread_can_end_a_call_that_hangs(server: FaultServer, open_run: OpenRun) -> None:
    arrived = threading.Event()

    def hang(peer: Peer) -> None:
        arrived.set()
        peer.hang()

    url = server.on("/things", hang)
    run = open_run(server)

    def abort() -> None:
        arrived.wait(10)
        run.session.abort("drain")

    aborter = threading.Thread(target=abort)
    aborter.start()
    with pytest.raises(RunStopped, match="drain"):
        run.session.send(get(url))
    aborter.join()
    assert server.hung_up.wait(10)
    with pytest.raises(RunStopped):
        run.session.send(get(url))
    assert len(server.seen) == 1


# --- our own side -----------------------------------------------------------------------------------------------------


def test_a_dead_way_out_is_told_once_calls_fail(server: FaultServer, open_run: OpenRun) -> None:
    dead = FaultServer()
    dead.close()
    run = open_run(server, canary=EgressCanary((("127.0.0.1", dead.port),)))
    run.session.send(get(server.url + "/things"))
    assert run.session.own_side() == frozenset()
    server.close()
    with pytest.raises(requests.exceptions.ConnectionError):
        run.session.send(get(server.url + "/things"))
    assert run.session.own_side() == {OwnSide.EGRESS_DEAD}


def test_a_living_way_out_leaves_the_failure_with_the_vendor(
    server: FaultServer, other_server: FaultServer, open_run: OpenRun
) -> None:
    run = open_run(server, canary=EgressCanary((("127.0.0.1", other_server.port),)))
    server.close()
    with pytest.raises(requests.exceptions.ConnectionError):
        run.session.send(get(server.url + "/things"))
    assert run.session.own_side() == frozenset()


def test_credentials_go_only_to_hosts_that_may_see_them(server: FaultServer, open_run: OpenRun) -> None:
    guard = AddressGuard([server.url], policy=AddressPolicy(allow_loopback=True), credential_hosts=["*.vendor.example"])
    run = open_run(guard=guard)
    with pytest.raises(CredentialScopeError, match=r"\*\.vendor\.example"):
        run.session.send(get(server.url + "/", auth_headers={"X-Api-Key": SECRET}))
    assert server.seen == []
    assert run.session.send(get(server.url + "/")).status == 200


# --- an SDK's own calls -----------------------------------------------------------------------------------------------


def test_an_sdk_s_calls_are_captured_and_guarded(server: FaultServer, open_run: OpenRun) -> None:
    server.on("/me", lambda peer: peer.answer(200, b'{"name": "x"}', Set_Cookie="sid=abcdef123456"))
    run = open_run(server)
    session = run.session.http
    answer = session.get(server.url + "/me", headers={"Authorization": f"Bearer {SECRET}"}, timeout=1, verify=False)
    assert answer.json() == {"name": "x"}
    assert server.seen[0].headers["authorization"] == f"Bearer {SECRET}"
    session.post(server.url + "/me", data={"a": "b"})
    assert (server.seen[1].body, server.seen[1].headers["cookie"]) == (b"a=b", "sid=abcdef123456")
    assert [row["status"] for row in run.capture.summary()] == [200, 200]
    with pytest.raises(Exception, match="refused to call"):
        session.get("http://169.254.169.254/latest/meta-data/")


def test_cookies_stay_with_the_origin_that_set_them(
    server: FaultServer, other_server: FaultServer, open_run: OpenRun
) -> None:
    url = server.on("/login", lambda peer: peer.answer(200, b"{}", Set_Cookie="sid=abcdef123456; Path=/"))
    run = open_run(server, other_server)
    run.session.send(get(url))
    run.session.send(get(server.url + "/things"))
    run.session.send(get(other_server.url + "/things"))
    assert server.seen[1].headers["cookie"] == "sid=abcdef123456"
    assert "cookie" not in other_server.seen[0].headers


def test_runs_share_connections_and_nothing_else(server: FaultServer, open_run: OpenRun) -> None:
    url = server.on("/login", lambda peer: peer.answer(200, b"{}", Set_Cookie="sid=abcdef123456; Path=/"))
    open_run(server).session.send(get(url, auth_headers={"Authorization": "Bearer of-the-first"}))
    open_run(server).session.send(get(server.url + "/things"))
    assert server.connections == 1
    assert not {"cookie", "authorization"} & set(server.seen[1].headers)
