"""Cases as JSON objects, read and written, and how they are scored."""

from datetime import UTC, datetime
from typing import Any, Final

import pytest

from classifier import HealthName, Phase, ResolutionOwner, classify
from classifier.cases import CaseError, exception_links, line, read_case, score

GOOD: Final[dict[str, Any]] = {
    "id": "okta-1",
    "vendor": "okta",
    "phase": "token",
    "outcome": {
        "method": "POST",
        "url": "https://acme.okta.com/oauth2/v1/token",
        "status": 429,
        "headers": {"Retry-After": "30", "Date": "Fri, 09 Jan 2026 12:00:00 GMT"},
        "body": "{}",
        "exception": None,
    },
    "label": "RATE_LIMIT_EXCEEDED",
    "owner": "LEEN",
    "contested": False,
}


def test_a_case_is_read_whole() -> None:
    case = read_case(GOOD)
    assert (case.id, case.vendor, case.label, case.owner) == (
        "okta-1",
        "okta",
        HealthName.RATE_LIMIT_EXCEEDED,
        ResolutionOwner.LEEN,
    )
    exchange = case.outcome.data_types[0].exchange
    assert exchange is not None
    assert (exchange.status, exchange.phase, exchange.headers["retry-after"]) == (429, Phase.TOKEN, "30")
    assert case.outcome.observed_at == datetime(2026, 1, 9, 12, 0, tzinfo=UTC)


def test_what_is_written_for_a_case() -> None:
    case = read_case(GOOD)
    assert line(case, classify(case.outcome)) == {
        "id": "okta-1",
        "name": "RATE_LIMIT_EXCEEDED",
        "status": "UNHEALTHY",
        "resolution_owner": "LEEN",
        "reason": "rate_limit",
        "rule": "status.429",
        "description": "Rate limit exceeded",
        "retry_at": "2026-01-09T12:00:30Z",
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"outcome": None}, "outcome: is missing", id="no outcome"),
        pytest.param({"outcome": "x"}, "outcome: is str", id="an outcome that is text"),
        pytest.param({"outcome": {"status": "429"}}, "outcome.status: is str", id="a status that is text"),
        pytest.param({"outcome": {"status": True}}, "outcome.status: is bool", id="a status that is a flag"),
        pytest.param({"outcome": {"status": 42}}, "outcome.status: is 42", id="a status out of range"),
        pytest.param({"outcome": {}}, "neither status nor exception", id="nothing came and nothing was raised"),
        pytest.param({"outcome": {"status": 200, "headers": []}}, "outcome.headers", id="headers that are a list"),
        pytest.param({"outcome": {"status": 200, "headers": {"a": {}}}}, "outcome.headers.a", id="a header's value"),
        pytest.param({"outcome": {"status": 200, "body": {}}}, "outcome.body: is dict", id="a body that was parsed"),
        pytest.param({"phase": "later"}, "phase: is 'later'", id="a phase"),
        pytest.param({"label": "BROKEN"}, "label:", id="a label"),
        pytest.param({"owner": "ME"}, "owner:", id="an owner"),
    ],
)
def test_a_case_that_cannot_be_read_says_what_is_wrong(change: dict[str, Any], said: str) -> None:
    with pytest.raises(CaseError) as caught:
        read_case({**GOOD, **change})
    assert said in str(caught.value)


@pytest.mark.parametrize("obj", [None, 1, "x", []])
def test_a_case_is_an_object(obj: object) -> None:
    with pytest.raises(CaseError, match="a case is a JSON object"):
        read_case(obj)


def test_an_exception_with_its_causes_in_the_text_becomes_a_chain() -> None:
    links = exception_links(
        "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='x', port=443): Max retries exceeded with url: "
        "/ (Caused by NameResolutionError(\"<urllib3.connection.HTTPSConnection object>: Failed to resolve 'x'\"))"
    )
    assert [(link.module, link.name) for link in links] == [
        ("requests.exceptions", "ConnectionError"),
        ("", "NameResolutionError"),
    ]


@pytest.mark.parametrize(
    ("text", "module", "name"),
    [
        ("MemoryError", "builtins", "MemoryError"),
        ("KeyError: 'x'", "builtins", "KeyError"),
        ("cryptography.fernet.InvalidToken", "cryptography.fernet", "InvalidToken"),
        ("something odd happened", "builtins", "Exception"),
    ],
)
def test_a_bare_exception_is_read(text: str, module: str, name: str) -> None:
    link = exception_links(text)[0]
    assert (link.module, link.name) == (module, name)


def test_a_body_as_long_as_a_case_may_carry_counts_as_cut_off() -> None:
    cut = {**GOOD, "outcome": {"status": 200, "url": "https://x/", "body": '{"items": ["' + "x" * 1_988}}
    assert classify(read_case(cut).outcome).name is HealthName.HEALTHY


def test_hostile_text_is_read_in_a_moment() -> None:
    for text in ("A(" * 5_000, "Error(" * 3_000 + ")", "x." * 5_000, "(((((" * 2_000):
        read_case({**GOOD, "outcome": {"exception": text}})


def test_a_score_counts_names_owners_and_the_worst_mistakes() -> None:
    right = read_case(GOOD)
    wrong = read_case({**GOOD, "id": "b", "label": "UNAUTHORIZED", "owner": "CUSTOMER"})
    unlabelled = read_case({**GOOD, "label": None, "owner": None})
    result = score((case, classify(case.outcome)) for case in (right, wrong, unlabelled))
    assert (result.total, result.right_by_name, result.right_by_owner, result.wrong) == (2, 1, 1, ("b",))
    assert result.confusion[HealthName.UNAUTHORIZED, HealthName.RATE_LIMIT_EXCEEDED] == 1
    assert (result.customer_blamed, result.failures_passed, result.successes_failed) == (0, 0, 0)
    assert result.accuracy == 0.5
    assert score(()).accuracy == 1.0
