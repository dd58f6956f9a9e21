"""What Alembic runs for every command. The connection comes from models/migrate.py, inside its transaction."""

from alembic import context

from models.migrate import configure

configure(context)
with context.begin_transaction():
    context.run_migrations()
