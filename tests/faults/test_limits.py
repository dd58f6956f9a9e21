"""A vendor's limits over many worker processes, with processes killed, Redis lost and the limit lowered in between."""

import bisect
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from models.vocabulary import RunState
from tests.faults.conftest import HERE, Drill, children_of, tell
from tests.system.stack import Program, until

LIMIT, WINDOW_S = 10, 2.0  # as definitions/metered.yaml has it
SEED: Final = 7
CHILDREN: Final = 10
PRESSURE_S: Final = 30.0
USE: Final = 0.90


def test_a_vendor_never_sees_more_than_its_limit_from_all_workers_together(drill: Drill) -> None:
    drill.turnstile.pages = 3
    drill.worker(), drill.worker()
    accounts = {f"account-{n}": drill.connect(f"account-{n}", vendor="metered") for n in range(14)}
    drill.turnstile.wait_for("account-0")
    drill.redis.kill()
    drill.redis.start()
    for connection_id in accounts.values():
        assert drill.ended(connection_id, RunState.SUCCEEDED).run_seq == 1

    made = _times(drill, "metered")
    worst = _worst_window(made, WINDOW_S)
    tell(f"{len(made)} calls by two workers: {worst} of {LIMIT} in the worst window")
    assert len(made) == 3 * len(accounts)
    assert worst <= LIMIT


@pytest.mark.soak
@pytest.mark.parametrize(
    ("limit", "window_s"),
    [
        pytest.param(40, 2.0, id="taken one by one"),
        pytest.param(300, 5.0, id="taken by the handful"),
    ],
)
def test_twenty_processes_use_the_whole_limit_and_never_more(
    drill: Drill, tmp_path: Path, limit: int, window_s: float
) -> None:
    """Processes, not threads: each has its own purse. They are killed at random, and Redis is lost meanwhile."""
    lot = random.Random(SEED)  # noqa: S311 - breaks things at random, guards nothing
    drill.turnstile.pages = 1_000_000
    workers = _twenty_processes(drill, _definitions(tmp_path, limit, window_s))
    for n in range(30):
        drill.connect(f"account-{n}", vendor="throttled", timeout_secs=600)
    until(
        lambda: len(_times(drill, "throttled")) > 2 * limit,
        "the vendor is under pressure",
        more=drill.installation.logs,
    )
    began_at, kills = time.time(), 0
    while time.time() < began_at + PRESSURE_S:
        time.sleep(lot.uniform(1.0, 3.0))
        os.kill(lot.choice(children_of(lot.choice(workers).pid)), signal.SIGKILL)
        kills += 1
        if kills == 5:
            drill.redis.kill()
        if kills == 7:
            drill.redis.start()
    ended_at = time.time()
    drill.redis.start()

    made = _times(drill, "throttled")
    worst = _worst_window(made, window_s)
    used = sum(began_at <= at < ended_at for at in made) / (limit * (ended_at - began_at) / window_s)
    tell(
        f"20 processes, {kills} of them killed, Redis lost once: {worst} of {limit} in the worst {window_s:g} s"
        f" ({worst / limit:.2f}), {used:.0%} of the limit used"
    )
    assert worst <= limit
    assert used >= USE


@pytest.mark.soak
def test_a_limit_that_is_lowered_holds_as_soon_as_nobody_runs_with_the_old_one(drill: Drill, tmp_path: Path) -> None:
    """As by a deploy, with both in force for a while. The count is one: the new limit owes what the old one took."""
    before, after, window_s = 30, 10, 3.0
    drill.turnstile.pages = 1_000_000
    old = drill.worker(vendors_dir=_definitions(tmp_path, before, window_s))
    for n in range(12):
        drill.connect(f"account-{n}", vendor="throttled", timeout_secs=600)
    until(lambda: len(_times(drill, "throttled")) > 2 * before, "the vendor is under pressure")
    new = drill.worker(vendors_dir=_definitions(tmp_path, after, window_s))
    assert old.stop() == 0
    lowered_at = time.time()
    made = len(_times(drill, "throttled"))
    until(lambda: len(_times(drill, "throttled")) > made + 3 * after, "the new worker goes on")

    at = _times(drill, "throttled")
    worst_before = _worst_window([moment for moment in at if moment < lowered_at], window_s)
    worst_after = _worst_window([moment for moment in at if moment >= lowered_at], window_s)
    tell(f"a limit lowered from {before} to {after}: {worst_before} in the worst window before, {worst_after} after")
    assert worst_before <= before
    assert worst_after <= after
    assert _in_window_from(at, lowered_at - window_s, window_s) <= before
    assert new.is_alive


def _in_window_from(made: Sequence[float], start: float, window_s: float) -> int:
    return bisect.bisect_left(made, start + window_s) - bisect.bisect_left(made, start)


def _times(drill: Drill, vendor: str) -> list[float]:
    return sorted(call.at for call in list(drill.turnstile.log) if call.vendor == vendor)


def _worst_window(made: Sequence[float], window_s: float) -> int:
    """Return the most calls in any window. made: sorted."""
    return max(_in_window_from(made, start, window_s) for start in made)


def _definitions(folder: Path, limit: int, window_s: float) -> Path:
    """Return a folder with a definition of this limit."""
    text = (HERE / "definitions" / "metered.yaml").read_text(encoding="utf-8")
    for old, new in {
        "vendor: metered": "vendor: throttled",
        "Metered": "Throttled",
        "/metered": "/throttled",
        "{limit: 10, per: PT2S}": f"{{limit: {limit}, per: PT{window_s:g}S}}",
    }.items():
        assert old in text
        text = text.replace(old, new)
    vendors_dir = folder / f"vendors-{limit}"
    vendors_dir.mkdir()
    (vendors_dir / "throttled.yaml").write_text(text, encoding="utf-8")
    return vendors_dir


def _twenty_processes(drill: Drill, vendors_dir: Path) -> list[Program]:
    return [drill.worker("--pool", "prefork", "-c", str(CHILDREN), vendors_dir=vendors_dir) for _ in range(2)]
