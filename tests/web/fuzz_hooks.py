"""What schemathesis cannot know of itself: ids that are there, and credentials that the simulated vendor takes.

Loaded by its program (SCHEMATHESIS_HOOKS); FUZZ_FACTS is a file with what is true in this run. What is wrong
on purpose is left as it is.
"""

import json
import os
import random
from pathlib import Path
from typing import Any

import schemathesis

FACTS: dict[str, Any] = json.loads(Path(os.environ["FUZZ_FACTS"]).read_text())
CHANCE = random.Random(1)  # noqa: S311 - no secret


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Let most of the well-formed connections be ones that the vendor takes; what is wrong on purpose stays so."""
    is_well_formed = case.meta is not None and case.meta.generation.mode.value == "positive"
    is_alone = case.meta is not None and "stateful" not in str(case.meta.phase.name).lower()
    if is_well_formed and is_alone and case.path_parameters and case.method.upper() != "DELETE":
        case.path_parameters |= {name: value for name, value in FACTS["path"].items() if name in case.path_parameters}
    makes_one = case.method.upper() == "POST" and case.operation.path.endswith("/connections")
    if makes_one and is_well_formed and CHANCE.random() < 0.7:
        case.body = FACTS["body"]
