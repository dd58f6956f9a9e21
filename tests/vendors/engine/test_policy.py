from datetime import timedelta

import pytest

from tests.vendors.engine.fakes import NOW, FakeAnswer
from vendors.definition import Condition, ErrorRule
from vendors.policy import compile_condition, policy_of, wait_of_header
from vendors.wire import Action, Decision


def answer(status: int, body: bytes = b"", **headers: str) -> FakeAnswer:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return FakeAnswer(status=status, url="https://a.example/", headers=named, body=body)


def decide(rules: tuple[ErrorRule, ...], given: FakeAnswer) -> Decision | None:
    policy = policy_of(rules, source="lantern.yaml", clock=lambda: NOW)
    assert policy is not None
    return policy(given)


ARCHIVED = ErrorRule(
    statuses=frozenset({403}),
    body=Condition(path="error.code", eq="ARCHIVED"),
    action=Action.SKIP_PART,
    line=7,
)


def test_a_rule_needs_its_status_and_its_body() -> None:
    decision = decide((ARCHIVED,), answer(403, b'{"error": {"code": "ARCHIVED"}}'))
    assert decision == Decision(action=Action.SKIP_PART, rule="lantern.yaml:7")
    assert decide((ARCHIVED,), answer(403, b'{"error": {"code": "DENIED"}}')) is None
    assert decide((ARCHIVED,), answer(404, b'{"error": {"code": "ARCHIVED"}}')) is None
    assert decide((ARCHIVED,), answer(403, b"<html>ARCHIVED")) is None


def test_the_first_rule_that_matches_decides() -> None:
    fail = ErrorRule(statuses=frozenset({403}), action=Action.FAIL, whole_status=True, line=1)
    decision = decide((fail, ARCHIVED), answer(403, b'{"error": {"code": "ARCHIVED"}}'))
    assert decision is not None
    assert decision.action is Action.FAIL


def test_no_rules_are_no_policy() -> None:
    assert policy_of((), source="x", clock=lambda: NOW) is None


def test_text_that_is_no_json_can_be_searched_as_a_whole() -> None:
    rule = ErrorRule(statuses=frozenset({200}), body=Condition(path="", contains="quota"), action=Action.RATE_LIMITED)
    decision = decide((rule,), answer(200, b"<p>daily quota spent"))
    assert decision is not None
    assert decision.action is Action.RATE_LIMITED


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        pytest.param({"x_reset": "30"}, 30.0, id="the header wins over the fixed wait"),
        pytest.param({"x_reset": "soon"}, 5.0, id="a header that says nothing leaves the fixed wait"),
        pytest.param({}, 5.0, id="no header leaves the fixed wait"),
    ],
)
def test_a_rule_says_how_long_to_wait(headers: dict[str, str], wait_s: float) -> None:
    rule = ErrorRule(statuses=frozenset({403}), action=Action.RATE_LIMITED, wait_header="X-Reset", wait_s=5.0)
    decision = decide((rule,), answer(403, b"", **headers))
    assert decision is not None
    assert decision.wait_s == wait_s


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        pytest.param("12.5", 12.5, id="seconds"),
        pytest.param("-3", 0.0, id="the past asks for no wait"),
        pytest.param("999999", 86_400.0, id="no longer than a day"),
        pytest.param((NOW + timedelta(seconds=40)).strftime("%a, %d %b %Y %H:%M:%S GMT"), 40.0, id="a date"),
        pytest.param(str(int(NOW.timestamp()) + 50), 50.0, id="seconds since 1970"),
        pytest.param(str((int(NOW.timestamp()) + 50) * 1000), 50.0, id="milliseconds since 1970"),
        pytest.param("nan", None, id="no number"),
        pytest.param("later", None, id="a word"),
    ],
)
def test_wait_of_header(value: str, wait_s: float | None) -> None:
    assert wait_of_header(value, now=NOW) == wait_s


@pytest.mark.parametrize(
    ("condition", "document", "holds"),
    [
        pytest.param(Condition(path="a", eq=1), {"a": 1}, True, id="equal"),
        pytest.param(Condition(path="a", eq=1), {"a": "1"}, True, id="a number written as text"),
        pytest.param(Condition(path="a", eq="1"), {"a": 1}, True, id="text that is a number"),
        pytest.param(Condition(path="a", eq=1), {"a": True}, False, id="true is not 1"),
        pytest.param(Condition(path="a", eq=False), {"a": 0}, False, id="0 is not false"),
        pytest.param(Condition(path="a", eq=1), {}, False, id="missing is not equal"),
        pytest.param(Condition(path="a", one_of=("x", "y")), {"a": "y"}, True, id="one of"),
        pytest.param(Condition(path="a", contains="b"), {"a": "abc"}, True, id="a part of a text"),
        pytest.param(Condition(path="a", contains="b"), {"a": ["b"]}, True, id="a member of a list"),
        pytest.param(Condition(path="a", contains="b"), {"a": 5}, False, id="a number contains nothing"),
        pytest.param(Condition(path="a", exists=True), {"a": None}, False, id="null does not exist"),
        pytest.param(Condition(path="a", exists=False), {}, True, id="does not exist"),
        pytest.param(Condition(path="e.*.code", eq=5), {"e": [{"code": 4}, {"code": 5}]}, True, id="any of a list"),
        pytest.param(Condition(path="e.*.code", exists=True), {"e": [{}]}, False, id="none of a list exists"),
    ],
)
def test_a_condition(condition: Condition, document: object, *, holds: bool) -> None:
    assert compile_condition(condition)(document) is holds
