"""When a connection runs again after a verdict. Pure: a rule gets all it needs as arguments."""

from datetime import datetime
from typing import Final

from classifier.verdict import Verdict
from classifier.vocabulary import HealthName

FIRST_BACKOFF_S: Final = 60.0
LONGEST_PROBE_INTERVAL_S: Final = 24 * 3600.0
_MOST_DOUBLINGS: Final = 16


def next_in_s(verdict: Verdict, *, interval_s: float, failures: int, now: datetime, spread: float) -> float | None:
    """Return the seconds until the next run, or None for the connection's regular slot.

    failures: how many runs in a row, this one included, ended with this name; now: aware, UTC;
    spread: a random number within 0 and 1, so that connections that failed together do not come back together.
    """
    if verdict.name is HealthName.HEALTHY:
        return None
    doublings = min(max(failures, 1) - 1, _MOST_DOUBLINGS)
    if verdict.retry_at is not None and verdict.name in (
        HealthName.RATE_LIMIT_EXCEEDED,
        HealthName.VENDOR_SERVER_ERROR,
    ):
        # As the vendor asks, but never in a hurry for ever: one that always says `at once`, or names a moment of the
        # past because its clock is behind, would be asked every second.
        return max((verdict.retry_at - now).total_seconds(), min(float(2**doublings), interval_s))
    if verdict.name in (HealthName.RATE_LIMIT_EXCEEDED, HealthName.VENDOR_SERVER_ERROR):
        return min(FIRST_BACKOFF_S * float(2**doublings), interval_s) * (0.8 + 0.2 * spread)
    if verdict.name is HealthName.UNAUTHORIZED and not _is_partial(verdict):
        # Every further refusal may lock the customer's account; new credentials bring a run of their own at once.
        return max(interval_s, min(interval_s * float(2**doublings), LONGEST_PROBE_INTERVAL_S)) * (1 + 0.1 * spread)
    return None


def _is_partial(verdict: Verdict) -> bool:
    return any(part.judgement.name is HealthName.HEALTHY for part in verdict.data_types)
