"""Which of the delivered offsets are done, as runs: memory depends on the work in progress, not on offsets.

Offsets without a record (compaction, markers of transactions) are no gap: a gap was delivered and is not done. So two
finished runs become one, unless a run between them is open.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import itemgetter

_first = itemgetter(0)


class OffsetRuns:
    """The runs of one partition: the open ones, and those finished behind the first open one. Ends are exclusive."""

    __slots__ = ("_done", "_open")

    def __init__(self) -> None:
        self._open: list[tuple[int, int]] = []  # delivered and not done: disjoint, in order
        self._done: list[tuple[int, int, int | None]] = []  # with the leader epoch of the last record

    def __len__(self) -> int:
        return len(self._open) + len(self._done)

    def add(self, first: int, end: int) -> None:
        """Add a run behind all earlier ones."""
        self._open.append((first, end))

    def finish(self, first: int, end: int, leader_epoch: int | None) -> tuple[int, int | None] | None:
        """Finish a run; return the new end of the first gapless run with its leader epoch, or None if unchanged."""
        if len(self._open) == 1 and self._open[0] == (first, end) and not self._done:
            self._open.clear()  # in order, the usual case
            return end, leader_epoch
        self._cut(first, end)
        at = bisect_left(self._done, first, key=_first)
        self._done.insert(at, (first, end, leader_epoch))
        self._join(at + 1)
        self._join(at)
        return self._passed()

    def finish_all_before(self, end: int, leader_epoch: int | None) -> tuple[int, int | None]:
        """Finish everything before `end`; return the new end of the first gapless run with its leader epoch."""
        self._cut(0, end)
        self._done = [run for run in self._done if run[1] > end]
        return self._passed() or (end, leader_epoch)

    def _cut(self, first: int, end: int) -> None:
        """Remove a range from the open runs."""
        if not self._open or self._open[-1][1] <= first or self._open[0][0] >= end:
            return
        left = []
        for one in self._open:
            if one[0] < first:
                left.append((one[0], min(one[1], first)))
            if one[1] > end:
                left.append((max(one[0], end), one[1]))
        self._open = left

    def _join(self, at: int) -> None:
        """Join a finished run with the one before it, if no run between them is open."""
        if not 0 < at < len(self._done):
            return
        before, run = self._done[at - 1], self._done[at]
        if bisect_left(self._open, before[0], key=_first) == bisect_left(self._open, run[0], key=_first):
            last = max(before, run, key=itemgetter(1))
            self._done[at - 1 : at + 1] = [(before[0], last[1], last[2])]

    def _passed(self) -> tuple[int, int | None] | None:
        """Remove the finished runs before the first open one and return their end."""
        passed = None
        while self._done and (not self._open or self._done[0][0] < self._open[0][0]):
            _, end, leader_epoch = self._done.pop(0)
            passed = end, leader_epoch
        return passed
