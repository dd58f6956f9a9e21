"""Judging a past run again, from what is stored of it: the exchange that decided, and what each data type came to.

What is stored is less than what was seen: of a healthy answer no body, of the others one exchange of the data type
that decided. Where that is not enough, the run cannot be judged again, and the reason is said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from classifier.dialect import Dialect
from classifier.exceptions import RULES
from classifier.outcome import DataTypeOutcome, ExceptionLink, Exchange, Outcome
from classifier.precedence import ACCEPTED, PRECEDENCE, classify
from classifier.vocabulary import OWNER, HealthName, Phase, ResolutionOwner


class NotReplayable(StrEnum):
    """Why a past run cannot be judged again."""

    NO_VERDICT = "it was stopped and had no verdict"
    OWN_SIDE = "our own side decided, and no exchange"
    HEALTHY_BODY = "no body is kept of a healthy answer"
    OWN_EXCEPTION = "an exception of ours decided that is not kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What is stored of a run that ended. name: None where it was stopped; judged_at: aware, UTC.

    evidence: the exchange that decided, as JSON; data_types: each with `data_type`, `name`, `reason`, `endpoint`.
    """

    vendor: str
    judged_at: datetime
    name: HealthName | None
    reason: str | None
    rule: str | None
    retry_at: datetime | None = None
    evidence: Mapping[str, Any] | None = field(default=None, repr=False)
    data_types: Sequence[Mapping[str, Any]] = ()

    @property
    def is_evidence_cut(self) -> bool:
        """Whether less is kept of the answer's body than was judged."""
        return bool(self.evidence and self.evidence.get("body_is_cut"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A verdict as today's rules give it."""

    name: HealthName
    reason: str
    rule: str
    retry_at: datetime | None = None

    @property
    def owner(self) -> ResolutionOwner:
        """Who must act."""
        return OWNER[self.name]


def exchange_of(evidence: Mapping[str, Any]) -> Exchange:
    """Return the exchange that stored evidence tells of. Total: what is missing or odd is left out."""
    status, headers, links = evidence.get("status"), evidence.get("headers"), evidence.get("exception")
    try:
        phase = Phase(evidence.get("phase") or Phase.DATA)
    except ValueError:
        phase = Phase.DATA
    return Exchange(
        method=str(evidence.get("method") or "GET"),
        url=str(evidence.get("url") or ""),
        phase=phase,
        status=status if isinstance(status, int) else None,
        headers={str(name): str(value) for name, value in headers.items()} if isinstance(headers, Mapping) else {},
        body=str(evidence.get("body") or "").encode(),
        exception=tuple(_link(link) for link in links if isinstance(link, Mapping)) if isinstance(links, list) else (),
        clipped=bool(evidence.get("body_is_cut")),
        without_credentials=bool(evidence.get("without_credentials")),
    )


def _link(stored: Mapping[str, Any]) -> ExceptionLink:
    errno = stored.get("errno")
    return ExceptionLink(
        module=str(stored.get("module") or ""),
        name=str(stored.get("name") or ""),
        message=str(stored.get("message") or ""),
        errno=errno if isinstance(errno, int) else None,
    )


_CLASS_OF_RULE: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {rule.id: (rule.module, rule.names[0] if rule.names else "Exception") for rule in RULES if not rule.wraps}
)
_EXCEPTION: Final = "exception."


def outcome_of(stored: Stored) -> Outcome | NotReplayable:
    """Return what the run saw, as far as it is stored: the data type that decided, alone. Else why that cannot be."""
    if stored.name is None:
        return NotReplayable.NO_VERDICT
    if not stored.evidence or (stored.rule or "").startswith("own."):
        return NotReplayable.OWN_SIDE
    exchange = exchange_of(stored.evidence)
    place = _decider(stored)
    decider = stored.data_types[place] if place is not None else {}
    raised: tuple[ExceptionLink, ...] = ()
    if (stored.rule or "").startswith(_EXCEPTION) and not exchange.exception:
        # It is the connector's or ours, raised over an answer; its class is all that the rules ask of those.
        known = _CLASS_OF_RULE.get(stored.rule or "")
        if known is None:
            return NotReplayable.OWN_EXCEPTION
        raised = (ExceptionLink(module=known[0], name=known[1]),)
    part = DataTypeOutcome(
        data_type=str(decider.get("data_type") or "data"),
        endpoint=decider.get("endpoint"),
        exchange=exchange,
        exception=raised,
        accepted=stored.rule == ACCEPTED,
    )
    return Outcome(vendor=stored.vendor, observed_at=stored.judged_at, data_types=(part,))


def replay(stored: Stored, dialect: Dialect | None) -> Replayed | NotReplayable:
    """Return what today's rules say of a past run, or why they cannot be asked.

    The data type that decided is judged anew; what the others came to stands, and the gravest of all is taken.
    """
    outcome = outcome_of(stored)
    if isinstance(outcome, NotReplayable):
        return outcome
    [part] = outcome.data_types
    is_body_gone = part.exchange is not None and part.exchange.clipped and not part.exchange.body
    if stored.name is HealthName.HEALTHY and is_body_gone and not part.accepted:
        return NotReplayable.HEALTHY_BODY
    verdict = classify(outcome, dialect)
    found = Replayed(name=verdict.name, reason=verdict.reason, rule=verdict.rule, retry_at=verdict.retry_at)
    place = _decider(stored)
    for position, other in enumerate(stored.data_types):
        name = _name_of(other)
        if position == place or name is None or PRECEDENCE.index(name) >= PRECEDENCE.index(found.name):
            continue
        found = Replayed(name=name, reason=str(other.get("reason") or ""), rule=f"precedence.{name.lower()}")
    if (stored.rule or "").startswith(_EXCEPTION) or found.rule.startswith("precedence."):
        return replace(found, retry_at=stored.retry_at if found.name is stored.name else found.retry_at)
    return found


def _decider(stored: Stored) -> int | None:
    """Return the place of the data type that decided: the first that came to the run's own verdict."""
    for position, each in enumerate(stored.data_types):
        if _name_of(each) is stored.name and each.get("reason") == stored.reason:
            return position
    return None


def _name_of(data_type: Mapping[str, Any]) -> HealthName | None:
    try:
        return HealthName(data_type.get("name") or "")
    except ValueError:
        return None
