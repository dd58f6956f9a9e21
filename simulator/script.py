"""A story told to the vendors by their own clock: control requests, each with the second at which it is made."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any

from simulator.control import World
from simulator.wire import Request


class ScriptError(ValueError):
    """A line of the script cannot be read or carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """at_s: seconds since the start; method, path, body: of the control request."""

    at_s: float
    method: str
    path: str
    body: Mapping[str, Any]


def read_script(lines: Iterable[str]) -> tuple[Step, ...]:
    """Return the steps of a script, in order of time. Empty lines and lines that begin with # count for nothing.

    One step a line: `{"at_s": 5, "do": "POST /control/faults", "body": {"vendor": "acme_idp", "kind": "closed"}}`.
    Raises ScriptError with the number of the line.
    """
    steps = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            document = json.loads(line)
            method, path = document["do"].split(" ")
            step = Step(at_s=float(document["at_s"]), method=method, path=path, body=dict(document.get("body", {})))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ScriptError(f"line {number}: {error!r}; a step has at_s, do (`POST /control/…`) and body") from error
        if not step.path.startswith("/control/"):
            raise ScriptError(f"line {number}: {step.path} is no control request")
        steps.append(step)
    return tuple(sorted(steps, key=lambda step: step.at_s))


def play(world: World, steps: Iterable[Step], *, stop: Event, tell: Callable[[str], None]) -> None:
    """Make each control request when its time has come; ends early where `stop` is set. Raises ScriptError."""
    for step in steps:
        while (left_s := step.at_s - world.clock.now_s()) > 0:
            if stop.wait(min(left_s, 0.1)):
                return
        request = Request(method=step.method, path=step.path, body=json.dumps(step.body).encode())
        answer = world.answer(request, "")
        tell(f"{time.strftime('%H:%M:%S')} {step.method} {step.path} {json.dumps(step.body)} -> {answer.status}")
        if answer.status >= 400:
            raise ScriptError(f"{step.method} {step.path}: {answer.body.decode()}")
