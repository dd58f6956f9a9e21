"""CPU seconds of whole process trees, read from /proc: what a benchmark compares, since the wall clock is shared."""

import os
from pathlib import Path
from typing import Final

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def tree_cpu_s(*roots: int) -> float:
    """Return user and system seconds of these processes, their descendants, and the children they have waited for."""
    stats = {pid: stat for pid in _pids() if (stat := _stat(pid)) is not None}
    children: dict[int, list[int]] = {}
    for pid, (parent, _ticks) in stats.items():
        children.setdefault(parent, []).append(pid)
    todo, seen, ticks = list(roots), set[int](), 0
    while todo:
        pid = todo.pop()
        if pid in seen or pid not in stats:
            continue
        seen.add(pid)
        ticks += stats[pid][1]
        todo += children.get(pid, [])
    return ticks / TICKS_PER_S


def peak_memory_mb(pid: int) -> float:
    """Return the largest resident size that a process has had so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _stat(pid: int) -> tuple[int, int] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # it has ended meanwhile
        return None
    fields = text.rsplit(")", 1)[1].split()
    return int(fields[1]), sum(int(field) for field in fields[11:15])
