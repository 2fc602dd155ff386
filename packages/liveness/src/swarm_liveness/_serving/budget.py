"""How much of the loop's time the clients of a probe server may take. Pure."""

from __future__ import annotations

SLICE_S = 0.0005
# After a slice that was used up, the server pauses for at least four times as long.
PAUSE_S = 0.002
# What all clients together may cost in the long run, and on top of that in one burst: a scrape of 1,000 partitions.
SHARE = 0.1
BURST_S = 0.05
# A slice that seems longer than this was interrupted by the machine, which is not charged to the clients.
LONGEST_SLICE_S = 4 * SLICE_S


class Budget:
    """What clients may still cost: `BURST_S` in one burst, `SHARE` of the time in the long run."""

    __slots__ = ("_at", "_debt")

    def __init__(self) -> None:
        self._debt = 0.0
        self._at = 0.0

    def pause_after(self, begun: float, ended: float) -> float:
        """Charge a slice (monotonic seconds) and return how long to pause after it."""
        paid_off = SHARE * max(0.0, begun - self._at)
        self._debt = max(0.0, self._debt - paid_off) + min(ended - begun, LONGEST_SLICE_S)
        self._at = ended
        return max(0.0, (self._debt - BURST_S) / SHARE)
