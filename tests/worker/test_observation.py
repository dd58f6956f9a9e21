from datetime import UTC, datetime

import pytest

from classifier import classify
from classifier.outcome import OwnSide
from classifier.vocabulary import HealthName
from models.records import Landed
from vendors.page import Skip
from worker.observation import Observation, Reading
from worker.wire.redactor import Redactor

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_pages_add_up_and_the_last_one_says_whether_anything_changed() -> None:
    reading = Reading(data_type="users")
    reading.add(Landed(new=1, changed=2, unchanged=3))
    reading.add(Landed(new=10, changed=20, unchanged=30))

    assert (reading.new, reading.changed, reading.unchanged, reading.pages) == (11, 22, 33, 2)


def test_a_run_adds_up_its_data_types() -> None:
    observation = Observation(vendor="any")
    observation.readings = [Reading(data_type="users", new=1, changed=2), Reading(data_type="alerts", unchanged=5)]
    observation.readings[1].skipped = [Skip(endpoint="GET /a", status=404, rule="gone")] * 3

    assert (observation.totals.new, observation.totals.changed, observation.totals.unchanged) == (1, 2, 5)
    assert observation.skipped == 3


def test_a_document_shows_some_of_what_was_skipped_and_counts_all() -> None:
    reading = Reading(data_type="users", skipped=[Skip(endpoint="GET /a", status=404, rule="gone")] * 400)
    document = reading.as_document()

    assert document["skipped_total"] == 400
    assert document["skipped"] == [{"endpoint": "GET /a", "status": 404, "rule": "gone"}] * 50


def test_what_was_never_tried_is_told_as_such() -> None:
    outcome = Reading(data_type="users").as_outcome()
    assert (outcome.attempted, outcome.exchange, outcome.exception) == (False, None, ())


def test_an_exception_is_kept_as_data_without_its_secrets() -> None:
    redactor = Redactor(["hunter2-the-password"])
    observation = Observation(vendor="any", redactor=redactor)
    error = RuntimeError("around hunter2-the-password")
    error.__cause__ = ValueError("hunter2-the-password is wrong")
    links = observation.links(error)

    assert [link.name for link in links] == ["RuntimeError", "ValueError"]
    assert "hunter2" not in str(links)


@pytest.mark.parametrize(
    ("own_side", "name"),
    [
        pytest.param(set(), HealthName.INTERNAL_ERROR, id="nothing seen: our own fault"),
        pytest.param({OwnSide.BUDGET_SPENT}, HealthName.EXECUTION_TIMEOUT, id="the budget"),
        pytest.param({OwnSide.WORKER_LOST}, HealthName.INTERNAL_ERROR, id="a lost worker"),
    ],
)
def test_a_run_that_saw_no_answer_is_judged_by_our_own_side(own_side: set[OwnSide], name: HealthName) -> None:
    observation = Observation(vendor="any", own_side=own_side)
    observation.exception = observation.links(RuntimeError("a bug"))

    assert classify(observation.as_outcome(observed_at=NOW), None).name is name
