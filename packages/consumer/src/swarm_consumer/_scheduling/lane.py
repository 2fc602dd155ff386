"""A lane: work of one partition, one run at a time, with its consumer and its backlog. Plain data.

    state      means                                      leaves it by
    IDLE       nothing to do                              receive -> READY
    READY      queued for a worker                        take -> RUNNING
    RUNNING    a handler is running                       finish -> IDLE | READY | WAITING | PAUSED
    WAITING    a batch failed, back-off runs              wake (time) -> READY
    PAUSED     its partition is paused by a handler       wake (time), resume -> READY | IDLE
    CLOSED     taken away, or the client is closing       nothing

`partitions.py` and `run_ends.py` have the transitions.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from swarm_consumer._scheduling.backlog import Backlog
from swarm_consumer._scheduling.dead_letter_count import DeadLetterCount
from swarm_consumer._scheduling.run import Run

if TYPE_CHECKING:
    import confluent_kafka

    from swarm_consumer._handling.consumer import Consumer
    from swarm_consumer._scheduling.partition import Partition


class LaneState(Enum):
    """See the table above."""

    IDLE = auto()
    READY = auto()
    RUNNING = auto()
    WAITING = auto()
    PAUSED = auto()
    CLOSED = auto()


BLOCKED = (LaneState.WAITING, LaneState.PAUSED)
"""The waiting messages cannot be worked on now."""


class Lane:
    """One lane of an assigned partition."""

    __slots__ = (
        "backlog",
        "consumer",
        "dead_letter_count",
        "decoders",
        "initialized",
        "key",
        "next_tick",
        "owes_revoked",
        "partition",
        "rate",
        "route",
        "running",
        "state",
        "tick_due",
        "told_revoked",
    )

    def __init__(self, partition: Partition, now: float) -> None:
        settings = partition.route.settings
        self.partition = partition
        self.key = partition.key
        self.route = partition.route
        self.state = LaneState.IDLE
        self.backlog = Backlog(settings)
        self.dead_letter_count = DeadLetterCount()
        self.decoders = replace(partition.route.decoders, epoch=partition.epoch)
        self.running: Run | None = None
        self.consumer: Consumer | None = None
        self.initialized = False
        self.owes_revoked = False  # taken away, and revoked() is still to be called
        self.told_revoked = False  # revoked() was called
        self.tick_due = False  # tick() is called before the next batch
        self.rate = 0.0  # messages per second of the handler, smoothed
        self.next_tick = now + settings.tick_interval

    @property
    def epoch(self) -> int:
        """The present epoch of its partition."""
        return self.partition.epoch

    @property
    def blocked(self) -> bool:
        """Whether the waiting messages cannot be worked on now."""
        return self.state in BLOCKED

    def wants(self, hook: str) -> bool:
        """Whether there is a consumer with this hook."""
        return hook in self.route.hooks and self.consumer is not None

    @property
    def drained(self) -> bool:
        """Whether no message is waiting or being handled."""
        return not self.backlog and not (self.running is not None and self.running.records)

    def oldest_unhandled(self, marked: int | None) -> confluent_kafka.Message | None:
        """Return the first received record that is not done; everything before the offset `marked` is done."""
        running = self.running.records if self.running is not None else []
        for records in (running, self.backlog.retry or [], self.backlog.held):
            for record in records:
                if marked is None or (record.offset() or 0) >= marked:
                    return record
        return None
