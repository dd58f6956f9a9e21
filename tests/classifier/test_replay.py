"""Judging past runs again: what is stored is enough, or the reason is said."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from classifier import Dialect, HealthName, Verdict, classify
from classifier.cases import Case, read_case
from classifier.outcome import DataTypeOutcome, ExceptionLink, Exchange, Outcome, OwnSide
from classifier.replay import NotReplayable, Replayed, Stored, exchange_of, replay
from vendors.dialect_files import load_dialects
from worker.wire.capture import Capture
from worker.wire.redactor import Redactor

CORPUS: Final = Path(__file__).parent / "corpus"
NOW: Final = datetime(2026, 1, 9, 12, 0, tzinfo=UTC)


def kept(exchange: Exchange, **options: Any) -> dict[str, Any]:
    """Return an exchange as a run stores it, through JSON and back."""
    document: dict[str, Any] = json.loads(json.dumps(Capture(Redactor()).evidence(exchange, **options)))
    return document


def stored(verdict: Verdict, outcome: Outcome, **changed: Any) -> Stored:
    """Return what is stored of a judged run, as worker.run.result_of does."""
    healthy = {"body_bytes": 0} if verdict.name is HealthName.HEALTHY else {}
    of_run: dict[str, Any] = {
        "vendor": outcome.vendor,
        "judged_at": outcome.observed_at,
        "name": verdict.name,
        "reason": verdict.reason,
        "rule": verdict.rule,
        "retry_at": verdict.retry_at,
        "evidence": None if verdict.evidence is None else kept(verdict.evidence, **healthy),
        "data_types": [
            {
                "data_type": part.data_type,
                "endpoint": part.endpoint,
                "name": part.judgement.name.value,
                "reason": part.judgement.reason,
            }
            for part in verdict.data_types
        ],
    }
    return Stored(**{**of_run, **changed})


def cases() -> list[Case]:
    lines = [
        line
        for name in ("cases.jsonl", "own.jsonl", "rpc.jsonl")
        for line in (CORPUS / name).read_text(encoding="utf-8").splitlines()
    ]
    return [read_case(json.loads(line)) for line in lines]


def test_every_case_of_the_corpus_is_judged_again_as_it_was() -> None:
    """What is stored loses nothing that the rules read, but the bodies of healthy answers."""
    dialects = load_dialects()
    replayed = 0
    for case in cases():
        dialect = dialects.get(case.vendor)
        verdict = classify(case.outcome, dialect)
        again = replay(stored(verdict, case.outcome), dialect)
        if isinstance(again, NotReplayable):
            assert verdict.name is HealthName.HEALTHY or not verdict.evidence, case.id
            continue
        replayed += 1
        assert (again.name, again.reason, again.rule, again.retry_at) == (
            verdict.name,
            verdict.reason,
            verdict.rule,
            verdict.retry_at,
        ), case.id
    assert replayed > 2_000


def part(data_type: str, status: int, body: bytes = b"{}", **more: Any) -> DataTypeOutcome:
    exchange = Exchange(method="GET", url="https://api.example.com/v1/x", status=status, body=body)
    return DataTypeOutcome(data_type=data_type, endpoint=f"GET /{data_type}", exchange=exchange, **more)


def of(*parts: DataTypeOutcome, **more: Any) -> Outcome:
    return Outcome(vendor="acme", observed_at=NOW, data_types=parts, **more)


def replayed_from(outcome: Outcome, dialect: Dialect | None = None, **changed: Any) -> Replayed | NotReplayable:
    return replay(stored(classify(outcome), outcome, **changed), dialect)


def test_what_the_other_data_types_came_to_stands() -> None:
    outcome = of(part("users", 503), part("alerts", 404), part("hosts", 401))
    before = stored(classify(outcome), outcome)
    # The rules of then said of the 401 what those of today do not.
    then = replace(before, evidence=kept(Exchange(method="GET", url="https://x/", status=503)))
    again = replay(then, None)
    assert isinstance(again, Replayed)
    assert (again.name, again.reason) == (HealthName.VENDOR_CLIENT_ERROR, "not_found")
    assert again.rule == "precedence.vendor_client_error"


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        pytest.param(of(own_side=frozenset({OwnSide.BUDGET_SPENT})), NotReplayable.OWN_SIDE, id="a spent budget"),
        pytest.param(of(own_side=frozenset({OwnSide.WORKER_LOST})), NotReplayable.OWN_SIDE, id="a lost worker"),
        pytest.param(
            of(
                DataTypeOutcome(
                    data_type="users",
                    exchange=Exchange(
                        method="GET",
                        url="https://x/",
                        exception=(ExceptionLink(module="socket", name="gaierror", message="[Errno -2]"),),
                    ),
                ),
                own_side=frozenset({OwnSide.EGRESS_DEAD}),
            ),
            NotReplayable.OWN_SIDE,
            id="a dead way out",
        ),
        pytest.param(
            of(exception=(ExceptionLink(module="models.errors", name="VaultKeyError"),)),
            NotReplayable.OWN_SIDE,
            id="a vault that does not open",
        ),
        pytest.param(of(part("users", 200, b'{"data": [1]}')), NotReplayable.HEALTHY_BODY, id="a healthy answer"),
    ],
)
def test_a_run_that_cannot_be_judged_again_says_why(outcome: Outcome, why: NotReplayable) -> None:
    assert replayed_from(outcome) is why


def test_a_run_that_was_stopped_has_nothing_to_judge() -> None:
    assert replayed_from(of(part("users", 401)), name=None, reason="drain", rule=None) is NotReplayable.NO_VERDICT


@pytest.mark.parametrize(
    "name",
    ["UnexpectedShapeError", "PaginationError", "JobFailedError", "MalformedBodyError", "InvalidCredentialsError"],
)
def test_an_error_of_the_connector_over_an_answer_is_known_by_its_rule(name: str) -> None:
    outcome = of(part("users", 200, exception=(ExceptionLink(module="vendors.errors", name=name, message="x"),)))
    verdict = classify(outcome)
    again = replayed_from(outcome)
    assert isinstance(again, Replayed)
    assert (again.name, again.reason, again.rule) == (verdict.name, verdict.reason, verdict.rule)


def test_an_exception_that_no_rule_names_cannot_be_judged_again() -> None:
    outcome = of(part("users", 200, exception=(ExceptionLink(module="acme_sdk", name="OddError"),)))
    assert replayed_from(outcome) is NotReplayable.OWN_EXCEPTION


def test_an_answer_that_the_definition_let_pass_passes_again() -> None:
    outcome = of(part("users", 404, accepted=True))
    again = replayed_from(outcome)
    assert isinstance(again, Replayed)
    assert (again.name, again.reason) == (HealthName.HEALTHY, "accepted")


@pytest.mark.parametrize(
    "evidence",
    [
        pytest.param({"status": "401", "headers": [], "exception": {}, "phase": "x"}, id="odd values"),
        pytest.param({"exception": [1, {"errno": "x"}]}, id="odd links"),
        pytest.param({}, id="nothing"),
    ],
)
def test_odd_evidence_is_read_for_what_it_holds(evidence: dict[str, Any]) -> None:
    assert exchange_of(evidence).status is None
