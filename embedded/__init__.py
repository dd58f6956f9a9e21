"""Real PostgreSQL and Redis out of wheels, for trying out and for tests."""
