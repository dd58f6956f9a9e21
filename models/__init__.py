"""PostgreSQL: tables, constraints, migrations, the vault, and queries with names."""
