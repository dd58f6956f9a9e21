import os
import subprocess
import sys

NEVER_USED_BY_A_WORKER = (
    "alembic", "sqlalchemy", "typer", "jsonschema", "pydantic_settings", "embedded", "simulator", "rich", "pygments",
)  # fmt: skip


def test_a_worker_loads_nothing_that_it_never_uses() -> None:
    """SQLAlchemy alone would be a fifth of the time in which a worker starts."""
    assert _printed(f"print(sorted(set({NEVER_USED_BY_A_WORKER!r}) & set(sys.modules)))") == "[]"


def test_a_worker_that_is_loaded_looks_for_garbage_again() -> None:
    assert _printed("print(gc.isenabled())") == "True"


def test_what_was_hidden_from_a_worker_while_it_loaded_is_found_again() -> None:
    assert _printed("import rich, yaml; print(None in sys.modules.values())") == "False"


def _printed(code: str) -> str:
    environ = {
        **os.environ,
        "CONNECTION_HEALTH_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "CONNECTION_HEALTH_REDIS_URL": "redis://127.0.0.1:1/0",
    }
    code = f"import gc, sys, worker.celery; {code}"
    ended = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    return ended.stdout.strip()
