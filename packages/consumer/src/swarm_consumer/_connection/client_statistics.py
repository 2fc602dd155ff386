"""The parts of librdkafka's statistics that liveness and reports need."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from swarm_consumer._scheduling.ledger import Key

UNREADABLE = (msgspec.DecodeError, RecursionError, ValueError)
"""Errors of decoding: nested too deeply (RecursionError), or not text or a number (ValueError)."""


class _Partition(msgspec.Struct):
    committed_offset: int = -1001
    next_offset: int = -1001
    lo_offset: int = -1001
    hi_offset: int = -1001
    ls_offset: int = -1001
    fetchq_cnt: int = 0
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


@dataclass(frozen=True, slots=True)
class KnownPartition:
    """One partition in the client's last statistics. None means unknown."""

    committed: int | None = None
    start: int | None = None
    """The first offset that still exists."""
    end: int | None = None
    """The end for readers: after it there are only open transactions, or nothing."""
    fetched: int | None = None
    """The next offset that the client would fetch."""
    waiting: int = 0
    """Number of records fetched but not handed over, for all partitions together."""


NOTHING = KnownPartition()


class ClientStatistics:
    """The last statistics of one client. The owner thread replaces values, never edits them: any thread may read."""

    def __init__(self) -> None:
        self.join_state: str | None = None
        self.join_state_since: float | None = None
        self.group_state: str | None = None
        """The state of the group's coordinator: "up" if the client has one."""
        self.brokers: tuple[tuple[str, str], ...] = ()
        """Source and state of each broker that the client lists."""
        self._known: dict[Key, KnownPartition] = {}
        self._committed: dict[Key, int] = {}
        self._received: dict[Key, tuple[int, int]] = {}  # bytes of earlier clients, and of the current one

    def update(self, text: str, now: float) -> None:
        """Take a statistics document; one that cannot be read is skipped."""
        try:
            statistics = _decoder.decode(text)
        except UNREADABLE:
            return
        if statistics.cgrp is not None:
            self._joined(statistics.cgrp.join_state, now)
            self.group_state = statistics.cgrp.state
        self.brokers = tuple((broker.source, broker.state) for broker in statistics.brokers.values())
        known, received = {}, dict(self._received)
        for topic, partitions in statistics.topics.items():
            for number, one in partitions.partitions.items():
                if number < 0:
                    continue  # librdkafka keeps an "unassigned" partition -1 of each topic
                key = (topic, number)
                known[key] = _known(one)
                earlier, last = received.get(key, (0, 0))
                # A recreated client counts from 0.
                received[key] = (earlier, one.rxbytes) if one.rxbytes >= last else (earlier + last, one.rxbytes)
        self._known, self._received = known, received

    def known(self, key: Key) -> KnownPartition:
        """Return the client's figures for a partition."""
        return self._known.get(key, NOTHING)

    def committed_offset(self, key: Key) -> int | None:
        """Return the committed offset: the last one under this assignment, else the one that the client found."""
        committed = self._committed.get(key)
        return self.known(key).committed if committed is None else committed

    def received_bytes(self, key: Key) -> int:
        """Return the number of bytes received for a partition since the start. It only grows."""
        return sum(self._received.get(key, (0, 0)))

    def received(self) -> dict[Key, int]:
        """Return the same for every partition that was ever here."""
        return {key: earlier + last for key, (earlier, last) in self._received.items()}

    def assigned(self, keys: Iterable[Key]) -> None:
        """Forget the figures of an earlier assignment."""
        self.unassigned(keys)

    def unassigned(self, keys: Iterable[Key]) -> None:
        """Forget the figures of partitions that are not ours."""
        gone = set(keys)
        self._committed = {key: offset for key, offset in self._committed.items() if key not in gone}
        self._known = {key: known for key, known in self._known.items() if key not in gone}

    def committed(self, offsets: Iterable[tuple[str, int, int]]) -> None:
        """Note commits that the broker has accepted."""
        self._committed = {**self._committed, **{(topic, partition): offset for topic, partition, offset in offsets}}

    def _joined(self, state: str, now: float) -> None:
        if state != self.join_state:
            self.join_state = state
            self.join_state_since = now


def _known(one: _Partition) -> KnownPartition:
    # Brokers send a last stable offset only to clients that read committed records. They cannot read anything
    # after it.
    return KnownPartition(
        committed=_offset(one.committed_offset),
        start=_offset(one.lo_offset),
        end=_offset(one.hi_offset) if one.ls_offset < 0 else one.ls_offset,
        fetched=_offset(one.next_offset),
        waiting=one.fetchq_cnt,
    )


def _offset(number: int) -> int | None:
    """Librdkafka's negative offsets have meanings: invalid, stored, beginning, end."""
    return number if number >= 0 else None
