"""A backlog: the records that wait in a lane, and which of them are next. Pure.

The records of a failed batch come first. During their back-off nothing is next; `wakes_at` is the end of it. A batch
that has used up its attempts is handed out again message by message, to find the one that fails. Suspects are handed
out one by one, too, and never together with a record before them. This is the one place that may leave out, merge or
hold back records.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from swarm_consumer._scheduling.backoff import Backoff
from swarm_consumer._scheduling.remembrance import Epitaph
from swarm_consumer._scheduling.suspects import past

if TYPE_CHECKING:
    import confluent_kafka

    from swarm_consumer._scheduling.remembrance import Suspects
    from swarm_consumer.routing.settings import TopicSettings


class Portion(NamedTuple):
    """The next records of a backlog."""

    records: list[confluent_kafka.Message]
    alone: bool = False
    """One message of a failed batch, to find out which one fails."""
    again: bool = False
    """Some of it has failed before."""
    suspect: bool = False
    """A process died with this message before."""


class Backlog:
    """The waiting records of one lane: new ones, and those of a failed batch."""

    __slots__ = (
        "_backoff",
        "_independent",
        "_max_messages",
        "failing_offset",
        "failures",
        "held",
        "held_bytes",
        "isolated",
        "parkings",
        "retry",
        "story",
        "suspects",
        "wakes_at",
    )

    def __init__(self, settings: TopicSettings) -> None:
        self._max_messages = settings.max_messages
        self._backoff = Backoff(settings.retry_backoff, settings.retry_backoff_max)
        self._independent = settings.dead_letters is not None and settings.dead_letters.independent
        self.held: list[confluent_kafka.Message] = []
        self.held_bytes = 0  # of the values in `held`, estimated
        self.retry: list[confluent_kafka.Message] | None = None
        self.wakes_at = 0.0  # end of the back-off, monotonic
        self.failures = 0  # in a row
        self.failing_offset: int | None = None
        self.isolated = False  # messages in `retry` are handed out one at a time
        self.suspects: Suspects | None = None
        self.story = Epitaph()  # how the process ended that died with them
        self.parkings = 0  # how often its culprit was not handed out

    def __bool__(self) -> bool:
        return bool(self.held) or self.retry is not None

    @property
    def next_offset(self) -> int | None:
        """The offset of the first waiting record; None: none waits."""
        records = self.retry or self.held
        return records[0].offset() if records else None

    def add(self, records: list[confluent_kafka.Message]) -> int:
        """Add new records in order and return their size. The list becomes the backlog's own."""
        if self.held:
            self.held.extend(records)
        else:
            self.held = records
        size = size_of(records)
        self.held_bytes += size
        return size

    def next(self, position: int | None) -> Portion | None:
        """Take the next records, or None if there are none. Everything before `position` is done."""
        again = self.retry is not None
        if self.retry is not None and position is not None:
            # Marked since it failed: by a hook, or by a transaction whose commit was answered late.
            self.retry = [one for one in self.retry if one.offset() >= position] or None  # type: ignore[operator]
        suspect = self.suspects is not None and self._comes_to_suspects()
        if self.retry is not None:
            if self.isolated:
                record = self.retry.pop(0)
                self.retry = self.retry or None
                return Portion([record], alone=True, again=True, suspect=suspect)
            records, self.retry = self.retry, None
            return Portion(records, again=True, suspect=suspect)
        held = self.held
        if not held:
            return None
        limit = self._max_messages if self.suspects is None else 1 if suspect else self._before_suspects()
        self.held_bytes = self.held_bytes * max(0, len(held) - limit) // len(held)
        if len(held) <= limit:
            self.held = []
            return Portion(held, again=again, suspect=suspect)
        records = held[:limit]
        del held[:limit]
        return Portion(records, again=again, suspect=suspect)

    def _comes_to_suspects(self) -> bool:
        """Whether the first record is a suspect. Those before it are cleared: they are done, or no longer there."""
        records = self.retry or self.held
        if not records or self.suspects is None:
            return False
        first = records[0].offset() or 0
        self.clear_suspects_before(first)
        return self.suspects is not None and first >= self.suspects.first

    def _before_suspects(self) -> int:
        """How many of the new records may be handed out together: none of them is a suspect."""
        assert self.suspects is not None
        before = bisect_left(self.held, self.suspects.first, key=lambda record: record.offset() or 0)
        return min(before, self._max_messages)

    def clear_suspects_before(self, offset: int) -> None:
        """Note that everything before `offset` is done, and did no harm."""
        if self.suspects is not None:
            known, self.suspects = self.suspects, past(self.suspects, offset)
            if self.suspects is None or self.suspects.culprit != known.culprit:
                self.parkings = 0

    def park(self, records: list[confluent_kafka.Message], now: float) -> float:
        """Put a culprit back that was not handed out, and wait; return for how long, in seconds."""
        self.retry = (records + (self.retry or [])) or None
        self.parkings += 1
        delay = self._backoff.delay_s(self.parkings)
        self.wakes_at = now + delay
        return delay

    def put_back(self, records: list[confluent_kafka.Message], first: int) -> None:
        """Put back the unfinished records of a failed run and count the failure; `first` is the next offset."""
        self.failures = self.failures_with(first)
        self.failing_offset = first
        self.retry = (records + (self.retry or [])) or None

    def wait(self, now: float) -> float:
        """Start the back-off after a failure and return its length in seconds."""
        delay = self._backoff.delay_s(self.failures)
        self.wakes_at = now + delay
        return delay

    def failures_with(self, first: int | None) -> int:
        """Return the number of failures in a row, including this one; independent messages start at one each."""
        return 1 if self._independent and first != self.failing_offset else self.failures + 1

    def succeeded(self, *, alone: bool) -> None:
        """Reset the failures, unless other messages of the failed batch are still retried one by one."""
        if not alone or self._independent:
            self.failures = 0

    def leave_isolation(self) -> None:
        """Stop handing out messages one by one, after the last of them."""
        if self.retry is None:
            self.isolated = False
            self.failures = 0

    def drop_held(self) -> None:
        """Drop the new records."""
        self.held, self.held_bytes = [], 0

    def drop(self) -> None:
        """Drop all waiting records."""
        self.drop_held()
        self.retry = None

    def clear(self) -> None:
        """Drop all waiting records and reset the failures."""
        self.drop()
        self.failures = 0
        self.isolated = False


def size_of(records: list[confluent_kafka.Message]) -> int:
    """Return the size of the records' values, estimated from a sample for more than eight records: each costs 40 ns."""
    step = len(records) // 8 + 1
    sample = records[::step]
    return sum(map(len, sample)) * len(records) // len(sample)
