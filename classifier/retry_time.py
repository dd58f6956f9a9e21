"""When a vendor lets us come back, read from headers and from members of a body.

Retry-After (RFC 9110 section 10.2.3, and as it is written in practice: fractions, units, ISO dates), the RateLimit and
RateLimit-Policy fields of draft-ietf-httpapi-ratelimit-headers, and the X-RateLimit-… dialects. A number's size tells
what it is: seconds to wait, seconds since 1970, or milliseconds since 1970. Nothing here raises.
"""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Final

from classifier.members import plain_name

LONGEST_WAIT: Final = timedelta(hours=24)

_NUMBER: Final = re.compile(r"(\d{1,15}(?:\.\d{0,9})?)\s{0,3}([a-z]{0,12})\Z")
_UNITS: Final = {
    "": 1.0,
    "s": 1.0,
    "sec": 1.0,
    "secs": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "ms": 0.001,
    "msec": 0.001,
    "millis": 0.001,
    "milliseconds": 0.001,
    "m": 60.0,
    "min": 60.0,
    "mins": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "hours": 3600.0,
}
_EPOCH_S: Final = 1_000_000_000.0
_EPOCH_MS: Final = 100_000_000_000.0
_EPOCH_US: Final = 100_000_000_000_000.0
_WORDS: Final = re.compile(
    r"\b(?:in|after|for|wait|another)\s{1,3}(?:about |at least |approximately )?(\d{1,6}(?:\.\d{1,6})?)\s{0,2}"
    r"(ms|milliseconds|s|secs?|seconds?|m|mins?|minutes?|h|hours?)\b",
    re.IGNORECASE,
)
_PARAMETER: Final = re.compile(r";\s{0,5}([a-z*][a-z0-9_.*\-]{0,20})\s{0,5}=\s{0,5}\"?([0-9.]{1,15})")
_BODY_WAITS: Final = frozenset(
    {"retryafter", "retryafterseconds", "retryaftersec", "retryafters", "retryin", "wait", "waitseconds", "resetin"}
    | {
        "retrydelay",
        "resetinseconds",
        "secondsuntilreset",
        "retryafterms",
        "waittime",
        "towaitsec",
        "retryafterinseconds",
    }
)
_BODY_TIMES: Final = frozenset(
    {"resetat", "reset", "ratelimitreset", "resettime", "retryat", "availableat", "resetsat", "endsat", "endtime"}
    | {
        "maintenanceend",
        "until",
        "estimatedend",
        "nextavailable",
        "quotaresetat",
        "retryafterdate",
        "end",
        "scheduleduntil",
    }
)


