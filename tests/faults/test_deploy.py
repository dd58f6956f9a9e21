"""A deploy as it is done: workers replaced one by one, old code beside new, and a migration in between."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from models import migrate
from models.vocabulary import RunState, Trigger
from tests.faults.conftest import Drill, tell
from tests.faults.turnstile import Reply
from tests.system.stack import ROOT, Program, until

PACKAGES: Final = ("classifier", "cli", "embedded", "models", "simulator", "vendors", "worker")
WORKERS: Final = 3
PAGE_S: Final = 0.15


@pytest.fixture
def next_version(tmp_path: Path) -> Path:
    """Another checkout: the code of today, with a version of its own and one more migration, which only adds."""
    tree = tmp_path / "next"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    _change(tree / "worker" / "run.py", 'CLASSIFIER_VERSION: Final = "1"', 'CLASSIFIER_VERSION: Final = "next"')
    head = migrate.head()
    database = tree / "models" / "database.py"
    database.write_text(
        re.sub(
            r'^SCHEMA_REVISION: Final = ".*"',
            'SCHEMA_REVISION: Final = "9000"',
            database.read_text(),
            flags=re.MULTILINE,
        )
    )
    (tree / "models" / "migrations" / "versions" / "9000_build.py").write_text(
        f'revision, down_revision, branch_labels, depends_on = "9000", "{head}", None, None\n'
        "from alembic import op\n\n\n"
        "def upgrade() -> None:\n"
        "    op.execute(\"SET LOCAL lock_timeout = '2s'\")\n"
        '    op.execute("ALTER TABLE run ADD COLUMN build text")\n'
        '    op.execute("ALTER TABLE run_history ADD COLUMN build text")\n'
        "    op.execute(\"ALTER TABLE connection_sched ADD COLUMN build text DEFAULT 'any'\")\n"
        '    op.execute("ALTER TABLE health ADD COLUMN build text")\n'
    )
    return tree


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_workers_are_replaced_one_by_one_with_a_migration_in_between(drill: Drill, next_version: Path) -> None:
    drill.turnstile.pages = 4
    drill.turnstile.answer = lambda _call: Reply(wait_s=PAGE_S)
    workers = [drill.worker() for _ in range(WORKERS)]
    accounts = {f"account-{n}": drill.connect(f"account-{n}", refresh_interval_secs=10) for n in range(40)}
    for connection_id in accounts.values():
        drill.installation.run_after(connection_id, 0)

    refused = _start(drill, next_version)  # too early: its tables are not there yet
    until(lambda: not refused.is_alive, "the new code refuses the old tables")
    _migrate(drill, next_version)
    drained_s = []
    for place, old in enumerate(workers):
        workers[place] = drill.worker(tree=next_version)
        told_at = time.time()
        old.signal(signal.SIGTERM)
        until(lambda old=old: not old.is_alive, "the old worker ends")  # type: ignore[misc]
        drained_s.append(time.time() - told_at)
    replaced_at = {connection_id: drill.installation.view(connection_id).run_seq for connection_id in accounts.values()}
    for connection_id, run_seq in replaced_at.items():
        drill.installation.run_after(connection_id, run_seq)

    ended = _count(drill, b"SELECT state, count(*) FROM run_history GROUP BY 1")
    by_version = _count(
        drill, b"SELECT classifier_version, count(*) FROM run_history WHERE name IS NOT NULL GROUP BY 1"
    )
    executions = sum(drill.turnstile.executions(account) for account in accounts)
    cut = ended.get(RunState.INTERRUPTED, 0)
    tell(
        f"{WORKERS} workers replaced with a migration in between: {sum(ended.values())} runs, {cut} cut and made again,"
        f" drained in {max(drained_s):.1f} s at most, {executions - ended[RunState.SUCCEEDED]} executions more"
    )
    assert set(ended) <= {RunState.SUCCEEDED, RunState.INTERRUPTED}
    assert by_version.keys() == {"1", "next"}
    assert "run `connection-health db migrate`" in refused.log
    assert all("Traceback" not in program.log for program in drill.installation.programs)
    assert max(drained_s) < 10
    _were_made_again(drill, list(accounts.values()))


def _were_made_again(drill: Drill, connection_ids: list[UUID]) -> None:
    """What a deploy cut is due at once: the run after it is a RECOVERY (or what somebody had asked for)."""
    with drill.installation.database.transaction() as db:
        rows = db.execute(
            b"SELECT b.trigger, extract(epoch FROM b.started_at - a.finished_at)::float8 FROM run_history a"
            b" JOIN run_history b ON b.connection_id = a.connection_id AND b.run_seq = a.run_seq + 1"
            b" WHERE a.state = 'INTERRUPTED' AND a.connection_id = ANY(%s)",
            (connection_ids,),
        ).fetchall()
    assert {trigger for trigger, _ in rows} <= {Trigger.RECOVERY}
    tell(f"what was cut was begun again after {max((after_s for _, after_s in rows), default=0):.1f} s at most")


def _start(drill: Drill, tree: Path) -> Program:
    return drill.installation._start("worker", "--without-mingle", "--without-gossip", tree=tree)


def _migrate(drill: Drill, tree: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "db", "migrate"],
        cwd=tree,
        env=drill.installation.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def _count(drill: Drill, query: bytes) -> dict[str, int]:
    with drill.installation.database.transaction() as db:
        return dict(db.execute(query).fetchall())
