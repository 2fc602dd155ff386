"""What probes and metrics read: the supervisor's snapshot by its structure, and that shape for one process alone."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from swarm_health import Accounts, NodeStatistics, PartitionAccount, TopicStatistics, Totals
from swarm_liveness._judging.listener import LivenessListener
from swarm_liveness.protocols import Observable


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessNode:
    """The only process of a "swarm" without a supervisor."""

    id: int = 0
    generation: int = 1
    pid: int | None = None
    state: str = "running"
    uptime_s: float = 0.0
    restarts: int = 0
    last_report_age_s: float | None = None
    status: int = 0
    reason: str = ""
    last_exit: str = ""
    crash_loop: bool = False
    restart_in_s: float | None = None
    statistics: NodeStatistics | None = None
    totals: Totals = field(default_factory=Totals)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSnapshot:
    """One process, in the shape of a swarm with one node."""

    pid: int
    name: str
    state: str
    reason: str
    wanted: int = 1
    running: int = 0
    uptime_s: float = 0.0
    restarts: int = 0
    nodes: Sequence[ProcessNode] = field(default_factory=tuple)
    totals: Totals = field(default_factory=Totals)
    topics: Sequence[TopicStatistics] = field(default_factory=tuple)
    partitions: Sequence[PartitionAccount] = field(default_factory=tuple)


class ProcessObserver:
    """Makes snapshots of this process out of its listener and its runtime."""

    def __init__(self, listener: LivenessListener, observable: Observable, *, name: str = "server") -> None:
        """Observe a runtime that `listener.start(observable)` watches already."""
        self._listener = listener
        self._observable = observable
        self._name = name
        self._started = time.monotonic()
        self._accounts = Accounts()
        self.waits_for = ""
        """What is awaited before the start, if anything."""

    def snapshot(self) -> ProcessSnapshot:
        """This process now: unhealthy is "degraded", its phase is its state otherwise."""
        now = time.monotonic()
        verdict = self._listener.verdict(now)
        phase = self._observable.phase
        uptime = now - self._started
        statistics = self._listener.statistics(now)
        self._accounts.take(0, 1, statistics, now)
        node = ProcessNode(
            pid=os.getpid(),
            state=phase,
            uptime_s=uptime,
            last_report_age_s=0.0,
            status=verdict.code,
            reason=verdict.reason,
            statistics=statistics,
            totals=self._accounts.node(0),
        )
        degraded = not verdict.healthy and phase in ("starting", "running")
        return ProcessSnapshot(
            pid=os.getpid(),
            name=self._name,
            state="degraded" if degraded else phase,
            reason=verdict.reason or (self.waits_for if phase == "starting" else ""),
            running=int(phase == "running" and verdict.healthy),
            uptime_s=uptime,
            nodes=(node,),
            totals=self._accounts.total(),
            topics=self._accounts.topics(),
            partitions=self._accounts.partitions(now),
        )
