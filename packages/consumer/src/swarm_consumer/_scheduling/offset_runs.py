"""Which of the delivered offsets are done, as runs: memory depends on the work in progress, not on offsets.

Offsets without a record (compaction, markers of transactions) are no gap: a gap was delivered and is not done. So two
finished runs become one, unless a run between them is open.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from operator import itemgetter

_first = itemgetter(0)
_end = itemgetter(1)

MOST_OPEN = 1000
"""More open runs than this become one before another is added, if nothing is finished between them: a handler that
rarely or never marks must not fill the memory where offsets have gaps."""


def consecutive(offsets: Iterable[int]) -> list[tuple[int, int]]:
    """Return the runs of consecutive offsets among these, which are in order."""
    runs: list[tuple[int, int]] = []
    for offset in offsets:
        if runs and runs[-1][1] == offset:
            runs[-1] = runs[-1][0], offset + 1
        else:
            runs.append((offset, offset + 1))
    return runs


class OffsetRuns:
    """The runs of one partition: the open ones, and those finished behind the first open one. Ends are exclusive."""

    __slots__ = ("_done", "_open")

    def __init__(self) -> None:
        self._open: list[tuple[int, int]] = []  # delivered and not done: disjoint, in order
        self._done: list[tuple[int, int, int | None]] = []  # with the leader epoch of the last record

    def __len__(self) -> int:
        return len(self._open) + len(self._done)

    @property
    def first_open(self) -> int | None:
        """The first offset that is delivered and not done."""
        return self._open[0][0] if self._open else None

    def add(self, runs: Iterable[tuple[int, int]]) -> None:
        """Add runs behind all earlier ones, in order. There is a record at each of their offsets.

        Otherwise a part of one could stay open that no record will ever finish, when the rest is finished in parts.
        """
        if len(self._open) > MOST_OPEN and not self._done:
            self._open = [(self._open[0][0], self._open[-1][1])]
        for first, end in runs:
            if self._open and self._open[-1][1] == first:
                self._open[-1] = self._open[-1][0], end
            else:
                self._open.append((first, end))

    def finish(self, first: int, end: int, leader_epoch: int | None) -> tuple[int, int | None] | None:
        """Finish a run; return the new end of the first gapless run with its leader epoch, or None if unchanged."""
        if len(self._open) == 1 and self._open[0] == (first, end) and not self._done:
            self._open.clear()  # in order, the usual case
            return end, leader_epoch
        self._cut(first, end)
        at = bisect_left(self._done, first, key=_first)
        self._done.insert(at, (first, end, leader_epoch))
        while self._join(at + 1):
            pass
        self._join(at)
        return self._passed()

    def finish_all_before(self, end: int, leader_epoch: int | None) -> tuple[int, int | None]:
        """Finish everything before `end`; return the new end of the first gapless run with its leader epoch."""
        self._cut(0, end)
        self._done = [run for run in self._done if run[1] > end]
        return self._passed() or (end, leader_epoch)

    def _cut(self, first: int, end: int) -> None:
        """Remove a range from the open runs."""
        opened = self._open
        low = bisect_right(opened, first, key=_end)
        high = bisect_left(opened, end, lo=low, key=_first)
        if low == high:
            return
        left = []
        if opened[low][0] < first:
            left.append((opened[low][0], first))
        if opened[high - 1][1] > end:
            left.append((end, opened[high - 1][1]))
        opened[low:high] = left

    def _join(self, at: int) -> bool:
        """Join a finished run with the one before it, if no run between them is open. Returns whether it did."""
        if not 0 < at < len(self._done):
            return False
        before, run = self._done[at - 1], self._done[at]
        if bisect_left(self._open, before[0], key=_first) != bisect_left(self._open, run[0], key=_first):
            return False
        last = max(before, run, key=_end)
        self._done[at - 1 : at + 1] = [(before[0], last[1], last[2])]
        return True

    def _passed(self) -> tuple[int, int | None] | None:
        """Remove the finished runs before the first open one and return their end."""
        passed = None
        while self._done and (not self._open or self._done[0][0] < self._open[0][0]):
            _, end, leader_epoch = self._done.pop(0)
            passed = end, leader_epoch
        return passed
