"""A database with a million connections in it, of every health, as lists and counts find them."""

from typing import Any, Final

import psycopg

ORGANIZATIONS: Final = 2000
VENDORS: Final = 20

# Nine in ten are healthy; each other health has its share, some have never run, some are paused.
FILL: Final = (
    """
INSERT INTO organization (organization_id, name)
SELECT gen_random_uuid(), 'Organization ' || n FROM generate_series(1, %(organizations)s) n""",
    "INSERT INTO vendor_limit (vendor) SELECT 'vendor-' || n FROM generate_series(0, %(vendors)s - 1) n",
    "ALTER TABLE health DISABLE TRIGGER USER",
    """
INSERT INTO connection (connection_id, organization_id, vendor, state, identifier)
SELECT gen_random_uuid(), o.organization_id, 'vendor-' || (n / %(organizations)s) %% %(vendors)s,
       CASE WHEN n %% 50 = 0 THEN 'PAUSED' ELSE 'ACTIVE' END, 'customer-' || n
  FROM generate_series(1, %(count)s) n
  JOIN (SELECT organization_id, row_number() OVER () AS k FROM organization) o
    ON o.k = 1 + n %% %(organizations)s""",
    """
INSERT INTO connection_sched (connection_id, vendor, enabled, refresh_interval_secs, timeout_secs, slot_origin,
                              slot_at, next_due_at)
SELECT connection_id, vendor, state = 'ACTIVE', 3600, 600, '2000-01-01Z', now() + interval '1 day',
       now() + interval '1 day' FROM connection""",
    """
INSERT INTO health (connection_id, organization_id, vendor, connection_state, name, status, owner, reason, rule,
                    sentence, next_step, run_seq, cred_version, classified_at, since, consecutive_failures)
SELECT c.connection_id, c.organization_id, c.vendor, c.state, k.name,
       CASE WHEN k.name = 'HEALTHY' THEN 'HEALTHY' WHEN k.name IS NOT NULL THEN 'UNHEALTHY' END,
       CASE k.name WHEN 'UNAUTHORIZED' THEN 'CUSTOMER' WHEN 'VENDOR_SERVER_ERROR' THEN 'VENDOR' ELSE
            CASE WHEN k.name IS NOT NULL THEN 'LEEN' END END,
       lower(k.name), 'a.rule', 'What the vendor said, in a sentence of the usual length.', 'What to do about it.',
       CASE WHEN k.name IS NULL THEN 0 ELSE 7 END, 1, now(),
       CASE WHEN k.name IS NOT NULL THEN now() - random() * interval '30 days' END,
       CASE WHEN k.name = 'HEALTHY' OR k.name IS NULL THEN 0 ELSE 3 END
  FROM (SELECT *, hashtext(connection_id::text) & 1023 AS lot FROM connection) c
 CROSS JOIN LATERAL (SELECT CASE
         WHEN lot < 20 THEN 'UNAUTHORIZED' WHEN lot < 40 THEN 'VENDOR_SERVER_ERROR'
         WHEN lot < 55 THEN 'RATE_LIMIT_EXCEEDED' WHEN lot < 65 THEN 'EXECUTION_TIMEOUT'
         WHEN lot < 75 THEN 'VENDOR_CLIENT_ERROR' WHEN lot < 80 THEN 'INTERNAL_ERROR'
         WHEN lot < 90 THEN NULL ELSE 'HEALTHY' END AS name) k""",
    "ALTER TABLE health ENABLE TRIGGER USER",
    """
INSERT INTO health_count (organization_id, vendor, listed_as, connection_state, reason, n)
SELECT organization_id, vendor, listed_as, connection_state, COALESCE(reason, ''), count(*) FROM health
 GROUP BY 1, 2, 3, 4, 5""",
    """
INSERT INTO health_count_total (vendor, listed_as, connection_state, reason, n)
SELECT vendor, listed_as, connection_state, reason, sum(n) FROM health_count GROUP BY 1, 2, 3, 4""",
    "VACUUM ANALYZE",
    "CHECKPOINT",
)


def fill(url: str, count: int) -> None:
    """Put so many connections into a migrated, empty database."""
    params: dict[str, Any] = {"count": count, "organizations": ORGANIZATIONS, "vendors": VENDORS}
    with psycopg.connect(url, autocommit=True) as db:
        for statement in FILL:
            db.execute(statement.encode(), params if "%(" in statement else None)
