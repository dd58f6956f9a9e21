"""Takes the guards out one by one and sees that a drill fails without each.

    PYTHONPATH=. python tests/faults/mutation_gate.py [--only fence,reaper]

Ends with 1 where a drill passes although its guard is gone. A guard and what stands there instead: mutants/.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
DRILLS: Final = {
    "fence": "test_death.py -k too_late",
    "self-stop": "test_death.py -k not_one_more_call",
    "reaper": "test_death.py -k made_again_at_once",
    "quarantine": "test_death.py -k regular_slot",
    "child-lease": "test_death.py -k death_of_a_child",
    "hinted": "test_redis.py -k given_again",
    "degraded": "test_redis.py -k straight_from",
    "served-never": "test_messages.py -k thousand",
    "served-at-finish": "test_messages.py -k credentials",
    "seq-turned": "test_messages.py -k thousand",
    "one-at-a-time": "test_messages.py -k thousand",
    "garbage": "test_messages.py -k no_message",
    "database-away": "test_postgres.py -k finds_no_database",
    "ended-as": "test_postgres.py -k answer_was_lost",
    "hold-back": "test_postgres.py -k long_absence",
    "drain": "test_drain.py -k ends_runs_at_once",
    "interrupt": "test_ladder.py -k swallows_exceptions",
    "watchdog": "test_ladder.py -k waits",
    "dead-man": "test_ladder.py -k interpreter",
    "limit": "test_limits.py",
    "reapers-lease": "test_postgres.py -k frozen_postgresql",
    "conflict": "test_postgres.py -k held_for_longer",
}


def main() -> int:
    """Run the gate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names, separated by commas")
    chosen = [name for name in parser.parse_args().only.split(",") if name] or list(DRILLS)
    survivors = []
    for name in chosen:
        file, *rest = DRILLS[name].split()
        command = [
            sys.executable,
            "-m",
            "pytest",
            str(HERE / file),
            *rest,
            "-x",
            "-q",
            "--no-header",
            "--timeout=75",
        ]
        began = time.monotonic()
        done = subprocess.run(
            command, env={**os.environ, "FAULTS_MUTANT": name}, capture_output=True, text=True, check=False
        )
        is_killed = done.returncode == 1 and "stands no longer" not in done.stdout
        told = re.findall(r"^E  +(.+)$", done.stdout, re.MULTILINE)
        first = told[0][:120] if told else done.stdout.strip().splitlines()[-1]
        word = "killed" if is_killed else "SURVIVED"
        sys.stdout.write(f"{word:8} {name:18} {time.monotonic() - began:4.0f} s  {first}\n")
        sys.stdout.flush()
        survivors += [] if is_killed else [name]
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
