"""What liveness needs of a runtime, a supervisor and a loop, as structural protocols: any that fit will do.

swarm-consumer's Runtime is an Observable and swarm-supervisor's Node is a Reporter, but neither is imported here. Your
own runtime is observable if it has these attributes. All times are seconds of time.monotonic().
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from swarm_health import NodeStatistics, PartitionAccount, TopicStatistics, Totals


class PollStamp(Protocol):
    """When one subscription group was last polled, and the state of its membership."""

    @property
    def subscription_group(self) -> str:
        """Name of the subscription group, which has one Kafka client and one thread that polls it."""

    @property
    def last_poll(self) -> float | None:
        """When the poll last returned (monotonic seconds); None before the first poll."""

    @property
    def max_poll_interval_s(self) -> float:
        """The group's max.poll.interval.ms in seconds: the longest that the broker tolerates."""

    @property
    def join_state(self) -> str | None:
        """The join state in the client's statistics ("steady", "wait-sync", …); None with statistics off."""

    @property
    def join_state_since(self) -> float | None:
        """When the client entered that join state (monotonic seconds); None if unknown."""


class RunStamp(Protocol):
    """One hook of user code that is running now: consume (a batch of one partition), revoked, shutdown, tick."""

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
        """The topic's own TTL in seconds, as for a long-running handler; None: the listener's consuming_ttl."""

    @property
    def max_poll_interval_s(self) -> float:
        """max.poll.interval.ms of the topic's group, in seconds: the TTL if none is set."""


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
        """Counters, named like the fields of swarm_health.NodeStatistics. Unknown ones may be left out."""

    def after_batch(self, callback: Callable[[], None]) -> None:
        """Register a callback. The thread that worked calls it after every batch."""


@runtime_checkable
class Complaining(Protocol):
    """An Observable whose handlers can report a problem themselves. Optional for a runtime."""

    def complaint(self) -> tuple[int, str] | None:
        """A positive code and a sentence, or None if there is no complaint."""


@runtime_checkable
class Telling(Protocol):
    """An Observable that announces changes of its `phase`. Otherwise they are noticed with the next statistics."""

    def after_state(self, callback: Callable[[], None]) -> None:
        """Register a callback. The thread that changes `phase` calls it after every change."""


class Reporter(Protocol):
    """Where reports go. Each method returns at once: False if the report was dropped."""

    def healthy(self) -> bool:
        """Send a heartbeat."""

    def unhealthy(self, code: int, reason: str) -> bool:
        """Report a problem: the receiver stops this process."""

    def report(self, statistics: NodeStatistics) -> bool:
        """Send the latest statistics."""


class Loop(Protocol):
    """The part of an event loop that liveness needs: the supervisor's loop, or the small one of `ProcessProbes`."""

    def add_reader(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call back with the ready events (select.EPOLL*) whenever the descriptor has any of `events`."""

    def remove_reader(self, fd: int) -> object:
        """Stop watching the descriptor."""

    def call_at(self, deadline: float, callback: Callable[[], None]) -> object:
        """Call back once at or after `deadline` (monotonic seconds)."""


class NodeView(Protocol):
    """One node of a swarm, with the attributes of swarm-supervisor's NodeSnapshot."""

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
        """The state of its process; "running" is the normal one."""

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
        """Why it is unhealthy or not running."""

    @property
    def last_exit(self) -> str:
        """How the process before this one ended."""

    @property
    def crash_loop(self) -> bool:
        """Whether it keeps dying."""

    @property
    def restart_in_s(self) -> float | None:
        """Seconds until its next start; None if it is not waiting for one."""

    @property
    def statistics(self) -> NodeStatistics | None:
        """The last statistics of its present process."""

    @property
    def totals(self) -> Totals:
        """Sums over all its processes."""


class SnapshotView(Protocol):
    """A swarm at one moment, with the attributes of swarm-supervisor's Snapshot."""

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
        """How many of the wanted nodes run and report healthy: the number in every view."""

    @property
    def uptime_s(self) -> float:
        """Seconds since the start."""

    @property
    def restarts(self) -> int:
        """Processes started to replace others."""

    @property
    def report_timeout_s(self) -> float | None:
        """Silence in seconds after which a node is stopped; None where no supervisor does that."""

    @property
    def nodes(self) -> Sequence[NodeView]:
        """All nodes."""

    @property
    def totals(self) -> Totals:
        """Sums since the swarm started."""

    @property
    def topics(self) -> Sequence[TopicStatistics]:
        """The same sums by group and topic."""

    @property
    def partitions(self) -> Sequence[PartitionAccount]:
        """Every partition that a node owns or recently owned."""
