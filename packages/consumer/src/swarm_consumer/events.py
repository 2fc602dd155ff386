"""The typed events. `bus.py` passes them to listeners and to the log."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

from swarm_consumer.wording.plain_text import describe as describe
from swarm_consumer.wording.plain_text import format_partitions as format_partitions


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events. `at` is monotonic seconds; `str()` gives the log line."""

    level: ClassVar[int] = logging.DEBUG
    at: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        facts = (f"{name}={value!r}" for name, value in vars(self).items() if name != "at")
        return f"{type(self).__name__}({', '.join(facts)})"


@dataclass(frozen=True, kw_only=True)
class StateChanged(Event):
    """The runtime entered a state: starting, running, quieting, quiet, stopping or stopped."""

    level: ClassVar[int] = logging.INFO
    state: str
    previous: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.previous} -> {self.state}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True, kw_only=True)
class ClientCreated(Event):
    """A Kafka client was created for a subscription group."""

    level: ClassVar[int] = logging.INFO
    subscription_group: str
    group: str
    topics: tuple[str, ...]
    instance_id: str | None = None

    def __str__(self) -> str:
        static = f" as static member {self.instance_id}" if self.instance_id else ""
        return f"{self.subscription_group}: subscribed to {', '.join(self.topics)} in group {self.group}{static}"


@dataclass(frozen=True, kw_only=True)
class AwaitingPartitions(Event):
    """A client has had no partition for a while. `join_state` comes from librdkafka; None: not known yet."""

    level: ClassVar[int] = logging.INFO
    subscription_group: str
    waited_s: float
    join_state: str | None

    def __str__(self) -> str:
        if self.join_state == "steady":
            return (
                f"{self.subscription_group}: no partitions for this node: other members of the group have all of them"
            )
        state = f" (join state {self.join_state})" if self.join_state else ""
        return (
            f"{self.subscription_group}: waiting for partitions from the group for {self.waited_s:.0f} s so far"
            f"{state}. The group waits for every member, and for a lost member until its session.timeout.ms ends."
        )


@dataclass(frozen=True, kw_only=True)
class Polled(Event):
    """The client returned messages (one event per turn, not per message)."""

    subscription_group: str
    messages: int


@dataclass(frozen=True, kw_only=True)
class _Rebalance(Event):
    level: ClassVar[int] = logging.INFO
    verb: ClassVar[str] = ""
    subscription_group: str
    partitions: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return f"{self.subscription_group}: {self.verb} {format_partitions(self.partitions)}"


class Assigned(_Rebalance):
    """Partitions were given to this node."""

    verb = "assigned"


class Revoked(_Rebalance):
    """Partitions were revoked; their progress was handed over before."""

    verb = "revoked"


class Lost(_Rebalance):
    """Partitions were lost (session or poll interval exceeded): work in flight is dropped, as others own them now."""

    level: ClassVar[int] = logging.WARNING
    verb = "lost"


@dataclass(frozen=True, kw_only=True)
class TakenOver(Event):
    """A partition continues where its last owner was, beyond what that one had committed."""

    level: ClassVar[int] = logging.INFO
    topic: str
    partition: int
    position: int
    """The first offset that is handled here."""
    committed: int
    """The committed offset."""
    node_id: int
    """Of the last owner."""
    generation: int
    """Of the last owner."""

    def __str__(self) -> str:
        return (
            f"{self.topic}[{self.partition}]: continues at offset {self.position}, where node {self.node_id} "
            f"(generation {self.generation}) was; {self.committed} is committed"
        )


@dataclass(frozen=True, kw_only=True)
class TakeOverRefused(Event):
    """What the last owner noted is not used: its records from the committed offset on are handled again."""

    level: ClassVar[int] = logging.WARNING
    topic: str
    partition: int
    position: int | None
    """Where the last owner was, as it noted."""
    committed: int | None
    """The committed offset; None: nothing is committed."""
    node_id: int
    generation: int
    reason: str

    def __str__(self) -> str:
        start = "nothing is committed" if self.committed is None else f"starts at the committed offset {self.committed}"
        return (
            f"{self.topic}[{self.partition}]: {start}, although node {self.node_id} (generation {self.generation}) "
            f"noted {self.position}: {self.reason}"
        )


