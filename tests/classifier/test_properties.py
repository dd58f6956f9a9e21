"""Laws that hold for any input: total, deterministic, deaf to order and to members nobody knows.

Documents stay within what is read of an answer; beyond, the first members count.
"""

import json
from datetime import UTC, datetime
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from classifier import (
    PRECEDENCE,
    DataTypeOutcome,
    ExceptionLink,
    Exchange,
    HealthName,
    Outcome,
    OwnSide,
    Phase,
    classify,
    explain,
    judge,
)
from classifier.reasons import REASONS
from classifier.retry_time import LONGEST_WAIT, retry_at

NOW: Final = datetime(2026, 1, 9, 12, 0, tzinfo=UTC)
FEW: Final = settings(max_examples=80, deadline=None, derandomize=True)
_WORDS: Final = (
    "rate limit exceeded invalid token expired access denied not found permission scope quota internal server error "
    "unauthorized forbidden throttled page cursor unknown field upgrade plan timeout maintenance try again"
)
WORDS: Final = st.sampled_from(_WORDS.split())
SENTENCES: Final = st.lists(WORDS, max_size=5).map(" ".join) | st.text(max_size=40)
NAMES: Final = st.sampled_from(
    [
        "error",
        "errors",
        "message",
        "code",
        "status",
        "detail",
        "type",
        "reason",
        "data",
        "ok",
        "success",
        "fault",
        "meta",
    ]
) | st.text(max_size=8)
VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | SENTENCES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)
DOCUMENTS: Final = st.dictionaries(NAMES, VALUES, max_size=4)
BODIES: Final = (
    st.binary(max_size=300)
    | VALUES.map(lambda value: json.dumps(value).encode())
    | SENTENCES.map(lambda text: f"<html><title>{text}</title></html>".encode())
    | SENTENCES.map(lambda text: f"<Error><Code>{text}</Code></Error>".encode())
    | st.builds(lambda value, cut: json.dumps(value).encode()[:cut], VALUES, st.integers(0, 60))
)
HEADERS: Final = st.dictionaries(
    st.sampled_from(
        ["content-type", "retry-after", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "www-authenticate",
         "location", "date", "x-amzn-errortype", "grpc-status", "reason", "x-error-code"]
    )
    | st.text(max_size=12).map(str.lower),
    st.text(max_size=60) | st.integers().map(str) | SENTENCES,
    max_size=5,
)  # fmt: skip
LINKS: Final = st.builds(
    ExceptionLink,
    module=st.sampled_from(["builtins", "requests.exceptions", "urllib3.exceptions", "psycopg.errors", "", "x.y"])
    | st.text(max_size=10),
    name=st.sampled_from(["ConnectionError", "SSLError", "OSError", "KeyError", "HTTPError", "MaxRetryError"])
    | st.text(max_size=10),
    message=st.text(max_size=80) | SENTENCES,
    errno=st.none() | st.integers(-5, 200),
)
EXCHANGES: Final = st.builds(
    Exchange,
    method=st.sampled_from(["GET", "POST"]),
    url=st.text(max_size=40) | st.just("https://api.example.com/v1/x"),
    phase=st.sampled_from(Phase),
    status=st.none() | st.integers(100, 999),
    headers=HEADERS,
    body=BODIES,
    exception=st.lists(LINKS, max_size=3).map(tuple),
    clipped=st.booleans(),
)
PARTS: Final = st.builds(
    DataTypeOutcome,
    data_type=st.text(max_size=5),
    endpoint=st.none() | st.text(max_size=10),
    exchange=st.none() | EXCHANGES,
    exception=st.lists(LINKS, max_size=2).map(tuple),
    attempted=st.booleans(),
    accepted=st.booleans(),
)
OUTCOMES: Final = st.builds(
    Outcome,
    vendor=st.text(max_size=5),
    observed_at=st.datetimes(timezones=st.just(UTC)),
    data_types=st.lists(PARTS, max_size=3).map(tuple),
    own_side=st.frozensets(st.sampled_from(OwnSide)),
    exception=st.lists(LINKS, max_size=2).map(tuple),
)


@FEW
@given(OUTCOMES)
def test_any_outcome_has_one_verdict_and_the_same_each_time(outcome: Outcome) -> None:
    verdict = classify(outcome)
    assert verdict == classify(outcome)
    assert REASONS[verdict.reason].name is verdict.name
    assert "{saw}" not in verdict.sentence or "{saw}" in repr(outcome)
    told = explain(outcome)
    assert (told.name, told.reason, told.rule) == (verdict.name, verdict.reason, verdict.rule)


@FEW
@given(EXCHANGES)
def test_any_exchange_has_a_judgement(exchange: Exchange) -> None:
    judged = judge(exchange, observed_at=NOW)
    assert judged.retry_at is None or NOW <= judged.retry_at <= NOW + LONGEST_WAIT


@FEW
@given(HEADERS, VALUES)
def test_any_headers_and_body_give_a_bounded_wait(headers: dict[str, str], body: object) -> None:
    moment = retry_at(headers, body, observed_at=NOW)
    assert moment is None or NOW <= moment <= NOW + LONGEST_WAIT


