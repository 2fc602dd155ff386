"""What librdkafka's statistics say about a client, reduced to what liveness and reports need."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from swarm_consumer.progress import Key

UNREADABLE = (msgspec.DecodeError, RecursionError, ValueError)
"""What decoding raises: nested too deeply (RecursionError), no text or no number (ValueError)."""


class _Partition(msgspec.Struct):
    consumer_lag: int = -1
    committed_offset: int = -1001
    hi_offset: int = -1
    rxbytes: int = 0


class _Topic(msgspec.Struct):
    partitions: dict[int, _Partition] = {}


class _Group(msgspec.Struct):
    join_state: str = ""
    state: str = ""


class _Broker(msgspec.Struct):
    source: str = ""
    state: str = ""


class _Statistics(msgspec.Struct):
    cgrp: _Group | None = None
    brokers: dict[str, _Broker] = {}
    topics: dict[str, _Topic] = {}


_decoder = msgspec.json.Decoder(_Statistics)


class ClientStatistics:
    """The last statistics of one client. The owner thread replaces the values, never edits them: any may read."""

    def __init__(self) -> None:
        self.join_state: str | None = None
        self.join_state_since: float | None = None
        self.group_state: str | None = None
        """The state of the group's coordinator: "up" where the client has one."""
        self.brokers: tuple[tuple[str, str], ...] = ()
        """Source and state of each broker that the client lists."""
        self.lags: dict[Key, int] = {}
        self._readable_ends: dict[Key, int] = {}
        self.end_offsets: dict[Key, int] = {}
        self.committed_offsets: dict[Key, int] = {}
        self.received_bytes: dict[Key, int] = {}

    def update(self, text: str, now: float) -> None:
        """Take over one statistics document; one that cannot be read is passed over."""
        try:
            statistics = _decoder.decode(text)
        except UNREADABLE:
            return
        if statistics.cgrp is not None:
            self._joined(statistics.cgrp.join_state, now)
            self.group_state = statistics.cgrp.state
        self.brokers = tuple((broker.source, broker.state) for broker in statistics.brokers.values())
        lags, ends, readable, received = {}, {}, {}, {}
        for topic, partitions in statistics.topics.items():
            for number, one in partitions.partitions.items():
                key = (topic, number)
                if one.consumer_lag >= 0:
                    lags[key] = one.consumer_lag
                    # Lag is told against the last stable offset where transactions are open, else against the high
                    # watermark (librdkafka, STATISTICS.md): the end that it was told against follows.
                    if one.committed_offset >= 0:
                        readable[key] = one.committed_offset + one.consumer_lag
                if one.hi_offset >= 0:
                    ends[key] = one.hi_offset
                received[key] = one.rxbytes
        self.lags, self._readable_ends = lags, readable
        self.end_offsets, self.received_bytes = ends, received

    def lag(self, key: Key, position: int | None) -> int | None:
        """Return how many messages are there and not yet handled, of which the next is at `position`; None: unknown.

        The client's own figure is against what was committed, and as old as the statistics: it would tell of a lag
        that has long been worked off. The end is as old, but the position is today's.
        """
        end = self._readable_ends.get(key, self.end_offsets.get(key))
        if position is None or end is None:
            return self.lags.get(key)
        return max(0, end - position)

    def assigned(self, keys: Iterable[Key]) -> None:
        """Forget what was committed in an earlier assignment."""
        self.unassigned(keys)

    def unassigned(self, keys: Iterable[Key]) -> None:
        """Forget what was known of partitions that are not ours."""
        gone = set(keys)
        self.committed_offsets = {key: offset for key, offset in self.committed_offsets.items() if key not in gone}

    def committed(self, offsets: Iterable[tuple[str, int, int]]) -> None:
        """Note what the broker has taken."""
        self.committed_offsets = {
            **self.committed_offsets,
            **{(topic, partition): offset for topic, partition, offset in offsets},
        }

    def _joined(self, state: str, now: float) -> None:
        if state != self.join_state:
            self.join_state = state
            self.join_state_since = now
