import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest

from worker import memory, process
from worker.process import WorkerProcess

# In a process of its own: what is settled stays so.
SETTLED = """
import gc, sys, weakref
import worker.celery
from worker import memory
before = len(gc.get_objects())
memory.settle()
class Ring: pass
ring = Ring()
ring.itself, gone = ring, weakref.ref(ring)
del ring
gc.collect()
print(gc.get_freeze_count() > before // 2, len(gc.get_objects()) < before // 10, gc.isenabled(), gone() is None)
"""


def test_what_was_loaded_is_not_looked_through_again_and_new_rings_still_go() -> None:
    environ = {
        **os.environ,
        "CONNECTION_HEALTH_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "CONNECTION_HEALTH_REDIS_URL": "redis://127.0.0.1:1/0",
    }
    ended = subprocess.run([sys.executable, "-c", SETTLED], env=environ, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["True"] * 4


def test_a_worker_settles_before_anything_of_its_own_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def thread(name: str) -> Any:
        return lambda *_args, **_more: SimpleNamespace(start=lambda: done.append(name))

    monkeypatch.setattr(memory, "settle", lambda: done.append("settled"))
    monkeypatch.setattr(process, "Keeper", thread("keeper"))
    monkeypatch.setattr(process, "Dispatcher", thread("dispatcher"))
    monkeypatch.setattr(process, "Hints", thread("hints"))
    station = SimpleNamespace(
        control=SimpleNamespace(check=lambda: done.append("checked")),
        keyring=None,
        lease=SimpleNamespace(worker_id=1),
        warm_up=lambda: done.append("warm"),
    )
    WorkerProcess(cast("Any", None), cast("Any", station), cast("Any", None)).start()
    assert done == ["checked", "warm", "settled", "keeper", "dispatcher"]
