"""The tables of rules hold together: ids, reasons, sources, and no code that means two things."""

from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from classifier.codes import BY_CODE, CODES, squashed
from classifier.exceptions import RULES
from classifier.folding import words_of, words_of_code
from classifier.judgement import STAGES
from classifier.phrases import INDEX, PHRASES, Where
from classifier.reasons import REASONS
from classifier.reasons_page import page
from classifier.statuses import REASON_OF_STATUS
from classifier.vocabulary import OWNER, HealthName

PAGE: Final = Path(__file__).parents[2] / "docs" / "reasons.md"


def test_the_page_of_reasons_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m classifier.reasons_page > docs/reasons.md"


def test_rule_ids_are_unique() -> None:
    ids = [rule.id for table in (CODES, PHRASES, RULES) for rule in table]
    assert [name for name, count in Counter(ids).items() if count > 1] == []


def test_every_rule_names_a_reason_and_its_source() -> None:
    assert {rule.reason for table in (CODES, PHRASES, RULES) for rule in table} <= set(REASONS)
    assert set(REASON_OF_STATUS.values()) <= set(REASONS)
    assert all(rule.source for rule in CODES)
    assert all(rule.source for rule in PHRASES)


def test_every_health_has_a_reason_and_every_reason_an_owner_and_a_next_step() -> None:
    assert {reason.name for reason in REASONS.values()} == set(HealthName)
    for id_, reason in REASONS.items():
        assert reason.id == id_
        assert reason.owner is OWNER[reason.name]
        assert "{saw}" in reason.sentence
        assert reason.next_step.endswith(".")


def test_every_reason_can_be_given() -> None:
    given_by_stages = {
        "ok", "accepted", "login_page", "outage_page", "bad_json", "error_in_body", "redirected", "maintenance",
        "connection_failed", "resources", "worker_lost", "budget_spent", "egress", "bug", "server_error",
    }  # fmt: skip
    by_tables = {rule.reason for table in (CODES, PHRASES, RULES) for rule in table} | set(REASON_OF_STATUS.values())
    assert set(REASONS) - by_tables - given_by_stages == set()


def test_no_code_means_two_healths() -> None:
    meant: dict[str, set[HealthName]] = {}
    for rule in CODES:
        for code in rule.codes:
            meant.setdefault(squashed(code), set()).add(REASONS[rule.reason].name)
    assert {code: names for code, names in meant.items() if len(names) > 1} == {}
    assert set(meant) == set(BY_CODE)


def test_every_phrase_is_found_where_it_is_to_decide() -> None:
    for rule in PHRASES:
        for phrase in rule.phrases:
            words = tuple(part.split("|")[0] for part in phrase.split() if part not in {"~", "~~"})
            text = " ".join(words)
            hit = INDEX.find(words_of(text), rule.where) or INDEX.find(words_of_code(text), rule.where)
            assert hit is not None, (rule.id, phrase)
            assert hit.rule.rank <= rule.rank, (rule.id, phrase, hit.rule.id)


@pytest.mark.parametrize(
    ("code", "key"),
    [
        pytest.param("com.amazonaws.dynamodb.v20120810#ThrottlingException", "throttling", id="a namespace"),
        pytest.param("ThrottlingException:http://internal/coral", "throttling", id="a suffix with a link"),
        pytest.param("rate.limit.exceeded", "ratelimitexceeded", id="dots"),
        pytest.param("RATE-LIMIT_Exceeded", "ratelimitexceeded", id="dashes and case"),
        pytest.param("too_many_requests/..", "toomanyrequests", id="a path"),
        pytest.param("-32601", "-32601", id="a negative number"),
        pytest.param("error", "error", id="nothing but the ending"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_codes_are_compared_without_dress(code: str, key: str) -> None:
    assert squashed(code) == key


@pytest.mark.parametrize(
    ("text", "where", "reason"),
    [
        pytest.param("The page token has expired", Where.BAD, "page_token_expired", id="a page token is no credential"),
        pytest.param("Sync token is invalid", Where.MISSING, "page_token_expired", id="nor is a sync token"),
        pytest.param("Unexpected token < in JSON", Where.BAD, "bad_request", id="nor a parser's token"),
        pytest.param("CSRF token mismatch", Where.FORBIDDEN, "wrong_client", id="nor a form's token"),
        pytest.param("Your API key has expired", Where.BAD, "token_expired", id="a key is one"),
        pytest.param("The token couldn't be verified", Where.UNAUTHORIZED, "token_invalid", id="apostrophes"),
        pytest.param(
            "The token couldn\u2019t be verified", Where.UNAUTHORIZED, "token_invalid", id="curly apostrophes"
        ),
        pytest.param("Rate ok. Limit unknown", Where.BAD, None, id="no phrase runs past a sentence"),
        pytest.param("role must be one of admin, member", Where.BAD, "invalid_parameter", id="accepted values"),
        pytest.param("Access token expired", Where.FAULT, None, id="words on credentials do not explain a 5xx"),
        pytest.param("No data found", Where.MISSING, "no_data", id="nothing there yet"),
        pytest.param("No data found", Where.BAD, None, id="which only a 404 can say"),
    ],
)
def test_words_mean(text: str, where: Where, reason: str | None) -> None:
    hit = INDEX.find(words_of(text), where)
    assert (hit.rule.reason if hit else None) == reason


def test_the_last_stage_always_says_something() -> None:
    assert [name for name, _stage in STAGES][-1] == "status"
