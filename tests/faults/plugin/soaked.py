"""Code connectors of the soak: one talks and talks before it hands anything on, the others do not come back.

Stands in a folder of its own, as an installed package would: workers under test get it on their path.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

from vendors.page import Page, Record
from vendors.wire import Request, Session

CALLS: Final = 30
PAUSE_S: Final = 0.2
FOR_EVER_S: Final = 100_000.0


class Soaked:
    """One vendor's connector. `settings.how` says what it does."""

    data_types = ("items",)

    def __init__(
        self, definition: Any, *, credentials: Mapping[str, Any], settings: Mapping[str, Any], **_: object
    ) -> None:
        self._url = f"http://127.0.0.1:{settings['port']}/soaked/items"
        self._how = str(settings["how"])
        self._token = str(credentials["token"])

    def check(self, session: Session) -> None:
        """Nobody asks."""

    def pull(self, session: Session, data_type: str, cursor: object) -> Iterator[Page]:
        """Call, and do what this connection is for."""
        execution = self._call(session, None)
        if self._how == "chat":
            # Nothing is stored in between that would tell a superseded worker of its fence.
            for page in range(2, CALLS + 1 if execution else 0):  # a vendor that does not say which one this is
                time.sleep(PAUSE_S)
                self._call(session, f"{execution}-{page}")
        else:
            WAYS[self._how]()
        yield Page(records=(Record(id="1", payload={"id": "1"}),), full_pass=True)

    def _call(self, session: Session, after: str | None) -> int:
        request = Request(
            method="GET",
            url=self._url,
            endpoint="GET /items",
            data_type="items",
            query=() if after is None else (("after", after),),
            auth_headers={"Authorization": f"Bearer {self._token}"},
        )
        found = re.search(rb'"execution": (\d+)', session.send(request).body)
        return int(found[1]) if found else 0


def swallow_exceptions() -> NoReturn:
    while True:
        try:  # noqa: SIM105 - as such code is written
            sum(range(1000))
        except Exception:  # noqa: BLE001, S110 - the fault that this stands for
            pass


def wait_in_c() -> None:
    time.sleep(FOR_EVER_S)


def hold_the_interpreter() -> None:
    re.match(r"(a+)+$", "a" * 64 + "b")  # tries 2^64 ways, and lets no other thread run meanwhile


def exit_at_once() -> NoReturn:
    os._exit(3)


WAYS: Final = {way.__name__: way for way in (swallow_exceptions, wait_in_c, hold_the_interpreter, exit_at_once)}
