"""Counts repeated failures, so that they are reported ever more rarely (`event.repeated`). Pure."""

from __future__ import annotations

from collections.abc import Hashable

PAUSE_S = 60.0
"""A failure that recurs after this many seconds is reported like a first one."""
MOST = 256
"""Number of different failures to remember; the oldest is forgotten first."""


class Repeats:
    """How often each failure has occurred in a row. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, tuple[int, float]] = {}

    def forget(self, failure: Hashable) -> None:
        """Make the next time the first one again."""
        self._seen.pop(failure, None)

    def count(self, failure: Hashable, now: float) -> int:
        """Return how often in a row it has occurred: 1 for the first time, and after a pause."""
        times, last = self._seen.pop(failure, (0, now))
        times = times + 1 if now - last <= PAUSE_S else 1
        if len(self._seen) >= MOST:
            del self._seen[next(iter(self._seen))]
        self._seen[failure] = (times, now)  # moved to the end, to keep the order by last occurrence
        return times
