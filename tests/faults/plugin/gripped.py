"""Code connectors that do not come back, each in a way of its own, after one call to their vendor.

Stands in a folder of its own, as an installed package would: workers under test get it on their path.
"""

import gc
import itertools
import os
import random
import re
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

import psycopg

from vendors.page import Page, Record
from vendors.wire import Request, Session

FOR_EVER_S: Final = 100_000.0
DAWDLE_S: Final = 5.0
NAMELESS: Final = "https://api.hangs.example/items"


class Gripped:
    """One vendor's connector. `settings.how` says what it does."""

    data_types = ("items",)

    def __init__(self, definition: Any, *, settings: Mapping[str, Any], **_: object) -> None:
        self._url = f"http://127.0.0.1:{settings['port']}/gripped/items"
        self._how = str(settings["how"])

    def check(self, session: Session) -> None:
        """Nobody asks."""

    def pull(self, session: Session, data_type: str, cursor: object) -> Iterator[Page]:
        """Call once, then do what this connection is for."""
        calls = itertools.count(1) if self._how == "keep_calling" else range(1, 2)
        execution = random.randrange(10**9, 10**12)  # noqa: S311 - a name
        for call in calls:
            request = Request(
                method="GET",
                url=self._url,
                endpoint="GET /items",
                data_type=data_type,
                query=(("after", f"{execution}-{call}"),),
                headers={"x-account": self._how},
            )
            session.send(request)
        if self._how != "dawdle":
            sys.stderr.write(f"gripped by {self._how}\n")
            WAYS[self._how]()
        yield Page(records=(Record(id="1", payload={"id": "1"}),), full_pass=True)
        if self._how == "dawdle":
            sys.stderr.write("all is read and nothing told\n")
            time.sleep(DAWDLE_S)


class Nameless:
    """Calls a host whose name server never answers."""

    data_types = ("items",)

    def __init__(self, definition: Any, **_: object) -> None:
        """Take what there is."""

    def check(self, session: Session) -> None:
        """Nobody asks."""

    def pull(self, session: Session, data_type: str, cursor: object) -> Iterator[Page]:
        """Call once."""
        session.send(Request(method="GET", url=NAMELESS, endpoint="GET /items", data_type=data_type))
        yield Page(records=(), full_pass=True)


def _hanging(look_up: Any) -> Any:
    def looked_up(host: Any, *arguments: Any, **more: Any) -> Any:
        if str(host).endswith("hangs.example"):
            time.sleep(FOR_EVER_S)  # in C and deaf, as the system's own look-up is
        return look_up(host, *arguments, **more)

    return looked_up


def swallow_exceptions() -> NoReturn:
    while True:
        try:  # noqa: SIM105 - as such code is written
            sum(range(1000))
        except Exception:  # noqa: BLE001, S110 - the fault that this stands for
            pass


def swallow_everything() -> NoReturn:
    while True:
        try:  # noqa: SIM105 - as such code is written
            sum(range(1000))
        except BaseException:  # noqa: BLE001, S110 - the fault that this stands for
            pass


def wait_in_c() -> None:
    time.sleep(FOR_EVER_S)


def hold_the_interpreter() -> None:
    re.match(r"(a+)+$", "a" * 64 + "b")  # tries 2^64 ways, and lets no other thread run meanwhile


def leave() -> NoReturn:
    os._exit(3)  # as a crash in C does: nobody is told


def fork() -> None:
    """Leave a process behind that holds all that this one has open."""
    forked = os.fork()
    if not forked:
        time.sleep(FOR_EVER_S)
        os._exit(0)
    sys.stderr.write(f"forked {forked}\n")


def fork_and_come_back() -> None:
    """Let the forked process return from here as well, into what is not its run."""
    forked = os.fork()
    if forked:
        sys.stderr.write(f"forked {forked}\n")


def fork_and_exit() -> None:
    """Let the forked process end in good order, with all that an interpreter does in its end."""
    forked = os.fork()
    if not forked:
        sys.exit(0)
    sys.stderr.write(f"forked {forked}\n")


def close_the_database() -> None:
    """Close every connection to PostgreSQL that this process has, whoever works with it."""
    found = [thing for thing in gc.get_objects() if isinstance(thing, psycopg.Connection)]
    for connection in found:
        connection.close()
    sys.stderr.write(f"closed {len(found)}\n")


def come_back() -> None:
    """The neighbour who does nothing wrong."""


WAYS: Final = {
    way.__name__: way
    for way in (
        swallow_exceptions,
        swallow_everything,
        wait_in_c,
        hold_the_interpreter,
        leave,
        fork,
        fork_and_come_back,
        fork_and_exit,
        close_the_database,
        come_back,
    )
}

socket.getaddrinfo = _hanging(socket.getaddrinfo)
