"""What grows, as so much a second: over the last few seconds of reports. Pure."""

from collections import deque
from dataclasses import dataclass, field

WINDOW_S = 5.0
"""Long enough for a steady figure, short enough to see a change."""


@dataclass(slots=True)
class Rate:
    """A counter of one process, by samples of it."""

    life: object = None
    """Which process: another one starts anew at 0."""
    samples: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, life: object, at: float, counter: float) -> None:
        """Note that `counter` stood so at `at` (monotonic s) in that life. A counter that fell belongs to a new one."""
        if life != self.life or (self.samples and counter < self.samples[-1][1]):
            self.life = life
            self.samples.clear()
        if self.samples and at <= self.samples[-1][0]:
            return
        self.samples.append((at, counter))
        while len(self.samples) > 2 and self.samples[0][0] < at - WINDOW_S:
            self.samples.popleft()

    def per_second(self, now: float) -> float | None:
        """The rate over the window; None while there is one sample, or when the last is older than the window."""
        if len(self.samples) < 2:
            return None
        (first_at, first), (last_at, last) = self.samples[0], self.samples[-1]
        span = last_at - first_at
        # Samples that come seldom (a long statistics_interval) stay good until the next one is well overdue.
        if now - last_at > max(WINDOW_S, 3 * span):
            return None
        return (last - first) / span
