"""Two probes of rebalances: the generations that the broker writes down, and those that members name.

The broker keeps each group in __consumer_offsets, one record whenever it has rebalanced or a static member has come
back: a rebalance raises the generation in it, a static member's return does not. It is what a restarted broker would
go on with, so it is the broker's own word.
"""

import logging
import re
import struct
import threading
import time
from collections.abc import Callable

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

GROUP_METADATA_KEY = 2
"""GroupMetadataKey in Kafka's group-coordinator/src/main/resources/common/message: int16 version 2, string group."""
FLEXIBLE_VERSION = 4
"""From this version of GroupMetadataValue on, lengths are unsigned varints of length + 1."""

_MEMBER = re.compile(r"(?:Heartbeat for group .* generation id|JoinGroup response: GenerationId) (\d+)")


def group_of(key: bytes) -> str | None:
    """Return the group that a record of __consumer_offsets tells of; None for a record of another kind."""
    version, length = struct.unpack_from(">hh", key)
    return key[4 : 4 + length].decode() if version == GROUP_METADATA_KEY else None


def generation_of(value: bytes) -> int:
    """Return the generation in a GroupMetadataValue: int16 version, string protocol type, int32 generation, ..."""
    (version,) = struct.unpack_from(">h", value)
    if version >= FLEXIBLE_VERSION:
        at, length = 3, value[2] - 1  # "consumer" is shorter than 127: one byte
    else:
        at, length = 4, int(struct.unpack_from(">h", value, 2)[0])
    return int(struct.unpack_from(">i", value, at + length)[0])


class BrokerGenerations:
    """A thread that reads __consumer_offsets: which generations a classic group has had, and when they were seen."""

    def __init__(self, bootstrap: str, group: str) -> None:
        self.seen: list[tuple[float, int]] = []
        """Monotonic seconds, generation: one for each record of the group."""
        self._group = group
        self._bootstrap = bootstrap
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="generations")

    def start(self) -> None:
        """Begin to read from the beginning."""
        self._thread.start()

    @property
    def started(self) -> bool:
        """Whether there is a thread to end."""
        return self._thread.ident is not None

    def stop(self) -> None:
        """End."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        reader = Consumer({"bootstrap.servers": self._bootstrap, "group.id": "generations", "log_level": 0})
        offsets = "__consumer_offsets"
        found = reader.list_topics(offsets, timeout=30).topics[offsets].partitions
        reader.assign([TopicPartition(offsets, number, OFFSET_BEGINNING) for number in found])
        while not self._ending.is_set():
            message = reader.poll(0.1)
            if message is None or message.error() is not None:
                continue
            key, value = message.key(), message.value()
            if isinstance(key, bytes) and isinstance(value, bytes) and group_of(key) == self._group:
                self.seen.append((time.monotonic(), generation_of(value)))
        reader.close()


class MemberGenerations(logging.Handler):
    """Hears what librdkafka says under ``debug=cgrp``, and tells each generation that it names, once in a row."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        super().__init__(logging.DEBUG)
        self._tell = tell
        self._last = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Look for a generation."""
        if (match := _MEMBER.search(record.getMessage())) is not None:
            generation = int(match[1])
            if generation > 0 and generation != self._last:
                self._last = generation
                self._tell(generation)
