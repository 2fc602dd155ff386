"""The fake broker: logs, what groups committed, what was produced. And the oracle: each commit is judged here."""

import random
from typing import Any

from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from benchmarks.histories.committing import SEEN
from benchmarks.histories.journal import Journal, Passed
from benchmarks.histories.primitives import Present

Key = tuple[str, int]
LATEST = ("before latest", "reset to latest")
"""Records that the policy "latest" has dropped."""
SHARE_OF_HOLES = 0.35
"""How likely an offset has no record, in a log that has holes."""


class Record:
    """One record of a log; its identity is its own, not that of its offset, which truncation may give to another."""

    __slots__ = ("absent", "covered", "handed", "handed_at", "key", "message", "number", "offset", "serial", "visible")

    def __init__(self, key: Key, offset: int, serial: int, number: int) -> None:
        self.key = key
        self.offset = offset
        self.serial = serial  # the order in which a log's records were appended
        self.number = number
        self.absent = False  # the offset has no record: compacted away, or a transaction's marker
        self.covered = ""  # by what it may be passed: handled, marked, diverted, dropped ...
        self.handed = False  # consume() has seen it
        self.handed_at = 0.0
        self.visible = 0  # how often its output is there for those who read what is committed
        self.message = Message(
            topic=key[0],
            partition=key[1],
            offset=offset,
            key=None,
            value=b"%d" % number,
            headers=[],
            timestamp=(TIMESTAMP_CREATE_TIME, 1_700_000_000_000 + number * 1000),
        )


class Log:
    """One partition: its records, what is committed, and what may be passed."""

    def __init__(self, broker: "Broker", key: Key) -> None:
        self.broker = broker
        self.key = key
        self.low = 0
        self.records: list[Record] = []
        self.greatest_end = 0  # that it ever had
        self.committed: int | None = None
        self.metadata: str | None = None
        self.transacted = 0  # the greatest offset that a transaction has committed
        self.serial = 0
        self.handed: dict[int, Record] = {}  # by offset: the last that a handler was given
        self.greatest_given = 0  # the greatest offset that any run was given
        self.clean = 0  # every record before is covered
        self.owner: Any = None  # the client that has it
        self.rewound = False  # somebody was entitled to have records handled again
        self.born: float | None = None  # when "latest" was first resolved
        # After truncation: offsets below `void` may be given anew, and nobody may know it yet.
        self.void = 0
        self.cuts = 0
        self.lawless: list[Record] = []  # records at such offsets
        self.ahead_since: float | None = None  # handled again from the start, while the commit was beyond the end
        self.had_chance = False  # to commit what it handled so

    @property
    def high(self) -> int:
        """The end."""
        return self.low + len(self.records)

    def append(self, count: int) -> None:
        """Add records at the end."""
        holes = self.broker.holes
        for _ in range(count):
            while holes is not None and holes.random() < SHARE_OF_HOLES:
                self._add().absent = True
                self.records[-1].covered = "there is no record"
            self._add()
        self.greatest_end = max(self.greatest_end, self.high)
        if self.owner is not None:
            self.owner.stir()

    def _add(self) -> Record:
        self.records.append(Record(self.key, self.high, self.serial, len(self.broker.by_number)))
        self.broker.by_number.append(self.records[-1])
        if self.records[-1].offset < self.void:
            self.lawless.append(self.records[-1])
        self.serial += 1
        return self.records[-1]

    def truncate(self, end: int) -> None:
        """Cut the end off, as an unclean election does."""
        del self.records[max(0, end - self.low) :]
        self.clean = min(self.clean, self.high)
        self.cuts += 1
        position = self.owner.positions.get(self.key) if self.owner is not None else None
        told = self.owner is None or self.owner.reset.get(self.key) == SEEN
        self.void = max(self.committed or 0, position or 0, 0 if told else self.void)
        if self.broker.notes:  # they say how far handlers were, and the client here knows no epochs of leaders
            self.void = max(self.void, self.greatest_given + 1)
        if self.owner is not None:
            self.owner.reset.pop(self.key, None)
        self.rewound = True
        self.ahead_since, self.had_chance = None, False
        if self.owner is not None:
            self.owner.stir()

    def expire(self, low: int) -> None:
        """Cut the beginning off, as retention does."""
        low = min(low, self.high)
        if low > self.low:
            del self.records[: low - self.low]
            self.low = low
            self.clean = max(self.clean, low)
            self.rewound = True

    def next_record(self, offset: int) -> int:
        """Return where the next record is, from an offset on; the end when there is none."""
        while offset < self.high and self.at(offset).absent:
            offset += 1
        return offset

    def at(self, offset: int) -> Record:
        """Return the record at an offset."""
        return self.records[offset - self.low]

    def cover_before(self, offset: int, reason: str) -> None:
        """Let all records before an offset be passed."""
        for record in self.records[: max(0, offset - self.low)]:
            record.covered = record.covered or reason

    def excuse(self, offset: int) -> None:
        """Let records be passed of which nobody could know that they are not those that were there before."""
        for record in self.lawless:
            if record.offset < offset:
                record.covered = record.covered or "at an offset that was used before"
        self.lawless = [record for record in self.lawless if record.offset >= offset]

    def begin(self, offset: int, how: str) -> None:
        """Somebody begins at what is committed: what is before it is never handled any more."""
        if not self.had_chance:
            self.excuse(offset)
        self.judge(offset, how)

    def judge(self, offset: int, how: str) -> None:
        """End the history when a record before `offset` may not be passed."""
        journal = self.broker.journal
        records = self.records
        for index in range(max(self.clean, self.low) - self.low, min(offset, self.high) - self.low):
            record = records[index]
            if not record.covered:
                journal.resolve(self.key)
                if not record.covered:
                    journal.breaks(
                        Passed(
                            f"{how} moved {self.key[0]}[{self.key[1]}] to {offset}, past offset {record.offset} "
                            f"(record {record.number}), which nothing covers"
                        )
                    )
                    return
        self.clean = max(self.clean, min(offset, self.high))

    def commit(self, offset: int, metadata: str | None, how: str, knowing: bool = True) -> None:
        """Take a commit, and judge it; `knowing`: whoever sent it has seen that the log was cut."""
        self.broker.journal.note("commit", how, self.key, offset)
        if self.lawless and not knowing:
            self.excuse(offset)
        if offset > self.high and not knowing:
            self.void = max(self.void, offset)  # what comes to these offsets later cannot be told from what was there
        self.judge(offset, how)
        if offset > self.greatest_end:
            where = f"{self.key[0]}[{self.key[1]}]"
            self.broker.journal.breaks(
                Passed(f"{how} moved {where} to {offset}, where no record has ever been (end {self.high})")
            )
        if offset <= self.high:
            self.ahead_since = None
            self.had_chance = False
        self.committed, self.metadata = offset, metadata or None

    @property
    def done(self) -> bool:
        """Whether all is committed, or may be passed without: dropped by the policy, or not to be known of."""
        if self.committed == self.high or not self.records:
            return True
        if self.lawless and self.owner is not None and self.key not in self.owner.reset:
            self.excuse(min(self.owner.positions.get(self.key) or 0, self.high))
        passable = self.cuts > 0 or self.records[-1].covered in LATEST
        return passable and all(record.covered for record in self.records)

    @property
    def ahead(self) -> bool:
        """Whether what is committed is beyond the end."""
        return self.committed is not None and self.committed > self.high


