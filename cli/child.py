"""`python -m cli.child OWNER MODULE [ARGUMENTS]`: run a module as a program that never outlives the process OWNER.

A terminal that is closed, or a kill -9, must not leave a worker behind. The kernel can tell a child of its parent's
death on Linux alone, so a thread looks as well; it ends the program in order first, and then for good.
"""

import ctypes
import os
import runpy
import signal
import sys
import threading
import time
from typing import Final

LOOK_EVERY_S: Final = 0.5
GRACE_S: Final = 15.0
_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Tie this process to its owner and become the module."""
    owner, module, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    threading.Thread(target=_follow, args=(int(owner),), name="owner", daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _follow(owner: int) -> None:
    # Who has lost its parent is given another one; that the owner died before we began shows in the same way.
    while os.getppid() == owner:
        time.sleep(LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    main()
