"""Programs are started again when they end, and none is left when their owner goes."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.supervisor import FIRST_BACKOFF_S, Program, Restart, Supervisor

PATIENCE_S = 20.0


def until(happened: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < give_up_at, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.02)


def gathered(restarts: list[Restart], supervisor: Supervisor) -> list[Restart]:
    restarts += supervisor.tend()
    return restarts


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Program]:
    def program(code: str, *, stop_within_s: float = 10.0) -> Program:
        (tmp_path / "played.py").write_text(textwrap.dedent(code))
        path = os.pathsep.join([str(tmp_path), str(Path.cwd())])
        return Program(
            name="played",
            module="played",
            arguments=[str(tmp_path)],
            environment={**os.environ, "PYTHONPATH": path},
            log=tmp_path / "logs" / "played.log",
            stop_within_s=stop_within_s,
        )

    return program


SLEEPER = """
    import pathlib, sys, time
    pathlib.Path(sys.argv[1], "began").touch()
    print("began", flush=True)
    time.sleep(600)
"""


def test_a_program_that_ends_is_started_again_after_a_pause(program: Callable[..., Program], tmp_path: Path) -> None:
    with Supervisor([program(SLEEPER)]) as supervisor:
        until((tmp_path / "began").exists, "the first start")
        first = supervisor.pids["played"]
        os.kill(first, signal.SIGKILL)
        restarts: list[Restart] = []
        until(lambda: len(gathered(restarts, supervisor)) > 0, "the end to be noticed")
        assert (restarts[0].code, restarts[0].again_in_s) == (-signal.SIGKILL, FIRST_BACKOFF_S)
        assert "played" not in supervisor.pids
        until(lambda: bool(supervisor.tend() or supervisor.pids), "the second start")
        assert supervisor.pids["played"] != first


def test_each_pause_is_longer_than_the_one_before(program: Callable[..., Program]) -> None:
    restarts: list[Restart] = []
    with Supervisor([program("print('I cannot go on')\nraise SystemExit(3)")]) as supervisor:
        until(lambda: len(gathered(restarts, supervisor)) >= 3, "three ends")
    assert "ended with 3, saying: I cannot go on; it starts again in 0.5 s" in str(restarts[0])
    assert [each.again_in_s for each in restarts] == [FIRST_BACKOFF_S, 2 * FIRST_BACKOFF_S, 4 * FIRST_BACKOFF_S]


def test_what_a_program_writes_is_in_its_log(program: Callable[..., Program], tmp_path: Path) -> None:
    with Supervisor([program(SLEEPER)]):
        until((tmp_path / "began").exists, "the start")
        until(lambda: "began" in (tmp_path / "logs" / "played.log").read_text(), "the line in the log")


def test_leaving_ends_a_program_that_does_not_listen_and_what_it_started(
    program: Callable[..., Program], tmp_path: Path
) -> None:
    stubborn = """
        import pathlib, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pathlib.Path(sys.argv[1], "child").write_text(str(child.pid))
        pathlib.Path(sys.argv[1], "began").touch()
        time.sleep(600)
    """
    with Supervisor([program(stubborn, stop_within_s=0.5)]) as supervisor:
        until((tmp_path / "began").exists, "the start")
        pids = [supervisor.pids["played"], int((tmp_path / "child").read_text())]
    until(lambda: not any(map(is_alive, pids)), "both to be gone")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_program_outlives_its_owner(program: Callable[..., Program], tmp_path: Path, how: signal.Signals) -> None:
    told = program(SLEEPER)
    owner = textwrap.dedent(f"""
        import os, sys, time
        from pathlib import Path
        from cli.supervisor import Program, Supervisor
        program = Program(name="played", module="played", arguments=[{str(tmp_path)!r}],
                          environment=dict(os.environ), log=Path({str(told.log)!r}))
        with Supervisor([program]) as supervisor:
            print(supervisor.pids["played"], flush=True)
            time.sleep(600)
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True, env=dict(told.environment)
    )
    try:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        until((tmp_path / "began").exists, "the start")
        process.send_signal(how)
        until(lambda: not is_alive(pid), "the program to be gone")
    finally:
        process.kill()
        process.communicate()
