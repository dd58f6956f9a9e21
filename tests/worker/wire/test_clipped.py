"""A long body is kept in part, and whoever judges it must know that its end says nothing."""

import json
from datetime import UTC, datetime

import pytest

from classifier import HealthName, judge
from classifier.vocabulary import Phase
from worker.wire.capture import EVIDENCE_BYTES, SAMPLE_BYTES, Capture
from worker.wire.redactor import Redactor

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
LONG_LIST = json.dumps([{"id": number, "name": "x" * 50} for number in range(2000)]).encode()


@pytest.mark.parametrize(
    ("body", "is_whole", "clipped"),
    [
        pytest.param(b'{"data": []}', True, False, id="a short body is whole"),
        pytest.param(LONG_LIST, True, True, id="a long body is kept in part"),
        pytest.param(LONG_LIST[:1000], False, True, id="a body whose end never came"),
    ],
)
def test_what_is_kept_says_whether_it_was_cut(body: bytes, is_whole: bool, clipped: bool) -> None:
    capture = Capture(Redactor(()))
    kept = capture.record(
        n=1,
        started_ms=0,
        method="GET",
        url="https://api.vendor.example/items",
        endpoint="GET /items",
        data_type="items",
        phase=Phase.DATA,
        status=200,
        headers={"content-type": "application/json"},
        body=body,
        is_whole=is_whole,
    )
    assert kept.as_exchange().clipped is clipped
    assert len(kept.body) <= SAMPLE_BYTES


def test_a_success_that_is_too_long_to_keep_is_healthy() -> None:
    capture = Capture(Redactor(()))
    kept = capture.record(
        n=1,
        started_ms=0,
        method="GET",
        url="https://api.vendor.example/items",
        endpoint="GET /items",
        data_type="items",
        phase=Phase.DATA,
        status=200,
        headers={"content-type": "application/json"},
        body=LONG_LIST,
    )
    exchange = kept.as_exchange()
    assert len(LONG_LIST) > EVIDENCE_BYTES
    assert judge(exchange, observed_at=NEW_YEAR).name is HealthName.HEALTHY
