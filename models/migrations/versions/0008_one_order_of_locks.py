"""Let a connection's state be followed in the order in which a run ends: its health first, its schedule last.

The other way round a delete and the end of a run waited for each other, and one of the two was refused. The code
before this works with it.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_HEALTH = "  UPDATE health h SET connection_state = NEW.state WHERE h.connection_id = NEW.connection_id;\n"
_SCHEDULE = """  UPDATE connection_sched s
     SET enabled = (NEW.state = 'ACTIVE'),
         hinted_at = NULL,
         slot_at = CASE WHEN NEW.state = 'ACTIVE'
           THEN date_bin(make_interval(secs => s.refresh_interval_secs), now(), s.slot_origin)
                + make_interval(secs => s.refresh_interval_secs)
           ELSE s.slot_at END,
         next_due_at = CASE WHEN NEW.state = 'ACTIVE' THEN now() ELSE s.next_due_at END
   WHERE s.connection_id = NEW.connection_id;
"""


def _followed(steps: str) -> str:
    return f"""CREATE OR REPLACE FUNCTION follow_connection_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
{steps}  RETURN NULL;
END $$"""


def upgrade() -> None:
    op.execute(_followed(_HEALTH + _SCHEDULE))


def downgrade() -> None:
    op.execute(_followed(_SCHEDULE + _HEALTH))
