"""`python -m embedded`: PostgreSQL and Redis for as long as it runs."""

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from embedded.errors import EmbeddedError
from embedded.stack import Stack

_LOOK_EVERY_S = 0.5


def main() -> int:
    """Start both, print their addresses, and stop them on Ctrl-C. 0 when stopped, 1 when one failed."""
    parser = argparse.ArgumentParser(prog="python -m embedded", description=main.__doc__)
    parser.add_argument(
        "--dir", type=Path, default=Path(".embedded"), help="where their data lie (default: %(default)s)"
    )
    parser.add_argument("--ports", action="store_true", help="listen on free ports of 127.0.0.1 too, with passwords")
    parser.add_argument("--remove", action="store_true", help="remove the data in the folder, and start nothing")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stack = Stack(arguments.dir, ports=arguments.ports)
    if arguments.remove:
        stack.remove()
        return 0
    try:
        with stack:
            _say_where(stack)
            while stack.alive and not stop.wait(_LOOK_EVERY_S):
                pass
            return _verdict(stack, stopped=stop.is_set())
    except EmbeddedError as error:
        print(error, file=sys.stderr)  # noqa: T201 -- a command
        return 1


def _say_where(stack: Stack) -> None:
    print(f"CONNECTION_HEALTH_DATABASE_URL={stack.postgres.tcp_url or stack.postgres.url}")  # noqa: T201 -- a command
    print(f"CONNECTION_HEALTH_REDIS_URL={stack.redis.tcp_url or stack.redis.url}", flush=True)  # noqa: T201 -- likewise


def _verdict(stack: Stack, *, stopped: bool) -> int:
    if stopped:
        return 0
    ended = stack.redis if stack.postgres.alive else stack.postgres
    print(f"{ended.name} ended on its own; its log is below {ended.data_dir}", file=sys.stderr)  # noqa: T201 -- likewise
    return 1


if __name__ == "__main__":
    sys.exit(main())
