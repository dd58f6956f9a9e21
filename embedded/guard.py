"""The parent of one server: gives up root, prepares, starts, watches, and never outlives its owner with a server left.

Run as a program by path (standard library only; it must not depend on what the owner has on its path). Standard
input is the owner's: the first line is the order (JSON, see Order), later lines are `stop` or `quit`. Its end means
that the owner is gone. Standard output gets one line of JSON: `{"pid": …}`, or `{"error": …, "busy": bool}`.

Why a process of its own: the kernel's parent-death signal is cleared by a change of account and is bound to the
*thread* that forked, and a server must not die with a thread of its owner. Here is one thread, and it changes its
account before it forks. So: owner dies -> the pipe ends, or our parent changes -> we stop the server in order.
We are killed -> Linux sends the server `death_signal`. Both -> likewise.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypedDict

_LINUX: Final = sys.platform == "linux"
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_LOOK_AT_PARENT_EVERY_S: Final = 0.25
_ORPHANS_GRACE_S: Final = 1.0
_PREDECESSOR_GRACE_S: Final = 20.0
_OWN_PREDECESSOR_GRACE_S: Final = 5.0
_LIBC: Final = ctypes.CDLL(None, use_errno=True) if _LINUX else None


class Order(TypedDict):
    """What the owner asks for. Paths are absolute; signals are numbers; graces in seconds."""

    owner: int
    uid: int | None
    gid: int | None
    lock: str
    log: str
    folders: list[str]  # to make, for the account alone
    files: dict[str, str]  # path -> content, for the account alone
    first_files: dict[str, str]  # likewise, only where `data` is missing
    data: str
    prepare: list[str] | None  # a command that fills `data + ".new"`, run where `data` is missing
    stale: list[str]  # what a dead server left, removed unless a living one uses `data`
    pid_file: str | None  # its first line is the process id of a server that may live
    command: list[str]
    environment: dict[str, str]
    stop: list[tuple[int, float]]  # signal, then how long to wait for the end
    quit: list[tuple[int, float]]
    death_signal: int


class RefusedError(Exception):
    """The order cannot be carried out. busy: because somebody else holds the folder."""

    def __init__(self, problem: str, *, busy: bool = False) -> None:
        super().__init__(problem)
        self.problem, self.busy = problem, busy


def main() -> int:
    """Carry out one order; 0 where the server was stopped as asked, 1 where it ended on its own or never ran."""
    with open(0, "rb", buffering=0, closefd=False) as owner:
        order: Order = json.loads(owner.readline())
    wake = _wake_up_on_signals()
    try:
        _become(order["uid"], order["gid"])
        os.umask(0o077)
        lock = _lock(order)
        with Path(order["log"]).open("ab") as log:
            _prepare(order, lock, log.fileno())
            server = _spawn(order, order["command"], lock, log.fileno())
    except (RefusedError, OSError) as error:
        busy = isinstance(error, RefusedError) and error.busy
        _tell({"error": str(error), "busy": busy})
        return 1
    _tell({"pid": server.pid})
    ended_on_its_own = _watch(order, server, wake)
    _bury_orphans()
    return 1 if ended_on_its_own else 0


def _tell(message: dict[str, object]) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(message).encode() + b"\n")
    os.close(1)


def _become(uid: int | None, gid: int | None) -> None:
    if uid is None or gid is None:
        return
    try:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        problem = f"root may not become the account {uid} here ({error.strerror}): run as an ordinary user"
        raise RefusedError(problem) from error


def _lock(order: Order) -> int:
    """Take the folder, or tell who has it. The server inherits the lock: it is free once no process of it lives."""
    lock = os.open(order["lock"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    began_at = time.monotonic()
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
            if time.monotonic() - began_at >= _patience_s(holder, order["owner"]):
                raise RefusedError(holder, busy=True) from None
            _leave_if_orphaned(order)
            time.sleep(0.05)
        else:
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(order["owner"]).encode(), 0)
            return lock


def _patience_s(holder: str, owner: int) -> float:
    """Return how long a held lock is worth waiting for: a dead owner's guard is about to stop its server."""
    if not _lives(holder):
        return _PREDECESSOR_GRACE_S
    return _OWN_PREDECESSOR_GRACE_S if holder == str(owner) else 0


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (ValueError, ProcessLookupError):
        return False
    except OSError:  # there, and not ours to signal; or a system without /proc
        return True


