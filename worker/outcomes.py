"""The results of runs that could not judge themselves any more."""

from datetime import timedelta

from classifier import classify
from classifier.outcome import OwnSide
from models.runs import ClaimedRun, FinishedRun
from worker.observation import Observation
from worker.run import result_of


def budget_spent(run: ClaimedRun) -> FinishedRun:
    """Return the result of a run that outlived its budget and cannot be asked what it saw."""
    now = run.started_at + timedelta(seconds=run.timeout_secs)
    observation = Observation(vendor=run.vendor, own_side={OwnSide.BUDGET_SPENT})
    return result_of(classify(observation.as_outcome(observed_at=now)), run, observation, now=now)
