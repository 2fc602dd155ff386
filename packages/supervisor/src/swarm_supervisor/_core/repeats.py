"""Counts failures that repeat themselves, so that they are told ever more rarely (`event.repeated`). Pure."""

from collections.abc import Hashable

PAUSE_S = 60.0
"""A failure that comes again after so long is told like the first."""
MOST = 256
"""Different failures that are remembered: the one that was longest ago is forgotten first."""


class Repeats:
    """How often each failure has come in a row. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, tuple[int, float]] = {}

    def forget(self, failure: Hashable) -> None:
        """The next time is the first one again."""
        self._seen.pop(failure, None)

    def count(self, failure: Hashable, now: float) -> int:
        """Return which time in a row this is: 1 for the first, and for one after a pause."""
        times, last = self._seen.pop(failure, (0, now))
        times = times + 1 if now - last <= PAUSE_S else 1
        if len(self._seen) >= MOST:
            del self._seen[next(iter(self._seen))]
        self._seen[failure] = (times, now)  # at the end: the order is that of the last time
        return times
