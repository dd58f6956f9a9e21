"""Takes the guards out one by one and sees that the soak fails without each, within five minutes.

    PYTHONPATH=. python tests/faults/soak_mutants.py [--only fence,reaper] [--lanes 1] [--report FILE]

The soak is a small one, of sixty connections every ten seconds, with a look at the history every eight, and of those
faults alone that the guard is there for (FAULTS_FOR). First one of all faults runs with all guards, and must pass. Ends
with 1 where a mutant outlives it. A guard and what stands there instead: mutants/.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from tests.faults.mutants.sitecustomize import MUTANTS

HERE: Final = Path(__file__).parent
SIZE: Final = (
    "--connections",
    "120",
    "--interval",
    "10",
    "--mean-s",
    "1.5",
    "--look-every",
    "8",
    "--quiet-s",
    "20",
    "--children",
    "2",
)
MINUTES: Final = 3.75
WITHIN_S: Final = 300.0
TRIES: Final = 2
"""With another seed: what a mutant does depends on what meets what."""

FAULTS_FOR: Final[dict[str, str]] = {
    "fence": "worker_frozen,cancelled,triggered_while_running,message_doubled",
    "fence-of-pages": "worker_frozen,cancelled,triggered_while_running",
    "self-stop": "worker_frozen,child_frozen",
    "self-stop+abort": "worker_frozen,child_frozen",
    "reaper": "worker_killed,child_killed",
    "hinted": "triggered",
    "served-never": "triggered,triggered_while_running",
    "served-at-finish": "triggered_while_running,credentials_changed_while_running",
    "seq-turned": "triggered",
    "one-at-a-time": "message_doubled,triggered_while_running",
    "one-at-a-time+index": "message_doubled,triggered_while_running",
    "skip-locked": "message_doubled,triggered_while_running",
    "skip-locked+index": "message_doubled,triggered_while_running",
    "skipped-uncounted": "worker_killed,worker_frozen",
    "quarantine": "code_exits",
    "drain": "worker_told_to_end",
    "interrupt": "code_swallows",
    "deadline-is-exception": "code_swallows",
    "watchdog": "code_waits_in_c",
    "dead-man": "code_holds_the_interpreter",
    "child-lease": "child_killed,triggered_while_running",
    "garbage": "message_forged",
    "degraded": "redis_lost",
    "database-away": "postgres_crashed,connections_cut",
    "ended-as": "answers_lost,postgres_crashed",
    "hold-back": "postgres_crashed,postgres_frozen",
    "reapers-lease": "postgres_frozen",
    "reapers-lease+hold-back": "postgres_frozen",
    "unattended": "answers_lost",
    "probe": "redis_full,triggered",
    "conflict": "triggered_while_running,credentials_changed_while_running",
    "claim-waits": "triggered_a_hundred_times,message_doubled",
    "neighbours": "code_waits_in_c",
    "supersede": "postgres_crashed,triggered",
    "limit": "triggered",
    "limiter-full": "triggered,worker_killed",
    "redaction": "triggered",
}
"""By mutant: the faults that bring it out."""

BEHIND: Final[dict[str, str]] = {
    "one-at-a-time": "the tables refuse the second run, which a traceback shows; with both gone: one-at-a-time+index",
    "skip-locked": "likewise; skip-locked+index",
    "probe": "Redis counts as back whenever nothing is due; what is due then is run degraded_after_s late, and is run",
    "claim-waits": "its hint is given again after rehint_after_s",
    "conflict": "nobody but a person locks what a page needs",
    "self-stop": "the next renewal cuts the call under way and all that follow; with both gone: self-stop+abort",
}
"""Guards with a second one behind them, which may hide that the first is gone."""


class Outcome(NamedTuple):
    """What came of a mutant. sentence: the first invariant that was broken."""

    name: str
    is_caught: bool
    seconds: float
    seed: int
    sentence: str


def soak(name: str | None, seed: int, minutes: float) -> Outcome:
    """Run one soak; without a name, with all guards."""
    command = [sys.executable, str(HERE / "soak.py"), *SIZE, "--minutes", f"{minutes:g}", "--seed", str(seed)]
    if name is not None:
        command += ["--mutant", name, "--faults", FAULTS_FOR[name]]
    began = time.monotonic()
    done = subprocess.run(command, cwd=HERE.parents[1], env={**os.environ}, capture_output=True, text=True, check=False)
    told = re.findall(r"^    (I\d .+|the soak .+)$", done.stdout, re.MULTILINE)
    after = re.search(r"VIOLATED after (\d+) s", done.stdout)
    broken = done.returncode == 1 and "stands no longer" not in done.stdout + done.stderr
    sentence = told[0] if told else (done.stderr.strip().splitlines() or ["all invariants hold"])[-1]
    seconds = float(after[1]) if after else time.monotonic() - began
    return Outcome(name or "(all guards)", broken and bool(told), seconds, seed, sentence[:200])


def tried(name: str, seed: int) -> Outcome:
    """Run a mutant until it is caught, with other seeds."""
    found = soak(name, seed, MINUTES)
    for again in range(1, TRIES):
        if found.is_caught:
            break
        found = soak(name, seed + again, MINUTES)
    return found


def main() -> int:
    """Run the gate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--lanes", type=int, default=1, help="so many soaks at a time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", default=None, help="a file for the table as well")
    options = parser.parse_args()
    chosen = [name for name in options.only.split(",") if name] or list(MUTANTS)
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        if options.report:
            Path(options.report).write_text("\n".join(lines) + "\n", encoding="utf-8")

    if not options.only:
        control = soak(None, options.seed, MINUTES)
        tell(f"with all guards: {'FAILED' if control.is_caught else 'passed'} {control.sentence}")
        if control.is_caught:
            return 1
    tell("| mutant | caught after | by | sentence |\n| --- | --- | --- | --- |")
    outlived = 0
    with ThreadPoolExecutor(options.lanes) as lanes:
        for found in lanes.map(lambda name: tried(name, options.seed), chosen):
            in_time = found.is_caught and found.seconds <= WITHIN_S
            outlived += not in_time and found.name not in BEHIND
            after = f"{found.seconds:.0f} s" if found.is_caught else "NOT CAUGHT"
            by, _, sentence = found.sentence.partition(" ")
            behind = f" ({BEHIND[found.name]})" if found.name in BEHIND else ""
            tell(f"| {found.name} | {after} | {by} | {sentence}{behind} |")
    return 1 if outlived else 0


if __name__ == "__main__":
    sys.exit(main())
