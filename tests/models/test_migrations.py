from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from models import migrate
from models.database import SCHEMA_REVISION, Database, engine_url
from models.errors import (
    DatabaseUnreachableError,
    SchemaDriftError,
    SchemaMissingError,
    SchemaOutdatedError,
    ServerTooOldError,
)
from models.tables import metadata

# Everything of a schema that can differ, in words that compare: Alembic alone sees neither checks nor partitions,
# storage settings, triggers nor the condition of an index.
CATALOGUE = """
SELECT 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' ' ||
       coalesce(pg_get_expr(d.adbin, d.adrelid), '') || a.attgenerated::text
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid
   AND d.adnum = a.attnum
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'constraint', c.relname, o.conname, pg_get_constraintdef(o.oid)
  FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid
 WHERE c.relnamespace = 'public'::regnamespace AND o.contype <> 'n'
UNION ALL
SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'table', c.relname, coalesce(pg_get_partkeydef(c.oid), ''),
       coalesce(array_to_string(c.reloptions, ','), '') || coalesce(pg_get_expr(c.relpartbound, c.oid), '')
  FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
UNION ALL
SELECT 'trigger', c.relname, t.tgname, pg_get_triggerdef(t.oid)
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL
SELECT 'function', p.proname, '', pg_get_functiondef(p.oid)
  FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
ORDER BY 1, 2, 3, 4
"""


def catalogue(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as db:
        return [row for row in db.execute(CATALOGUE).fetchall() if row[1] != "alembic_version"]


@pytest.fixture
def made_from_metadata(postgres_server: Any) -> Iterator[str]:
    url = postgres_server.create_database("from_metadata")
    engine = sa.create_engine(engine_url(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        metadata.create_all(connection)
    engine.dispose()
    yield url
    postgres_server.drop_database("from_metadata")


def test_up_down_and_up_again_leaves_no_drift(empty_database_url: str) -> None:
    assert migrate.current(empty_database_url) is None
    migrate.upgrade(empty_database_url)
    assert migrate.current(empty_database_url) == migrate.head() == SCHEMA_REVISION
    first = catalogue(empty_database_url)
    migrate.downgrade(empty_database_url, "base")
    assert catalogue(empty_database_url) == []
    migrate.upgrade(empty_database_url)
    migrate.check(empty_database_url)
    assert catalogue(empty_database_url) == first
    migrate.upgrade(empty_database_url)
    assert catalogue(empty_database_url) == first


def test_migrations_make_what_the_tables_say_to_the_letter(database_url: str, made_from_metadata: str) -> None:
    expected = catalogue(made_from_metadata)
    assert len(expected) > 300
    assert catalogue(database_url) == expected


def test_every_constraint_and_index_has_a_name_of_ours(database_url: str) -> None:
    with psycopg.connect(database_url) as db:
        names = db.execute(
            "SELECT c.relname, o.conname FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid "
            "WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition AND o.contype <> 'n' "
            "UNION ALL SELECT tablename, indexname FROM pg_indexes JOIN pg_class ON relname = tablename "
            "WHERE schemaname = 'public' AND NOT relispartition"
        ).fetchall()
    ours = [(table, name) for table, name in names if table != "alembic_version"]
    assert len(ours) > 70
    assert [name for _, name in ours if not name.startswith(("pk_", "fk_", "ck_", "ix_"))] == []


def test_a_change_by_hand_is_told(fresh_database_url: str) -> None:
    with psycopg.connect(fresh_database_url) as db:
        db.execute("ALTER TABLE worker ADD COLUMN note text")
    with pytest.raises(SchemaDriftError, match="note"):
        migrate.check(fresh_database_url)


def test_a_new_days_partition_is_no_drift(fresh_database_url: str) -> None:
    with psycopg.connect(fresh_database_url) as db:
        db.execute(
            "CREATE TABLE run_history_20200101 PARTITION OF run_history "
            "FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')"
        )
    migrate.check(fresh_database_url)


def test_many_who_migrate_at_once_wait_for_each_other(empty_database_url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(migrate.upgrade, [empty_database_url] * 4))
    migrate.check(empty_database_url)


def test_a_migration_does_not_wait_long_for_a_table(fresh_database_url: str) -> None:
    with psycopg.connect(fresh_database_url) as db:
        db.execute("SELECT 1 FROM worker")
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            migrate.downgrade(fresh_database_url, "base")
    migrate.upgrade(fresh_database_url)  # those after the one that had to wait were taken back
    migrate.check(fresh_database_url)


def test_the_database_is_checked_before_work_begins(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    with pytest.raises(SchemaMissingError, match="db migrate"):
        database.check()
    migrate.upgrade(empty_database_url)
    database.check()
    with psycopg.connect(empty_database_url) as db:
        db.execute("UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(SchemaOutdatedError, match="db migrate"):
        database.check()
    with psycopg.connect(empty_database_url) as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    database.check()  # a newer one suits the code before it
    database.close()


def test_an_old_server_is_refused(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.database.OLDEST_SERVER", 99)
    with pytest.raises(ServerTooOldError, match="99 or newer"):
        Database(database_url).check()
    monkeypatch.setattr("models.migrate.OLDEST_SERVER", 99)
    with pytest.raises(ServerTooOldError):
        migrate.upgrade(database_url)


def test_migrating_where_nobody_listens_says_so() -> None:
    with pytest.raises(DatabaseUnreachableError, match=r"127\.0\.0\.1:1/x"):
        migrate.upgrade("postgresql://u:secret@127.0.0.1:1/x")
