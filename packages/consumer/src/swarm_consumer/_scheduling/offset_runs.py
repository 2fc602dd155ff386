"""Which of the offsets that were handed out are done, as runs: memory grows with what is in progress, not with offsets.

Numbers that no record has (compaction, markers of transactions) are no gap: a gap is what was handed out and is not
done. So two runs that are done are one, unless something between them is open.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import itemgetter

_first = itemgetter(0)


class OffsetRuns:
    """The runs of one partition: those in progress, and those done behind the first of these. Ends are exclusive."""

    __slots__ = ("_done", "_open")

    def __init__(self) -> None:
        self._open: list[tuple[int, int]] = []  # handed out and not done: disjoint, in order
        self._done: list[tuple[int, int, int | None]] = []  # done behind an open one: end and leader epoch follow

    def __len__(self) -> int:
        return len(self._open) + len(self._done)

    @property
    def first_open(self) -> int | None:
        """The first offset that was handed out and is not done."""
        return self._open[0][0] if self._open else None

    def hand_out(self, first: int, end: int) -> None:
        """Note a run behind all that was handed out before."""
        self._open.append((first, end))

    def finish(self, first: int, end: int, leader_epoch: int | None) -> tuple[int, int | None] | None:
        """Note a run as done; return where the first gapless run ends now and its leader epoch, None if unmoved."""
        if len(self._open) == 1 and self._open[0] == (first, end) and not self._done:
            self._open.clear()  # one after the other, as nearly always
            return end, leader_epoch
        self._cut(first, end)
        at = bisect_left(self._done, first, key=_first)
        self._done.insert(at, (first, end, leader_epoch))
        self._join(at + 1)
        self._join(at)
        return self._passed()

    def finish_all_before(self, end: int, leader_epoch: int | None) -> tuple[int, int | None]:
        """Note everything before `end` as done, and return the same."""
        self._cut(0, end)
        self._done = [run for run in self._done if run[1] > end]
        return self._passed() or (end, leader_epoch)

    def _cut(self, first: int, end: int) -> None:
        """Take a run out of what is open."""
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
        """Make one of a run that is done and the one before it, if nothing between them is open."""
        if not 0 < at < len(self._done):
            return
        before, run = self._done[at - 1], self._done[at]
        if bisect_left(self._open, before[0], key=_first) == bisect_left(self._open, run[0], key=_first):
            last = max(before, run, key=itemgetter(1))
            self._done[at - 1 : at + 1] = [(before[0], last[1], last[2])]

    def _passed(self) -> tuple[int, int | None] | None:
        """Take out what is done before the first open run, and return its end."""
        passed = None
        while self._done and (not self._open or self._done[0][0] < self._open[0][0]):
            _, end, leader_epoch = self._done.pop(0)
            passed = end, leader_epoch
        return passed
