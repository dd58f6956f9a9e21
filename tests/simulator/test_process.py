"""The simulator as a process of its own, its script, and what it leaves behind."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from threading import Event

import pytest
import requests

from simulator.client import Control, SimulatorError
from simulator.control import World
from simulator.script import ScriptError, play, read_script
from simulator.server import Simulator


def test_the_process_says_where_it_listens_and_ends_when_told() -> None:
    process = subprocess.Popen([sys.executable, "-m", "simulator"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        assert Control(url).credentials("acme_idp", "north") == {"token": "acme_north_1"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        with pytest.raises(SimulatorError):
            Control(url).state()
    finally:
        process.kill()
        process.communicate()


def test_a_busy_port_is_one_clear_line(simulator: Simulator) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "simulator", "--port", str(simulator.port)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "in use" in ended.stderr
    assert "--port" in ended.stderr


def test_a_stopped_simulator_leaves_no_thread_even_of_clients_that_it_kept_waiting() -> None:
    before = set(threading.enumerate())
    with Simulator() as simulator:
        Control(simulator.url).fault("granite_edr", "hang")
        with pytest.raises(requests.ReadTimeout):
            requests.get(f"{simulator.url}/granite_edr/alerts", timeout=0.1)
        waiting = [thread for thread in threading.enumerate() if thread not in before]
    for thread in waiting:
        thread.join(5)
    assert not [thread for thread in waiting if thread.is_alive()]


def test_a_script_is_carried_out_in_order_of_time() -> None:
    told: list[str] = []
    world = World()
    world.clock.advance(100)
    steps = read_script(
        [
            "# comments and empty lines count for nothing",
            "",
            json.dumps({"at_s": 2, "do": "DELETE /control/faults"}),
            json.dumps({"at_s": 1, "do": "POST /control/faults", "body": {"vendor": "*", "kind": "gone"}}),
        ]
    )
    play(world, steps, stop=Event(), tell=told.append)
    assert [line.split(" ", 2)[1] for line in told] == ["POST", "DELETE"]
    assert world.state()["faults"] == []


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("{", id="no JSON"),
        pytest.param('{"do": "POST /control/reset"}', id="no time"),
        pytest.param('{"at_s": 1, "do": "POST"}', id="no path"),
        pytest.param('{"at_s": 1, "do": "GET /acme_idp/users"}', id="no control request"),
        pytest.param("[]", id="no object"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_by_its_number(line: str) -> None:
    with pytest.raises(ScriptError, match="line 2"):
        read_script(["", line])


def test_a_step_that_is_refused_ends_the_script() -> None:
    steps = read_script([json.dumps({"at_s": 0, "do": "POST /control/faults", "body": {"kind": "explode"}})])
    with pytest.raises(ScriptError, match="no fault of kind"):
        play(World(), steps, stop=Event(), tell=lambda _line: None)


def test_it_imports_nothing_of_ours() -> None:
    words = ("classifier", "models", "vendors", "worker", "cli", "embedded")
    for file in Path("simulator").glob("*.py"):
        for line in file.read_text().splitlines():
            if line.startswith(("import ", "from ")):
                assert line.split()[1].split(".")[0] not in words, f"{file}: {line}"
