"""`python -m simulator --port 9000`: the simulated vendors as a process of their own."""

import argparse
import signal
import sys
from pathlib import Path
from threading import Event

from simulator.script import ScriptError, play, read_script
from simulator.server import Simulator


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop. Prints one line with the address as soon as it answers."""
    parser = argparse.ArgumentParser(prog="python -m simulator", description="Vendors that fail on purpose.")
    parser.add_argument("--port", type=int, default=0, help="0 (default): any free port")
    parser.add_argument("--script", type=Path, help="JSON lines of control requests with the second of each")
    chosen = parser.parse_args(arguments)
    try:
        steps = read_script(chosen.script.read_text().splitlines()) if chosen.script else ()
    except (OSError, ScriptError) as error:
        sys.stderr.write(f"simulator: {error}\n")
        return 2
    try:
        simulator = Simulator(chosen.port)
    except (OSError, OverflowError) as error:
        why = (getattr(error, "strerror", None) or str(error)).rstrip(".")
        sys.stderr.write(f"simulator: port {chosen.port}: {why}: give another --port, or none for one that is free\n")
        return 2
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with simulator:
        _tell(f"simulator listening on {simulator.url}")
        try:
            play(simulator.world, steps, stop=stop, tell=_tell)
        except ScriptError as error:
            sys.stderr.write(f"simulator: {error}\n")
            return 1
        stop.wait()
    return 0


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