def _leave_if_orphaned(order: Order) -> None:
    if os.getppid() != order["owner"]:
        raise SystemExit(0)


def _prepare(order: Order, lock: int, log: int) -> None:
    for folder in order["folders"]:
        Path(folder).mkdir(mode=0o700, exist_ok=True)
    data = Path(order["data"])
    files = order["files"] if data.exists() else order["files"] | order["first_files"]
    for name, content in files.items():
        Path(name).write_text(content, encoding="utf-8")
    if not data.exists():
        unfinished = data.with_name(data.name + ".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        if order["prepare"]:
            done = _spawn(order, order["prepare"], lock, log)
            if status := done.wait():
                raise RefusedError(f"{order['prepare'][0]} ended with status {status}")
        else:
            unfinished.mkdir(mode=0o700)
        unfinished.rename(data)
    _remove_stale(order, data)


def _remove_stale(order: Order, data: Path) -> None:
    """Remove what a dead server left: its process id may by now belong to somebody else, who then seems to be it."""
    if order["pid_file"] and (user := _foreign_user(Path(order["pid_file"]), data)):
        raise RefusedError(str(user), busy=True)
    if _LINUX or order["pid_file"] is None:  # elsewhere nobody can tell whose the process id is: the server decides
        for name in order["stale"]:
            Path(name).unlink(missing_ok=True)


def _foreign_user(pid_file: Path, data: Path) -> int | None:
    """Return the process that was started on the data past our lock and still lives there, else None."""
    try:
        pid = int(pid_file.read_text(encoding="utf-8").split("\n", 1)[0])
        return pid if Path(f"/proc/{pid}/cwd").readlink() == data.resolve() else None
    except (OSError, ValueError):
        return None


def _spawn(order: Order, command: list[str], lock: int, log: int) -> subprocess.Popen[bytes]:
    guard = os.getpid()

    def tie_to_guard() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, order["death_signal"], 0, 0, 0)
            if os.getppid() != guard:  # we were killed before the kernel knew
                os._exit(1)

    return subprocess.Popen(  # noqa: S603 -- the owner's command
        command,
        cwd="/",
        env=order["environment"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=(lock,),
        start_new_session=True,  # Ctrl-C is for the owner alone, who then stops everything in order
        preexec_fn=tie_to_guard,  # noqa: PLW1509 -- there is one thread
    )


def _wake_up_on_signals() -> int:
    wake, write = os.pipe()
    os.set_blocking(write, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _noted)
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return wake


def _noted(_number: int, _frame: object) -> None:
    """Do nothing: the wake-up descriptor has the signal's number."""


def _watch(order: Order, server: subprocess.Popen[bytes], wake: int) -> bool:
    """Return True when the server ended on its own, False when it was made to end."""
    poller = select.poll()
    poller.register(0, select.POLLIN | select.POLLHUP)
    poller.register(wake, select.POLLIN)
    while server.poll() is None:
        ready = {descriptor for descriptor, _ in poller.poll(_LOOK_AT_PARENT_EVERY_S * 1000)}
        words = os.read(0, 4096) if 0 in ready else None
        signals = os.read(wake, 4096) if wake in ready else b""
        if words is not None and b"quit" in words:
            return _end(server, order["quit"])
        # No words: the pipe ended. Another parent: the owner died, and a child that it forked holds the pipe open.
        asked = words is not None or any(number != signal.SIGCHLD for number in signals)
        if asked or os.getppid() != order["owner"]:
            return _end(server, order["stop"])
    return True


def _end(server: subprocess.Popen[bytes], steps: list[tuple[int, float]]) -> bool:
    for number, grace_s in steps:
        server.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(grace_s)
            return False
    server.kill()
    server.wait()
    return False


def _bury_orphans() -> None:
    """Wait for the processes that a killed server left; they notice its death when they next look."""
    kill_at = time.monotonic() + _ORPHANS_GRACE_S
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid:
                continue
            if time.monotonic() > kill_at:
                for child in _children():
                    os.kill(child, signal.SIGKILL)
            time.sleep(0.01)


def _children() -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                yield int(entry.name)


if __name__ == "__main__":
    sys.exit(main())
