"""A lane: one partition under one assignment, with its waiting messages. A run: one call into its consumer. Pure data.

    state      means                                      leaves it by
    IDLE       nothing to do                              receive -> READY
    READY      queued for a worker                        take -> RUNNING
    RUNNING    a handler is running                       finish -> IDLE | READY | WAITING | PAUSED
    WAITING    a batch failed, back-off runs              wake (time) -> READY
    PAUSED     paused by its handler                      wake (time), resume -> READY | IDLE
    CLOSED     taken away, or the client is closing       nothing

`lanes.py` has the transitions.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from swarm_consumer._scheduling.dead_letter_count import DeadLetterCount
from swarm_consumer._scheduling.progress import Key
from swarm_consumer._scheduling.retry import Backoff

if TYPE_CHECKING:
    import confluent_kafka

    from swarm_consumer._handling.consumer import Consumer
    from swarm_consumer._producing.deliveries import Deliveries
    from swarm_consumer._producing.transactions import TransactionScope
    from swarm_consumer.routing.routes import Route


class LaneState(Enum):
    """See the table above."""

    IDLE = auto()
    READY = auto()
    RUNNING = auto()
    WAITING = auto()
    PAUSED = auto()
    CLOSED = auto()


Mark = tuple[int, str | None, int | None]
"""A position to mark: the next offset, metadata, the leader's epoch."""


class RunTransaction:
    """The open transaction of a run. `scope` belongs to the producer."""

    __slots__ = ("blocks", "inside", "mark", "refused", "scope", "timeout")

    def __init__(self, scope: TransactionScope, timeout: float) -> None:
        self.scope = scope
        self.timeout = timeout
        self.mark: Mark | None = None
        self.refused = False  # a mark was requested that can no longer count
        self.inside = True  # in a block, between its begin and its end
        self.blocks = 0  # how many blocks have ended and wait for the end of the batch


class Run:
    """One call into a consumer: the action, the messages, the epoch, the start time.

    It is also the stamp that liveness reads: topic, partition, first_offset, last_offset, action, started, ttl_s,
    max_poll_interval_s.
    """

    __slots__ = (
        "action",
        "again",
        "alone",
        "attempt",
        "deferred",
        "epoch",
        "first_offset",
        "lane",
        "last_offset",
        "marks_only",
        "max_poll_interval_s",
        "over",
        "overtaken",
        "partition",
        "produced",
        "reached",
        "records",
        "resume_state",
        "seek",
        "spoiled",
        "started",
        "topic",
        "transaction",
        "ttl_s",
    )

    def __init__(
        self, lane: Lane, action: str, records: list[confluent_kafka.Message], now: float, max_poll_interval_s: float
    ) -> None:
        self.lane = lane
        self.epoch = lane.epoch
        self.action = action
        self.records = records
        self.attempt = lane.failures + 1
        self.started = now
        self.topic: str = lane.key[0]
        self.partition: int = lane.key[1]
        self.first_offset: int | None = records[0].offset() if records else None
        self.last_offset: int | None = records[-1].offset() if records else None
        self.ttl_s: float | None = lane.route.settings.consuming_ttl
        self.max_poll_interval_s = max_poll_interval_s
        self.marks_only = False  # the handler has seen that it should leave early, so its return marks nothing
        self.seek: Any = None
        self.deferred: Mark | None = None  # a mark that waits for acknowledgements
        self.again = False  # some of it has failed before
        self.alone = False  # one message of a failed batch, to find out which one fails
        self.resume_state: LaneState | None = None  # where a hook found the lane
        self.produced: Deliveries | None = None  # what it has produced, once it has
        self.transaction: RunTransaction | None = None
        self.spoiled: BaseException | None = None  # the error that undid successful blocks of the transaction
        self.overtaken = False  # the transaction of an earlier attempt was committed after all
        self.over = False  # its handler has returned or raised, so no transaction may start
        self.reached = True  # whether consume() was called: only its errors can lead to a dead letter


