"""What schemathesis cannot know of itself: ids that are there, and what the simulated vendor takes.

Loaded by its program (SCHEMATHESIS_HOOKS); FUZZ_FACTS is a file with what is true in this run. What is wrong
on purpose is left as it is, but for one thing: what all others need is not deleted.
"""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import schemathesis

FACTS: dict[str, Any] = json.loads(Path(os.environ["FUZZ_FACTS"]).read_text())
ASKED = Counter[tuple[str, str, str]]()


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Let three of four well-formed requests be ones that can be carried out."""
    method, path = case.method.upper(), case.operation.path
    if case.meta is not None and case.meta.generation.mode.value == "positive":
        phase = case.meta.phase.name.value
        if phase != "stateful":
            _address(case, method, path, phase)
        if ASKED[method, path, phase] % 4 < 3:
            _mend(case, method, path)
        ASKED[method, path, phase] += 1
    if method == "DELETE":
        case.path_parameters = {
            name: str(uuid4()) if value in FACTS["kept"] and name == path.rsplit("{", 1)[-1][:-1] else value
            for name, value in case.path_parameters.items()
        }


def _address(case: Any, method: str, path: str, phase: str) -> None:
    """Turn it to something that is there."""
    known = dict(FACTS["path"])
    if method == "DELETE":
        last = path.rsplit("{", 1)[-1][:-1]
        known[last] = FACTS["spare"][last].pop() if FACTS["spare"].get(last) else case.path_parameters.get(last)
    if path.endswith("/cancel") and FACTS["running"].get(phase):
        known |= FACTS["running"][phase].pop()
    case.path_parameters = {name: known.get(name, value) for name, value in (case.path_parameters or {}).items()}


def _mend(case: Any, method: str, path: str) -> None:
    """Put in what no schema can say."""
    if "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = str(uuid4())  # each request with one of its own: else it is another's
    if "If-Match" in case.headers:
        case.headers["If-Match"] = "*"
    if isinstance(case.body, dict):
        _mend_body(case.body, case.path_parameters or {}, method, path)


def _mend_body(body: dict[str, Any], of: dict[str, Any], method: str, path: str) -> None:
    known, facts = FACTS["body"], FACTS["path"]
    is_there = of.get("organization_id") == facts["organization_id"]
    if method == "POST" and path.endswith("/connections"):
        body |= {
            **dict.fromkeys(body.keys() - {"identifier"}),
            "refresh_interval_secs": 3600,
            "timeout_secs": 60,
            **known,
        }
    elif method == "PATCH" and (body.get("credentials") is not None or body.get("options") is not None):
        body |= {"credentials": known["credentials"], "options": known["options"]}
    elif path.endswith("/validate") and is_there:
        body["token"] = FACTS["token"]
    else:
        names = ("vendor", "connection_id", "organization_id") if is_there or not of else ("vendor",)
        body |= {name: facts[name] for name in names if body.get(name) is not None}
