"""The events about one process of one node. `events` has those about the swarm, and exports all of them."""

from __future__ import annotations

import logging

from swarm_health import NodeStatistics
from swarm_supervisor._ends import End, end_of
from swarm_supervisor._event import NodeEvent, repeated


class BeforeFork(NodeEvent, frozen=True, kw_only=True):
    """A process of a node is about to be forked."""

    level = logging.DEBUG
    spare: bool = False

    def __str__(self) -> str:
        return f"forking node {self.node_id}, generation {self.generation}"


class AfterFork(NodeEvent, frozen=True, kw_only=True):
    """A process of a node has been forked. Sent in the supervisor; `NodeStarted` is its counterpart in the node."""

    spare: bool = False
    duration_s: float = 0.0

    def __str__(self) -> str:
        role = "spare of node" if self.spare else "node"
        return (
            f"forked {role} {self.node_id}, generation {self.generation}, as pid {self.pid} "
            f"in {self.duration_s * 1000:.1f} ms"
        )


class NodeStarted(NodeEvent, frozen=True, kw_only=True):
    """Sent in the node, before its target: the place to reconnect databases and to create clients."""

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
    """The worst status of this read; None if there were only statistics."""
    reason: str = ""
    statistics: NodeStatistics | None = None

    def __str__(self) -> str:
        return f"node {self.node_id} reported status {self.status}" + (f": {self.reason}" if self.reason else "")


class NodeStopping(NodeEvent, frozen=True, kw_only=True):
    """A node has been told to stop, or has reported that it is stopping."""

    status: int
    """Its last status: -1 silent, 0 healthy, any other value the unhealthy status that it reported."""
    reason: str
    uptime_s: float
    planned: bool = True
    """Whether this end is planned, so that it does not count as a crash."""

    @property
    def severity(self) -> int:
        """A forced stop is worth a warning; a planned one is not."""
        return logging.INFO if self.planned else logging.WARNING

    def __str__(self) -> str:
        return f"node {self.node_id} (pid {self.pid}) stopping: {self.reason} (was up {self.uptime_s:.1f} s)"


class NodeTerminating(NodeEvent, frozen=True, kw_only=True):
    """A node is being killed."""

    level = logging.WARNING
    reason: str
    doing: str = ""
    """What it was doing, according to its last statistics."""
    times: int = 1
    """How often this process has been sent KILL, including this time."""

    @property
    def severity(self) -> int:
        """For a process that does not die, this is logged again at its 2nd, 4th, 8th, ... KILL."""
        return repeated(self.level, self.times)

    def __str__(self) -> str:
        doing = f"; it was {self.doing}" if self.doing else ""
        return f"killing node {self.node_id} (pid {self.pid}): {self.reason}{doing}"


class NodeExited(NodeEvent, frozen=True, kw_only=True):
    """A process of a node has ended and is reaped.

    It is told before its successor is forked, or a spare told to go: what a listener does here is done by then. Each
    `StacksDumped` of this process was told before; the last one shows where a process that hung was.
    """

    code: int | None
    """Exit code; None if a signal ended it, or if it is unknown."""
    signal: int | None
    """The signal that ended it."""
    status: str
    """Exit code or signal as text."""
    uptime_s: float
    planned: bool
    """Whether this end is planned, so that it does not count as a crash."""
    reason: str
    cause: str = ""
    """Who or what wanted the end: "silent", "unhealthy", "memory", "shutdown", "scaled down", "replaced", "recycled",
    "aborted" (a spare), "operator" (a signal from outside); "" if it ended on its own."""
    oom: bool = False
    """Whether the OOM killer was at work in this memory cgroup just before, for a SIGKILL that was not sent here."""
    killed: bool = False
    """Whether this supervisor sent it SIGKILL."""

    @property
    def end(self) -> End:
        """How it ended, as one word, for listeners that have to judge it."""
        return end_of(self.cause, self.code, self.signal, killed=self.killed, oom=self.oom)

    @property
    def severity(self) -> int:
        """An unplanned death is worth a warning."""
        return logging.INFO if self.planned else logging.WARNING

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return (
            f"node {self.node_id} (pid {self.pid}, generation {self.generation}) ended after {self.uptime_s:.1f} s, "
            f"{self.status}{why}"
        )


class NodeRestarting(NodeEvent, frozen=True, kw_only=True):
    """A node will be restarted. ``generation`` is that of the coming start."""

    delay_s: float
    attempt: int
    """The number of this start in a row after unplanned exits; 0 for a planned one."""
    reason: str

    def __str__(self) -> str:
        when = f"in {self.delay_s:.1f} s" if self.delay_s > 0 else "now"
        attempt = f" (attempt {self.attempt})" if self.attempt else ""
        return f"node {self.node_id} restarts {when}{attempt}: {self.reason}"


class NodeEnded(NodeEvent, frozen=True, kw_only=True):
    """A node will not be restarted."""

    reason: str
    failed: bool = False
    """It ended with an exit code other than 0; only a restart by hand brings it back."""

    @property
    def severity(self) -> int:
        """A node that failed for good is an error."""
        return logging.ERROR if self.failed else logging.INFO

    def __str__(self) -> str:
        how = "failed and is not restarted" if self.failed else "is done"
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
        """Return the text in parts for a log with bounded records, cut at line ends, about ``most`` characters each."""
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
    """A spare is being started to take over from a node. ``generation`` is that of the spare."""

    reason: str

    def __str__(self) -> str:
        return f"starting a new process for node {self.node_id} beside the old one: {self.reason}"


class ReplacementFinished(NodeEvent, frozen=True, kw_only=True):
    """The new process of a replacement is healthy."""

    down_s: float
    """Seconds from the end of the old process to the first healthy report of the new one."""

    def __str__(self) -> str:
        return f"node {self.node_id} has its new process (pid {self.pid}); it was down for {self.down_s:.3f} s"


class ReplacementAborted(NodeEvent, frozen=True, kw_only=True):
    """A replacement was aborted."""

    level = logging.ERROR
    reason: str

    def __str__(self) -> str:
        return f"node {self.node_id} was not replaced: {self.reason}"
