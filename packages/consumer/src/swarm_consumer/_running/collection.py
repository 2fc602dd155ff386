"""How often Python looks for cyclic garbage while messages come and go.

CPython (3.11 to 3.13) looks through its young objects each time that 700 more of them were made than freed. Messages
are such objects, and so is most of what they are decoded into: a batch of 500 with its payloads is enough to have all
of it looked through, in vain, since reference counts free it. That look is a third of the cost of a decoded message.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

LEAST = 10_000
"""Young objects between two looks: cyclic garbage waits longer, at a few hundred bytes each some MB in all."""
OBJECTS_A_MESSAGE = 8
"""The message, what it is decoded into, and what that holds."""
_PYTHONS_OWN = (700, 2000)  # of 3.11 to 3.13, and of 3.14


def young_threshold(present: int, in_flight: int) -> int:
    """Return the threshold of the youngest generation for so many messages at a time.

    One that the application has chosen itself (or 0: never) is left as it is.
    """
    if present not in _PYTHONS_OWN:
        return present
    return max(LEAST, OBJECTS_A_MESSAGE * in_flight)


@contextlib.contextmanager
def spared(in_flight: int) -> Iterator[None]:
    """While this lasts, so many messages in flight are no reason for the whole process to look for garbage."""
    before = gc.get_threshold()
    ours = (young_threshold(before[0], in_flight), *before[1:])
    gc.set_threshold(*ours)
    try:
        yield
    finally:
        if gc.get_threshold() == ours:  # or somebody has set another one since
            gc.set_threshold(*before)
