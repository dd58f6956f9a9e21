"""Count connections by health as they change, and order their lists by when it changed."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_HOT = """autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 200,
  autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.05"""

_INDEXES = {
    "name": "",
    "organization": "organization_id, ",
    "vendor": "vendor, ",
    "organization_vendor": "organization_id, vendor, ",
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.execute(f"""CREATE TABLE health_count (
  organization_id uuid NOT NULL,
  vendor text NOT NULL,
  listed_as text NOT NULL,
  connection_state text NOT NULL,
  reason text NOT NULL,
  n bigint NOT NULL,
  CONSTRAINT pk_health_count PRIMARY KEY (organization_id, vendor, listed_as, connection_state, reason)
) WITH (fillfactor = 70, {_HOT})""")
    op.execute("CREATE INDEX ix_health_count_empty ON health_count (organization_id) WHERE n = 0")
    op.execute(f"""CREATE TABLE health_count_total (
  vendor text NOT NULL,
  listed_as text NOT NULL,
  connection_state text NOT NULL,
  reason text NOT NULL,
  n bigint NOT NULL,
  CONSTRAINT pk_health_count_total PRIMARY KEY (vendor, listed_as, connection_state, reason)
) WITH (fillfactor = 50, {_HOT})""")
    op.execute(f"""CREATE TABLE health_count_change (
  change_id bigint GENERATED ALWAYS AS IDENTITY,
  organization_id uuid NOT NULL,
  vendor text NOT NULL,
  listed_as text NOT NULL,
  connection_state text NOT NULL,
  reason text NOT NULL,
  n smallint NOT NULL,
  CONSTRAINT pk_health_count_change PRIMARY KEY (change_id)
) WITH ({_HOT})""")
    op.execute("CREATE INDEX ix_health_count_change_organization ON health_count_change (organization_id)")
    op.execute("""CREATE FUNCTION count_health() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN
    INSERT INTO health_count_change (organization_id, vendor, listed_as, connection_state, reason, n)
    VALUES (OLD.organization_id, OLD.vendor, OLD.listed_as, OLD.connection_state, COALESCE(OLD.reason, ''), -1);
  END IF;
  IF TG_OP <> 'DELETE' THEN
    INSERT INTO health_count_change (organization_id, vendor, listed_as, connection_state, reason, n)
    VALUES (NEW.organization_id, NEW.vendor, NEW.listed_as, NEW.connection_state, COALESCE(NEW.reason, ''), 1);
  END IF;
  RETURN NULL;
END $$""")
    # From here on nobody changes a health until the transaction ends, so that none is counted twice or not at all.
    op.execute("""CREATE TRIGGER health_counted AFTER INSERT OR DELETE ON health
FOR EACH ROW EXECUTE FUNCTION count_health()""")
    op.execute("""CREATE TRIGGER health_recounted AFTER UPDATE ON health
FOR EACH ROW WHEN ((OLD.name, OLD.reason, OLD.connection_state, OLD.organization_id, OLD.vendor)
                   IS DISTINCT FROM (NEW.name, NEW.reason, NEW.connection_state, NEW.organization_id, NEW.vendor))
EXECUTE FUNCTION count_health()""")
    op.execute("""INSERT INTO health_count (organization_id, vendor, listed_as, connection_state, reason, n)
SELECT organization_id, vendor, listed_as, connection_state, COALESCE(reason, ''), count(*) FROM health
 GROUP BY 1, 2, 3, 4, 5""")
    op.execute("""INSERT INTO health_count_total (vendor, listed_as, connection_state, reason, n)
SELECT vendor, listed_as, connection_state, reason, sum(n) FROM health_count GROUP BY 1, 2, 3, 4""")
    for name, scope in _INDEXES.items():
        op.execute(
            f"CREATE INDEX ix_health_{name}_since ON health ({scope}listed_as, connection_state, since, connection_id)"
        )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    for name in _INDEXES:
        op.execute(f"DROP INDEX ix_health_{name}_since")
    op.execute("DROP TRIGGER health_recounted ON health")
    op.execute("DROP TRIGGER health_counted ON health")
    op.execute("DROP FUNCTION count_health()")
    for table in ("health_count_change", "health_count_total", "health_count"):
        op.execute(f"DROP TABLE {table}")
