"""Times as vendors write them: named formats, patterns and durations. Aware, UTC; knows nothing of who asks."""

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

NAMED_FORMATS: Final = ("iso8601", "iso8601_ms", "date", "epoch_s", "epoch_ms", "rfc1123")
_PRECISION: Final = {"iso8601": "seconds", "iso8601_ms": "milliseconds", "date": "seconds"}
_DIRECTIVES: Final = frozenset("YmdHMSfzjbByIpaA%")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ISO_START: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_NUMBER: Final = re.compile(r"[+-]?\d{1,20}(\.\d{1,20})?")
_DURATION: Final = re.compile(
    r"(?P<sign>[+-]?)P(?=\d|T\d)(?:(?P<years>\d{1,4})Y)?(?:(?P<months>\d{1,5})M)?(?:(?P<weeks>\d{1,6})W)?"
    r"(?:(?P<days>\d{1,6})D)?(?:T(?=\d)(?:(?P<hours>\d{1,7})H)?(?:(?P<minutes>\d{1,9})M)?(?:(?P<seconds>\d{1,10})S)?)?",
)


def format_problem(fmt: str) -> str | None:
    """Say what is wrong with a format's name or pattern, or return None where it can be used."""
    if fmt in NAMED_FORMATS:
        return None
    if "%" not in fmt:
        return f"is not one of {', '.join(NAMED_FORMATS)} and no pattern such as '%Y-%m-%d %H:%M:%S'"
    for directive in re.findall(r"%(.?)", fmt.replace("%%", "")):
        if directive not in _DIRECTIVES:
            return f"has %{directive}, which no time pattern knows"
    return None


def parse_time(value: object, formats: Iterable[str]) -> datetime | None:
    """Return the time that a record's value means by the first format that fits, or None where none does.

    formats: names of NAMED_FORMATS or strptime patterns. A time without an offset counts as UTC. Never raises.
    """
    for fmt in formats:
        moment = _parse_one(value, fmt)
        if moment is not None:
            return moment
    return None


def format_time(moment: datetime, fmt: str) -> str | int:
    """Write an aware time in UTC as the format says. epoch_s and epoch_ms give an int, all others a str.

    What the format cannot hold is cut off, never rounded up, so that a start that was sent lies no later than the time.
    """
    moment = moment.astimezone(UTC)
    if fmt == "epoch_s":
        return (moment - _EPOCH) // timedelta(seconds=1)
    if fmt == "epoch_ms":
        return (moment - _EPOCH) // timedelta(milliseconds=1)
    if fmt == "rfc1123":
        return format_datetime(moment.replace(microsecond=0), usegmt=True)
    if fmt not in _PRECISION:
        return moment.strftime(fmt)
    written = moment.replace(tzinfo=None).isoformat(timespec=_PRECISION[fmt])
    return written[:10] if fmt == "date" else f"{written}Z"


def parse_duration(text: str) -> timedelta:
    """Read an ISO 8601 duration (`P30D`, `PT5M`, `-P1Y`), sign first. A month counts 30 days, a year 365.

    Raises ValueError.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration such as P30D, PT5M, P1M or -P1Y")
    part = {name: int(digits) for name, digits in found.groupdict().items() if digits and name != "sign"}
    length = timedelta(
        days=part.get("years", 0) * 365 + part.get("months", 0) * 30 + part.get("weeks", 0) * 7 + part.get("days", 0),
        hours=part.get("hours", 0),
        minutes=part.get("minutes", 0),
        seconds=part.get("seconds", 0),
    )
    return -length if found["sign"] == "-" else length


def parse_moment(text: str, *, now: datetime) -> datetime:
    """Read what `default_start` and `oldest` may hold: a duration from now (`-P90D`), or a date or time.

    now: aware. A moment before year 1 is moved to year 1. Raises ValueError.
    """
    if text.lstrip("+-").startswith("P"):
        try:
            return now.astimezone(UTC) + parse_duration(text)
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)
    moment = parse_time(text, ("iso8601",))
    if moment is None:
        raise ValueError(f"{text!r} is neither a duration such as -P90D nor a date such as 2024-01-31")
    return moment


def _parse_one(value: object, fmt: str) -> datetime | None:
    try:
        if fmt in ("epoch_s", "epoch_ms"):
            return _from_epoch(value, 1 if fmt == "epoch_s" else 1000)
        if not isinstance(value, str):
            return None
        text = value.strip()
        if fmt in ("iso8601", "iso8601_ms", "date"):
            return _utc(datetime.fromisoformat(text)) if _ISO_START.match(text) else None
        return _utc(parsedate_to_datetime(text) if fmt == "rfc1123" else datetime.strptime(text, fmt))  # noqa: DTZ007 - _utc adds the zone
    except (ValueError, TypeError, IndexError, OverflowError, re.error):
        return None


def _from_epoch(value: object, per_second: int) -> datetime | None:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value) if "." in value else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    if isinstance(value, int):
        return _EPOCH + timedelta(microseconds=value * (1_000_000 // per_second))
    return _EPOCH + timedelta(seconds=value / per_second)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
