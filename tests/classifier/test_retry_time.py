"""When a vendor lets us come back."""

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from classifier.retry_time import LONGEST_WAIT, retry_at

NOW: Final = datetime(2026, 1, 9, 12, 0, tzinfo=UTC)
EPOCH: Final = int(NOW.timestamp())


def wait(headers: dict[str, str], body: object = None, texts: tuple[str, ...] = ()) -> float | None:
    moment = retry_at(headers, body, observed_at=NOW, texts=texts)
    return None if moment is None else (moment - NOW).total_seconds()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({"retry-after": "30"}, 30, id="seconds"),
        pytest.param({"retry-after": "2.128"}, 2.128, id="a fraction, as Microsoft writes"),
        pytest.param({"retry-after": "13s"}, 13, id="a unit, as Zscaler writes"),
        pytest.param({"retry-after": "0 seconds"}, 0, id="a word"),
        pytest.param({"retry-after": "Fri, 09 Jan 2026 12:01:00 GMT"}, 60, id="an HTTP date"),
        pytest.param({"retry-after": "2026-01-09T12:02:00Z"}, 120, id="an ISO date, as Zoom writes"),
        pytest.param({"retry-after": str(EPOCH + 90)}, 90, id="seconds since 1970"),
        pytest.param({"retry-after": "Thu, 01 Jan 2015 00:00:00 GMT"}, 0, id="a past date asks for no wait"),
        pytest.param({"retry-after": "soon"}, None, id="a word counts as not said"),
        pytest.param({"retry-after": "-5"}, None, id="a negative number counts as not said"),
        pytest.param({"retry-after": "999999999"}, 86_400, id="never more than a day"),
        pytest.param({"retry-after": ""}, None, id="empty"),
        pytest.param({"retry-after-ms": "1500"}, 1.5, id="milliseconds by name"),
        pytest.param({"x-ratelimit-retryafter": str(EPOCH + 5)}, 5, id="CrowdStrike's own header"),
        pytest.param({"x-ratelimit-reset": str(EPOCH + 40)}, 40, id="a reset since 1970"),
        pytest.param({"x-ratelimit-reset": str((EPOCH + 40) * 1000)}, 40, id="a reset in milliseconds since 1970"),
        pytest.param({"x-ratelimit-reset": "40"}, 40, id="a reset in seconds left"),
        pytest.param({"x-ratelimit-reset": "2026-01-09T12:01Z"}, 60, id="a reset in ISO without seconds"),
        pytest.param({"ratelimit-reset": "13", "ratelimit-remaining": "0"}, 13, id="no prefix"),
        pytest.param({"x-rate-limit-reset": str(EPOCH + 7), "x-rate-limit-remaining": "0"}, 7, id="Okta's spelling"),
        pytest.param({"x-limit-user-reset": "3600", "x-limit-user-remaining": "0"}, 3600, id="Pocket's spelling"),
        pytest.param({"x-ratelimit-towait-sec": "181", "x-ratelimit-remaining": "0"}, 181, id="Qualys' spelling"),
        pytest.param({"x-ratelimit-reset": "40", "x-ratelimit-remaining": "7"}, None, id="a window that is not spent"),
        pytest.param(
            {
                "x-ratelimit-reset-minute": "20",
                "x-ratelimit-remaining-minute": "3",
                "x-ratelimit-reset-day": "7000",
                "x-ratelimit-remaining-day": "0",
            },
            7000,
            id="of several windows the spent one",
        ),
        pytest.param({"ratelimit": '"default";r=0;t=30'}, 30, id="a structured field"),
        pytest.param({"ratelimit": '"burst";r=5;t=1, "daily";r=0;t=300'}, 300, id="a list of structured fields"),
        pytest.param({"ratelimit": "limit=100, remaining=0, reset=50"}, 50, id="the draft's older form"),
        pytest.param({"ratelimit": '"default";r=3;t=30'}, None, id="a structured field that is not spent"),
        pytest.param({"retry-after": "5", "x-ratelimit-reset": "500"}, 5, id="Retry-After comes first"),
        pytest.param({}, None, id="nothing said"),
    ],
)
def test_the_wait_that_headers_ask_for(headers: dict[str, str], seconds: float | None) -> None:
    assert wait(headers) == (pytest.approx(seconds) if seconds is not None else None)


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        pytest.param({"retry_after": 64.57}, 64.57, id="Discord"),
        pytest.param({"error": {"retry_after": 300}}, 300, id="nested"),
        pytest.param({"errors": [{"extensions": {"retryAfter": 2.5}}]}, 2.5, id="GraphQL extensions"),
        pytest.param({"error": {"details": [{"retryDelay": "17s"}]}}, 17, id="google.rpc.RetryInfo"),
        pytest.param({"retryAfterMs": 1500}, 1.5, id="milliseconds"),
        pytest.param({"maintenance": {"endsAt": "2026-01-09T14:00:00Z"}}, 7200, id="a maintenance window"),
        pytest.param({"retry_after": True}, None, id="a flag is no time"),
        pytest.param({"retry_after": None, "resetAt": "soon"}, None, id="nothing usable"),
        pytest.param({"retry_after": float("nan")}, None, id="no number"),
        pytest.param([1, "x", None], None, id="a list of nothing"),
    ],
)
def test_the_wait_that_a_body_asks_for(body: object, seconds: float | None) -> None:
    assert wait({}, body) == (pytest.approx(seconds) if seconds is not None else None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Retry after 1 seconds", 1),
        ("Try again in 45 seconds.", 45),
        ("Expected available in 3600 seconds.", 3600),
        ("budget remaining 29 out of 5000000 reset in 53 seconds", 53),
        ("Wait 2 minutes", 120),
        ("Please slow down", None),
    ],
)
def test_the_wait_that_words_ask_for(text: str, seconds: float | None) -> None:
    assert wait({}, None, (text,)) == seconds


def test_dates_are_read_by_the_vendors_own_clock() -> None:
    headers = {"date": "Fri, 09 Jan 2026 15:00:00 GMT", "retry-after": "Fri, 09 Jan 2026 15:00:30 GMT"}
    assert wait(headers) == 30


def test_the_wait_is_bounded_whatever_is_written() -> None:
    for value in (
        "99999999999",
        "1e5",
        "9" * 400,
        "\x00",
        "Mon, 99 Foo 9999 99:99:99 GMT",
        "∞",
        "9999-12-31T23:59:59Z",
    ):
        moment = retry_at({"retry-after": value, "date": value, "x-ratelimit-reset": value}, observed_at=NOW)
        assert moment is None or NOW <= moment <= NOW + LONGEST_WAIT


def test_the_end_of_time_does_not_raise() -> None:
    late = datetime.max.replace(tzinfo=UTC) - timedelta(hours=1)
    for value in ("86400", "1", str(2**40), "Fri, 31 Dec 9999 23:59:59 GMT"):
        assert retry_at({"retry-after": value}, observed_at=late) in {None, late} | {
            late + timedelta(seconds=seconds) for seconds in range(3_600)
        }
