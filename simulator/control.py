"""The control interface: what people do in a vendor's console, what goes wrong there, and what the vendor saw."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any
from urllib.parse import unquote

from simulator.clock import Clock
from simulator.faults import Fault, FaultKind, read_fault
from simulator.vendors import ControlError, Vendor, all_vendors
from simulator.wire import Answer, Request, json_answer

LOG_LENGTH = 20_000


@dataclass(frozen=True, slots=True)
class Logged:
    """One request as the vendor saw it. Times are those of the vendors' clock; status 0: no answer was given."""

    seq: int
    vendor: str
    account: str | None
    method: str
    path: str
    status: int
    at_s: float
    fault: str | None

    def state(self) -> dict[str, object]:
        """Return what the control interface shows of it."""
        return {
            "seq": self.seq,
            "vendor": self.vendor,
            "account": self.account,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "at_s": round(self.at_s, 4),
            "fault": self.fault,
        }


class World:
    """All vendors, their faults and their log. Thread-safe."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.lock = Lock()
        self._vendors: dict[str, Vendor] = {}
        self._faults: dict[int, Fault] = {}
        self._log: deque[Logged] = deque(maxlen=LOG_LENGTH)
        self._seen = 0
        self._faults_made = 0
        self.reset()

    def reset(self) -> None:
        """Put every vendor into its first state, without faults and with an empty log."""
        with self.lock:
            self._vendors = {vendor.name: vendor for vendor in all_vendors()}
            self._faults, self._seen, self._faults_made = {}, 0, 0
            self._log.clear()

    def answer(self, request: Request, origin: str) -> Answer:
        """Answer a request to a vendor, or to the control interface. origin: scheme and authority of this server."""
        name, _, path = request.path.removeprefix("/").partition("/")
        if name == "control":
            return self._control(request, path)
        with self.lock:
            vendor = self._vendors.get(name)
            if vendor is None:
                return json_answer({"error": f"no vendor at /{name}; known: {', '.join(self._vendors)}"}, status=404)
            now_s = self.clock.now_s()
            account = vendor.caller(request)[0]
            fault = self._struck(name, account, request, now_s) if self._faults else None
            if fault is None or fault.kind is FaultKind.SLOW:
                answer = vendor.answer(request, f"/{path}", f"{origin}/{name}", now_s)
            if fault is not None:
                answer = _delayed(answer, fault) if fault.kind is FaultKind.SLOW else fault.answer()
            self._seen += 1
            kind = None if fault is None else str(fault.kind)
            status = answer.status if answer.delivery in ("whole", "truncated", "drip") else 0
            logged = Logged(self._seen, name, account, request.method, f"/{path}", status, now_s, kind)
            self._log.append(logged)
        return answer

    def set_fault(self, document: Mapping[str, Any]) -> Fault:
        """Put a fault in force. Raises FaultError."""
        with self.lock:
            self._faults_made += 1
            fault = read_fault(self._faults_made, document, tuple(self._vendors), self.clock.now_s())
            self._faults[fault.id] = fault
            return fault

    def clear_faults(self, number: int | None = None, *, vendor: str | None = None) -> int:
        """End one fault, a vendor's faults, or all, and return how many ended."""
        with self.lock:
            ended = [
                fault.id
                for fault in self._faults.values()
                if (number is None or fault.id == number) and (vendor is None or fault.vendor == vendor)
            ]
            for each in ended:
                del self._faults[each]
            return len(ended)

    def act(self, vendor: str, account: str, action: str, body: Mapping[str, Any]) -> dict[str, object]:
        """Do something in a vendor's console. Raises ControlError."""
        with self.lock:
            if vendor not in self._vendors:
                raise ControlError(f"no vendor named {vendor!r}; known: {', '.join(self._vendors)}")
            return self._vendors[vendor].control(action, account, body, self.clock.now_s())

    def requests(self, *, vendor: str | None = None, after: int = 0, limit: int = 1000) -> list[Logged]:
        """Return what the vendors saw after the request numbered `after`, oldest first."""
        with self.lock:
            found = [each for each in self._log if each.seq > after and vendor in (None, each.vendor)]
        return found[:limit]

    def state(self) -> dict[str, object]:
        """Return everything that can be shown: accounts, faults, counts."""
        with self.lock:
            return {
                "now_s": round(self.clock.now_s(), 3),
                "requests": self._seen,
                "faults": [fault.state() for fault in self._faults.values()],
                "vendors": {
                    vendor.name: {
                        "title": vendor.title,
                        "collections": {path: each.total for path, each in vendor.collections.items()},
                        "actions": sorted(vendor.actions),
                        "accounts": {name: account.state() for name, account in vendor.accounts.items()},
                    }
                    for vendor in self._vendors.values()
                },
            }

    def _struck(self, vendor: str, account: str | None, request: Request, now_s: float) -> Fault | None:
        for fault in self._faults.values():
            if fault.strikes(vendor, account, request, now_s):
                return fault
        return None

    def _control(self, request: Request, path: str) -> Answer:
        noun, *rest = [unquote(part) for part in path.split("/")]
        handle = CONTROLS.get((request.method, noun, len(rest)))
        if handle is None:
            known = ", ".join(f"{method} /control/{name}{'/…' * more}" for method, name, more in CONTROLS)
            return json_answer({"error": f"no {request.method} {request.path}; known: {known}"}, status=404)
        try:
            return json_answer(handle(self, request, *rest))
        except ValueError as error:
            return json_answer({"error": str(error)}, status=400)


def _clock(world: World, request: Request) -> object:
    advance_s = request.json().get("advance_s")
    if not isinstance(advance_s, int | float):
        raise ControlError(f"advance_s must be a number of seconds, not {advance_s!r}")
    return {"now_s": world.clock.advance(advance_s)}


def _requests(world: World, request: Request) -> object:
    vendor, after, limit = (request.query.get(name) for name in ("vendor", "after", "limit"))
    found = world.requests(vendor=vendor, after=int(after or 0), limit=int(limit or 1000))
    return [each.state() for each in found]


def _reset(world: World, _request: Request) -> object:
    world.reset()
    return {"reset": True}


CONTROLS: Mapping[tuple[str, str, int], Callable[..., object]] = {
    ("GET", "state", 0): lambda world, _request: world.state(),
    ("GET", "requests", 0): _requests,
    ("POST", "reset", 0): _reset,
    ("POST", "clock", 0): _clock,
    ("GET", "faults", 0): lambda world, _request: world.state()["faults"],
    ("POST", "faults", 0): lambda world, request: world.set_fault(request.json()).state(),
    ("DELETE", "faults", 0): lambda world, request: {"ended": world.clear_faults(vendor=request.query.get("vendor"))},
    ("DELETE", "faults", 1): lambda world, _request, number: {"ended": world.clear_faults(int(number))},
    ("POST", "accounts", 3): lambda world, request, vendor, account, action: world.act(
        vendor, account, action, request.json()
    ),
}
"""Method, noun and how many parts follow it, to what is done."""


def _delayed(answer: Answer, fault: Fault) -> Answer:
    return Answer(
        status=answer.status,
        headers=answer.headers,
        body=answer.body,
        delivery=answer.delivery,
        delay_s=fault.answer().delay_s,
    )
