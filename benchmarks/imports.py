"""CPU seconds until a worker's modules are loaded, against those of the libraries that it cannot do without.

`python benchmarks/imports.py [--turns 9] [--modules]`. Each turn starts one interpreter for each line, one after the
other, with bytecode that was compiled before; what counts is the CPU of the process up to the last import, the
interpreter's own start included. The best turn is judged against TARGET_S, for what else runs on the machine only ever
adds. A busy or slower machine makes the best one slow too: how many times the floor ours takes in the same turns tells
whether the machine or the code is to blame. `--modules` shows which top-level packages the seconds go to.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Final

TARGET_S: Final = 0.6
FLOOR: Final = "the floor: Celery's worker, redis, requests, psycopg"
LIBRARIES: Final = "all libraries that a worker uses"
OURS: Final = "worker.celery"
LINES: Final = {
    "the interpreter alone": "pass",
    FLOOR: "import celery.bin.worker, redis, requests, psycopg",
    LIBRARIES: (
        "import celery.bin.worker, redis, requests, psycopg, psycopg_pool, pydantic, structlog, orjson, jmespath, "
        "ruamel.yaml, cryptography.hazmat.primitives.ciphers.aead"
    ),
    OURS: "import celery.bin.worker, worker.celery",
}

# Counts the CPU of each module's own code, not of what it imports in turn.
BY_PACKAGE: Final = """
import collections, importlib._bootstrap as b, json, time
spent, stack, load = collections.Counter(), [], b._find_and_load_unlocked
def timed(name, import_):
    began = time.process_time()
    stack.append(0.0)
    try:
        return load(name, import_)
    finally:
        took = time.process_time() - began
        spent[name.partition(".")[0]] += took - stack.pop()
        if stack:
            stack[-1] += took
b._find_and_load_unlocked = timed
import celery.bin.worker, worker.celery
print(json.dumps(spent.most_common(20)))
"""


def output_of(code: str, pycache: str) -> str:
    """Return what a new interpreter prints."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environ |= {
        "PYTHONPYCACHEPREFIX": pycache,
        "CONNECTION_HEALTH_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "CONNECTION_HEALTH_REDIS_URL": "redis://127.0.0.1:1/0",
    }
    return subprocess.run(
        [sys.executable, "-c", code], env=environ, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--modules", action="store_true", help="show which packages the seconds go to")
    chosen = parser.parse_args()
    spent_s: dict[str, list[float]] = {name: [] for name in LINES}
    with tempfile.TemporaryDirectory(prefix="ch-pyc-") as pycache:
        for code in LINES.values():
            output_of(code, pycache)  # compiles
        for _ in range(chosen.turns):
            for name, code in LINES.items():
                spent_s[name].append(float(output_of(f"{code}\nimport time; print(time.process_time())", pycache)))
        if chosen.modules:
            print(output_of(BY_PACKAGE, pycache))
    print(f"{'CPU seconds':55}{'best':>7}{'median':>8}{'worst':>7}")
    for name, each in spent_s.items():
        print(f"{name:55}{min(each):7.3f}{statistics.median(each):8.3f}{max(each):7.3f}")
    best_s = min(spent_s[OURS])
    ratio = statistics.median(ours / floor for ours, floor in zip(spent_s[OURS], spent_s[FLOOR], strict=True))
    of_libraries = statistics.median(ours / own for ours, own in zip(spent_s[OURS], spent_s[LIBRARIES], strict=True))
    holds = best_s <= TARGET_S
    print(f"{ratio:.2f} x the floor, {of_libraries:.2f} x the libraries (medians of the turns)")
    print(f"import of the worker {best_s:.3f} s <= {TARGET_S} {'ok' if holds else 'MISSED'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
