"""Holds real servers for one process of tests, and ends all processes of theirs when that one ends, however it does.

Run as a program by path. Standard input takes orders, one JSON list a line: a command that is run to its end; each is
answered by one line, `{"status": …, "output": …}`. The end of standard input means that the tests are over or were
killed. Then a command that still runs is killed, the folders' `stop.sh` are run, and whatever descends from here is
killed. Servers put themselves in sessions of their own, so neither a group nor the kernel's parent-death signal would
reach them; but whoever loses its parent becomes a child of this process, and so nobody gets away.

    keeper.py STOP_SH REMOVED FOLDER…   REMOVED: a folder to remove at the end, or nothing; then those of the servers
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_LOOK_EVERY_S = 0.1
_STOP_WITHIN_S = 30.0


def main() -> None:
    """Take orders until nobody gives any more."""
    stop_sh, removed, *folders = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, whose end is ours
    try:
        for order in _orders():
            done = _run(json.loads(order))
            print(json.dumps(done), flush=True)  # noqa: T201 - the answer
    except (_OrphanedError, BrokenPipeError):
        pass
    finally:
        for folder in folders:
            if (Path(folder) / "pids").is_dir():
                with contextlib.suppress(_OrphanedError):
                    _run(["bash", stop_sh, folder], within_s=_STOP_WITHIN_S, is_last=True)
        _kill_all()
        if removed:
            shutil.rmtree(removed, ignore_errors=True)


class _OrphanedError(Exception):
    """Nobody gives orders any more."""


def _orders() -> Iterator[bytes]:
    pending = b""
    while True:
        if select.select([0], [], [], _LOOK_EVERY_S)[0]:
            read = os.read(0, 65536)
            if not read:
                return
            *whole, pending = (pending + read).split(b"\n")
            yield from whole
        _bury()


def _run(command: list[str], *, within_s: float | None = None, is_last: bool = False) -> dict[str, object]:
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        give_up_at = None if within_s is None else time.monotonic() + within_s
        while (status := _bury(process.pid)) is None:
            orphaned = not is_last and bool(select.select([0], [], [], _LOOK_EVERY_S)[0]) and not os.read(0, 65536)
            if is_last:
                time.sleep(_LOOK_EVERY_S)
            if orphaned or (give_up_at is not None and time.monotonic() > give_up_at):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise _OrphanedError
        process.returncode = status  # we buried it, so that nobody else could
        output.seek(0)
        return {"status": status, "output": output.read().decode("utf-8", "replace")}


def _bury(wanted: int | None = None) -> int | None:
    """Wait for whoever died: a stop.sh takes a dead process that nobody waited for to be alive."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, raw = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if pid == wanted:
                status = os.waitstatus_to_exitcode(raw)
    return status


def _kill_all() -> None:
    """Kill our children until there are none: the children of whoever dies become ours."""
    while children := [pid for pid, parent in _processes() if parent == os.getpid()]:
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _bury()


def _processes() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            yield int(entry.name), int(fields[1])


if __name__ == "__main__":
    main()
