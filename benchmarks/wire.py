"""What one GET costs: through our session, and through requests as it comes. CPU of this process alone.

    python benchmarks/wire.py [--gets 1500] [--turns 5]

The vendor is another process on loopback that answers about 1 kB of JSON over kept-alive connections. Each turn
measures all ways one after the other, so that a busy machine troubles them alike; the medians are compared. A "run" is
what a worker does for one hint: a new session with its budget, capture, redactor and guard, one GET, its summary.
"""

import argparse
import http.server
import json
import multiprocessing
import multiprocessing.connection
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import requests

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vendors.wire import Request
from worker.wire.budget import Budget
from worker.wire.capture import Capture
from worker.wire.guard import AddressGuard, AddressPolicy
from worker.wire.redactor import Redactor
from worker.wire.session import VendorSession
from worker.wire.transport import Transport

SECRET = "sk-3f9c2d7e8a1b4c6d9e0f"  # noqa: S105 - a pretended one
ROWS = [{"id": n, "name": f"device {n}", "updated_at": "2026-01-01T00:00:00Z"} for n in range(14)]
BODY = json.dumps({"items": ROWS})
POLICY = AddressPolicy(allow_loopback=True)


class _Vendor(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        body = BODY.encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-RateLimit-Remaining", "100")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def _serve(pipe: multiprocessing.connection.Connection) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Vendor)
    pipe.send(server.server_port)
    server.serve_forever()


def _cpu_us(work: Callable[[], object], times: int) -> float:
    work()
    started = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - started) / times * 1e6


def ways(base: str) -> dict[str, Callable[[], object]]:
    """Return each way to make one GET, by name."""
    url = f"{base}/v1/devices"
    headers = {"Authorization": f"Bearer {SECRET}"}
    query = (("page", "1"), ("per_page", "100"))
    request = Request(
        method="GET", url=url, endpoint="GET /v1/devices", data_type="devices", query=query, auth_headers=headers
    )
    transport = Transport()
    bare = requests.Session()
    lean = requests.Session()
    lean.trust_env = False
    adapter = requests.adapters.HTTPAdapter()

    def session() -> VendorSession:
        redactor = Redactor((SECRET,))
        return VendorSession(
            budget=Budget(3600),
            capture=Capture(redactor),
            redactor=redactor,
            guard=AddressGuard((base,), policy=POLICY),
            transport=transport,
        )

    def our_run() -> object:
        redactor = Redactor((SECRET,))
        capture = Capture(redactor)
        ours = VendorSession(
            budget=Budget(3600),
            capture=capture,
            redactor=redactor,
            guard=AddressGuard((base,), policy=POLICY),
            transport=transport,
        )
        ours.send(request)
        return capture.summary(), capture.last("devices")

    def shared_adapter_run() -> object:
        fresh = requests.Session()
        fresh.trust_env = False
        fresh.mount("http://", adapter)
        return fresh.get(url, params=query, headers=headers, timeout=60).content

    kept = session()
    return {
        "requests.get": lambda: requests.get(url, params=query, headers=headers, timeout=60).content,
        "Session.get": lambda: bare.get(url, params=query, headers=headers, timeout=60).content,
        "Session.get, no environment": lambda: lean.get(url, params=query, headers=headers, timeout=60).content,
        "Session on a shared adapter": shared_adapter_run,
        "our send": lambda: kept.send(request).body,
        "our run": our_run,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gets", type=int, default=1500, help="GETs of each way in each turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    vendor = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    vendor.start()
    try:
        found: dict[str, list[float]] = {}
        all_ways = ways(f"http://127.0.0.1:{ours.recv()}")
        for _ in range(arguments.turns):
            for name, work in all_ways.items():
                found.setdefault(name, []).append(_cpu_us(work, arguments.gets))
    finally:
        vendor.kill()
        vendor.join()
    medians = {name: statistics.median(values) for name, values in found.items()}
    floor = medians["requests.get"]
    if arguments.json:
        print(json.dumps({name: round(value, 1) for name, value in medians.items()}))
        return
    for name, value in medians.items():
        print(f"{name:<30} {value:8.0f} us CPU   {value / floor:5.2f} x requests.get")


if __name__ == "__main__":
    main()
