"""What a whole run means: each data type judged, our own side heard, the gravest of all taken."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from classifier.dialect import Dialect
from classifier.judgement import (
    Found,
    Trace,
    call_of,
    decide_exception,
    judge,
    judgement_of,
    judgement_of_exception,
)
from classifier.outcome import DataTypeOutcome, ExceptionLink, Exchange, Outcome, OwnSide
from classifier.reasons import REASONS
from classifier.verdict import DataTypeVerdict, Detail, Judgement, TraceStep, Verdict
from classifier.vocabulary import HealthName

PRECEDENCE: Final = (
    HealthName.UNAUTHORIZED,
    HealthName.INTERNAL_ERROR,
    HealthName.EXECUTION_TIMEOUT,
    HealthName.RATE_LIMIT_EXCEEDED,
    HealthName.VENDOR_CLIENT_ERROR,
    HealthName.VENDOR_SERVER_ERROR,
    HealthName.HEALTHY,
)
"""The gravest first: what a person must mend, before what mends itself."""

ACCEPTED: Final = "definition.accepted"
"""The rule of an error that the vendor's definition lets pass."""
_RANK: Final[Mapping[HealthName, int]] = MappingProxyType({name: rank for rank, name in enumerate(PRECEDENCE)})
_NETWORK: Final = frozenset(
    {"dns", "connection_refused", "connection_lost", "connection_failed", "connect_timeout", "read_timeout", "tls"}
)
_OF_THE_ANSWER: Final = frozenset(
    {
        "AnswerRefusedError",
        "AnswerReportsError",
        "JobFailedError",
        "MalformedBodyError",
        "PaginationError",
        "UnexpectedShapeError",
    }
)
"""The connector's errors that leave the word to the answer, where the answer itself tells of a failure."""

_WITHOUT_RECORDS: Final = frozenset({"AnswerReportsError", "UnexpectedShapeError"})
"""Those of them that say that the answer holds no records where its definition has them."""


def _our_connector_error(links: tuple[ExceptionLink, ...]) -> str | None:
    """Return the name of the connector's own error where it is what came out, else None."""
    if links and links[0].module == "vendors.errors":
        return links[0].name
    return None


def _answered(exchange: Exchange | None) -> bool:
    return exchange is not None and exchange.status is not None


def _judge_data_type(
    part: DataTypeOutcome, outcome: Outcome, dialect: Dialect | None, trace: Trace | None
) -> tuple[Judgement, Exchange | None]:
    exchange = part.exchange
    call = part.endpoint or (call_of(exchange, None) if exchange is not None else part.data_type)
    if part.accepted and not part.exception:
        return judgement_of(Found("accepted", ACCEPTED), f"{call} was let pass"), exchange
    if not part.exception:
        if exchange is None:
            return judgement_of(Found("ok", "data_type.read"), f"{call} was read to its end"), None
        return judge(
            exchange, observed_at=outcome.observed_at, dialect=dialect, endpoint=part.endpoint, trace=trace
        ), exchange
    ours = _our_connector_error(part.exception)
    if ours in _OF_THE_ANSWER:
        of_answer = None
        if exchange is not None and (_answered(exchange) or exchange.exception):
            of_answer = judge(
                exchange,
                observed_at=outcome.observed_at,
                dialect=dialect,
                endpoint=part.endpoint,
                trace=trace,
                lacks_records=ours in _WITHOUT_RECORDS,
            )
        if of_answer is not None and of_answer.name is not HealthName.HEALTHY:
            return of_answer, exchange
    decided = decide_exception(part.exception, trace, url=exchange.url if exchange is not None else "")
    if decided is None:  # an exception is there, so there is a meaning
        return judgement_of(Found("bug", "exception.unknown"), call), exchange
    found, link = decided
    return judgement_of_exception(found, link, call, observed_at=outcome.observed_at), exchange


