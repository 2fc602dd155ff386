"""The log of one partition: which record is at which offset, and which of them are handled."""

from __future__ import annotations

KEY = ("flights", 0)
SCOPE = "broker\0group"

OPEN, HANDLED, EXCUSED, PASSED = 0, 1, 2, 3
"""What became of a record: nothing, a handler was given it, someone went past it on purpose, or the client did."""


class Record:
    """A record, as far as the scheduling looks at one."""

    __slots__ = ("_epoch", "_offset")

    def __init__(self, offset: int, epoch: int) -> None:
        self._offset = offset
        self._epoch = epoch

    def offset(self) -> int:
        """Its offset."""
        return self._offset

    def leader_epoch(self) -> int:
        """The epoch of the leader that took it."""
        return self._epoch

    def __len__(self) -> int:
        return 1


class Log:
    """One incarnation of the partition. It may lose its end to an unclean election, and then grows differently."""

    __slots__ = ("cuts", "done", "epoch", "records", "stamps")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.done = bytearray()
        self.stamps: list[int] = []  # when each was handled
        self.epoch = 0
        self.cuts = 0

    @property
    def end(self) -> int:
        """The offset of the next record."""
        return len(self.records)

    def append(self, count: int) -> None:
        """Produce records."""
        for offset in range(self.end, self.end + count):
            self.records.append(Record(offset, self.epoch))
        self.done.extend(bytes(count))
        self.stamps.extend([0] * count)

    def cut(self, end: int) -> None:
        """Elect a leader that has only this much."""
        del self.records[end:], self.done[end:], self.stamps[end:]
        self.epoch += 1
        self.cuts += 1

    def holds(self, offset: int, epoch: int | None) -> bool:
        """Whether the log still has everything before an offset that was reached under this leader's epoch.

        As clients ask since KIP-320; without an epoch only the end is looked at.
        """
        if offset > self.end:
            return False
        return epoch is None or offset == 0 or self.records[offset - 1].leader_epoch() <= epoch

    def handled(self, record: Record, now: int) -> None:
        """Note that a handler was given a record, if it is still there."""
        offset = record.offset()
        if offset < self.end and self.records[offset] is record:
            self.done[offset] = HANDLED
            self.stamps[offset] = now

    def hole(self, end: int) -> int | None:
        """Return the first offset before `end` of a record that nothing became of."""
        found = self.done.find(OPEN, 0, end)
        return None if found < 0 else found

    def excuse(self, end: int, what: int = EXCUSED) -> int:
        """Pass over all open records before `end`; return how many there were."""
        count = self.done.count(OPEN, 0, end)
        if count:
            self.done[:end] = self.done[:end].replace(b"\x00", bytes([what]))
        return count

    def wanted_no_more(self) -> None:
        """Forget all wishes that records be handled again: the broker has lost one."""
        for offset, stamp in enumerate(self.stamps):
            if stamp and self.done[offset] == OPEN:
                self.done[offset] = HANDLED

    def wanted_again(self, first: int, before: int) -> None:
        """Want everything from `first` on to be handled again, except what was since `before`."""
        for offset in range(first, self.end):
            if self.stamps[offset] < before and self.done[offset] != PASSED:
                self.done[offset] = OPEN
