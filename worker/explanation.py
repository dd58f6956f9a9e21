"""What a health rests on, for every door: its evidence judged again by the rules of today, and what outranked what."""

from classifier import PRECEDENCE, explain
from classifier.dialect import Dialect
from classifier.replay import NotReplayable, Stored, outcome_of
from classifier.verdict import Verdict
from models.connections import ConnectionView
from models.history import HealthView
from models.representations import health_document


def judged_again(view: ConnectionView, health: HealthView, dialect: Dialect | None) -> Verdict | None:
    """Return the verdict on the stored evidence with the rules asked on the way, None where no exchange decided."""
    stored = Stored(
        vendor=view.vendor,
        judged_at=health.classified_at,
        name=health.name,
        reason=health.reason,
        rule=health.rule,
        evidence=health.evidence,
        data_types=health.data_types,
    )
    outcome = outcome_of(stored)
    return None if isinstance(outcome, NotReplayable) else explain(outcome, dialect)


def explanation_document(view: ConnectionView, judged: Verdict | None) -> dict[str, object]:
    """Return what a connection's health rests on; of one that has not finished a run, that it has none."""
    health = view.health
    if health is None:
        return {"connection_id": view.connection_id, "health": None}
    trace = [] if judged is None else judged.trace
    return {
        "connection_id": view.connection_id,
        "health": health_document(health),
        "evidence": health.evidence,
        "rule": health.rule,
        "rules_asked": [
            {"stage": step.stage, "rule": step.rule, "saw": step.saw, "fired": step.fired} for step in trace
        ],
        "data_types": health.data_types,
        "precedence": [str(name) for name in PRECEDENCE],
        "resolution_owner": health.owner,
        "next_step": health.next_step,
        "retry_at": health.retry_at,
    }
