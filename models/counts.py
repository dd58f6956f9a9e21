"""How many connections there are of each health, exactly and at once, however many there are.

A trigger on `health` leaves a change of a count with each change of a health, in its transaction; nobody waits for
anybody. From time to time the changes are folded into sums (models/count_sums.py). A count is the sums and the changes
that are not folded yet, read in one snapshot, so it is exact at every moment; folding only makes it cheaper.
"""

from typing import Any, Final
from uuid import UUID

from psycopg import Connection

from classifier.vocabulary import HealthName
from models.database import Statement, row, rows
from models.lists import ConnectionFilter, Order
from models.vocabulary import NEVER_RUN

_WITHIN: Final = """(%(vendor)s::text IS NULL OR vendor = %(vendor)s)
     AND listed_as = ANY(%(names)s) AND connection_state = ANY(%(states)s)
     AND (%(reason)s::text IS NULL OR reason = %(reason)s)"""

_OF_ALL: Final = f"""
  SELECT listed_as, n FROM health_count_total WHERE {_WITHIN}
  UNION ALL
  SELECT listed_as, n FROM health_count_change WHERE {_WITHIN}"""  # noqa: S608 - put together from this module's constants
_OF_ORGANIZATION: Final = f"""
  SELECT listed_as, n FROM health_count WHERE organization_id = %(organization_id)s AND {_WITHIN}
  UNION ALL
  SELECT listed_as, n FROM health_count_change WHERE organization_id = %(organization_id)s AND {_WITHIN}"""  # noqa: S608 - put together from this module's constants


def _grouped(counts: str) -> Statement:
    return Statement(f"SELECT listed_as, sum(n)::bigint FROM ({counts}) counted GROUP BY listed_as")  # noqa: S608 - constants


BY_HEALTH: Final = _grouped(_OF_ALL)
BY_HEALTH_OF_ORGANIZATION: Final = _grouped(_OF_ORGANIZATION)


def health_counts(
    db: Connection[Any], *, organization_id: UUID | None = None, vendor: str | None = None
) -> dict[HealthName | None, int]:
    """Count connections by health, without deleted ones. Every name is there; None counts those that never finished."""
    counted = _counted(db, ConnectionFilter(organization_id=organization_id, vendor=vendor), Order.OLDEST)
    return {**{name: counted.get(name.value, 0) for name in HealthName}, None: counted.get(NEVER_RUN, 0)}


def total(db: Connection[Any], chosen: ConnectionFilter, order: Order = Order.OLDEST) -> int | None:
    """Return how many connections a list shows in all; None for those since a time, which are not counted."""
    if chosen.since is not None:
        return None
    if chosen.identifier is not None:
        found = row(db, _OF_IDENTIFIER, {**_params(chosen, order), "identifier": chosen.identifier})
        return 0 if found is None else int(found[0])
    return sum(_counted(db, chosen, order).values())


_OF_IDENTIFIER: Final = Statement("""
SELECT count(*) FROM connection c
 CROSS JOIN LATERAL (SELECT * FROM health x WHERE x.connection_id = c.connection_id LIMIT 1) h
 WHERE c.identifier = %(identifier)s AND (%(vendor)s::text IS NULL OR h.vendor = %(vendor)s)
   AND h.listed_as = ANY(%(names)s) AND h.connection_state = ANY(%(states)s)
   AND (%(reason)s::text IS NULL OR h.reason = %(reason)s)
   AND (%(organization_id)s::uuid IS NULL OR h.organization_id = %(organization_id)s)""")


def _counted(db: Connection[Any], chosen: ConnectionFilter, order: Order) -> dict[str, int]:
    statement = BY_HEALTH if chosen.organization_id is None else BY_HEALTH_OF_ORGANIZATION
    params = {**_params(chosen, order), "organization_id": chosen.organization_id}
    return {name: int(n) for name, n in rows(db, statement, params)}


def _params(chosen: ConnectionFilter, order: Order) -> dict[str, object]:
    names = chosen.listed_as()
    if order.is_by_since:
        names = [name for name in names if name != NEVER_RUN]
    return {
        "organization_id": chosen.organization_id,
        "vendor": chosen.vendor,
        "names": names,
        "states": chosen.states(),
        "reason": chosen.reason,
    }
