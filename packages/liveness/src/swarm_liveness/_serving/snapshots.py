"""Snapshots of one process without a supervisor, in the shape of a swarm with one node."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from swarm_health import Accounts, NodeStatistics, PartitionAccount, TopicStatistics, Totals
from swarm_liveness._judging.listener import LivenessListener
from swarm_liveness.protocols import Observable


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
    report_timeout_s: float | None = None
    nodes: Sequence[ProcessNode] = field(default_factory=tuple)
    totals: Totals = field(default_factory=Totals)
    topics: Sequence[TopicStatistics] = field(default_factory=tuple)
    partitions: Sequence[PartitionAccount] = field(default_factory=tuple)


class ProcessObserver:
    """Makes snapshots of this process from its listener and its runtime."""

    def __init__(self, listener: LivenessListener, observable: Observable, *, name: str = "server") -> None:
        """Observe a runtime that `listener.start(observable)` already watches."""
        self._listener = listener
        self._observable = observable
        self._name = name
        self._started = time.monotonic()
        self._accounts = Accounts()
        self.waits_for = ""
        """What the start is waiting for; "" for nothing."""

    def snapshot(self) -> ProcessSnapshot:
        """This process now. Its state is "degraded" while it is unhealthy, else its phase."""
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
