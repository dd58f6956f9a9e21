"""Cases as JSON objects: what a run saw, perhaps labelled, turned into an Outcome; and how well verdicts meet labels.

The format: {"id", "vendor", "phase": "data|token|test", "outcome": {"method", "url", "status", "headers", "body",
"exception"}, "label", "owner", "contested"}. `exception` is a dotted class name and its message, where nothing came.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import IntEnum
from typing import Final

from classifier.outcome import DataTypeOutcome, ExceptionLink, Exchange, Outcome
from classifier.verdict import Verdict
from classifier.vocabulary import OWNER, HealthName, Phase, ResolutionOwner

CLIPPED_AT: Final = 2_000
"""Characters of a body that a case may carry: a body as long as this may have been longer."""

_UNDATED: Final = datetime(2026, 1, 1, tzinfo=UTC)
_HEAD: Final = re.compile(r"\s*((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)\s*(?::\s?(.*))?\Z", re.DOTALL)
_NESTED: Final = re.compile(
    r"\b([A-Z][A-Za-z]{2,40}(?:Error|Timeout|Disconnected|Read|Length|Refused|StatusLine|Exception)|timeout|gaierror)"
    r"\(((?:[^()]|\([^()]{0,120}\)){0,200})"
)


class CaseError(Exception):
    """A case that cannot be read. member: dotted path of what is wrong; problem: what is wrong and what to write."""

    def __init__(self, member: str, problem: str) -> None:
        super().__init__(member, problem)
        self.member, self.problem = member, problem

    def __str__(self) -> str:
        return f"{self.member}: {self.problem}" if self.member else self.problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case. label and owner: what it should come out as, None where the case does not say."""

    id: str
    vendor: str
    outcome: Outcome
    label: HealthName | None = None
    owner: ResolutionOwner | None = None
    contested: bool = False


def _member(owner: Mapping[str, object], name: str, kind: type, path: str, *, wanted: str) -> object:
    value = owner.get(name)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise CaseError(f"{path}{name}", f"is {type(value).__name__}; write {wanted}")
    return value


def exception_links(text: str) -> tuple[ExceptionLink, ...]:
    """Return the links that `requests.exceptions.ConnectTimeout: message` stands for, causes named in the text too."""
    found = _HEAD.match(text)
    if found is None:
        return (ExceptionLink(module="builtins", name="Exception", message=text[:500]),)
    module, _, name = found.group(1).rpartition(".")
    message = (found.group(2) or "")[:2_000]
    links = [ExceptionLink(module=module or "builtins", name=name, message=message[:500])]
    links.extend(
        ExceptionLink(module="", name=inner, message=said[:500]) for inner, said in _NESTED.findall(message)[:8]
    )
    return tuple(links)


def _observed_at(headers: Mapping[str, str], given: datetime | None) -> datetime:
    if given is not None:
        return given
    try:
        said = parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError, IndexError, OverflowError):
        return _UNDATED
    return said.replace(tzinfo=UTC) if said.tzinfo is None else said


