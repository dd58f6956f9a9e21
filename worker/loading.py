"""Imported before all else by a worker's door: what spares a worker a quarter of the CPU until it is loaded.

While modules load, Python does not look for garbage: what they make stays for good, and to look through it again and
again took an eighth. And libraries that others take up only where they find them are not found: structlog would draw
tracebacks by rich, kombu would speak YAML. A worker does neither; the commands, which do draw, load rich themselves.
"""

import gc
import sys
from typing import Any, Final, cast

NOT_FOUND: Final = ("rich", "yaml")

gc.disable()
_HIDDEN: Final = [name for name in NOT_FOUND if name not in sys.modules]
for _name in _HIDDEN:
    cast("dict[str, Any]", sys.modules)[_name] = None  # Python's own way to say that there is no such module


def end() -> None:
    """Let Python look for garbage again, and find what it is asked for."""
    for name in _HIDDEN:
        if sys.modules.get(name, sys) is None:
            del sys.modules[name]
    gc.enable()
