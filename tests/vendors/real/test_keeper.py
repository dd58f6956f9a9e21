"""No real server outlives the tests, whatever ends them."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.system.stack import until

_KEEPER: Final = Path(__file__).with_name("keeper.py")
_STOPS_NOTHING: Final = "#!/bin/sh\nexit 0\n"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kept by means of Linux")


def owner(folder: Path, removed: str = "") -> "subprocess.Popen[str]":
    """Start a process that has a keeper start a server in a session of its own, as the real ones do."""
    stop = folder / "stop.sh"
    stop.write_text(_STOPS_NOTHING)
    (folder / "server" / "pids").mkdir(parents=True)
    order = f'["sh", "-c", "setsid sleep 600 & echo $! > {folder}/pid"]'
    code = (
        "import subprocess, sys\n"
        f"keeper = subprocess.Popen([sys.executable, '-I', '-S', {str(_KEEPER)!r}, {str(stop)!r}, {removed!r},"
        f" {str(folder / 'server')!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)\n"
        f"keeper.stdin.write({order!r}.encode() + b'\\n'); keeper.stdin.flush()\n"
        "print(keeper.stdout.readline().decode(), flush=True)\n"
        "sys.stdin.read()\n"
        "keeper.stdin.close(); keeper.wait()\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None], ids=["killed", "terminated", "ended"])
def test_a_server_dies_with_the_process_of_its_tests(how: signal.Signals | None, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    process = owner(tmp_path, removed=str(home))
    assert process.stdout is not None
    assert '"status": 0' in process.stdout.readline()
    server = int((tmp_path / "pid").read_text())
    assert not is_gone(server)

    if how is None:
        process.communicate("")
    else:
        process.send_signal(how)
        process.communicate()

    until(lambda: is_gone(server), "the server is gone", within_s=30)
    until(lambda: not home.exists(), "its folder is removed", within_s=30)
