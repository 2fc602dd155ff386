"""The health of a node as a number: one healthy value, any number of unhealthy ones."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class Status(IntEnum):
    """The named statuses. Any other positive int is free for the user."""

    NOT_REPORTING = -1
    """The watcher's own verdict: no report for too long. It is never sent through a pipe."""
    HEALTHY = 0
    POLLING = 1
    """A subscription group has not been polled in time."""
    CONSUMING = 2
    """A batch has not been finished in time."""
    MEMORY = 3
    """The process uses more memory than allowed."""
    STABILITY = 4
    """A consumer group has not stabilised in time."""
    STALLED = 5
    """A partition delivers no records although the broker has more."""


def worst(statuses: Iterable[int]) -> int | None:
    """Return the most important of several statuses, or None if there is none.

    Any positive status beats `Status.HEALTHY`, and the highest positive one wins. `Status.NOT_REPORTING` loses to
    every other: a node that reports anything is not silent.
    """
    return max(statuses, default=None)
