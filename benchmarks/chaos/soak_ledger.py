"""A ledger that is cheap enough for tens of millions of records: one byte for each, one line for each batch. Pure.

Every value follows from its partition and offset, so the ledger can tell from a batch's range and checksum whether the
handler was given exactly those records: a gap, a double or a change inside the batch is another checksum.
"""

import zlib
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

FILLING = b"x" * 80
_ONE_MORE = bytes(min(count + 1, 255) for count in range(256))
REMEMBERED = 5000
"""How many batches of a partition are remembered, to tell how old replayed work is."""
LISTED = 100


def value(partition: int, offset: int) -> bytes:
    """Return the record at an offset."""
    return b"%d %d %s" % (partition, offset, FILLING)


def checksum(partition: int, first: int, last: int) -> int:
    """Return the CRC-32 of the records from ``first`` to ``last``, both included, one behind the other."""
    return zlib.crc32(b"".join([value(partition, offset) for offset in range(first, last + 1)]))


@dataclass(frozen=True, slots=True)
class BatchDone:
    """A node has handled a batch. ``at`` is monotonic seconds."""

    at: float
    pid: int
    partition: int
    first: int
    last: int
    checksum: int

    def line(self) -> str:
        """Return it as a line of the log."""
        return f"{self.at:.6f} {self.pid} {self.partition} {self.first} {self.last} {self.checksum}\n"


def parse(line: str) -> BatchDone:
    """Read a line of the log. ValueError for anything else."""
    at, *numbers = line.split()
    pid, partition, first, last, crc = map(int, numbers)
    return BatchDone(float(at), pid, partition, first, last, crc)


@dataclass(slots=True)
class _Partition:
    counts: bytearray
    high: int = -1
    recent: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    """The last offset of each batch that went on, and when it was done."""


class SoakLedger:
    """How often each record was handled."""

    def __init__(self, produced: Sequence[int], uncommitted_s: float) -> None:
        self.produced = list(produced)
        """How many records each partition has, or will have."""
        self.uncommitted_s = uncommitted_s
        """Work finished longer than this before the partition's last is committed, and must not be replayed."""
        self.batches = self.replays = 0
        self.longest_replay_s = 0.0
        self.problems: list[str] = []
        self._partitions = [_Partition(bytearray(count)) for count in produced]

    def done(self, batch: BatchDone) -> None:
        """Note a batch."""
        partition = self._partitions[batch.partition]
        self.batches += 1
        if not 0 <= batch.first <= batch.last < len(partition.counts):
            self._problem(batch, f"there is no offset {batch.last}")
            return
        if batch.checksum != checksum(batch.partition, batch.first, batch.last):
            self._problem(batch, "the handler was given other records than the producer wrote there")
            return
        span = slice(batch.first, batch.last + 1)
        partition.counts[span] = partition.counts[span].translate(_ONE_MORE)
        if batch.first > partition.high + 1:
            self._problem(batch, f"it begins behind offset {partition.high + 1}, which was never handled")
        elif batch.first <= partition.high:
            self._replayed(batch, partition)
        if batch.last > partition.high:
            partition.high = batch.last
            partition.recent.append((batch.last, batch.at))

    def handled(self) -> int:
        """Return how many records were handled at least once, while nothing is skipped: up to the highest of each."""
        return sum(partition.high + 1 for partition in self._partitions)

    def times(self) -> dict[int, int]:
        """How often records were handled (0: lost) -> how many records."""
        total: Counter[int] = Counter()
        for partition in self._partitions:
            total.update(partition.counts)
        return dict(sorted(total.items()))

    def lost(self) -> int:
        """Return how many records nobody has handled."""
        return sum(partition.counts.count(0) for partition in self._partitions)

    def _replayed(self, batch: BatchDone, partition: _Partition) -> None:
        self.replays += 1
        last_at = partition.recent[-1][1]
        # The oldest work that this batch repeats, as far as remembered: at least so old.
        done_at = next((at for last, at in partition.recent if last >= batch.first), last_at)
        age = last_at - done_at
        self.longest_replay_s = max(self.longest_replay_s, age)
        if age > self.uncommitted_s:
            self._problem(batch, f"a replay of work finished {age:.1f} s before; the bound is {self.uncommitted_s:g} s")

    def _problem(self, batch: BatchDone, what: str) -> None:
        if len(self.problems) < LISTED:
            self.problems.append(
                f"partition {batch.partition} offsets {batch.first} to {batch.last}, pid {batch.pid}: {what}"
            )
