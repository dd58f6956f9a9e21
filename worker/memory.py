"""How a worker process lets Python look for garbage: seldom, and not among what was loaded at its start.

Nearly everything that a run makes goes when its last reference goes. What is left for the collector are rings of
objects (exceptions with their frames, mostly), and there are few. By Python's defaults it would look for them ten times
for each page of a thousand records, and every now and then through all modules besides, for a tenth of a second during
which no other run goes on: a third of what reading records costs.
"""

import gc
from typing import Final

THRESHOLDS: Final = (50_000, 20, 20)
"""So many more containers made than gone until the young ones are looked through; rounds until the older ones are."""


def settle() -> None:
    """Take what is loaded now out of all looking through. To be called once, before any fork.

    Children of a prefork pool then share those pages for good: the collector writes into every object that it looks at.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
