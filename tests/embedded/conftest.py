"""Folders for servers, owners to be killed, and a way to tell that no process of a server is left."""

import fcntl
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from embedded import binaries
from embedded.errors import ServerMissingError
from embedded.postgres import Postgres

_ROOT: Final = Path(__file__).parents[2]
_NUMBERS: Final = itertools.count(1)
_SOON_S: Final = 15


@pytest.fixture
def new_folder(server_dir: Path) -> Path:
    """A folder that does not exist yet, where the servers' account can go."""
    return server_dir / f"own-{next(_NUMBERS)}"


@pytest.fixture(scope="session")
def seed(server_dir: Path) -> Path:
    """The folder of a PostgreSQL that ran once: its preparation takes most of a start."""
    server = Postgres(server_dir / "seed", durable=False)
    try:
        with server:
            return server.data_dir
    except ServerMissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def folder(new_folder: Path, seed: Path) -> Path:
    """The folder of a stopped PostgreSQL."""
    subprocess.run(["cp", "-a", seed, new_folder], check=True)
    return new_folder


@pytest.fixture
def own_process() -> Iterator[Callable[[str], tuple[subprocess.Popen[str], list[str]]]]:
    """Run Python code in a process of its own until it prints one line; return the process and the line's words."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> tuple[subprocess.Popen[str], list[str]]:
        process = subprocess.Popen([sys.executable, "-c", code], cwd=_ROOT, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().split()

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def ended() -> Callable[[Path], bool]:
    """Tell whether within seconds no process holds the lock of the folder, which all of a server's inherit."""

    def poll(home: Path) -> bool:
        give_up_at = time.monotonic() + _SOON_S
        while not _is_free(home / "lock"):
            if time.monotonic() > give_up_at:
                return False
            time.sleep(0.02)
        return True

    return poll


@pytest.fixture
def no_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which neither wheel is installed."""
    monkeypatch.setattr(binaries, "_package_dir", lambda name: None)


@pytest.fixture
def no_servers(no_wheels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which there is no server at all."""
    monkeypatch.setattr(binaries, "_postgres_on_machine", lambda: iter(()))
    monkeypatch.setattr(binaries, "_redis_on_machine", lambda: iter(()))


def _is_free(lock: Path) -> bool:
    descriptor = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
