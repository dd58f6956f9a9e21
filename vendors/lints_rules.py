"""Lints of error rules and waits: traps 1 to 4 and 12. A rule matches status AND body; the first that matches wins."""

from collections.abc import Mapping, Sequence
from typing import Final

from vendors.findings import Report
from vendors.source import Where
from vendors.timeformats import parse_duration

LONGEST_WAIT_S: Final = 300
LONGEST_ANSWER_S: Final = 600
LONGEST_JOB_S: Final = 6 * 3600
_PASSING: Final = ("skip_part", "empty")
_WAITING: Final = ("retry", "rate_limited")


def lint_errors(report: Report, where: Where) -> None:
    """Report rules that hide errors, never fire, or wait too long."""
    earlier: list[frozenset[int]] = []
    rules = _at(report.source.data, where)
    for index, rule in enumerate(rules if isinstance(rules, list) else []):
        place = (*where, index)
        if not report.is_sound(place) or not isinstance(rule, Mapping):
            continue
        statuses = statuses_of(rule)
        _lint_passing(report, place, rule, statuses)
        _lint_body(report, place, rule, statuses)
        _lint_wait(report, place, rule)
        if statuses <= frozenset[int]().union(*earlier):
            problem = "is never reached: a rule above takes every answer of that status"
            report.add(place, "rule-never-reached", problem, "Put it above that rule; the first that matches decides")
        if "body" not in rule:
            earlier.append(statuses)
        if _repeats_default(rule, statuses):
            problem = "only says what happens anyway"
            report.add(place, "rule-repeats-default", problem, "Take it out", fatal=False)


def lint_limits_on_time(report: Report, where: Where, request: Mapping[str, object]) -> None:
    """Report requests and polls that would hold a worker too long."""
    for word, longest_s, remedy in (
        ("timeout", LONGEST_ANSWER_S, "Ask for smaller pages, or describe it as a job"),
        ("every", LONGEST_WAIT_S, "Poll oftener: a run holds its place meanwhile"),
        ("give_up_after", LONGEST_JOB_S, "Ask for less at a time: `incremental` with a `window`"),
    ):
        length = request.get(word)
        if isinstance(length, str) and report.is_sound((*where, word)) and _seconds(length) > longest_s:
            problem = f"{length} holds a worker for longer than {longest_s} s"
            report.add((*where, word), "wait-too-long", problem, remedy)


def statuses_of(rule: Mapping[str, object]) -> frozenset[int]:
    """Return the statuses that a rule is for."""
    status = rule.get("status")
    return frozenset(item for item in (status if isinstance(status, list) else [status]) if isinstance(item, int))


def _lint_passing(report: Report, where: Where, rule: Mapping[str, object], statuses: frozenset[int]) -> None:
    action = rule.get("action")
    if action not in _PASSING:
        return
    if 401 in statuses:
        problem = f"401 is passed over ({action}): dead credentials would look like an empty vendor"
        report.add(
            where, "401-skipped", problem, "Take 401 out; where a vendor means something else by it, a dialect says so"
        )
    if "body" in rule:
        return
    if rule.get("whole_status") is not True:
        listed = ", ".join(str(status) for status in sorted(statuses))
        problem = f"passes over every {listed}, whatever the reason ({action})"
        remedy = (
            "Add what tells this case apart: `body: {path: error.code, eq: …}`; "
            "or write `whole_status: true` if every such answer is meant"
        )
        report.add(where, "whole-status-ignored", problem, remedy)
    elif any(status == 429 or status >= 500 for status in statuses):
        problem = f"passes over answers that only say `later` ({action})"
        report.add(where, "server-error-skipped", problem, "Take 429 and 5xx out: they are tried again by themselves")


def _lint_body(report: Report, where: Where, rule: Mapping[str, object], statuses: frozenset[int]) -> None:
    body = rule.get("body")
    if isinstance(body, Mapping):
        lint_condition(report, (*where, "body"), body)
    elif any(200 <= status < 300 for status in statuses):
        problem = "is for a success status and has no `body`: every good answer would match"
        report.add(where, "success-without-body", problem, "Add what marks the error: `body: {path: ok, eq: false}`")
    if "body" in rule and rule.get("whole_status") is True:
        problem = "has a `body`, so that `whole_status` says nothing"
        report.add((*where, "whole_status"), "whole-status-with-body", problem, "Take one of them out")


def lint_condition(report: Report, where: Where, condition: Mapping[str, object]) -> None:
    """Report a condition that tests nothing, or several things."""
    tests = [word for word in ("eq", "in", "contains", "exists") if word in condition]
    if len(tests) != 1:
        problem = f"has {' and '.join(tests)}" if tests else "tests nothing"
        report.add(where, "condition-tests", problem, "Write exactly one of eq, in, contains, exists")


def _lint_wait(report: Report, where: Where, rule: Mapping[str, object]) -> None:
    wait = rule.get("wait")
    if isinstance(wait, str) and _seconds(wait) > LONGEST_WAIT_S:
        problem = f"{wait} holds a worker for longer than {LONGEST_WAIT_S} s"
        remedy = "Leave the wait out: rate_limited ends the run, and the next one starts when the vendor allows it"
        report.add((*where, "wait"), "wait-too-long", problem, remedy)
    waits = [word for word in ("wait", "wait_header") if word in rule]
    if waits and rule.get("action") not in _WAITING:
        problem = f"has `{waits[0]}`, but {rule.get('action')} never waits"
        report.add(where, "wait-without-retry", problem, "Take it out, or write `action: retry` or `rate_limited`")


def _repeats_default(rule: Mapping[str, object], statuses: frozenset[int]) -> bool:
    if "body" in rule or "wait" in rule or str(rule.get("wait_header", "Retry-After")).lower() != "retry-after":
        return False
    if rule.get("action") == "rate_limited":
        return statuses == {429}
    if rule.get("action") == "retry":
        return bool(statuses) and all(status >= 500 for status in statuses)
    return rule.get("action") == "fail" and all(400 <= status < 500 and status != 429 for status in statuses)


def _seconds(duration: str) -> float:
    try:
        return parse_duration(duration).total_seconds()
    except (ValueError, OverflowError):
        return 0.0


def _at(data: object, where: Where) -> object:
    for key in where:
        data = data.get(str(key)) if isinstance(data, Mapping) else None
    return data if isinstance(data, Sequence | Mapping) else None
