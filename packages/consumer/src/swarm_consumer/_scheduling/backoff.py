"""Back-off between attempts, as pure functions of the attempt's number."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off: `first_s` seconds after the first failure, doubled each time, never above `max_s`."""

    first_s: float = 1.0
    max_s: float = 30.0

    def delay_s(self, failures: int) -> float:
        """Seconds to wait after this many failures in a row (1 or more)."""
        if failures < 1:
            raise ValueError("there is nothing to wait for before a first failure")
        # 2.0 ** 1024 overflows: the exponent is bounded before it is used.
        return min(self.max_s, self.first_s * 2.0 ** min(failures - 1, 60))
