"""What happened -> what it means, who must act, and why. Pure: the standard library and nothing of ours."""

from classifier.dialect import Condition, Dialect, DialectRule
from classifier.judgement import judge
from classifier.outcome import DataTypeOutcome, ExceptionLink, Exchange, Outcome, OwnSide
from classifier.precedence import PRECEDENCE, classify, explain
from classifier.verdict import DataTypeVerdict, Detail, Judgement, TraceStep, Verdict
from classifier.vocabulary import HealthName, HealthStatus, Phase, ResolutionOwner

__all__ = [
    "PRECEDENCE",
    "Condition",
    "DataTypeOutcome",
    "DataTypeVerdict",
    "Detail",
    "Dialect",
    "DialectRule",
    "ExceptionLink",
    "Exchange",
    "HealthName",
    "HealthStatus",
    "Judgement",
    "Outcome",
    "OwnSide",
    "Phase",
    "ResolutionOwner",
    "TraceStep",
    "Verdict",
    "classify",
    "explain",
    "judge",
]
