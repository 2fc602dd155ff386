"""How fast records come out, counted from the first record, so that starts and joins do not count. Pure."""

from __future__ import annotations


class Pace:
    """Records per second between the first look that saw records and the last look."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int] | None = None

    def note(self, records: int, now: float) -> None:
        """Note how many records are out at a moment (monotonic seconds)."""
        if records and self._first is None:
            self._first = (now, records)
        self._last = (now, records)

    @property
    def per_s(self) -> float | None:
        """Records per second; None if there was nothing to measure."""
        if self._first is None or self._last is None or self._last[0] <= self._first[0]:
            return None
        return (self._last[1] - self._first[1]) / (self._last[0] - self._first[0])
