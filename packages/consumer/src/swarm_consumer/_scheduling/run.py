"""A run: one call into a consumer, and its outcome. Plain data."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import confluent_kafka

    from swarm_consumer._producing.deliveries import Deliveries
    from swarm_consumer._producing.transactions import TransactionScope
    from swarm_consumer._scheduling.lane import Lane, LaneState
    from swarm_consumer._scheduling.remembrance import Suspects
    from swarm_consumer._scheduling.suspects import Judgement

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
        "by_itself",
        "deadly",
        "deferred",
        "epoch",
        "first_offset",
        "judgement",
        "lane",
        "last_offset",
        "marks_only",
        "max_poll_interval_s",
        "noted",
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
        "suspects",
        "topic",
        "transaction",
        "ttl_s",
    )

    def __init__(
        self, lane: Lane, action: str, records: list[confluent_kafka.Message], now: float, max_poll_interval_s: float
    ) -> None:
        self.lane = lane
        self.epoch = lane.partition.epoch
        self.action = action
        self.records = records
        self.attempt = lane.backlog.failures + 1
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
        self.suspects: Suspects | None = None  # its message is one of them
        self.judgement: Judgement | None = None  # why it is not handed to the handler
        self.by_itself = False  # nothing else runs in this process
        self.noted = False  # its partition's note says that it is in hand
        self.deadly = False  # its handler raised what ends the process
        self.resume_state: LaneState | None = None  # where a hook found the lane
        self.produced: Deliveries | None = None  # what it has produced, once it has
        self.transaction: RunTransaction | None = None
        self.spoiled: BaseException | None = None  # the error that undid successful blocks of the transaction
        self.overtaken = False  # the transaction of an earlier attempt was committed after all
        self.over = False  # its handler has returned or raised, so no transaction may start
        self.reached = True  # whether consume() was called: only its errors can lead to a dead letter


run_in_hand: ContextVar[Run | None] = ContextVar("run_in_hand", default=None)
"""The run of the current thread or task; None in a handler's own threads."""


class Outcome(NamedTuple):
    """What became of a run: to be reported, and which lanes go back into the workers' queue."""

    queue: tuple[Lane, ...] = ()
    stale: bool = False
    retry_in_s: float | None = None
    isolating: bool = False
    refusal: str | None = None
    first_unmarked: int | None = None
    owes_revoked: bool = False
