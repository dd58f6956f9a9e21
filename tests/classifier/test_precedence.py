"""Several data types, our own side, and what the connector raised."""

import itertools
from datetime import UTC, datetime
from typing import Final

import pytest

from classifier import (
    PRECEDENCE,
    DataTypeOutcome,
    ExceptionLink,
    Exchange,
    HealthName,
    Outcome,
    OwnSide,
    ResolutionOwner,
    Verdict,
    classify,
    explain,
)

NOW: Final = datetime(2026, 1, 9, 12, 0, tzinfo=UTC)


def vendor_error(name: str) -> tuple[ExceptionLink, ...]:
    return (ExceptionLink(module="vendors.errors", name=name, message="GET /v1/x: no"),)


def part(
    name: str, status: int | None = 200, body: bytes = b"[]", *, raised: tuple[ExceptionLink, ...] = (), **more: bool
) -> DataTypeOutcome:
    exchange = Exchange(method="GET", url=f"https://x/{name}", status=status, body=body) if status else None
    return DataTypeOutcome(data_type=name, endpoint=f"GET /{name}", exchange=exchange, exception=raised, **more)


def run(
    *parts: DataTypeOutcome, own: frozenset[OwnSide] = frozenset(), raised: tuple[ExceptionLink, ...] = ()
) -> Verdict:
    return classify(Outcome(vendor="acme", observed_at=NOW, data_types=parts, own_side=own, exception=raised))


SHOWN: Final = {
    HealthName.UNAUTHORIZED: part("unauthorized", 401),
    HealthName.INTERNAL_ERROR: part("internal", raised=(ExceptionLink(module="builtins", name="KeyError"),)),
    HealthName.EXECUTION_TIMEOUT: part(
        "timeout", raised=(ExceptionLink(module="worker.wire.errors", name="DeadlineReached"),)
    ),
    HealthName.RATE_LIMIT_EXCEEDED: part("limited", 429),
    HealthName.VENDOR_CLIENT_ERROR: part("client", 404),
    HealthName.VENDOR_SERVER_ERROR: part("server", 500),
    HealthName.HEALTHY: part("healthy"),
}


@pytest.mark.parametrize(("graver", "lighter"), list(itertools.combinations(PRECEDENCE, 2)))
def test_the_graver_health_wins_in_any_order(graver: HealthName, lighter: HealthName) -> None:
    assert run(SHOWN[graver], SHOWN[lighter]).name is graver
    assert run(SHOWN[lighter], SHOWN[graver]).name is graver


def test_details_list_every_failing_data_type_with_its_endpoint() -> None:
    verdict = run(part("alerts", 403), part("users"), part("devices", 500))
    assert [(detail.data_export_type, detail.endpoint, detail.name) for detail in verdict.details] == [
        ("alerts", "GET /alerts", HealthName.UNAUTHORIZED),
        ("devices", "GET /devices", HealthName.VENDOR_SERVER_ERROR),
    ]
    assert verdict.evidence is not None
    assert verdict.evidence.url == "https://x/alerts"
    assert verdict.resolution_owner is ResolutionOwner.CUSTOMER


def test_a_run_without_data_types_is_healthy() -> None:
    assert run().name is HealthName.HEALTHY


def test_a_data_type_that_had_no_turn_is_not_judged() -> None:
    verdict = run(part("alerts"), part("users", None, attempted=False))
    assert (verdict.name, len(verdict.data_types)) == (HealthName.HEALTHY, 1)


def test_an_error_that_the_definition_lets_pass_is_no_failure() -> None:
    assert run(part("reports", 404, accepted=True)).reason == "accepted"


def test_a_data_type_read_to_its_end_without_a_call_is_healthy() -> None:
    assert run(part("static", None)).name is HealthName.HEALTHY


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        pytest.param({OwnSide.BUDGET_SPENT}, "budget_spent", id="the budget is spent"),
        pytest.param({OwnSide.WORKER_LOST}, "worker_lost", id="the worker is lost"),
        pytest.param({OwnSide.BUDGET_SPENT, OwnSide.WORKER_LOST}, "budget_spent", id="lost with its budget spent"),
    ],
)
def test_our_own_side_is_heard(own: set[OwnSide], reason: str) -> None:
    assert run(part("alerts"), own=frozenset(own)).reason == reason


def test_the_call_that_was_cut_is_the_proof_of_a_spent_budget() -> None:
    cut = Exchange(
        method="GET",
        url="https://x/slow",
        status=200,
        exception=(ExceptionLink(module="worker.wire.errors", name="DeadlineReached"),),
    )
    slow = DataTypeOutcome(data_type="slow", endpoint="GET /slow", exchange=cut)
    verdict = run(part("alerts"), slow, part("server", 500), own=frozenset({OwnSide.BUDGET_SPENT}))
    assert (verdict.name, verdict.evidence) == (HealthName.EXECUTION_TIMEOUT, cut)


def test_a_refused_customer_outweighs_a_spent_budget() -> None:
    assert run(part("alerts", 401), own=frozenset({OwnSide.BUDGET_SPENT})).name is HealthName.UNAUTHORIZED


