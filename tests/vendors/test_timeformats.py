"""Times as vendors write them, both ways."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vendors.timeformats import NAMED_FORMATS, format_problem, format_time, parse_duration, parse_moment, parse_time

MOMENT = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fmt", "written"),
    [
        ("iso8601", "2026-03-04T05:06:07Z"),
        ("iso8601_ms", "2026-03-04T05:06:07.890Z"),
        ("date", "2026-03-04"),
        ("epoch_s", 1772600767),
        ("epoch_ms", 1772600767890),
        ("rfc1123", "Wed, 04 Mar 2026 05:06:07 GMT"),
        ("%Y-%m-%d %H:%M", "2026-03-04 05:06"),
    ],
)
def test_a_time_is_written_in_each_format_and_cut_off_never_rounded_up(fmt: str, written: str | int) -> None:
    assert format_time(MOMENT, fmt) == written
    read = parse_time(written, [fmt])
    assert read is not None
    assert read <= MOMENT


@pytest.mark.parametrize(
    ("value", "fmt", "moment"),
    [
        pytest.param("2026-03-04T05:06:07.8901234Z", "iso8601", MOMENT.replace(microsecond=890123), id="seven digits"),
        pytest.param("2026-03-04T06:06:07+01:00", "iso8601", MOMENT.replace(microsecond=0), id="an offset"),
        pytest.param(
            "2026-03-04T05:06:07.000+0000", "iso8601", MOMENT.replace(microsecond=0), id="an offset without colon"
        ),
        pytest.param("2026-03-04 05:06:07", "iso8601", MOMENT.replace(microsecond=0), id="a blank, no zone: UTC"),
        pytest.param("1772600767", "epoch_s", MOMENT.replace(microsecond=0), id="digits as text"),
        pytest.param(1772600767.5, "epoch_s", MOMENT.replace(microsecond=500000), id="a fraction"),
        pytest.param(1772600767890, "epoch_s", None, id="milliseconds are no seconds"),
        pytest.param(True, "epoch_s", None, id="a flag is no time"),
        pytest.param(float("nan"), "epoch_s", None, id="nan"),
        pytest.param("Wed, 04 Mar 2026 05:06:07 -0000", "rfc1123", MOMENT.replace(microsecond=0), id="an unknown zone"),
        pytest.param("04.03.2026", "%d.%m.%Y", datetime(2026, 3, 4, tzinfo=UTC), id="a pattern"),
        pytest.param("soon", "iso8601", None, id="a word"),
        pytest.param(None, "iso8601", None, id="null"),
        pytest.param({"a": 1}, "iso8601", None, id="an object"),
    ],
)
def test_a_time_is_read(value: object, fmt: str, moment: datetime | None) -> None:
    assert parse_time(value, [fmt]) == moment


def test_the_first_format_that_fits_is_taken() -> None:
    assert parse_time("1772600767", ["iso8601", "epoch_s", "epoch_ms"]) == MOMENT.replace(microsecond=0)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("P30D", timedelta(days=30)),
        ("-P1M", timedelta(days=-30)),
        ("P1Y2W", timedelta(days=379)),
        ("PT1H5M7S", timedelta(hours=1, minutes=5, seconds=7)),
        ("P1DT12H", timedelta(days=1, hours=12)),
    ],
)
def test_a_duration_is_read(text: str, length: timedelta) -> None:
    assert parse_duration(text) == length


@pytest.mark.parametrize("text", ["", "P", "PT", "30D", "P1H", "PT1D", "P-1D", "P1.5D", "p1d", "P1D ", "P1DT"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration such as P30D"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("-P90D", MOMENT - timedelta(days=90)),
        ("2024-01-31", datetime(2024, 1, 31, tzinfo=UTC)),
        ("2024-01-31T10:00:00+02:00", datetime(2024, 1, 31, 8, tzinfo=UTC)),
        ("-P9999Y", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_start_is_a_duration_or_a_date(text: str, moment: datetime) -> None:
    assert parse_moment(text, now=MOMENT) == moment


def test_a_start_that_is_neither_is_refused() -> None:
    with pytest.raises(ValueError, match="neither a duration such as -P90D nor a date"):
        parse_moment("yesterday", now=MOMENT)


@pytest.mark.parametrize(
    ("fmt", "is_good"),
    [*((name, True) for name in NAMED_FORMATS), ("%d/%m", True), ("iso", False), ("%s", False), ("%", False)],
)
def test_a_format_is_known_or_told(fmt: str, is_good: bool) -> None:
    assert (format_problem(fmt) is None) is is_good


@given(
    value=st.text() | st.integers() | st.floats() | st.none() | st.lists(st.integers()),
    fmt=st.sampled_from([*NAMED_FORMATS, "%Y-%m", "%j"]),
)
def test_reading_never_raises(value: object, fmt: str) -> None:
    moment = parse_time(value, [fmt])
    assert moment is None or moment.tzinfo is UTC


@given(moment=st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)), fmt=st.sampled_from(NAMED_FORMATS))  # noqa: DTZ001 - hypothesis adds the zone
def test_what_is_written_is_read_again(moment: datetime, fmt: str) -> None:
    read = parse_time(format_time(moment, fmt), [fmt])
    assert read is not None
    assert timedelta(0) <= moment - read < timedelta(days=1)


@given(text=st.text(alphabet="PTYMWDHS-+0123456789", max_size=14))
def test_a_duration_is_read_or_refused(text: str) -> None:
    try:
        parse_duration(text)
    except (ValueError, OverflowError):
        return
