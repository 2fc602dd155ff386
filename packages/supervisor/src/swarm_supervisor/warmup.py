"""Prepares the memory of the supervisor for its forks, so that nodes share it and go on sharing it."""

import gc

from swarm_supervisor.prctl import malloc_trim

_FROZEN_AT_IMPORT = gc.get_freeze_count()
"""Python 3.12 has some 375 objects frozen from its start: they are nobody's decision."""


def freeze_memory() -> None:
    """Before the first fork, once: collect garbage, give free pages back, and freeze what is left.

    A collection writes into the header of every object that it looks at, and so copies the page of each: frozen objects
    are not looked at (gc.freeze()). What is frozen and becomes garbage in a cycle is never collected. So nothing is
    frozen at later forks: a supervisor would keep whatever its listeners had in a cycle at any of them.
    """
    gc.collect()
    malloc_trim()
    gc.freeze()


def collect_garbage() -> None:
    """Before any fork: what is garbage here would be collected, and its pages copied, in the node."""
    gc.collect()


def thaw_memory(frozen_before: int) -> None:
    """Undo gc.freeze(), unless the application had frozen something itself."""
    if frozen_before <= _FROZEN_AT_IMPORT:
        gc.unfreeze()
