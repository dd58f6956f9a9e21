"""Real third-party servers on loopback: JupyterHub, Canaille, and nginx before httpbin.

Their scripts are not part of this repository: `CONNECTION_HEALTH_REALVENDORS` says where they are, else they are
looked for beside it. They are only read; everything is written below one folder per process of tests, which
`CONNECTION_HEALTH_REALVENDORS_CACHE` keeps between sessions.
"""

import fcntl
import json
import os
import random
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest

_ROOT: Final = Path(__file__).parents[3]
_KEEPER: Final = Path(__file__).with_name("keeper.py")
_NAMES: Final = ("jupyterhub", "canaille", "edge", "front", "narrow")
_PORTS_EACH: Final = 10
_FIRST_PORT, _LAST_PORT = 20_000, 32_000  # below what the kernel gives out by itself
_INSTALL_WITHIN_S: Final = 280.0


def scripts() -> Path:
    """Return the folder of the servers' scripts; skip where there is none."""
    named = os.environ.get("CONNECTION_HEALTH_REALVENDORS")
    folder = Path(named) if named else _ROOT.parent / "shared" / "realvendors"
    if not (folder / "common" / "stop.sh").is_file():
        pytest.skip(f"no real servers in {folder}; CONNECTION_HEALTH_REALVENDORS says where their scripts are")
    if sys.platform != "linux":
        pytest.skip("the real servers are kept by means of Linux")
    return folder


class Keeper:
    """Gives orders to keeper.py, which ends with this process."""

    def __init__(self, scripts: Path, home: Path, *, removes_home: bool) -> None:
        self.scripts, self.home = scripts, home
        folders = [str(home / name) for name in _NAMES]
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", str(_KEEPER), str(scripts / "common" / "stop.sh")),
                *(str(home) if removes_home else "", *folders),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, *command: str, within_s: float = _INSTALL_WITHIN_S) -> tuple[int, str]:
        """Run a command to its end; return its status and what it printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], within_s)[0]:
            return 124, f"not over within {within_s:g} s"
        answer = json.loads(self._process.stdout.readline())
        return answer["status"], answer["output"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One real server that runs. port: the first of ten; folder: its state, logs and process ids."""

    name: str
    port: int
    folder: Path
    keeper: Keeper
    arguments: tuple[str, ...] = ()
    rate: str = ""

    @property
    def port_text(self) -> str:
        return str(self.port)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def seed(self) -> dict[str, Any]:
        """Make its accounts and data, once; return what they are. The tokens are new ones each time."""
        own = self.folder / "venv" / "bin" / "python"
        done = subprocess.run(
            [str(own), "-B", str(self.keeper.scripts / self.name / "seed.py"), str(self.port), str(self.folder)],
            capture_output=True,
            text=True,
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def start(self) -> None:
        """Start what does not run. Skips the test where it cannot be had on this machine."""
        script = "front.sh" if self.name in {"front", "narrow"} else "start.sh"
        where = "edge" if script == "front.sh" else self.name
        status, output = self.keeper.run(
            *("env", f"RATE={self.rate}", "bash", str(self.keeper.scripts / where / script)),
            *(self.port_text, str(self.folder), *self.arguments),
        )
        if status != 0:
            pytest.skip(f"{self.name} cannot be had here ({status}): {output[-500:]}{_log_ends(self.folder)}")

    def end(self, process: str = "server") -> None:
        """End one of its processes for good, as a crash would; return once it is gone."""
        pid_file = self.folder / "pids" / process
        pid = int(pid_file.read_text())
        self.keeper.run("bash", "-c", f"kill -KILL -- -{pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.1; done")
        pid_file.unlink()

    @contextmanager
    def switched(self, name: str) -> Iterator[None]:
        """Of a front alone: break it in one way for the time of the block."""
        switch = self.state / name
        switch.touch()
        try:
            yield
        finally:
            switch.unlink(missing_ok=True)


class Servers:
    """Starts servers when a test first asks for them, once per process of tests."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._started: dict[str, Server] = {}

    def get(self, name: str, *arguments: str, rate: str = "", programs_of: Server | None = None) -> Server:
        """Return the server, started. Of a front alone: how many requests it lets through, and whose nginx it takes."""
        found = self._started.get(name)
        if found is None:
            _NEEDS.get(name, _nothing)()
            folder = self._keeper.home / name
            if programs_of is not None:
                folder.mkdir(exist_ok=True)
                if not (folder / "root").exists():
                    (folder / "root").symlink_to(programs_of.folder / "root")
            found = Server(
                name=name, port=_free_ports(), folder=folder, keeper=self._keeper, arguments=arguments, rate=rate
            )
            found.start()
            self._started[name] = found
        return found


@contextmanager
def real_servers() -> Iterator[Servers]:
    """Give the servers for one process of tests; nothing of them is left afterwards."""
    found = scripts()
    for program in ("bash", "curl"):
        _need(program)
    with ExitStack() as stack:
        home, is_kept = stack.enter_context(_home())
        keeper = stack.enter_context(Keeper(found, home, removes_home=not is_kept))
        yield Servers(keeper)


@contextmanager
def _home() -> Iterator[tuple[Path, bool]]:
    """Give a folder for the servers, and whether it is kept. A cached one has one user at a time."""
    cache = os.environ.get("CONNECTION_HEALTH_REALVENDORS_CACHE")
    for number in range(8 if cache else 0):
        folder = Path(cache or "") / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield folder, True
            return
    folder = Path(tempfile.mkdtemp(prefix="ch-real-"))
    folder.chmod(0o755)  # apt reads its downloads as another account
    yield folder, False  # the keeper removes it, even where the tests are killed


def _free_ports() -> int:
    """Return the first of ten ports that nobody uses."""
    draw = random.Random(os.getpid() ^ time.time_ns())  # noqa: S311 - spreads processes, guards nothing
    for _ in range(100):
        first = draw.randrange(_FIRST_PORT, _LAST_PORT, _PORTS_EACH)
        if all(_is_free(port) for port in range(first, first + _PORTS_EACH)):
            return first
    pytest.skip("there are no ten free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"the real servers need {program}")
    return found


def _need_node() -> None:
    _need("npm")
    version = subprocess.run([_need("node"), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"v(\d+)", version)
    if found is None or int(found[1]) < 20:
        pytest.skip(f"JupyterHub's proxy needs node 20 or newer, not {version.strip()}")


def _need_apt() -> None:
    for program in ("apt-get", "dpkg"):
        _need(program)


def _nothing() -> None:
    return None


_NEEDS: Final[Mapping[str, Callable[[], None]]] = {
    "jupyterhub": _need_node,
    "edge": _need_apt,
    "front": _need_apt,
    "narrow": _need_apt,
}


def _log_ends(folder: Path) -> str:
    return "".join(
        f"\n{path.name}: {path.read_text(errors='replace')[-300:]}" for path in sorted((folder / "logs").glob("*.log"))
    )
