"""A run's exchanges under one another, each with a bar that shows when it began and how long it took."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from rich.text import Text

from cli.output import milliseconds

WIDTH: Final = 24
_WAITED: Final = "·"
_BUSY: Final = "█"


def waterfall_rows(exchanges: Sequence[Mapping[str, Any]]) -> list[list[str | Text]]:
    """Return one row an exchange: number, purpose, request, status, start, length, size, bar, note."""
    end_ms = max((_int(each, "started_ms") + _int(each, "elapsed_ms") for each in exchanges), default=0)
    return [_row(each, end_ms) for each in exchanges]


def bar(*, waited_ms: int, started_ms: int, elapsed_ms: int, end_ms: int, width: int = WIDTH) -> str:
    """Draw one exchange on a line of `width` characters, which stands for 0 to end_ms; dots where it waited."""
    if end_ms <= 0:
        return _BUSY
    first = min(started_ms * width // end_ms, width - 1)
    waits_from = min(max(0, started_ms - waited_ms) * width // end_ms, first)
    last = min(max(first + 1, -(-(started_ms + elapsed_ms) * width // end_ms)), width)
    return " " * waits_from + _WAITED * (first - waits_from) + _BUSY * (last - first)


def _row(each: Mapping[str, Any], end_ms: int) -> list[str | Text]:
    status = each.get("status")
    started_ms, elapsed_ms, waited_ms = (_int(each, name) for name in ("started_ms", "elapsed_ms", "waited_ms"))
    drawn = bar(waited_ms=waited_ms, started_ms=started_ms, elapsed_ms=elapsed_ms, end_ms=end_ms)
    style = _style(status)
    return [
        str(each.get("n", "")),
        str(each.get("data_type") or each.get("phase") or ""),
        f"{each.get('method')} {_path(str(each.get('url') or ''))}",
        Text("none" if status is None else str(status), style=style),
        f"+{milliseconds(started_ms / 1000)}",
        milliseconds(elapsed_ms / 1000),
        str(each.get("bytes", "")),
        Text(drawn, style=style),
        _note(each),
    ]


def _note(each: Mapping[str, Any]) -> str:
    parts = []
    if _int(each, "attempt") > 1:
        parts.append(f"attempt {each['attempt']}")
    if each.get("decision") not in (None, "", "accept"):
        parts.append(str(each["decision"]))
    if each.get("error"):
        parts.append(str(each["error"]))
    return ", ".join(parts)


def _style(status: object) -> str:
    if not isinstance(status, int) or status >= 500:
        return "magenta"
    return "green" if status < 400 else "yellow"


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _int(each: Mapping[str, Any], name: str) -> int:
    value = each.get(name)
    return value if isinstance(value, int) else 0
