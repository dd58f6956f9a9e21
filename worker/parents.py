"""Parent records that the run has stored a moment ago, so that no child data type asks the vendor for them again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from models import records
from models.database import Database
from vendors.parents import members_at
from worker.observation import Observation

_BATCH: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredParents:
    """As `vendors.parents.ParentSource`. observation: of this run, growing while it goes on."""

    database: Database
    connection_id: UUID
    observation: Observation

    def keys(
        self, data_type: str, fields: tuple[str, ...], *, changed_since: datetime | None
    ) -> Iterator[Mapping[str, object]] | None:
        """Yield members of the living records of a data type that this run has read to its end; else None."""
        if not any(reading.data_type == data_type and reading.is_whole for reading in self.observation.readings):
            return None
        return self._stored(data_type, fields, changed_since)

    def _stored(
        self, data_type: str, fields: tuple[str, ...], changed_since: datetime | None
    ) -> Iterator[Mapping[str, object]]:
        members = members_at(fields)
        after: str | None = None
        while True:
            with self.database.connection() as db:
                batch = records.list_records(db, self.connection_id, data_type, after=after, limit=_BATCH)
            for record in batch:
                if changed_since is None or record.changed_at >= changed_since:
                    yield members(record.payload)
            if len(batch) < _BATCH:
                return
            after = batch[-1].record_id
