"""Say in clear when a token ends, so that people can be warned before it does."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.execute("ALTER TABLE credential ADD COLUMN expires_at timestamptz")
    op.execute("ALTER TABLE credential ADD COLUMN refresh_expires_at timestamptz")
    op.execute("ALTER TABLE credential ADD COLUMN lapses_at timestamptz")
    op.execute(
        "CREATE INDEX ix_credential_lapses ON credential (lapses_at, connection_id) WHERE lapses_at IS NOT NULL"
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.execute("DROP INDEX ix_credential_lapses")
    for column in ("lapses_at", "refresh_expires_at", "expires_at"):
        op.execute(f"ALTER TABLE credential DROP COLUMN {column}")
