"""Stand-ins for the two clients of confluent-kafka, over lists in memory. They do what the runtime asks of a client.

Only they are replaced: routing, decoding, batches, marking, retries, dead letters and hooks are the runtime's own.
"""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, TIMESTAMP_CREATE_TIME, KafkaError, Message, TopicPartition

from swarm_consumer.kafka.clients import CommitCallback
from swarm_consumer.testing.errors import UnsupportedByBroker
from swarm_consumer.testing.outside_client import Record

Key = tuple[str, int]
Rebalance = Callable[[Any, list[TopicPartition]], None]


def make_message(topic: str, partition: int, offset: int, record: Record, value: bytes | None) -> Message:
    """Return a message of the client's own type."""
    timestamp_ms = record.timestamp_ms if record.timestamp_ms is not None else int(time.time() * 1000)
    return _message(
        topic=topic,
        partition=partition,
        offset=offset,
        key=record.key,
        value=value,
        headers=list(record.headers),
        timestamp=(TIMESTAMP_CREATE_TIME, timestamp_ms),
    )


def _message(**fields: Any) -> Message:
    try:
        return Message(**fields)
    except TypeError as error:
        raise UnsupportedByBroker(
            "Messages without a broker need confluent-kafka 2.13 or newer; install that, "
            f"or use the embedded broker. ({error})"
        ) from None