def test_a_network_failure_behind_a_dead_canary_is_ours() -> None:
    lost = part("alerts", None, raised=(ExceptionLink(module="requests.exceptions", name="ConnectTimeout"),))
    assert run(lost).name is HealthName.VENDOR_SERVER_ERROR
    verdict = run(lost, own=frozenset({OwnSide.EGRESS_DEAD}))
    assert (verdict.name, verdict.reason) == (HealthName.INTERNAL_ERROR, "egress")


def test_an_answer_proves_our_way_out_whatever_the_canary_says() -> None:
    assert run(part("alerts", 500), own=frozenset({OwnSide.EGRESS_DEAD})).name is HealthName.VENDOR_SERVER_ERROR


@pytest.mark.parametrize(
    ("raised", "status", "body", "reason"),
    [
        pytest.param(
            "AnswerRefusedError", 403, b'{"error": "insufficient_scope"}', "scope_missing", id="a refused answer"
        ),
        pytest.param("AnswerReportsError", 200, b'{"ok": false, "error": "invalid_auth"}', "token_invalid", id="a 200"),
        pytest.param(
            "AnswerReportsError", 200, b'{"strange": 1}', "error_in_body", id="a 200 that only they understand"
        ),
        pytest.param("MalformedBodyError", 200, b"[1,2]", "bad_json", id="a malformed body"),
        pytest.param("MalformedBodyError", 200, b"<html><input type='password'>", "login_page", id="a sign-in page"),
        pytest.param("UnexpectedShapeError", 200, b'{"rows": []}', "schema", id="an unexpected shape"),
        pytest.param(
            "UnexpectedShapeError", 200, b'{"error": "access_denied"}', "permission_missing", id="that was an error"
        ),
        pytest.param("PaginationError", 200, b"[]", "pagination", id="pages without an end"),
        pytest.param("JobFailedError", 200, b'{"status": "FAILED"}', "job_failed", id="a job that failed"),
        pytest.param("JobFailedError", 429, b"", "rate_limit", id="a job refused"),
        pytest.param("MissingCredentialError", None, b"", "credentials_missing", id="a credential is missing"),
    ],
)
def test_what_the_connector_raised_is_weighed_with_the_answer(
    raised: str, status: int | None, body: bytes, reason: str
) -> None:
    assert run(part("alerts", status, body, raised=vendor_error(raised))).reason == reason


def test_a_failure_outside_any_data_type_is_never_the_vendors() -> None:
    timeout = (ExceptionLink(module="builtins", name="TimeoutError"),)
    assert run(raised=timeout).name is HealthName.INTERNAL_ERROR
    vault = (ExceptionLink(module="models.errors", name="VaultKeyError"),)
    assert run(part("alerts"), raised=vault).reason == "vault"


def test_the_latest_time_to_come_back_counts() -> None:
    slow = Exchange(method="GET", url="https://x/a", status=429, headers={"retry-after": "600"})
    quick = Exchange(method="GET", url="https://x/b", status=429, headers={"retry-after": "6"})
    verdict = run(DataTypeOutcome(data_type="a", exchange=quick), DataTypeOutcome(data_type="b", exchange=slow))
    assert verdict.retry_at is not None
    assert (verdict.retry_at - NOW).total_seconds() == 600


def test_an_explanation_of_a_failure_outside_any_data_type_names_its_rule() -> None:
    raised = (ExceptionLink(module="redis.exceptions", name="ConnectionError", message="refused."),)
    told = explain(Outcome(vendor="acme", observed_at=NOW, exception=raised))
    assert [(step.stage, step.rule) for step in told.trace] == [
        ("exception", "exception.redis"),
        ("precedence", "precedence.internal_error"),
    ]
    assert told.sentence == "Our broker failed; ConnectionError: refused."


def test_an_explanation_shows_our_own_side_and_who_must_act() -> None:
    told = explain(Outcome(vendor="acme", observed_at=NOW, own_side=frozenset({OwnSide.BUDGET_SPENT})))
    assert [(step.stage, step.rule, step.saw) for step in told.trace] == [
        ("own side", "own.budget_spent", "budget_spent"),
        ("precedence", "precedence.execution_timeout", "no data type; so LEEN must act"),
    ]


RECORDS_ABSENT: Final = vendor_error("UnexpectedShapeError")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        pytest.param(
            b'{"id": "r-1", "note": "The API key is not active", "region": "eu", "hint": "renew"}',
            HealthName.UNAUTHORIZED,
            id="a complaint among members of a record",
        ),
        pytest.param(
            b'{"kind": "notice", "detail": "Slow down, rate limit exceeded", "plan": "free"}',
            HealthName.RATE_LIMIT_EXCEEDED,
            id="a complaint beside strangers",
        ),
        pytest.param(b'{"id": 5, "state": "x", "failure": "E77"}', HealthName.VENDOR_CLIENT_ERROR, id="a bare proof"),
        pytest.param(
            b'{"people": [{"id": 1, "error": "access denied"}]}',
            HealthName.INTERNAL_ERROR,
            id="rows under another name",
        ),
        pytest.param(b'{"id": 5, "colour": "red"}', HealthName.INTERNAL_ERROR, id="nothing that complains"),
    ],
)
def test_where_records_are_absent_less_proof_of_a_failure_is_needed(body: bytes, name: HealthName) -> None:
    assert run(part("x", 200, body)).name is HealthName.HEALTHY
    assert run(part("x", 200, body, raised=RECORDS_ABSENT)).name is name
