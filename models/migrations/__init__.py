"""Alembic's folder: env.py, and one file per step under versions. models/migrate.py runs them."""
