"""How sure a verdict on an answer is: what each stage would say if it were the only one to be asked.

Where all agree, the verdict does not hang on their order. Where the status, a code and the words disagree, it does.
"""

from dataclasses import dataclass
from typing import Final

from classifier.dialect import Dialect
from classifier.judgement import STAGES
from classifier.outcome import Exchange
from classifier.reading import read_failure, read_success
from classifier.reasons import REASONS
from classifier.signals import Signals
from classifier.vocabulary import HealthName


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What one stage says of an answer, on its own."""

    stage: str
    name: HealthName
    rule: str
    saw: str


_SAYS_LITTLE: Final = frozenset({400, 409, 422, 500})
"""Statuses that stand for anything: that a code or a word says more is no disagreement."""


def opinions(exchange: Exchange, dialect: Dialect | None = None) -> tuple[Opinion, ...]:
    """Return what each general stage that has something to say of a failing answer says, in the order of the stages.

    Empty for data and where no answer came. dialect: only the rules that it takes away count.
    """
    status = exchange.status
    if status is None:
        return ()
    is_success = status < 300 or status == 304
    reading = read_success(exchange, is_told=True) if is_success else read_failure(exchange)
    if is_success and not reading.reports_failure:
        return ()
    signals = Signals(reading, dialect.without if dialect is not None else frozenset())
    stages = STAGES[:-1] if is_success or status in _SAYS_LITTLE else STAGES
    asked = ((stage, ask(signals)) for stage, ask in stages)
    return tuple(
        Opinion(stage=stage, name=REASONS[found.reason].name, rule=found.rule, saw=found.saw)
        for stage, found in asked
        if found is not None
    )


def doubt(given: HealthName, said: tuple[Opinion, ...]) -> float:
    """Return the share of opinions that differ from the verdict given, from 0 (all agree) to 1."""
    return sum(opinion.name is not given for opinion in said) / len(said) if said else 0.0
