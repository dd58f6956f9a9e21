"""Clocks that a drill sets: of a program or a server, through libfaketime, while it runs."""

import importlib.util
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Final

from embedded.guard import Order
from embedded.postgres import Postgres
from embedded.quarters import Quarters

_LIBRARY: Final = "vendor/libfaketime/src/libfaketime.so.1"


class Clock:
    """A clock of its own for whatever is started with `environment`. The monotonic clock stays the true one."""

    def __init__(self, folder: Path, name: str) -> None:
        """Make a clock that is right. folder: where the account of its programs may go and read."""
        self._file, self._next = folder / f"{name}.clock", folder / f"{name}.next"
        spec = importlib.util.find_spec("libfaketime")
        assert spec is not None
        assert spec.origin is not None
        self._library = folder / f"{name}.so"
        shutil.copy(Path(spec.origin).parent / _LIBRARY, self._library)
        self._library.chmod(0o755)
        self.set(timedelta(0))

    def set(self, ahead: timedelta) -> None:
        """Let it be so much ahead of the true time from now on, or behind where that is negative."""
        self._next.write_text(f"{ahead.total_seconds():+.1f}\n", encoding="ascii")
        self._next.chmod(0o644)
        self._next.replace(self._file)  # whoever reads it sees the one time or the other

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # see fleet.py
            "NO_FAKE_STAT": "1",
        }


class ClockedPostgres(Postgres):
    """A server with a clock of its own."""

    clock: Clock

    def _order(self) -> tuple[Quarters, Order]:
        place, order = super()._order()
        return place, {**order, "environment": order["environment"] | self.clock.environment}
