"""Who is on which run in this process, from before it is claimed until its end is written down.

The answer to a claim may be lost after the database has made the run ours. Nobody would be on it then, and while this
worker lives nobody else takes it away before its deadline. It is known by this: the database calls it ours, and none
of us attends to it.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

from models.runs import RunKey


class Attendance:
    """The register. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attended: dict[object, UUID | None] = {}
        self._unanswered: set[UUID] = set()
        self._left: frozenset[RunKey] = frozenset()
        self._refused: frozenset[RunKey] = frozenset()

    def begin(self, connection_id: UUID | None) -> object:
        """Note that somebody is about to claim this connection, or any (None); return what `end` takes."""
        token = object()
        with self._lock:
            self._attended[token] = connection_id
        return token

    def end(self, token: object) -> None:
        """Note that whoever attended has done."""
        with self._lock:
            self._attended.pop(token, None)

    @contextmanager
    def attending(self, connection_id: UUID | None) -> Iterator[None]:
        """Attend while the block runs."""
        token = self.begin(connection_id)
        try:
            yield
        finally:
            self.end(token)

    def unattended(self, running: frozenset[RunKey]) -> tuple[RunKey, ...]:
        """Return which of the runs that the database calls ours nobody is on.

        running: asked for just before. A run that has ended since may be among them, one that has begun may not.
        """
        with self._lock:
            self._left &= running
            self._refused &= running
            attended = set(self._attended.values())
            if None in attended:
                return ()
            return tuple(key for key in running - self._left if key.connection_id not in attended)

    def leave_to_the_reaper(self, key: RunKey) -> None:
        """Let a run stay without an end, for the reaper: begun again at once it would break again, for ever."""
        with self._lock:
            self._left |= {key}

    def note_refused(self, key: RunKey) -> None:
        """Note that the database would not store the end of a run, though it is there: a disk that is full, say."""
        with self._lock:
            self._refused |= {key}

    def was_refused(self, key: RunKey) -> bool:
        """Say whether a run is to wait for its regular slot: made again at once, it would call its vendor in vain."""
        return key in self._refused

    def note_unanswered(self, connection_id: UUID) -> None:
        """Note that a claim came to nothing because the database was away: its hint is used up."""
        with self._lock:
            self._unanswered.add(connection_id)

    def take_unanswered(self) -> list[UUID]:
        """Return the connections whose hints are used up, and forget them."""
        with self._lock:
            taken, self._unanswered = list(self._unanswered), set()
        return taken

    def give_back(self, connection_ids: Iterable[UUID]) -> None:
        """Remember them again: nothing could be done for them."""
        with self._lock:
            self._unanswered |= set(connection_ids)
