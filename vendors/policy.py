"""A definition's error rules as a policy: status AND body decide, the first rule that matches wins. Sends nothing."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import orjson

from vendors.definition import Condition, ErrorRule
from vendors.paths import MISSING, compile_path
from vendors.wire import Action, Answer, Decision, Policy

LONGEST_WAIT_S: Final = 86_400.0
_EPOCH_SINCE_S: Final = 1_000_000_000
"""A wait of more than thirty years is a point in time, not a wait."""

Test = Callable[[object], bool]


def compile_condition(condition: Condition) -> Test:
    """Return a test of a document. A path with `*` holds where any of its elements does.

    eq and one_of compare by value, or by text where one side is a number and the other its digits; contains looks for a
    part of a text, or for a member of a list; exists asks for a value that is there and not null.
    """
    get = compile_path(condition.path, lenient=True)
    several = "*" in condition.path
    if condition.exists is not None:
        wanted = condition.exists
        return lambda document: (
            (get(document) not in (MISSING, None, [])) is wanted
            if several
            else (get(document) not in (MISSING, None)) is wanted
        )
    test = _value_test(condition)

    def holds(document: object) -> bool:
        found = get(document)
        if several and isinstance(found, list):
            return any(test(item) for item in found)
        return found is not MISSING and test(found)

    return holds


def compile_conditions(conditions: tuple[Condition, ...]) -> Test | None:
    """Return a test that holds where all conditions do, or None where there are none."""
    if not conditions:
        return None
    tests = tuple(compile_condition(condition) for condition in conditions)
    if len(tests) == 1:
        return tests[0]
    return lambda document: all(test(document) for test in tests)


def policy_of(rules: tuple[ErrorRule, ...], *, source: str, clock: Callable[[], datetime]) -> Policy | None:
    """Return the policy that the rules make, in their order, or None where there are none.

    source: the definition's file, for the name of the rule that decided; clock: aware, UTC, for waits told as a date.
    """
    if not rules:
        return None
    compiled = tuple((rule, _body_test(rule.body), f"{source}:{rule.line}") for rule in rules)
    statuses = frozenset().union(*(rule.statuses for rule in rules))

    def decide(answer: Answer) -> Decision | None:
        if answer.status not in statuses:
            return None
        document = _document(answer.body)
        for rule, test, name in compiled:
            if answer.status in rule.statuses and (test is None or test(document, answer.body)):
                return Decision(action=rule.action, wait_s=_wait_s(rule, answer.headers, clock()), rule=name)
        return None

    return decide


def wait_of_header(value: str, *, now: datetime) -> float | None:
    """Return the seconds that a header asks to wait: seconds, a date, or a time since 1970; None for anything else."""
    text = value.strip()
    try:
        number = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (TypeError, ValueError, IndexError, OverflowError):
            return None
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return _bounded((moment - now).total_seconds())
    if number != number:  # noqa: PLR0124 - "nan" is a float too
        return None
    if number > _EPOCH_SINCE_S * 1000:
        number /= 1000
    return _bounded(number - now.timestamp() if number > _EPOCH_SINCE_S else number)


def _bounded(wait_s: float) -> float:
    return min(max(wait_s, 0.0), LONGEST_WAIT_S)


def _wait_s(rule: ErrorRule, headers: Mapping[str, str], now: datetime) -> float | None:
    if rule.action not in (Action.RETRY, Action.RATE_LIMITED):
        return None
    if rule.wait_header is not None and (raw := headers.get(rule.wait_header.lower())) is not None:
        wait_s = wait_of_header(raw, now=now)
        if wait_s is not None:
            return wait_s
    return rule.wait_s


def _document(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return MISSING


def _body_test(condition: Condition | None) -> Callable[[object, bytes], bool] | None:
    if condition is None:
        return None
    if not condition.path and condition.contains is not None:
        wanted = condition.contains
        return lambda _, body: wanted in body.decode("utf-8", "replace")
    test = compile_condition(condition)
    return lambda document, _: document is not MISSING and test(document)


def _value_test(condition: Condition) -> Test:
    if condition.contains is not None:
        part = condition.contains
        return lambda found: part in found if isinstance(found, str | list) else False
    wanted = condition.one_of if condition.one_of is not None else (condition.eq,)
    return lambda found: any(_equal(found, value) for value in wanted)


def _equal(found: object, wanted: object) -> bool:
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(found, str) and isinstance(wanted, int | float):
        return found == str(wanted)
    if isinstance(wanted, str) and isinstance(found, int | float):
        return wanted == str(found)
    return found == wanted
