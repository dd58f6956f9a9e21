"""The capture: everything counted, little kept, nothing unredacted."""

import json
from typing import Any

import pytest

from classifier.vocabulary import Phase
from worker.wire.capture import CUT_SAMPLE_BYTES, EVIDENCE_BYTES, SAMPLE_BYTES, Capture
from worker.wire.redactor import Redactor

TOKEN = "sk-9f8e7d6c5b4a39281706"


def record(capture: Capture, **kwargs: Any) -> Any:
    values: dict[str, Any] = {
        "n": capture.begin(),
        "started_ms": capture.now_ms(),
        "method": "GET",
        "url": "https://api.vendor.example/things",
        "endpoint": "GET /things",
        "data_type": "things",
        "phase": Phase.DATA,
        "status": 200,
        **kwargs,
    }
    return capture.record(**values)


def test_all_are_counted_and_first_last_and_failing_are_kept() -> None:
    capture = Capture(Redactor(), keep_first=3, keep_last=2, keep_failing=4)
    for n in range(1, 101):
        record(capture, status=500 if n % 10 == 0 else 200, body=b"x" * 10, bytes_received=10)
    assert (capture.requests, capture.bytes_received) == (100, 1000)
    assert [exchange.n for exchange in capture.kept()] == [1, 2, 3, 10, 20, 30, 40, 99, 100]
    assert json.loads(json.dumps(capture.summary()))[3]["status"] == 500


def test_memory_is_bounded_over_a_long_run() -> None:
    capture = Capture(Redactor())
    for _ in range(1000):
        record(capture, body=b"y" * 100_000)
    for _ in range(150):
        record(capture, status=500, body=b"z" * 100_000)
    kept = sum(len(exchange.body) for exchange in capture.kept())
    assert kept <= 100 * EVIDENCE_BYTES + 50 * EVIDENCE_BYTES
    assert len(capture.kept()) <= 200


def test_a_body_is_kept_of_each_data_type_s_last_exchange() -> None:
    capture = Capture(Redactor())
    for data_type in ("a", "b"):
        for n in range(3):
            record(capture, data_type=data_type, body=f"{data_type}{n}".encode())
    a, b = capture.last("a"), capture.last("b")
    assert a is not None
    assert b is not None
    assert (a.body, b.body) == (b"a2", b"b2")
    assert capture.last("c") is None
    assert all(exchange.body == b"" for exchange in capture.kept())
    newest = capture.newest()
    assert newest is not None
    assert newest.n == 6


def test_a_call_for_a_token_decides_where_it_came_last() -> None:
    capture = Capture(Redactor())
    assert capture.deciding("a") is None
    record(capture, data_type=None, phase=Phase.TOKEN, status=200)
    record(capture, data_type="a", status=401)
    first = capture.deciding("a")
    record(capture, data_type=None, phase=Phase.TOKEN, status=400)
    second = capture.deciding("a")
    assert first is not None
    assert second is not None
    assert (first.status, second.status, second.phase) == (401, 400, Phase.TOKEN)


@pytest.mark.parametrize(
    ("status", "is_whole", "size", "kept"),
    [
        pytest.param(200, True, SAMPLE_BYTES, SAMPLE_BYTES, id="a success that fits"),
        pytest.param(200, True, SAMPLE_BYTES + 1, CUT_SAMPLE_BYTES, id="a success that does not"),
        pytest.param(200, False, 40_000, CUT_SAMPLE_BYTES, id="the beginning of a success"),
        pytest.param(500, True, SAMPLE_BYTES * 2, SAMPLE_BYTES, id="a failure"),
    ],
)
def test_samples_have_a_size(status: int, *, is_whole: bool, size: int, kept: int) -> None:
    capture = Capture(Redactor())
    record(capture, status=status, body=b"x" * size, is_whole=is_whole)
    last = capture.last("things")
    assert last is not None
    assert (len(last.body), last.clipped) == (kept, size > kept or not is_whole)


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("end", [CUT_SAMPLE_BYTES, SAMPLE_BYTES])
@pytest.mark.parametrize("shift", range(0, len(TOKEN) + 1, 4))
def test_a_secret_across_the_end_of_a_sample_is_not_kept_in_part(status: int, end: int, shift: int) -> None:
    capture = Capture(Redactor((TOKEN,)))
    record(capture, status=status, body=b"." * (end - shift) + TOKEN.encode() + b"." * 200_000)
    last = capture.last("things")
    assert last is not None
    assert TOKEN[:4].encode() not in last.body


def test_the_evidence_is_readable_and_short() -> None:
    capture = Capture(Redactor((TOKEN,)))
    record(
        capture,
        status=403,
        headers={"x-request-id": "7", "set-cookie": "a=b", "x-echo": TOKEN},
        body=b"\xff\x00{" + b"x" * 50_000,
        error=ValueError(f"no: {TOKEN}"),
    )
    last = capture.last("things")
    assert last is not None
    evidence = capture.evidence(last)
    assert evidence["headers"] == {"x-request-id": "7", "set-cookie": "***", "x-echo": "***"}
    assert evidence["body_is_cut"] is True
    assert str(evidence["body"]).startswith("\ufffd\ufffd{x")
    assert len(str(evidence["body"])) <= EVIDENCE_BYTES
    assert evidence["exception"] == [{"module": "builtins", "name": "ValueError", "message": "no: ***", "errno": None}]
    json.dumps(evidence)
    assert "\x00" not in json.dumps(evidence)  # PostgreSQL's jsonb takes none
    assert "\\u0000" not in json.dumps(evidence)


def test_a_decision_is_noted_where_the_exchange_is_kept() -> None:
    capture = Capture(Redactor())
    exchange = record(capture, status=429)
    record(capture, status=200)
    capture.decided(exchange, "rate_limited")
    assert [row["decision"] for row in capture.summary()] == ["rate_limited", ""]


def test_the_summary_names_the_error() -> None:
    capture = Capture(Redactor())
    record(capture, status=None, error=TimeoutError("too slow"))
    assert capture.summary()[0]["error"] == "TimeoutError: too slow"