@dataclass(frozen=True, kw_only=True)
class RevocationOverrun(Event):
    """In-flight work did not end within the revocation budget; its partitions were handed over at their marks."""

    level: ClassVar[int] = logging.WARNING
    subscription_group: str
    partitions: tuple[tuple[str, int], ...]
    waited_s: float

    def __str__(self) -> str:
        return (
            f"{self.subscription_group}: gave {format_partitions(self.partitions)} away with work in flight "
            f"after waiting {self.waited_s:.1f} s; the next owner will repeat it"
        )


@dataclass(frozen=True, kw_only=True)
class BatchStarted(Event):
    """A handler received a batch."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int
    messages: int
    attempt: int


@dataclass(frozen=True, kw_only=True)
class BatchFinished(Event):
    """A handler returned from a batch."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int
    messages: int
    duration_s: float


@dataclass(frozen=True, kw_only=True)
class BatchFailed(Event):
    """A handler raised. After the back-off the partition continues at `offset`, the first unmarked one."""

    level: ClassVar[int] = logging.ERROR
    topic: str
    partition: int
    offset: int
    offset_in_hand: int
    attempt: int
    retry_in_s: float | None
    error: BaseException

    def __str__(self) -> str:
        hand = f" while handling offset {self.offset_in_hand}" if self.offset_in_hand != self.offset else ""
        again = "" if self.retry_in_s is None else f"; again in {self.retry_in_s:.1f} s"
        return (
            f"{self.topic}[{self.partition}] offset {self.offset}: attempt {self.attempt} failed{hand}: "
            f"{describe(self.error)}{again}"
        )


@dataclass(frozen=True, kw_only=True)
class RetryStarted(Event):
    """The back-off is over and the partition is retried."""

    level: ClassVar[int] = logging.INFO
    topic: str
    partition: int
    offset: int
    attempt: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}] offset {self.offset}: attempt {self.attempt}"


@dataclass(frozen=True, kw_only=True)
class PartitionPaused(Event):
    """A partition was paused by its handler, or because its waiting messages use too much memory."""

    topic: str
    partition: int
    reason: str
    duration_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class PartitionResumed(Event):
    """A paused partition continues."""

    topic: str
    partition: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class PartitionStalled(Event):
    """A partition delivers no records although the broker has more; `remedy` is the reaction."""

    level: ClassVar[int] = logging.WARNING
    topic: str
    partition: int
    offset: int | None
    end: int
    stalled_s: float
    remedy: str

    def __str__(self) -> str:
        place = "nowhere yet" if self.offset is None else f"at offset {self.offset}"
        what = f"{self.topic}[{self.partition}] delivers no records for {self.stalled_s:.0f} s, but the broker has more"
        return f"{what}: the client fetches {place}, the end is {self.end}; {self.remedy}"


@dataclass(frozen=True, kw_only=True)
class Sought(Event):
    """A partition continues at another position."""

    level: ClassVar[int] = logging.INFO
    topic: str
    partition: int
    target: str

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]: continues at {self.target}"


@dataclass(frozen=True, kw_only=True)
class DeadLettered(Event):
    """A message was diverted to the dead-letter topic, or skipped if there is none; progress continues after it."""

    level: ClassVar[int] = logging.ERROR
    topic: str
    partition: int
    offset: int
    attempts: int
    dead_letter_topic: str | None
    error: BaseException

    def __str__(self) -> str:
        where = f"sent to {self.dead_letter_topic}" if self.dead_letter_topic else "skipped"
        return (
            f"{self.topic}[{self.partition}] offset {self.offset}: {where} after {self.attempts} attempts: "
            f"{describe(self.error)}"
        )


