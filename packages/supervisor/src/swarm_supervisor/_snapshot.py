"""The snapshot of a swarm that the control socket, probes, top and the page all show."""

from __future__ import annotations

import msgspec

from swarm_health import NodeStatistics, PartitionAccount, TopicStatistics, Totals


class NodeSnapshot(msgspec.Struct, kw_only=True):
    """One node."""

    id: int
    generation: int
    pid: int | None
    """None while there is no process."""
    state: str
    """A `lifecycle.State` as text; "done" if it will not be restarted."""
    uptime_s: float
    """Seconds since the fork; 0 while there is no process."""
    restarts: int
    """Number of earlier processes of this node."""
    last_report_age_s: float | None
    """Seconds since the last report of its process; None without a process or before the first report."""
    status: int
    """The last status: 0 healthy, -1 silent, any other value unhealthy."""
    reason: str
    """The reason for the state: why it stops, why it waits, what is wrong."""
    last_exit: str
    """How and why the previous process ended."""
    crash_loop: bool
    restart_in_s: float | None
    """Seconds until the next start; None if none is due."""
    spare_pid: int | None
    spare_state: str
    """The state of the spare of a planned replacement; "" if there is none."""
    statistics: NodeStatistics | None
    """The last statistics of its current process, counted since that process's start; None without a process."""
    totals: Totals = msgspec.field(default_factory=Totals)
    """The work of all processes of this node together. These figures only grow."""


class Snapshot(msgspec.Struct, kw_only=True):
    """The state of a swarm at one moment. It can be encoded as JSON (msgspec.json.encode)."""

    pid: int
    """The supervisor."""
    name: str
    state: str
    """starting, running, degraded, quieting, quiet, stopping or stopped."""
    reason: str
    """Why it is degraded, quiet or stopping, or what the start is waiting for; "" otherwise."""
    wanted: int
    running: int
    """Number of wanted nodes that run and report healthy; every view shows it."""
    uptime_s: float
    restarts: int
    """Number of processes that replaced others, since the start."""
    rolling_restart: bool
    listener_errors: int
    nodes: list[NodeSnapshot]
    report_timeout_s: float | None = None
    """Silence after which a node is stopped (the setting node_report_timeout)."""
    totals: Totals = msgspec.field(default_factory=Totals)
    """The work of the swarm since its start, including dead processes."""
    topics: list[TopicStatistics] = []
    """The same by group and topic."""
    partitions: list[PartitionAccount] = []
    """Every partition that a node has, or had recently, with its owner and figures."""
