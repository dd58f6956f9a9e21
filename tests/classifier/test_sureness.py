"""How much an answer's signs agree."""

from typing import Final

import pytest

from classifier import Exchange, HealthName
from classifier.codes import CODES, learned_from
from classifier.sureness import doubt, opinions

JSON: Final = {"content-type": "application/json"}


def answer(status: int | None, body: str, **headers: str) -> Exchange:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Exchange(method="GET", url="https://x/", status=status, headers={**JSON, **named}, body=body.encode())


@pytest.mark.parametrize(
    ("exchange", "names"),
    [
        pytest.param(answer(429, "{}"), {HealthName.RATE_LIMIT_EXCEEDED}, id="a status that settles it"),
        pytest.param(
            answer(403, '{"error": "quota exceeded"}', x_ratelimit_remaining="0"),
            {HealthName.RATE_LIMIT_EXCEEDED, HealthName.UNAUTHORIZED},
            id="words and a header against a status",
        ),
        pytest.param(answer(200, '{"data": []}'), set(), id="data says nothing"),
        pytest.param(answer(None, ""), set(), id="nothing came"),
    ],
)
def test_each_stage_is_asked_on_its_own(exchange: Exchange, names: set[HealthName]) -> None:
    assert {opinion.name for opinion in opinions(exchange)} == names


def test_doubt_is_the_share_that_says_something_else() -> None:
    said = opinions(answer(403, '{"error": "quota exceeded"}', x_ratelimit_remaining="0"))
    assert 0 < doubt(HealthName.RATE_LIMIT_EXCEEDED, said) < doubt(HealthName.UNAUTHORIZED, said) < 1
    assert doubt(HealthName.HEALTHY, said) == 1
    assert doubt(HealthName.HEALTHY, ()) == 0


def test_what_one_vendors_documentation_alone_gives_is_known() -> None:
    assert "code.aws_throttle" in learned_from("aws-sqs")
    assert learned_from("google-ads").isdisjoint(learned_from("aws-sqs"))
    assert learned_from("acme") == frozenset()
    assert learned_from("microsoft") < {rule.id for rule in CODES}
