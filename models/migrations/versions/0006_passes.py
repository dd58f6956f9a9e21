"""Keep what a pass of one page met as one digest, so that the next run knows without asking that all is as it was.

The code before this lands pages without touching the digest. A digest is of use only to the run right after the one
that met it (`pass_digest_seq`), so a run of the old code between two of the new one makes it useless, not wrong.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.execute("ALTER TABLE cursor ADD COLUMN pass_digest bytea, ADD COLUMN pass_digest_seq bigint")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.execute("ALTER TABLE cursor DROP COLUMN pass_digest, DROP COLUMN pass_digest_seq")
