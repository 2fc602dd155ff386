"""Where a fake consumer reads: at what is committed, where the policy says, where it was sought to."""

from typing import Any

from confluent_kafka import KafkaError, Message

from benchmarks.histories.committing import GRACE_S, HANDED, SILENT, Key
from benchmarks.histories.primitives import Present


class Fetching:
    """The part of a fake consumer that reads."""

    world: Any
    broker: Any
    journal: Any
    member: bool
    policy: str
    eof: bool
    reset: dict[Key, int]
    committed_positions: dict[Key, int]

    def __init__(self) -> None:
        self.positions: dict[Key, int | None] = {}  # the assignment; None: not resolved yet
        self.paused: set[Key] = set()
        self.told_end: dict[Key, int] = {}
        self.refused: set[Key] = set()  # no position, by the policy "error"
        self._turn = 0

    def _next(self) -> Message | None:
        if not self.broker.up or not self.member:
            return None
        positions, logs, paused, refused = self.positions, self.broker.logs, self.paused, self.refused
        keys = list(positions)
        count = len(keys)
        for step in range(count):
            key = keys[(self._turn + step) % count]
            if key in paused or key in refused:
                continue
            log = logs[key]
            position = positions[key]
            high = log.low + len(log.records)
            if position is None or not log.low <= position <= high:
                error = self._resolve(key, log, position)
                if error is not None:
                    return error
                position = positions[key]
                if position is None:
                    continue
            if self.broker.holes is not None and position < high:
                self.positions[key] = log.next_record(position)
                if self.positions[key] != position:
                    self.journal.note("passes a hole")
                    position = self.positions[key]
            if position < high:
                if key not in self.reset and log.lawless:
                    log.excuse(position)
                elif self.reset.get(key) == SILENT:
                    self.reset[key] = HANDED
                self._turn = (self._turn + step) % count
                if self.world.rng.random() < 0.2:
                    self._turn += 1
                self.positions[key] = position + 1
                return log.at(position).message
            if self.eof and self.told_end.get(key) != position:
                self.told_end[key] = position
                return Message(topic=key[0], partition=key[1], error=KafkaError(KafkaError._PARTITION_EOF))
        return None

    def _resolve(self, key: Key, log: Any, position: int | None) -> Message | None:
        """Find where to begin, or where to go on after the position has left the log."""
        if position is None and self.broker.unstable(key):
            return None
        if position is None and log.committed is not None:
            position = self.positions[key] = log.committed
            self.committed_positions[key] = log.committed
            if log.low <= position <= log.high:
                log.begin(position, "a start at the committed offset")
                return None
        if position is not None and position < log.low and self.policy == "earliest":
            self.positions[key] = log.low
            return None
        if self.policy == "error":
            self.refused.add(key)
            self.journal.note("no offset, by policy", key)
            return Message(topic=key[0], partition=key[1], error=KafkaError(KafkaError._AUTO_OFFSET_RESET))
        self.journal.note("reset" if position is not None else "begin", key, self.policy, position)
        if self.policy == "earliest":
            if position is not None:
                self.reset[key] = SILENT
            self.positions[key] = log.low
            return None
        if position is None:
            self._begin_latest(log)
        else:
            log.cover_before(log.high, "reset to latest")
        self.positions[key] = log.high
        return None

    def _begin_latest(self, log: Any) -> None:
        """Begin at the end: what was there before is dropped by this rule, but once only.

        When the first node came, it had some time to commit where the group begins. What was handed out after that may
        not be skipped by the next one.
        """
        now = Present.scheduler.now
        in_time = log.born is not None and self.broker.faulty_until < log.born
        for record in log.records:
            if not (in_time and record.handed_at > log.born + GRACE_S):
                record.covered = record.covered or "before latest"
        log.judge(log.high, "the policy latest, because nothing was ever committed,")
        log.born = now
