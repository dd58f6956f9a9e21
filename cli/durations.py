"""Lengths of time as people type them: `90`, `90s`, `15m`, `4h`, `1d`."""

import re
from typing import Final

import typer

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_SHAPE: Final = re.compile(r"(\d{1,9})\s*([smhd]?)")


def read_secs(text: str | int) -> int:
    """Return a length of time in seconds. Raises BadParameter, which says what can be typed."""
    found = _SHAPE.fullmatch(str(text).strip().lower())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no length of time; write 90s, 15m, 4h or 1d")
    return int(found[1]) * _UNITS[found[2]]
