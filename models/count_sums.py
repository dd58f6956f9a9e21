"""Folds the changes of counts into the sums that counts are made of (models/counts.py).

By itself, for a worker does this and counts nothing, and to load what counting needs would be a part of its start.
"""

from typing import Any, Final

from psycopg import Connection

from models.database import Statement, affected, atomic, row

FOLDED_AT_ONCE: Final = 10_000
_LOCK: Final = 7_034_612_940_117

_FOLD: Final = Statement("""
WITH taken AS (
  DELETE FROM health_count_change
   WHERE change_id = ANY(ARRAY(
           SELECT change_id FROM health_count_change ORDER BY change_id LIMIT %(most)s FOR UPDATE SKIP LOCKED))
  RETURNING organization_id, vendor, listed_as, connection_state, reason, n
), of_organization AS (
  INSERT INTO health_count AS c (organization_id, vendor, listed_as, connection_state, reason, n)
  SELECT organization_id, vendor, listed_as, connection_state, reason, sum(n) FROM taken
   GROUP BY organization_id, vendor, listed_as, connection_state, reason HAVING sum(n) <> 0
  ON CONFLICT (organization_id, vendor, listed_as, connection_state, reason) DO UPDATE SET n = c.n + excluded.n
), of_all AS (
  INSERT INTO health_count_total AS c (vendor, listed_as, connection_state, reason, n)
  SELECT vendor, listed_as, connection_state, reason, sum(n) FROM taken
   GROUP BY vendor, listed_as, connection_state, reason HAVING sum(n) <> 0
  ON CONFLICT (vendor, listed_as, connection_state, reason) DO UPDATE SET n = c.n + excluded.n
)
SELECT count(*) FROM taken""")


def fold(db: Connection[Any]) -> int:
    """Fold changes into the sums, so many at a time, and return how many. Anybody may; one at a time does."""
    folded = 0
    with atomic(db):
        found = row(db, b"SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,))
        if not (found and found[0]):
            return 0
        found = row(db, _FOLD, {"most": FOLDED_AT_ONCE})
        folded = int(found[0]) if found else 0
        if folded:
            affected(db, b"DELETE FROM health_count WHERE n = 0")
    return folded
