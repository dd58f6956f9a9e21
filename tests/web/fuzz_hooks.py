"""What schemathesis cannot know of itself: ids that are there, and credentials that the simulated vendor takes.

Loaded by its program (SCHEMATHESIS_HOOKS); FUZZ_FACTS is a file with what is true in this run. Half of the generated
requests are left as they are.
"""

import json
import os
import random
import re
from pathlib import Path
from typing import Any

import schemathesis

FACTS: dict[str, Any] = json.loads(Path(os.environ["FUZZ_FACTS"]).read_text())
CHANCE = random.Random(1)  # noqa: S311 - no secret


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    if not path_parameters or context.operation.method.upper() == "DELETE":
        return path_parameters
    for name, value in FACTS["path"].items():
        if name in path_parameters and CHANCE.random() < 0.8:
            path_parameters[name] = value
    return path_parameters


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    if context.operation.path.endswith("/connections") and _is_sound(body) and CHANCE.random() < 0.7:
        return FACTS["body"]
    return body


def _is_sound(body: Any) -> bool:
    """Whether the schema takes it: what is wrong on purpose stays as it is."""
    return (
        isinstance(body, dict)
        and set(body) <= {"vendor", "credentials", "options"}
        and isinstance(body.get("vendor"), str)
        and re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", body["vendor"]) is not None
        and all(isinstance(part, dict | None) and len(part or ()) < 100 for part in map(body.get, _PARTS))
    )


_PARTS = ("credentials", "options")
