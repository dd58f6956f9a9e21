"""Let a list of a vendor by reason be walked as all others are, so that a vendor that has none costs nothing.

The code before this goes on finding its rows by the index on the reason, whose `vendor` stays for its sake.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.execute("""CREATE INDEX ix_health_vendor_reason ON health
  (vendor, reason, listed_as, connection_state, connection_id)""")
    op.execute("""CREATE INDEX ix_health_organization_vendor_reason ON health
  (organization_id, vendor, reason, listed_as, connection_state, connection_id)""")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.execute("DROP INDEX ix_health_organization_vendor_reason")
    op.execute("DROP INDEX ix_health_vendor_reason")
