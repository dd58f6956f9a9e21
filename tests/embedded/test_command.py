"""`python -m embedded`, as a person runs it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

pytestmark = pytest.mark.service


@pytest.fixture
def run(server_dir: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "embedded", *map(str, arguments)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def addresses(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None
    return dict(process.stdout.readline().strip().split("=", 1) for _ in range(2))


@pytest.mark.parametrize("more", [pytest.param((), id="sockets"), pytest.param(("--ports",), id="ports")])
def test_it_prints_addresses_that_work_and_ctrl_c_ends_all(
    more: tuple[str, ...],
    new_folder: Path,
    run: Callable[..., subprocess.Popen[str]],
    ended: Callable[[Path], bool],
) -> None:
    process = run("--dir", new_folder, *more)
    told = addresses(process)
    assert set(told) == {"CONNECTION_HEALTH_DATABASE_URL", "CONNECTION_HEALTH_REDIS_URL"}
    with psycopg.connect(told["CONNECTION_HEALTH_DATABASE_URL"]) as db:
        assert db.execute("SELECT current_database()").fetchone() == ("connection_health",)
    with redis.Redis.from_url(told["CONNECTION_HEALTH_REDIS_URL"]) as client:
        assert client.ping()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert ended(new_folder / "postgres")
    assert ended(new_folder / "redis")
    assert run("--dir", new_folder, "--remove").wait(60) == 0
    assert not new_folder.exists()


def test_a_server_that_dies_ends_it_with_a_word(
    new_folder: Path, run: Callable[..., subprocess.Popen[str]], ended: Callable[[Path], bool]
) -> None:
    process = run("--dir", new_folder)
    told = addresses(process)
    with redis.Redis.from_url(told["CONNECTION_HEALTH_REDIS_URL"]) as client:
        pid = client.info("server")["process_id"]
    os.kill(pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Redis ended on its own" in errors
    assert ended(new_folder / "postgres")


def test_a_folder_in_use_is_one_line_and_not_a_trace(
    new_folder: Path, run: Callable[..., subprocess.Popen[str]]
) -> None:
    first = run("--dir", new_folder)
    addresses(first)
    second = run("--dir", new_folder)
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 1
    assert (
        errors == f"{new_folder}/postgres is in use by process {first.pid}: stop that one, or choose another folder\n"
    )
