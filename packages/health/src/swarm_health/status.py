"""What a node can be found to be, as a number: one healthy value, any number of unhealthy ones."""

from collections.abc import Iterable
from enum import IntEnum


class Status(IntEnum):
    """The statuses that have a name. Any other positive int is the user's own."""

    NOT_REPORTING = -1
    """The watcher's own verdict: no report for too long. It never travels through a pipe."""
    HEALTHY = 0
    POLLING = 1
    """A subscription group has not been polled in time."""
    CONSUMING = 2
    """A batch has not been finished in time."""
    MEMORY = 3
    """The process holds more memory than it may."""
    STABILITY = 4
    """A consumer group has not settled in time."""
    STALLED = 5
    """A partition brings nothing although the broker has more."""


def worst(statuses: Iterable[int]) -> int | None:
    """Return the status that decides among several, or None if there is none.

    Any positive status beats `Status.HEALTHY`, and the highest positive one wins. `Status.NOT_REPORTING` loses to
    every other: whoever reports anything is not silent.
    """
    return max(statuses, default=None)
