"""How long the supervisor itself did not run: stopped, starved, or suspended with the machine. Pure: clocks are values.

Nodes are not blamed for silence while the supervisor was not running: it could not hear them, and they may have been
stopped too. A stop can come between any two instructions, so each turn has two parts. While the supervisor waits, it is
away for as long as it oversleeps. While it works, it is away for the time that is not its thread's CPU time
(CLOCK_THREAD_CPUTIME_ID).
"""

from __future__ import annotations

MOST_S = 1.0


def tolerated_s(node_report_timeout: float) -> float:
    """Return the longest absence that is ignored: 1 s, or half of the time that a node may be silent."""
    return min(MOST_S, node_report_timeout / 2)


class Absence:
    """The longest absence since the last query. All times are in seconds: monotonic time and CPU time."""

    __slots__ = ("_at", "_cpu", "_longest", "_slept", "present_s")

    def __init__(self, now: float, cpu: float) -> None:
        """Begin to work, now."""
        self._longest = 0.0
        self.present_s = 0.0
        """How long it has waited for reports since the last noted absence."""
        self._begin(now, cpu)

    def wait(self, now: float, cpu: float) -> None:
        """Begin to wait."""
        self._look(now, cpu)
        self._begin(now, cpu)

    def wake(self, until: float | None, now: float, cpu: float) -> None:
        """Begin to work after a wait that should have ended by ``until`` (None: no limit)."""
        self.present_s += max(0.0, (now if until is None else min(now, until)) - self._at)
        self._begin(now, cpu, 0.0 if until is None else max(0.0, now - max(until, self._at)))

    def longest(self, now: float, cpu: float) -> float:
        """Return the longest absence, including the current one."""
        self._look(now, cpu)
        return self._longest

    def take(self, now: float, cpu: float) -> float:
        """Return the longest absence and forget it."""
        longest = self.longest(now, cpu)
        self._longest = 0.0
        self._begin(now, cpu)
        return longest

    def excuse(self) -> float:
        """Return `present_s` and restart it, because an absence was noted."""
        present_s, self.present_s = self.present_s, 0.0
        return present_s

    def _begin(self, now: float, cpu: float, slept: float = 0.0) -> None:
        self._at, self._cpu, self._slept = now, cpu, slept

    def _look(self, now: float, cpu: float) -> None:
        self._longest = max(self._longest, self._slept + (now - self._at) - (cpu - self._cpu))
