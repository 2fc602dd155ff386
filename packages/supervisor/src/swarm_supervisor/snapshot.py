"""The one view of a swarm that the control socket, probes, top and the page all show."""

import msgspec

from swarm_health import NodeStatistics, PartitionAccount, TopicStatistics, Totals


class NodeSnapshot(msgspec.Struct, kw_only=True):
    """One node."""

    id: int
    generation: int
    pid: int | None
    """None while there is no process."""
    state: str
    """A `lifecycle.State` as text; "done" once it will not be started again."""
    uptime_s: float
    """Seconds since the fork; 0 while there is no process."""
    restarts: int
    """How many processes this node has had before this one."""
    last_report_age_s: float | None
    """Seconds since its process has reported; None while there is no process, and before the first report."""
    status: int
    """The last status: 0 healthy, -1 silent, any other unhealthy."""
    reason: str
    """What belongs to the state: why it stops, why it waits, what is wrong."""
    last_exit: str
    """How the process before this one ended, and why."""
    crash_loop: bool
    restart_in_s: float | None
    """Seconds until the next start; None if it is not waiting for one."""
    spare_pid: int | None
    spare_state: str
    """The state of the spare of a planned replacement; "" if there is none."""
    statistics: NodeStatistics | None
    """What its present process has told last, counted since the start of that process; None without a process."""
    totals: Totals = msgspec.field(default_factory=Totals)
    """What all processes of this node have done together: these figures only grow."""


class Snapshot(msgspec.Struct, kw_only=True):
    """A swarm at one moment. Can be encoded as JSON (msgspec.json.encode)."""

    pid: int
    """The supervisor."""
    name: str
    state: str
    """starting, running, degraded, quieting, quiet, stopping or stopped."""
    reason: str
    """Why it is degraded, quiet or stopping, or what a start waits for; "" otherwise."""
    wanted: int
    running: int
    """Wanted nodes that run and report healthy: the number that every view shows."""
    uptime_s: float
    restarts: int
    """Processes started in place of others, since the start."""
    rolling_restart: bool
    listener_errors: int
    nodes: list[NodeSnapshot]
    totals: Totals = msgspec.field(default_factory=Totals)
    """What the swarm has done since its start, dead processes included."""
    topics: list[TopicStatistics] = []
    """The same by group and topic."""
    partitions: list[PartitionAccount] = []
    """Every partition that a node has, or had lately: whose it is, what is known of it."""