def _headers(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise CaseError("outcome.headers", f"is {type(value).__name__}; write an object of names and texts, or null")
    headers: dict[str, str] = {}
    for name, text in value.items():
        if isinstance(text, list):
            text = ", ".join(str(part) for part in text)  # noqa: PLW2901 - several lines of one name
        if not isinstance(text, (str, int, float)):
            raise CaseError(f"outcome.headers.{name}", f"is {type(text).__name__}; write a text")
        headers[str(name).lower()] = str(text)
    return headers


def read_case(obj: object, *, observed_at: datetime | None = None) -> Case:
    """Return the case that a parsed JSON object stands for.

    observed_at: aware, UTC; where None, the answer's Date header counts. Raises CaseError.
    """
    if not isinstance(obj, Mapping):
        raise CaseError("", f"a case is a JSON object, this is {type(obj).__name__}")
    seen = _member(obj, "outcome", dict, "", wanted='an object with "method", "url", "status", "headers", "body"')
    if not isinstance(seen, Mapping):
        raise CaseError("outcome", 'is missing; write {"method", "url", "status", "headers", "body", "exception"}')
    status = _member(
        seen, "status", int, "outcome.", wanted="a number from 100 to 999, or null where nothing came back"
    )
    if isinstance(status, int) and not 100 <= status <= 999:
        raise CaseError("outcome.status", f"is {status}; write a number from 100 to 999")
    exception = _member(seen, "exception", str, "outcome.", wanted="a text `module.Class: message`, or null")
    if status is None and not exception:
        raise CaseError("outcome", "has neither status nor exception; write what came back or what was raised")
    headers = _headers(seen.get("headers"))
    body = _member(seen, "body", str, "outcome.", wanted="the body's text, or null")
    phase_text = obj.get("phase") or Phase.DATA.value
    try:
        phase = Phase(str(phase_text))
    except ValueError:
        raise CaseError("phase", f"is {phase_text!r}; write data, token or test") from None
    label = owner = None
    try:
        label = HealthName(str(obj["label"])) if obj.get("label") else None
        owner = ResolutionOwner(str(obj["owner"])) if obj.get("owner") else None
    except ValueError as error:
        raise CaseError("label" if label is None else "owner", f"{error}; write a name of the rubric") from None
    url = _member(seen, "url", str, "outcome.", wanted="a URL, or null")
    method = _member(seen, "method", str, "outcome.", wanted="an HTTP method, or null")
    vendor = obj.get("vendor")
    links = exception_links(str(exception)) if exception else ()
    raw = str(body or "").encode("utf-8", "surrogatepass")
    exchange = None
    if status is not None or url:
        exchange = Exchange(
            method=str(method or "GET"),
            url=str(url or ""),
            phase=phase,
            status=status if isinstance(status, int) else None,
            headers=headers,
            body=raw,
            exception=links,
            clipped=len(str(body or "")) >= CLIPPED_AT,
        )
    when = _observed_at(headers, observed_at)
    part = DataTypeOutcome(data_type=str(phase), exchange=exchange, exception=links if status is None else ())
    outcome = Outcome(vendor=str(vendor or ""), observed_at=when, data_types=(part,))
    return Case(
        id=str(obj.get("id", "")),
        vendor=str(vendor or ""),
        outcome=outcome,
        label=label,
        owner=owner,
        contested=obj.get("contested") is True,
    )


def line(case: Case, verdict: Verdict) -> dict[str, object]:
    """Return what is written for a case: id, name, status, resolution_owner, reason, rule, description, retry_at."""
    return {
        "id": case.id,
        "name": verdict.name.value,
        "status": verdict.status.value,
        "resolution_owner": verdict.resolution_owner.value,
        "reason": verdict.reason,
        "rule": verdict.rule,
        "description": verdict.description,
        "retry_at": verdict.retry_at.isoformat().replace("+00:00", "Z") if verdict.retry_at is not None else None,
    }


MOST_MISTAKES: Final = 10
"""So many mistakes of one gravity are kept in full; all are counted."""


class Gravity(IntEnum):
    """How bad a wrong verdict is, the worst first."""

    CUSTOMER_BLAMED = 0
    FAILURE_PASSED = 1
    SUCCESS_FAILED = 2
    WRONG_OWNER = 3
    WRONG_NAME = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A case whose verdict is wrong."""

    id: str
    vendor: str
    label: HealthName
    given: HealthName
    reason: str
    rule: str

    @property
    def gravity(self) -> Gravity:
        """How bad it is."""
        if self.given is HealthName.UNAUTHORIZED:
            return Gravity.CUSTOMER_BLAMED
        if self.given is HealthName.HEALTHY:
            return Gravity.FAILURE_PASSED
        if self.label is HealthName.HEALTHY:
            return Gravity.SUCCESS_FAILED
        return Gravity.WRONG_OWNER if OWNER[self.label] is not OWNER[self.given] else Gravity.WRONG_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How verdicts meet labels. confusion: (label, given) -> how often; wrong: ids of the cases missed by name.

    owners: (owner of the label, owner given) -> how often; mistakes: the worst first, some of each gravity.
    customer_blamed: cases given to the customer that are not theirs; failures_passed: failures called HEALTHY;
    successes_failed: successes called a failure.
    """

    total: int
    right_by_name: int
    right_by_owner: int
    confusion: Mapping[tuple[HealthName, HealthName], int]
    wrong: tuple[str, ...]
    customer_blamed: int
    failures_passed: int
    successes_failed: int
    owners: Mapping[tuple[ResolutionOwner, ResolutionOwner], int] = field(default_factory=dict)
    mistakes: tuple[Mistake, ...] = ()

    @property
    def accuracy(self) -> float:
        """The share that is right by name, 1 where nothing was scored."""
        return self.right_by_name / self.total if self.total else 1.0

    @property
    def owner_accuracy(self) -> float:
        """The share whose owner is right, 1 where nothing was scored."""
        return self.right_by_owner / self.total if self.total else 1.0


def score(judged: Iterable[tuple[Case, Verdict]]) -> Score:
    """Return how verdicts meet their cases' labels. Cases without a label are left out."""
    confusion: Counter[tuple[HealthName, HealthName]] = Counter()
    owned: Counter[tuple[ResolutionOwner, ResolutionOwner]] = Counter()
    mistakes: dict[Gravity, list[Mistake]] = {gravity: [] for gravity in Gravity}
    wrong: list[str] = []
    owners = total = 0
    for case, verdict in judged:
        if case.label is None:
            continue
        total += 1
        confusion[case.label, verdict.name] += 1
        if case.label is not verdict.name:
            wrong.append(case.id)
            mistake = Mistake(
                id=case.id,
                vendor=case.vendor,
                label=case.label,
                given=verdict.name,
                reason=verdict.reason,
                rule=verdict.rule,
            )
            if len(mistakes[mistake.gravity]) < MOST_MISTAKES:
                mistakes[mistake.gravity].append(mistake)
        owner = case.owner
        owned[owner or OWNER[case.label], verdict.resolution_owner] += 1
        if owner is verdict.resolution_owner or (owner is None and case.label is verdict.name):
            owners += 1
    return Score(
        total=total,
        right_by_name=total - len(wrong),
        right_by_owner=owners,
        confusion=dict(confusion),
        wrong=tuple(wrong),
        owners=dict(owned),
        mistakes=tuple(mistake for gravity in Gravity for mistake in mistakes[gravity]),
        customer_blamed=sum(
            count
            for (label, given), count in confusion.items()
            if given is HealthName.UNAUTHORIZED and label is not HealthName.UNAUTHORIZED
        ),
        failures_passed=sum(
            count
            for (label, given), count in confusion.items()
            if given is HealthName.HEALTHY and label is not HealthName.HEALTHY
        ),
        successes_failed=sum(
            count
            for (label, given), count in confusion.items()
            if label is HealthName.HEALTHY and given is not HealthName.HEALTHY
        ),
    )
