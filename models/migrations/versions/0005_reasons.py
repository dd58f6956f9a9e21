"""Let a list by reason be walked as all others are: by health and state within it, in order, whatever else is asked.

The code before this finds its rows by the new indexes as well.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.execute("DROP INDEX ix_health_reason")
    op.execute("DROP INDEX ix_health_organization_reason")
    op.execute("""CREATE INDEX ix_health_reason ON health
  (reason, listed_as, connection_state, connection_id) INCLUDE (vendor)""")
    op.execute("""CREATE INDEX ix_health_organization_reason ON health
  (organization_id, reason, listed_as, connection_state, connection_id) INCLUDE (vendor)""")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.execute("DROP INDEX ix_health_reason")
    op.execute("DROP INDEX ix_health_organization_reason")
    op.execute("CREATE INDEX ix_health_reason ON health (reason, connection_id)")
    op.execute("CREATE INDEX ix_health_organization_reason ON health (organization_id, reason, connection_id)")
