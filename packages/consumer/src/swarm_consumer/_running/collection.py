"""How often Python collects cyclic garbage while messages are handled.

CPython (3.11 to 3.13) scans its young objects whenever 700 more of them were created than freed. Messages
are such objects, and so are most payloads: a batch of 500 with its payloads is enough for a full scan
that finds nothing, because reference counts free them. The scan is a third of the cost of a decoded message.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

LEAST = 10_000
"""Young objects between two collections: cyclic garbage waits longer, a few MB in total."""
OBJECTS_A_MESSAGE = 8
"""The message, its payload, and the objects in the payload."""
_PYTHONS_OWN = (700, 2000)  # of 3.11 to 3.13, and of 3.14


def young_threshold(present: int, in_flight: int) -> int:
    """Return the threshold of the youngest generation for a number of messages at a time.

    A threshold chosen by the application (or 0: never) is not changed.
    """
    if present not in _PYTHONS_OWN:
        return present
    return max(LEAST, OBJECTS_A_MESSAGE * in_flight)


@contextlib.contextmanager
def spared(in_flight: int) -> Iterator[None]:
    """Raise the threshold during the block, so that messages in flight do not trigger a garbage collection."""
    before = gc.get_threshold()
    ours = (young_threshold(before[0], in_flight), *before[1:])
    gc.set_threshold(*ours)
    try:
        yield
    finally:
        if gc.get_threshold() == ours:  # or the application has set another one since
            gc.set_threshold(*before)
