"""Rates per second of growing counters, over the last few seconds of reports. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

WINDOW_S = 5.0
"""Long enough for a steady figure, short enough to see a change."""


@dataclass(slots=True)
class Rate:
    """Samples of one process's counter."""

    life: object = None
    """Identifies the process; another process starts at 0 again."""
    samples: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, life: object, at: float, counter: float) -> None:
        """Note `counter` at `at` (monotonic s) in that life. A counter that fell belongs to a new process."""
        if life != self.life or (self.samples and counter < self.samples[-1][1]):
            self.life = life
            self.samples.clear()
        if self.samples and at <= self.samples[-1][0]:
            return
        self.samples.append((at, counter))
        while len(self.samples) > 2 and self.samples[0][0] < at - WINDOW_S:
            self.samples.popleft()

    def per_second(self, now: float) -> float | None:
        """The rate over the window; None with a single sample, or if the last one is older than the window."""
        if len(self.samples) < 2:
            return None
        (first_at, first), (last_at, last) = self.samples[0], self.samples[-1]
        span = last_at - first_at
        # Rare samples (a long statistics_interval) stay valid until the next one is well overdue.
        if now - last_at > max(WINDOW_S, 3 * span):
            return None
        return (last - first) / span
