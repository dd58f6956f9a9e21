"""Imported before all else by a worker's door: while modules load, Python does not look for garbage.

What modules make stays for good, and to look through it again and again took an eighth of the CPU until a worker was
loaded.
"""

import gc

gc.disable()


def end() -> None:
    """Let Python look for garbage again."""
    gc.enable()
