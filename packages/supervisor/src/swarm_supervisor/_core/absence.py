"""How long the supervisor itself was away: stopped, starved, or suspended with its machine. Pure: clocks are values.

Nobody is to be blamed for a silence in which the supervisor was not there to hear, and the nodes perhaps not to speak.
A stop can come between any two instructions, so every moment of a turn belongs to one of two parts: while it waits, it
is away for as long as it oversleeps; while it works, for as long as time passes that is none of its thread's processor
time (CLOCK_THREAD_CPUTIME_ID).
"""

MOST_S = 1.0


def tolerated_s(node_report_timeout: float) -> float:
    """Return how long an absence may be and pass for none: 1 s, or half of what a node may be silent for."""
    return min(MOST_S, node_report_timeout / 2)


class Absence:
    """The longest absence since it was last asked about. All times in seconds: monotonic, and of the processor."""

    __slots__ = ("_at", "_cpu", "_longest", "_slept", "present_s")

    def __init__(self, now: float, cpu: float) -> None:
        """Begin to work, now."""
        self._longest = 0.0
        self.present_s = 0.0
        """How long it has waited, and could have heard whoever spoke, since an absence was last taken for one."""
        self._begin(now, cpu)

    def wait(self, now: float, cpu: float) -> None:
        """Begin to wait."""
        self._look(now, cpu)
        self._begin(now, cpu)

    def wake(self, until: float | None, now: float, cpu: float) -> None:
        """Begin to work after a wait that was to end at ``until`` (None: for ever) at the latest."""
        self.present_s += max(0.0, (now if until is None else min(now, until)) - self._at)
        self._begin(now, cpu, 0.0 if until is None else max(0.0, now - max(until, self._at)))

    def longest(self, now: float, cpu: float) -> float:
        """Return the longest absence, the one that lasts included."""
        self._look(now, cpu)
        return self._longest

    def take(self, now: float, cpu: float) -> float:
        """Return the longest absence and forget it."""
        longest = self.longest(now, cpu)
        self._longest = 0.0
        self._begin(now, cpu)
        return longest

    def excuse(self) -> float:
        """Return `present_s` and begin to count anew: an absence has been taken for one."""
        present_s, self.present_s = self.present_s, 0.0
        return present_s

    def _begin(self, now: float, cpu: float, slept: float = 0.0) -> None:
        self._at, self._cpu, self._slept = now, cpu, slept

    def _look(self, now: float, cpu: float) -> None:
        self._longest = max(self._longest, self._slept + (now - self._at) - (cpu - self._cpu))
