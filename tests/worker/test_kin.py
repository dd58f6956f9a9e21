"""What is forked, is forked in an interpreter of its own: never in that of the tests."""

import subprocess
import sys

PROGRAM = """
import os, signal, socket, sys, threading
from tests.worker.conftest import claimed
from worker import kin
from worker.in_flight import InFlight

listener = socket.create_server(("127.0.0.1", 0))
elsewhere = socket.create_connection(listener.getsockname())
ours, its = socket.socketpair()
runs = InFlight()
kin.tie(runs)

def said_by_a_child():
    read, write = os.pipe()
    if not os.fork():
        said = []
        for sock in (elsewhere, its):
            try:
                sock.send(b"x")
                said.append("speaks")
            except OSError:
                said.append("silent")
        os.write(write, " ".join(said).encode())
        os._exit(0)
    os.wait()
    return os.read(read, 100).decode()

outside = said_by_a_child()
with runs.entered(claimed(), deadline=0.0):
    inside = said_by_a_child()
elsewhere.send(b"the parent goes on")
print(outside, inside, sep=", ")
"""


def test_a_process_that_a_run_forks_speaks_to_nobody_but_whom_it_was_made_for() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True, check=False)

    assert done.stdout.strip() == "speaks speaks, silent speaks", done.stderr