run_in_hand: ContextVar[Run | None] = ContextVar("run_in_hand", default=None)
"""The run of the current thread or task; None in a handler's own threads."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run: what to report, and whether the lane goes back into the workers' queue."""

    queue: bool
    stale: bool = False
    retry_in_s: float | None = None
    isolating: bool = False
    refusal: str | None = None
    first_unmarked: int | None = None
    owes_revoked: bool = False


class Lane:
    """One assigned partition under one assignment."""

    __slots__ = (
        "backoff",
        "consumer",
        "dead_letter_count",
        "decoders",
        "eof",
        "epoch",
        "expected",
        "failing_offset",
        "failures",
        "first_offset",
        "flow_paused",
        "going_back",
        "held",
        "held_bytes",
        "initialized",
        "isolated",
        "key",
        "next_tick",
        "over_since",
        "owes_revoked",
        "paused_until",
        "pending_seek",
        "rate",
        "retry",
        "retry_at",
        "revoking",
        "route",
        "running",
        "seek_at",
        "seek_failures",
        "start",
        "start_unknown",
        "state",
        "tick_due",
        "told_revoked",
        "went_back",
    )

    def __init__(self, key: Key, route: Route, epoch: int, now: float) -> None:
        settings = route.settings
        self.key = key
        self.route = route
        self.epoch = epoch
        self.backoff = Backoff(settings.retry_backoff, settings.retry_backoff_max)
        self.state = LaneState.IDLE
        self.held: list[confluent_kafka.Message] = []
        self.held_bytes = 0  # of the values in `held`, estimated
        self.retry: list[confluent_kafka.Message] | None = None
        self.retry_at = 0.0
        self.failures = 0
        self.failing_offset: int | None = None
        self.isolated = False  # messages in `retry` are handed out one at a time
        self.dead_letter_count = DeadLetterCount()
        self.paused_until: float | None = None
        self.pending_seek: Any = None
        self.going_back = False  # at the end of its run, unmarked messages are handled again
        self.decoders = replace(route.decoders, epoch=epoch)
        self.seek_failures = 0
        self.seek_at = 0.0  # when a failed seek is retried
        self.running: Run | None = None
        self.consumer: Consumer | None = None
        self.initialized = False
        self.revoking = False
        self.flow_paused = False
        self.over_since: float | None = None  # since when it holds too much without a worker
        self.eof = False
        self.owes_revoked = False  # taken away, and revoked() is still to be called
        self.told_revoked = False  # revoked() was called
        self.tick_due = False  # tick() is called before the next batch
        self.start: int | None = None  # where the partition began under this assignment, as far as known
        self.start_unknown = False  # the broker did not return the committed offset, so the first record decides
        self.expected: int | None = None  # the next offset the client should give us
        self.first_offset: int | None = None  # of the first record under the current epoch
        self.went_back = False  # the client returned an earlier one, and that is not committed yet
        self.rate = 0.0  # messages per second of the handler, smoothed
        self.next_tick = now + settings.tick_interval

    @property
    def blocked(self) -> bool:
        """Whether the waiting messages cannot be worked on now."""
        return self.state in (LaneState.WAITING, LaneState.PAUSED)

    def wants(self, hook: str) -> bool:
        """Whether there is a consumer with this hook."""
        return hook in self.route.hooks and self.consumer is not None

    @property
    def drained(self) -> bool:
        """Whether no message is waiting or being handled."""
        at_work = self.running is not None and bool(self.running.records)
        return not self.held and self.retry is None and not at_work and self.pending_seek is None

    def oldest_unhandled(self, marked: int | None) -> confluent_kafka.Message | None:
        """Return the first received record that is not done; everything before the offset `marked` is done."""
        running = self.running.records if self.running is not None else []
        for records in (running, self.retry or [], self.held):
            for record in records:
                if marked is None or (record.offset() or 0) >= marked:
                    return record
        return None


def size_of(records: list[confluent_kafka.Message]) -> int:
    """Return the size of the records' values, estimated from a sample for more than eight records: each costs 40 ns."""
    step = len(records) // 8 + 1
    sample = records[::step]
    return sum(map(len, sample)) * len(records) // len(sample)