@dataclass(frozen=True, kw_only=True)
class DeadLetterLimitReached(Event):
    """A message has used up its attempts but is not diverted, because too many were: the partition stays there."""

    level: ClassVar[int] = logging.ERROR
    topic: str
    partition: int
    offset: int
    reason: str

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}] offset {self.offset}: the partition is blocked here: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class SuspectsFound(Event):
    """A process died with these messages: they are handed out one at a time, with nothing beside them.

    `deaths` counts those that may be due to one of them; a kill from outside does not count.
    """

    level: ClassVar[int] = logging.WARNING
    topic: str
    partition: int
    first: int
    last: int
    deaths: int
    reason: str

    def __str__(self) -> str:
        which = f"offset {self.first}" if self.first == self.last else f"offsets {self.first} to {self.last}"
        died = f"{self.deaths} processes died" if self.deaths > 1 else "a process died"
        counts = "" if self.deaths else ", which does not count"
        return (
            f"{self.topic}[{self.partition}] {which}: {died} here ({self.reason or 'reason unknown'}){counts}; handed "
            f"out one at a time until each has passed"
        )


@dataclass(frozen=True, kw_only=True)
class PartitionParked(Event):
    """A message that processes died with is held back, and its partition with it, until `retry_in_s` is over.

    `remedy` says why it is not dead-lettered, or what ends this.
    """

    level: ClassVar[int] = logging.ERROR
    topic: str
    partition: int
    offset: int
    deaths: int
    retry_in_s: float
    remedy: str
    error: BaseException

    def __str__(self) -> str:
        return (
            f"{self.topic}[{self.partition}] offset {self.offset}: the partition is parked here for "
            f"{self.retry_in_s:.1f} s: {self.error}; {self.remedy}"
        )


@dataclass(frozen=True, kw_only=True)
class Committed(Event):
    """The broker answered a commit. `error` is None if it succeeded."""

    subscription_group: str
    offsets: tuple[tuple[str, int, int], ...]
    error: str | None = None

    def __str__(self) -> str:
        where = ", ".join(f"{topic}[{partition}]={offset}" for topic, partition, offset in self.offsets)
        return f"{self.subscription_group}: committed {where}" + (f": refused: {self.error}" if self.error else "")


@dataclass(frozen=True, kw_only=True)
class CommitRefused(Event):
    """The broker refused a commit for a lasting reason. Reported again every minute while it lasts."""

    level: ClassVar[int] = logging.WARNING
    subscription_group: str
    partitions: tuple[tuple[str, int], ...]
    code: str
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.subscription_group}: the commit of {format_partitions(self.partitions)} was refused: {self.reason}"
        )


@dataclass(frozen=True, kw_only=True)
class StatisticsEmitted(Event):
    """librdkafka's statistics of one client, unchanged."""

    subscription_group: str
    statistics: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.subscription_group}: statistics"


@dataclass(frozen=True, kw_only=True)
class ClientError(Event):
    """The client reported an error. A `fatal` one ends the node; otherwise the client recovers on its own."""

    level: ClassVar[int] = logging.WARNING
    subscription_group: str
    code: str
    reason: str
    fatal: bool = False

    def __str__(self) -> str:
        return f"{self.subscription_group}: {'fatal: ' if self.fatal else ''}{self.code}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class ErrorOccurred(Event):
    """An error that must not stop anything: in a hook, in a listener, a rejected offset."""

    level: ClassVar[int] = logging.ERROR
    where: str
    error: BaseException
    topic: str | None = None
    partition: int | None = None

    def __str__(self) -> str:
        place = f"{self.topic}[{self.partition}] " if self.topic is not None else ""
        return f"{place}{self.where}: {describe(self.error)}"


@dataclass(frozen=True, kw_only=True)
class DrainOverrun(Event):
    """The drain deadline passed with work still in flight; its offsets are not stored."""

    level: ClassVar[int] = logging.ERROR
    subscription_group: str
    reason: str

    def __str__(self) -> str:
        return f"{self.subscription_group}: {self.reason}"