def _date(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            found = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _moment(raw: object, observed_at: datetime, *, factor: float = 1.0) -> datetime | None:
    """Return the moment that a value stands for, unbounded; None where it says nothing."""
    if isinstance(raw, bool) or raw is None:
        return None
    if isinstance(raw, (int, float)):
        return _from_number(raw, observed_at, factor)
    if not isinstance(raw, str):
        return None
    text = raw.strip()
    if not text or len(text) > 64:
        return None
    found = _NUMBER.match(text.lower())
    if found is not None and found.group(2) in _UNITS:
        return _from_number(float(found.group(1)), observed_at, factor * _UNITS[found.group(2)])
    return _date(text) if len(text) >= 10 else None


def _from_number(value: float, observed_at: datetime, factor: float) -> datetime | None:
    if not math.isfinite(value) or value < 0:
        return None
    try:
        if factor == 1.0 and value >= _EPOCH_S:
            seconds = value / 1e6 if value >= _EPOCH_US else value / 1e3 if value >= _EPOCH_MS else value
            return datetime.fromtimestamp(seconds, UTC)
        return observed_at + timedelta(seconds=value * factor)
    except (OverflowError, ValueError, OSError):
        return None


def _bounded(moment: datetime, observed_at: datetime) -> datetime:
    try:
        return min(max(moment, observed_at), observed_at + LONGEST_WAIT)
    except OverflowError:
        return observed_at


def _their_now(headers: Mapping[str, str], observed_at: datetime) -> datetime:
    """Return the vendor's clock where it shows one.

    Their dates are read by it, so that a wrong clock, theirs or ours, does no harm.
    """
    said = headers.get("date")
    theirs = _date(said) if said else None
    return observed_at if theirs is None else theirs


def _fields(value: str) -> Iterator[dict[str, float]]:
    """Yield the parameters of each member of a structured field list (`"burst";r=0;t=30, …`)."""
    for member in value[:1_000].split(",")[:10]:
        parameters: dict[str, float] = {}
        for name, number in _PARAMETER.findall(member):
            try:
                parameters[name] = float(number)
            except ValueError:
                continue
        if parameters:
            yield parameters


def _structured(headers: Mapping[str, str], observed_at: datetime) -> datetime | None:
    value = headers.get("ratelimit")
    if not value:
        return None
    spent = [parameters["t"] for parameters in _fields(value) if "t" in parameters and parameters.get("r", 0.0) == 0.0]
    if not spent:
        older = dict(part.strip().split("=", 1) for part in value[:500].split(",") if "=" in part and ";" not in part)
        reset = older.get("reset", "")
        return _moment(reset, observed_at) if older.get("remaining", "0").strip() == "0" else None
    return _from_number(max(spent), observed_at, 1.0)


def _resets(headers: Mapping[str, str], observed_at: datetime) -> datetime | None:
    """Return the latest reset among the windows that are spent, or the only one where none says what is left."""
    spent: list[datetime] = []
    other: list[datetime] = []
    for name, value in headers.items():
        if "reset" not in name and "towait" not in name:
            continue
        if "limit" not in name and "quota" not in name and "throttle" not in name:
            continue
        factor = 0.001 if name.endswith("-ms") else 1.0
        moment = _moment(value.split(",", 1)[0].split(";", 1)[0], observed_at, factor=factor)
        if moment is None:
            continue
        left = headers.get(name.replace("reset", "remaining").replace("towait-sec", "remaining"), "")
        count = left.split(",", 1)[0].split(";", 1)[0].strip()
        if count in {"0", "0.0"}:
            spent.append(moment)
        elif not count or "towait" in name:
            other.append(moment)
    if spent:
        return max(spent)
    return max(other) if other else None


_BODY_NAMES: Final = _BODY_WAITS | _BODY_TIMES


def _of_members(document: object, observed_at: datetime) -> datetime | None:
    """Return the latest time that members name, of those that stand outermost; reads five levels."""
    level: list[object] = [document]
    for _depth in range(6):
        latest: datetime | None = None
        inner: list[object] = []
        for node in level:
            if isinstance(node, list):
                inner.extend(node[:2])
            elif isinstance(node, dict):
                for name, value in islice(node.items(), 40):
                    if isinstance(value, (dict, list)):
                        inner.append(value)
                    elif value and plain_name(name) in _BODY_NAMES:
                        factor = 0.001 if plain_name(name).endswith("ms") else 1.0
                        moment = _moment(value, observed_at, factor=factor)
                        latest = moment if latest is None or (moment is not None and moment > latest) else latest
        if latest is not None or not inner:
            return latest
        level = inner[:40]
    return None


def _of_words(texts: tuple[str, ...], observed_at: datetime) -> datetime | None:
    for text in texts[:5]:
        found = _WORDS.search(text[:1_000])
        if found is not None:
            unit = found.group(2).lower()
            return _from_number(float(found.group(1)), observed_at, _UNITS.get(unit, 1.0))
    return None


def retry_at(
    headers: Mapping[str, str], body_members: object = None, *, observed_at: datetime, texts: tuple[str, ...] = ()
) -> datetime | None:
    """Return when the vendor lets us come back, None where it does not say.

    headers: names in lower case; body_members: the body's JSON, as parsed, or None; texts: the error's sentences;
    observed_at: aware, UTC. The moment lies within `observed_at` and LONGEST_WAIT after it. Dates are measured by the
    answer's own Date header where it has one, so that neither clock needs to be right. Never raises.
    """
    theirs = _their_now(headers, observed_at)
    moment = _moment(headers.get("retry-after"), theirs) or _moment(headers.get("retry-after-ms"), theirs, factor=0.001)
    if moment is None:
        said = (
            _moment(value, theirs, factor=0.001 if "ms" in name.rsplit("-", 1)[-1] else 1.0)
            for name, value in headers.items()
            if name != "retry-after" and ("retryafter" in name or "retry-after" in name)
        )
        moment = max((found for found in said if found is not None), default=None)
    if moment is None:
        moment = _structured(headers, theirs) or _resets(headers, theirs)
    if moment is None and body_members is not None:
        moment = _of_members(body_members, theirs)
    if moment is None and texts:
        moment = _of_words(texts, theirs)
    if moment is None:
        return None
    try:
        return _bounded(observed_at + (moment - theirs), observed_at)
    except OverflowError:
        return None
