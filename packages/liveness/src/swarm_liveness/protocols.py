"""What liveness observes and whom it tells: structural protocols, so that any runtime and any supervisor fit.

swarm-consumer's Runtime is an Observable and swarm-supervisor's Node is a Reporter; neither is imported here. A runtime
of your own becomes observable by having these attributes. All times are seconds of time.monotonic().
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from swarm_health import NodeStatistics, PartitionAccount, TopicStatistics, Totals


class PollStamp(Protocol):
    """When one subscription group was last polled, and where its membership stands."""

    @property
    def subscription_group(self) -> str:
        """Name of the subscription group: one Kafka client, one thread that polls it."""

    @property
    def last_poll(self) -> float | None:
        """When the poll last returned (monotonic seconds); None while it has not been polled yet."""

    @property
    def max_poll_interval_s(self) -> float:
        """The group's max.poll.interval.ms, in seconds: what the broker itself tolerates."""

    @property
    def join_state(self) -> str | None:
        """The client's join state as its statistics call it ("steady", "wait-sync", …); None with statistics off."""

    @property
    def join_state_since(self) -> float | None:
        """Since when the join state has been that one (monotonic seconds); None when it is not known."""


class RunStamp(Protocol):
    """One hook of user code that is running now: a batch of one partition, or revoked, shutdown, tick."""

    @property
    def topic(self) -> str:
        """The topic."""

    @property
    def partition(self) -> int:
        """The partition."""

    @property
    def first_offset(self) -> int | None:
        """First offset of the batch; None for a hook that has no batch."""

    @property
    def last_offset(self) -> int | None:
        """Last offset of the batch; None for a hook that has no batch."""

    @property
    def action(self) -> str:
        """Which hook runs: "consume", "revoked", "shutdown", "tick", …."""

    @property
    def started(self) -> float:
        """When it began (monotonic seconds)."""

    @property
    def ttl_s(self) -> float | None:
        """The topic's own TTL in seconds (a long-running handler has one); None: the listener's consuming_ttl."""

    @property
    def max_poll_interval_s(self) -> float:
        """max.poll.interval.ms of the topic's group, in seconds: the TTL where nobody set one."""


class Observable(Protocol):
    """A runtime that can be watched from another thread of its process."""

    @property
    def phase(self) -> str:
        """One of "starting", "running", "quieting", "quiet", "stopping", "stopped"."""

    def polls(self) -> Sequence[PollStamp]:
        """A copy of every subscription group's stamp."""

    def runs(self) -> Sequence[RunStamp]:
        """A copy of every hook in progress."""

    def fatal_error(self) -> str | None:
        """The client's fatal error as a sentence, or None. An error of a handler is not one."""

    def statistics(self) -> Mapping[str, object]:
        """Counters under the names of swarm_health.NodeStatistics; keys it does not know may be left out."""

    def after_batch(self, callback: Callable[[], None]) -> None:
        """Have the callback called, from the thread that worked, after every batch."""


@runtime_checkable
class Complaining(Protocol):
    """An Observable whose handlers may say themselves that something is wrong. A runtime need not be one."""

    def complaint(self) -> tuple[int, str] | None:
        """A positive code and a sentence, or None while there is nothing to complain of."""


@runtime_checkable
class Telling(Protocol):
    """An Observable that says when its `phase` has changed. Of others it is noticed at the next statistics."""

    def after_state(self, callback: Callable[[], None]) -> None:
        """Have the callback called, from the thread that changed it, after every change of `phase`."""


class Reporter(Protocol):
    """Where reports go; each method returns at once, False when the report was dropped."""

    def healthy(self) -> bool:
        """Beat."""

    def unhealthy(self, code: int, reason: str) -> bool:
        """Say what is wrong: the one who listens stops this process."""

    def report(self, statistics: NodeStatistics) -> bool:
        """Send the latest statistics."""


class Loop(Protocol):
    """An event loop as far as liveness needs one: the supervisor's own, or the small one of `ProcessProbes`."""

    def add_reader(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call back with the ready events (select.EPOLL*) whenever the descriptor has some of `events`."""

    def remove_reader(self, fd: int) -> object:
        """Stop watching the descriptor."""

    def call_at(self, deadline: float, callback: Callable[[], None]) -> object:
        """Call back once at or after `deadline` (monotonic seconds)."""


class NodeView(Protocol):
    """One node of a swarm, as swarm-supervisor's NodeSnapshot shows it."""

    @property
    def id(self) -> int:
        """The node's id."""

    @property
    def generation(self) -> int:
        """1 for the first process of this id."""

    @property
    def pid(self) -> int | None:
        """None while there is no process."""

    @property
    def state(self) -> str:
        """Where its process stands; "running" is the one that works."""

    @property
    def uptime_s(self) -> float:
        """Seconds since the fork."""

    @property
    def restarts(self) -> int:
        """Processes before this one."""

    @property
    def last_report_age_s(self) -> float | None:
        """Seconds since the last health report; None before the first."""

    @property
    def status(self) -> int:
        """The last status."""

    @property
    def reason(self) -> str:
        """Why it is not healthy or not running."""

    @property
    def last_exit(self) -> str:
        """How the process before this one ended."""

    @property
    def crash_loop(self) -> bool:
        """Whether it keeps dying."""

    @property
    def restart_in_s(self) -> float | None:
        """Seconds until its next start; None if it does not wait for one."""

    @property
    def statistics(self) -> NodeStatistics | None:
        """What its present process last told of itself."""

    @property
    def totals(self) -> Totals:
        """What all its processes have done together."""


class SnapshotView(Protocol):
    """A swarm at one moment, as swarm-supervisor's Snapshot shows it."""

    @property
    def pid(self) -> int:
        """The supervisor's pid."""

    @property
    def name(self) -> str:
        """The swarm's name."""

    @property
    def state(self) -> str:
        """starting, running, degraded, quieting, quiet, stopping or stopped."""

    @property
    def reason(self) -> str:
        """Why it is degraded, quiet or stopping."""

    @property
    def wanted(self) -> int:
        """How many nodes there should be."""

    @property
    def running(self) -> int:
        """How many of them run and report healthy: the number that every view shows."""

    @property
    def uptime_s(self) -> float:
        """Seconds since the start."""

    @property
    def restarts(self) -> int:
        """Processes started in place of others."""

    @property
    def nodes(self) -> Sequence[NodeView]:
        """All nodes."""

    @property
    def totals(self) -> Totals:
        """What the swarm has done since its start."""

    @property
    def topics(self) -> Sequence[TopicStatistics]:
        """The same by group and topic."""

    @property
    def partitions(self) -> Sequence[PartitionAccount]:
        """Every partition that a node has, or had lately."""
