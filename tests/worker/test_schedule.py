from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifier import classify
from classifier.outcome import DataTypeOutcome, Exchange, Outcome, OwnSide
from classifier.verdict import Verdict
from classifier.vocabulary import HealthName
from worker.schedule import FIRST_BACKOFF_S, LONGEST_PROBE_INTERVAL_S, next_in_s

NOW = datetime(2026, 1, 1, tzinfo=UTC)
INTERVAL_S = 4 * 3600.0


def verdict_of(*statuses: int, headers: dict[str, str] | None = None, own: Sequence[OwnSide] = ()) -> Verdict:
    """What the classifier says of a run whose data types ended with these statuses."""
    return classify(
        Outcome(
            vendor="any",
            observed_at=NOW,
            own_side=frozenset(own),
            data_types=tuple(
                DataTypeOutcome(
                    data_type=f"type-{n}",
                    endpoint="GET /x",
                    exchange=Exchange(
                        method="GET", url="https://api.test/x", status=status, headers=headers or {}, body=b"{}"
                    ),
                )
                for n, status in enumerate(statuses)
            ),
        ),
        None,
    )


HEALTHY = verdict_of(200)
OUTAGE = verdict_of(503)
THROTTLED = verdict_of(429)
THROTTLED_FOR = verdict_of(429, headers={"retry-after": "900"})
THROTTLED_UNTIL_THEN = verdict_of(429, headers={"retry-after": "Tue, 31 Dec 2019 00:00:00 GMT"})
REFUSED = verdict_of(401)
PARTLY_REFUSED = verdict_of(200, 401)
TIMEOUT = verdict_of(own=[OwnSide.BUDGET_SPENT])
OURS = verdict_of(own=[OwnSide.WORKER_LOST])
CLIENT = verdict_of(404)

VERDICTS = [HEALTHY, OUTAGE, THROTTLED, THROTTLED_FOR, REFUSED, PARTLY_REFUSED, TIMEOUT, OURS, CLIENT]


def test_the_table_covers_every_name() -> None:
    assert {verdict.name for verdict in VERDICTS} == set(HealthName)


@pytest.mark.parametrize(
    ("verdict", "failures", "expected_s"),
    [
        pytest.param(HEALTHY, 0, None, id="healthy: the regular slot"),
        pytest.param(CLIENT, 3, None, id="our request is wrong: no sooner"),
        pytest.param(OURS, 3, None, id="our own fault: the regular slot"),
        pytest.param(TIMEOUT, 3, None, id="a spent budget: the regular slot"),
        pytest.param(OUTAGE, 1, 60.0, id="an outage: in a minute"),
        pytest.param(OUTAGE, 2, 120.0, id="again: in two"),
        pytest.param(OUTAGE, 5, 960.0, id="the fifth time: in sixteen"),
        pytest.param(OUTAGE, 50, INTERVAL_S, id="for ever: at the interval"),
        pytest.param(THROTTLED, 1, 60.0, id="throttled, not said for how long"),
        pytest.param(THROTTLED_FOR, 7, 900.0, id="throttled for a time that was said"),
        pytest.param(THROTTLED_UNTIL_THEN, 1, 1.0, id="throttled until a moment of the past: at once"),
        pytest.param(THROTTLED_UNTIL_THEN, 7, 64.0, id="again and again: no longer at once"),
        pytest.param(THROTTLED_UNTIL_THEN, 50, INTERVAL_S, id="for ever: at the interval all the same"),
        pytest.param(REFUSED, 1, INTERVAL_S * 1.1, id="refused: the interval"),
        pytest.param(REFUSED, 2, INTERVAL_S * 2 * 1.1, id="refused again: rarer"),
        pytest.param(REFUSED, 30, LONGEST_PROBE_INTERVAL_S * 1.1, id="refused for ever: once a day"),
        pytest.param(PARTLY_REFUSED, 30, None, id="only a part refused: the rest is read as ever"),
    ],
)
def test_when_a_connection_runs_again(verdict: Verdict, failures: int, expected_s: float | None) -> None:
    assert next_in_s(verdict, interval_s=INTERVAL_S, failures=failures, now=NOW, spread=1.0) == (
        expected_s if expected_s is None else pytest.approx(expected_s)
    )


def test_a_longer_interval_than_a_day_is_not_shortened_by_a_refusal() -> None:
    week_s = 7 * 86_400.0
    assert next_in_s(REFUSED, interval_s=week_s, failures=9, now=NOW, spread=0.0) == week_s


def test_a_time_to_retry_that_has_passed_means_soon() -> None:
    later = NOW + timedelta(hours=2)
    assert next_in_s(THROTTLED_FOR, interval_s=INTERVAL_S, failures=1, now=later, spread=0.0) == 1.0


@pytest.mark.parametrize("verdict", [OUTAGE, REFUSED], ids=["an outage", "a refusal"])
def test_connections_that_failed_together_come_back_apart(verdict: Verdict) -> None:
    first, last = (
        next_in_s(verdict, interval_s=INTERVAL_S, failures=3, now=NOW, spread=spread) or 0 for spread in (0.0, 1.0)
    )
    assert first < last <= first * 1.26


@given(
    verdict=st.sampled_from(VERDICTS),
    interval_s=st.floats(10, LONGEST_PROBE_INTERVAL_S),
    failures=st.integers(-5, 10**9),
    ago_s=st.floats(-86_400, 86_400),
    spread=st.floats(0, 1),
)
def test_a_wait_is_a_second_at_least_and_little_more_than_a_day_at_most(
    verdict: Verdict, interval_s: float, failures: int, ago_s: float, spread: float
) -> None:
    now = NOW + timedelta(seconds=ago_s)
    wait_s = next_in_s(verdict, interval_s=interval_s, failures=failures, now=now, spread=spread)
    assert wait_s is None or 1.0 <= wait_s <= max(LONGEST_PROBE_INTERVAL_S * 1.1, 900 + 86_400)
    if verdict.name is HealthName.VENDOR_SERVER_ERROR:
        assert wait_s is not None
        assert wait_s >= 0.8 * min(FIRST_BACKOFF_S, interval_s)