@FEW
@given(EXCHANGES)
def test_the_order_of_headers_does_not_matter(exchange: Exchange) -> None:
    turned = Exchange(
        method=exchange.method,
        url=exchange.url,
        phase=exchange.phase,
        status=exchange.status,
        headers=dict(reversed(list(exchange.headers.items()))),
        body=exchange.body,
        exception=exchange.exception,
        clipped=exchange.clipped,
    )
    first, second = judge(exchange, observed_at=NOW), judge(turned, observed_at=NOW)
    assert (first.name, first.reason, first.retry_at) == (second.name, second.reason, second.retry_at)


def turned_around(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: turned_around(part) for name, part in reversed(value.items())}
    if isinstance(value, list):
        return [turned_around(part) for part in value]
    return value


def answer(status: int, document: object) -> Exchange:
    return Exchange(method="GET", url="https://x/", status=status, body=json.dumps(document).encode())


@FEW
@given(DOCUMENTS, st.sampled_from([200, 400, 401, 403, 404, 429, 500, 503]))
def test_the_order_of_members_does_not_matter(document: dict[str, Any], status: int) -> None:
    first = judge(answer(status, document), observed_at=NOW)
    second = judge(answer(status, turned_around(document)), observed_at=NOW)
    assert (first.name, first.reason, first.retry_at) == (second.name, second.reason, second.retry_at)


@FEW
@given(DOCUMENTS, st.sampled_from([400, 401, 403, 404, 429, 500, 503]), st.integers(-9, 9))
def test_members_that_nobody_knows_change_nothing(document: dict[str, Any], status: int, value: int) -> None:
    first = judge(answer(status, document), observed_at=NOW)
    more = {"zqx_odd": value, "zqxNested": {"zqx": value}, **document, "zqx_last": [value]}
    second = judge(answer(status, more), observed_at=NOW)
    assert (first.name, first.reason) == (second.name, second.reason)


@FEW
@given(st.lists(PARTS, min_size=1, max_size=4))
def test_a_run_is_as_grave_as_its_gravest_data_type(parts: list[DataTypeOutcome]) -> None:
    alone = [classify(Outcome(vendor="v", observed_at=NOW, data_types=(part,))).name for part in parts]
    together = classify(Outcome(vendor="v", observed_at=NOW, data_types=tuple(parts)))
    assert together.name is min(alone, key=PRECEDENCE.index)
    failing = sum(name is not HealthName.HEALTHY for name in alone)
    assert len(together.details) == failing


@FEW
@given(st.lists(PARTS, min_size=2, max_size=4))
def test_the_order_of_data_types_does_not_matter(parts: list[DataTypeOutcome]) -> None:
    first = classify(Outcome(vendor="v", observed_at=NOW, data_types=tuple(parts)))
    second = classify(Outcome(vendor="v", observed_at=NOW, data_types=tuple(reversed(parts))))
    assert (first.name, first.retry_at) == (second.name, second.retry_at)


TELLING_OF_ERRORS: Final = {
    "error": "Access denied",
    "message": "401 Unauthorized",
    "status": "error",
    "code": 403,
    "errorCode": "E17",
    "errors": ["Invalid password"],
    "reason": "rate limit exceeded",
    "success": False,
    "failureReason": "License expired",
    "exception": "AuthError",
    "statusCode": 401,
    "detail": "Permission denied",
    "fault": {"code": "AUTH", "message": "Token expired"},
}
_LISTS: Final = (
    "items devices results data records alerts events logs messages responses entries values hits list findings issues "
    "users tickets jobs runs checks result resources objects nodes edges content history"
)
LISTS: Final = st.sampled_from(_LISTS.split())
_BESIDE: Final[dict[str, Any]] = {
    "total": 3,
    "next": None,
    "status": "ok",
    "success": True,
    "error": None,
    "errors": [],
    "code": 0,
    "message": "",
    "meta": {"total": 3},
    "paging": {"next": "x"},
    "errcode": 0,
    "result": "success",
    "links": {"self": "x"},
    "request_id": "abc",
    "warnings": [],
    "has_more": False,
}
BESIDE: Final = st.sampled_from(list(_BESIDE.items()))
ROWS: Final = st.lists(
    st.builds(
        lambda own, told: {**own, **{name: TELLING_OF_ERRORS[name] for name in told}},
        st.fixed_dictionaries({"id": st.integers(1, 9), "owner": st.just("bob")}),
        st.lists(st.sampled_from(sorted(TELLING_OF_ERRORS)), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(name=LISTS, rows=ROWS, beside=st.lists(BESIDE, max_size=3), wrapper=st.sampled_from(["", "data", "d", "body"]))
def test_rows_full_of_errors_are_data_under_any_name_and_in_any_wrapper(
    name: str, rows: list[dict[str, Any]], beside: list[tuple[str, Any]], wrapper: str
) -> None:
    page: dict[str, Any] = {**dict(beside), name: rows}
    for document in (page, {wrapper: page} if wrapper else rows):
        exchange = Exchange(method="GET", url="https://x/", status=200, body=json.dumps(document).encode())
        assert judge(exchange, observed_at=NOW).name is HealthName.HEALTHY