class MemoryLog:
    """The messages of all partitions. Safe to use from any thread."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """Held while a message is added, and while one is taken and that is noted."""
        self.partitions: dict[Key, list[Message]] = {}

    def append(self, topic: str, partition: int, record: Record, value: bytes | None) -> None:
        """Add a record behind the last one of its partition, or at an offset of its own beyond that."""
        with self.lock:
            there = self.partitions.setdefault((topic, partition), [])
            following = _offset(there[-1]) + 1 if there else 0
            offset = record.offset if record.offset is not None else following
            if offset < following:
                raise ValueError(
                    f"{topic}[{partition}]: offset {offset} comes after {following - 1}; offsets only grow"
                )
            there.append(make_message(topic, partition, offset, record, value))


class MemoryConsumer:
    """Hands out the messages of its topics and remembers what is committed. Used by one owner thread.

    on_message is called, with the log's lock held, when a poll takes a message; on_nothing when there was none.
    """

    def __init__(
        self,
        log: MemoryLog,
        eof: bool,
        on_message: Callable[[], None],
        on_nothing: Callable[[], None],
        on_commit: CommitCallback | None,
    ) -> None:
        self._log = log
        self._partitions: Mapping[Key, Sequence[Message]] = log.partitions
        self._eof = eof
        self._on_message = on_message
        self._on_nothing = on_nothing
        self._on_commit = on_commit
        self._topics: list[str] = []
        self._seen_partitions = 0
        self._on_assign: Rebalance | None = None
        self._on_revoke: Rebalance | None = None
        self._positions: dict[Key, int] = {}  # index of the next message to hand out
        self._told_eof: set[Key] = set()
        self._paused: set[Key] = set()
        self.committed_offsets: dict[Key, TopicPartition] = {}

    def subscribe(self, topics: list[str], on_assign: Rebalance, on_revoke: Rebalance, on_lost: Rebalance) -> None:
        """Take the topics and patterns; they are assigned at the first poll."""
        self._topics, self._on_assign, self._on_revoke = topics, on_assign, on_revoke

    def poll(self, timeout: float) -> Message | None:
        """Return the next message or end of a partition; without one, wait a moment and return None."""
        new = self._new_partitions()
        if self._on_assign is not None and new is not None:
            self._on_assign(self, [TopicPartition(*key) for key in new])
            return None
        with self._log.lock:
            message = self._next()
            if message is not None:
                self._on_message()
        if message is None:
            self._on_nothing()
            if timeout:
                time.sleep(min(timeout, 0.002))  # the test waits for this thread, so that it never stays long
        return message

    def _new_partitions(self) -> list[Key] | None:
        """Take the partitions that are there since the last look; None when there are none."""
        with self._log.lock:
            if self._seen_partitions == len(self._partitions) and self._positions:
                return None
            first, self._seen_partitions = not self._seen_partitions, len(self._partitions)
            new = [key for key in sorted(self._partitions) if key not in self._positions and self._covers(key)]
            self._positions.update(dict.fromkeys(new, 0))
            return new if new or first else None

    def exhausted(self) -> bool:
        """Whether everything that is not paused was handed out. To be called with the log's lock held."""
        return all(
            key in self._paused or self._positions.get(key, -1) >= len(messages)
            for key, messages in self._partitions.items()
            if self._covers(key)
        )

    def _covers(self, key: Key) -> bool:
        return any(_covers(topic, key[0]) for topic in self._topics)

    def consume(self, count: int, timeout: float) -> list[Message]:
        """Return the next available messages, at most `count`."""
        messages: list[Message] = []
        while len(messages) < count and (message := self._next()) is not None:
            messages.append(message)
        return messages

    def consumer_group_metadata(self) -> Any:
        """Return what a transaction commits offsets for: this consumer."""
        return self

    def _next(self) -> Message | None:
        for key, position in self._positions.items():
            if key in self._paused:
                continue
            messages = self._partitions[key]
            if position < len(messages):
                self._positions[key] = position + 1
                return messages[position]
            if self._eof and key not in self._told_eof:
                self._told_eof.add(key)
                return _message(topic=key[0], partition=key[1], error=KafkaError(KafkaError._PARTITION_EOF))
        return None

    def commit(self, offsets: list[TopicPartition], asynchronous: bool = True) -> list[TopicPartition] | None:
        """Commit the given offsets."""
        self.committed_offsets.update({(each.topic, each.partition): each for each in offsets})
        if asynchronous and self._on_commit is not None:
            self._on_commit(None, list(offsets))
        return None if asynchronous else offsets

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """Return what is committed."""
        return [self.committed_offsets.get((each.topic, each.partition), each) for each in partitions]

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Hand out nothing of these partitions."""
        self._paused.update((each.topic, each.partition) for each in partitions)

    def resume(self, partitions: list[TopicPartition]) -> None:
        """Hand out messages of these partitions again."""
        self._paused.difference_update((each.topic, each.partition) for each in partitions)

    def seek(self, place: TopicPartition) -> None:
        """Continue at an offset."""
        key = (place.topic, place.partition)
        low, high = self.get_watermark_offsets(place)
        wanted = {OFFSET_BEGINNING: low, OFFSET_END: high}.get(place.offset, place.offset)
        offsets = [_offset(message) for message in self._partitions[key]]
        self._positions[key] = sum(offset < wanted for offset in offsets)
        self._told_eof.discard(key)

    def get_watermark_offsets(self, place: TopicPartition, timeout: float = 0.0) -> tuple[int, int]:
        """Return the first offset and the one after the last."""
        messages = self._partitions[place.topic, place.partition]
        return (_offset(messages[0]), _offset(messages[-1]) + 1) if messages else (0, 0)

    def offsets_for_times(self, places: list[TopicPartition], timeout: float = 0.0) -> list[TopicPartition]:
        """Return the offset of the first message at or after a time, OFFSET_END when there is none; or of an end."""
        found = []
        for place in places:
            if place.offset in (OFFSET_BEGINNING, OFFSET_END):
                end = self.get_watermark_offsets(place)[place.offset == OFFSET_END]
                found.append(TopicPartition(place.topic, place.partition, end))
                continue
            messages = self._partitions[place.topic, place.partition]
            later = (_offset(message) for message in messages if message.timestamp()[1] >= place.offset)
            found.append(TopicPartition(place.topic, place.partition, next(later, OFFSET_END)))
        return found

    def unsubscribe(self) -> None:
        """Give everything back."""
        on_revoke, self._on_revoke = self._on_revoke, None
        if on_revoke is not None and self._positions:
            on_revoke(self, [TopicPartition(*key) for key in self._positions])

    def close(self) -> None:
        """Give everything back."""
        self.unsubscribe()


class MemoryProducer:
    """Takes what is produced and acknowledges it at once; keeps it from sight while a transaction is open.

    feed is called with (topic, partition, record) of what has become visible. Safe to use from any thread.
    """

    def __init__(self, feed: Callable[[str, int, Record], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._feed = feed
        self._open: list[tuple[str, int, Record]] | None = None  # of the transaction
        self._offsets: list[tuple[list[TopicPartition], MemoryConsumer]] = []
        self.produced: dict[str, list[Record]] = {}

    def produce(
        self,
        topic: str,
        value: bytes | str | None,
        key: bytes | str | None,
        on_delivery: Callable[[KafkaError | None, Message], None],
        headers: Any = None,
        partition: int = 0,
        timestamp: int | None = None,
    ) -> None:
        """Keep the record and report its delivery."""
        pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
        named = tuple((name, _bytes(data)) for name, data in pairs)
        record = Record(_bytes(value), _bytes(key), named, partition, timestamp)
        with self._lock:
            if self._open is not None:
                self._open.append((topic, partition, record))
                offset = 0
            else:
                offset = self._show(topic, partition, record)
        on_delivery(None, _message(topic=topic, partition=partition, offset=offset))

    def _show(self, topic: str, partition: int, record: Record) -> int:
        records = self.produced.setdefault(topic, [])
        offset = sum(each.partition == partition for each in records)
        records.append(dataclasses.replace(record, offset=offset))
        if self._feed is not None:
            self._feed(topic, partition, record)
        return offset

    def init_transactions(self, timeout: float) -> None:
        """Do nothing: there is no coordinator."""

    def begin_transaction(self) -> None:
        """Keep what follows from sight."""
        with self._lock:
            self._open, self._offsets = [], []

    def send_offsets_to_transaction(
        self, offsets: list[TopicPartition], consumer: MemoryConsumer, timeout: float
    ) -> None:
        """Commit these offsets with the transaction."""
        self._offsets.append((offsets, consumer))

    def commit_transaction(self, timeout: float) -> None:
        """Show what was produced, and commit the offsets."""
        with self._lock:
            for topic, partition, record in self._open or ():
                self._show(topic, partition, record)
            self._open = None
        for offsets, consumer in self._offsets:
            consumer.commit(offsets)

    def abort_transaction(self, timeout: float) -> None:
        """Forget what was produced and the offsets."""
        with self._lock:
            self._open, self._offsets = None, []

    def poll(self, timeout: float) -> int:
        """Do nothing: every delivery was reported at once."""
        return 0

    def flush(self, timeout: float) -> int:
        """Do nothing: nothing is under way."""
        return 0


def _covers(topic: str, name: str) -> bool:
    return re.match(topic, name) is not None if topic.startswith("^") else topic == name


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None
    return offset


def _bytes(data: str | bytes | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data