class Broker:
    """What outlives the nodes."""

    def __init__(self, rng: random.Random, journal: Journal, keys: list[Key]) -> None:
        self.rng = rng
        self.journal = journal
        self.logs = {key: Log(self, key) for key in keys}
        self.by_number: list[Record] = []
        self.holes: random.Random | None = None  # logs have offsets without a record
        self.notes = False  # processes leave notes about how far they were
        self.up = True
        self.commit_failure = 0.0  # how likely the next commit fails
        self.delivery_failure = 0.0
        self.transaction_failure = 0.0
        self.slow = 0.0  # seconds that an answer may take at most
        self.transactional_epochs: dict[str, int] = {}
        self.faulty_until = 0.0  # commits may have failed until then
        self.waiters: list[Any] = []
        self.producers: list[Any] = []

    def unstable(self, key: Key) -> bool:
        """Whether a transaction that has not ended holds an offset of this partition."""
        return any(producer.holds(key) for producer in self.producers)

    def total(self) -> int:
        """How many records there have been."""
        return len(self.by_number)

    def latency(self) -> float:
        """How long the next answer takes."""
        return self.rng.random() * self.slow if self.slow else 0.0

    def commit_fails(self) -> bool:
        """Whether the next commit fails."""
        if self.commit_failure and self.rng.random() < self.commit_failure:
            self.faulty_until = Present.scheduler.now
            return True
        return False

    def outage(self, seconds: float) -> None:
        """Be away for some time."""
        self.up = False
        Present.scheduler.block(seconds)
        self.faulty_until = Present.scheduler.now
        self.up = True
        waiters, self.waiters = self.waiters, []
        for strand in waiters:
            Present.scheduler.wake(strand)

    def wait_until_up(self, timeout: float) -> bool:
        """Wait for the broker; whether it is there."""
        scheduler = Present.scheduler
        until = scheduler.now + timeout
        while not self.up and scheduler.now < until:
            self.waiters.append(scheduler.current)
            if not scheduler.block(until - scheduler.now):
                self.waiters.remove(scheduler.current)  # woken later, it would be out of another wait
        return self.up