def _own_side(outcome: Outcome, trace: Trace | None) -> Judgement | None:
    """Return what our own side says of the run beside its data types."""
    if OwnSide.BUDGET_SPENT in outcome.own_side:
        left = sum(not part.attempted for part in outcome.data_types)
        saw = f"{left} of {len(outcome.data_types)} data types had no turn" if left else "the last call was cut short"
        return judgement_of(Found("budget_spent", "own.budget_spent"), saw)
    if OwnSide.WORKER_LOST in outcome.own_side:
        return judgement_of(Found("worker_lost", "own.worker_lost"), "its lease ran out")
    if outcome.exception:
        decided = decide_exception(outcome.exception, trace)
        if decided is not None:
            found, link = decided
            if REASONS[found.reason].name not in {
                HealthName.INTERNAL_ERROR,
                HealthName.EXECUTION_TIMEOUT,
                HealthName.UNAUTHORIZED,
            }:
                found = Found("bug", found.rule, found.saw)  # outside any data type there is no vendor to blame
            return judgement_of_exception(found, link, None, observed_at=outcome.observed_at)
    return None


def _behind_dead_egress(judgement: Judgement) -> Judgement:
    return judgement_of(
        Found("egress", "own.egress_dead"),
        f"{judgement.sentence.split(';', 1)[0]}, and a canary could not get out either",
    )


def _verdict(outcome: Outcome, dialect: Dialect | None, trace: Trace | None) -> Verdict:
    judged: list[DataTypeVerdict] = []
    for part in outcome.data_types:
        if not part.attempted:
            continue
        judgement, evidence = _judge_data_type(part, outcome, dialect, trace)
        if OwnSide.EGRESS_DEAD in outcome.own_side and judgement.reason in _NETWORK:
            judgement = _behind_dead_egress(judgement)
        judged.append(
            DataTypeVerdict(data_type=part.data_type, endpoint=part.endpoint, judgement=judgement, evidence=evidence)
        )
    own = _own_side(outcome, trace)
    worst: DataTypeVerdict | None = None
    for verdict in judged:
        if worst is None or _RANK[verdict.judgement.name] < _RANK[worst.judgement.name]:
            worst = verdict
    deciding: Judgement
    if own is not None and (worst is None or _RANK[own.name] <= _RANK[worst.judgement.name]):
        # Of a spent budget the call that was cut is the proof.
        is_told = worst is not None and worst.judgement.reason == own.reason
        deciding, evidence = own, worst.evidence if worst is not None and is_told else None
    elif worst is not None:
        deciding, evidence = worst.judgement, worst.evidence
    else:
        deciding, evidence = judgement_of(Found("ok", "run.empty"), "Nothing was there to sync"), None
    retry_times = [
        verdict.judgement.retry_at
        for verdict in judged
        if verdict.judgement.name is deciding.name and verdict.judgement.retry_at is not None
    ]
    if trace is not None:
        if own is not None and outcome.own_side:
            said = ", ".join(sorted(outcome.own_side))
            trace.append(TraceStep(stage="own side", rule=own.rule, saw=said, fired=True))
        seen = ", ".join(f"{verdict.data_type} {verdict.judgement.name}" for verdict in judged) or "no data type"
        actor = "nobody" if deciding.name is HealthName.HEALTHY else deciding.owner
        trace.append(
            TraceStep(
                stage="precedence",
                rule=f"precedence.{deciding.name.lower()}",
                saw=f"{seen}; so {actor} must act",
                fired=True,
            )
        )
    return Verdict(
        name=deciding.name,
        reason=deciding.reason,
        rule=deciding.rule,
        sentence=deciding.sentence,
        next_step=deciding.next_step,
        retry_at=max(retry_times) if retry_times else None,
        evidence=evidence,
        details=tuple(
            Detail(
                data_export_type=verdict.data_type,
                endpoint=verdict.endpoint,
                name=verdict.judgement.name,
                reason=verdict.judgement.reason,
            )
            for verdict in judged
            if verdict.judgement.name is not HealthName.HEALTHY
        ),
        data_types=tuple(judged),
        trace=tuple(trace or ()),
    )


def classify(outcome: Outcome, dialect: Dialect | None = None) -> Verdict:
    """Return what a run's outcome means, who must act and why. Pure, total and deterministic.

    dialect: the vendor family's own meanings, None where it has none.
    """
    return _verdict(outcome, dialect, None)


def explain(outcome: Outcome, dialect: Dialect | None = None) -> Verdict:
    """Return the verdict of `classify` with the trace of the rules asked on the way."""
    return _verdict(outcome, dialect, [])
