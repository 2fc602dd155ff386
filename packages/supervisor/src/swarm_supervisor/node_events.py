"""The events about one process of one node. `events` has those about the swarm, and gives out all of them."""

import logging

from swarm_health import NodeStatistics
from swarm_supervisor.event import NodeEvent, repeated


class BeforeFork(NodeEvent, frozen=True, kw_only=True):
    """A process of a node is about to be forked."""

    level = logging.DEBUG
    spare: bool = False

    def __str__(self) -> str:
        return f"forking node {self.node_id}, generation {self.generation}"


class AfterFork(NodeEvent, frozen=True, kw_only=True):
    """A process of a node has been forked. In the supervisor; `NodeStarted` is its counterpart in the node."""

    spare: bool = False
    duration_s: float = 0.0

    def __str__(self) -> str:
        role = "spare of node" if self.spare else "node"
        return (
            f"forked {role} {self.node_id}, generation {self.generation}, as pid {self.pid} "
            f"in {self.duration_s * 1000:.1f} ms"
        )


class NodeStarted(NodeEvent, frozen=True, kw_only=True):
    """In the node, before its target: the place to reconnect databases and to make clients."""

    level = logging.DEBUG

    def __str__(self) -> str:
        return f"node {self.node_id}, generation {self.generation}, has started as pid {self.pid}"


class NodeRunning(NodeEvent, frozen=True, kw_only=True):
    """The first healthy report of a process."""

    boot_s: float

    def __str__(self) -> str:
        return f"node {self.node_id} (pid {self.pid}) is running, {self.boot_s:.3f} s after it began to boot"


class NodeReported(NodeEvent, frozen=True, kw_only=True):
    """A node has reported: a status, statistics or both."""

    level = logging.DEBUG
    status: int | None
    """The worst status that was read at once; None if there were statistics only."""
    reason: str = ""
    statistics: NodeStatistics | None = None

    def __str__(self) -> str:
        return f"node {self.node_id} reported status {self.status}" + (f": {self.reason}" if self.reason else "")


class NodeStopping(NodeEvent, frozen=True, kw_only=True):
    """A node has been told to stop, or has said that it stops."""

    status: int
    """What it was found to be: -1 silent, 0 healthy, any other the unhealthy status it reported."""
    reason: str
    uptime_s: float
    planned: bool = True
    """Nobody counts this as a crash."""

    @property
    def severity(self) -> int:
        """A node that has to be stopped is worth a warning; one that is to be stopped is not."""
        return logging.INFO if self.planned else logging.WARNING

    def __str__(self) -> str:
        return f"node {self.node_id} (pid {self.pid}) stopping: {self.reason} (was up {self.uptime_s:.1f} s)"


class NodeTerminating(NodeEvent, frozen=True, kw_only=True):
    """A node is being killed."""

    level = logging.WARNING
    reason: str
    doing: str = ""
    """What it was doing, by its last statistics."""
    times: int = 1
    """How often this process has been sent KILL, this time included."""

    @property
    def severity(self) -> int:
        """One that does not die is told again at its 2nd, 4th, 8th, ... KILL."""
        return repeated(self.level, self.times)

    def __str__(self) -> str:
        doing = f"; it was {self.doing}" if self.doing else ""
        return f"killing node {self.node_id} (pid {self.pid}): {self.reason}{doing}"


class NodeExited(NodeEvent, frozen=True, kw_only=True):
    """A process of a node has ended and is reaped."""

    code: int | None
    """Exit code; None if a signal ended it, or if nobody knows."""
    signal: int | None
    """The signal that ended it."""
    status: str
    """Exit code or signal as text."""
    uptime_s: float
    planned: bool
    """Nobody counts this as a crash."""
    reason: str

    @property
    def severity(self) -> int:
        """The death of a node that nobody wanted is worth a warning."""
        return logging.INFO if self.planned else logging.WARNING

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return (
            f"node {self.node_id} (pid {self.pid}, generation {self.generation}) ended after {self.uptime_s:.1f} s, "
            f"{self.status}{why}"
        )


class NodeRestarting(NodeEvent, frozen=True, kw_only=True):
    """A node will be started again. ``generation`` is that of the start to come."""

    delay_s: float
    attempt: int
    """Which start in a row after unplanned exits this will be; 0 for a planned one."""
    reason: str

    def __str__(self) -> str:
        when = f"in {self.delay_s:.1f} s" if self.delay_s > 0 else "now"
        attempt = f" (attempt {self.attempt})" if self.attempt else ""
        return f"node {self.node_id} restarts {when}{attempt}: {self.reason}"


class NodeEnded(NodeEvent, frozen=True, kw_only=True):
    """A node will not be started again."""

    reason: str
    failed: bool = False
    """It has not ended with exit code 0: nothing but a restart by hand brings it back."""

    @property
    def severity(self) -> int:
        """A node that is missing from now on is an error."""
        return logging.ERROR if self.failed else logging.INFO

    def __str__(self) -> str:
        how = "has failed and is not restarted" if self.failed else "is done"
        return f"node {self.node_id} {how}: {self.reason}"


class CrashLoop(NodeEvent, frozen=True, kw_only=True):
    """A node keeps dying. The swarm is degraded until it is stable again."""

    level = logging.ERROR
    restarts: int
    window_s: float
    reason: str

    def __str__(self) -> str:
        return (
            f"node {self.node_id} is in a crash loop: {self.restarts} unplanned exits in a row or within "
            f"{self.window_s:g} s, last: {self.reason}"
        )


class StacksDumped(NodeEvent, frozen=True, kw_only=True):
    """The stacks of every thread of a node."""

    level = logging.WARNING
    text: str

    def __str__(self) -> str:
        return f"stacks of node {self.node_id} (pid {self.pid}):\n{self.text.rstrip()}"

    def parts(self, most: int = 3000) -> list[str]:
        """Return the text for a log whose records are bounded: cut at line ends, about ``most`` characters each."""
        parts, part = [], ""
        for line in self.text.rstrip().splitlines():
            if part and len(part) + len(line) > most:
                parts.append(part)
                part = ""
            part += f"\n{line[:most]}"
        parts.append(part)
        of = f" of {len(parts)}"
        return [
            f"stacks of node {self.node_id} (pid {self.pid}){f', part {number}{of}' if parts[1:] else ''}:{part}"
            for number, part in enumerate(parts, 1)
        ]


class ReplacementStarted(NodeEvent, frozen=True, kw_only=True):
    """A spare is being made to take over from a node. ``generation`` is that of the spare."""

    reason: str

    def __str__(self) -> str:
        return f"starting a new process for node {self.node_id} beside the old one: {self.reason}"


class ReplacementFinished(NodeEvent, frozen=True, kw_only=True):
    """A replacement is healthy."""

    down_s: float
    """From the end of the old process to the first healthy report of the new one."""

    def __str__(self) -> str:
        return f"node {self.node_id} has its new process (pid {self.pid}); it was down for {self.down_s:.3f} s"


class ReplacementAborted(NodeEvent, frozen=True, kw_only=True):
    """A replacement was given up."""

    level = logging.ERROR
    reason: str

    def __str__(self) -> str:
        return f"node {self.node_id} was not replaced: {self.reason}"
