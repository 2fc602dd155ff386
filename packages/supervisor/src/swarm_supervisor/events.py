"""What a supervisor tells its listeners: typed, frozen, each with the moment it happened and a text fit for a log line.

``at`` is monotonic time in seconds (CLOCK_MONOTONIC), comparable between the processes of one machine.
"""

import logging
from typing import Any, ClassVar

import msgspec

from swarm_health import NodeStatistics


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=True):
    """The base of all events. As JSON an event is an object whose "event" is its class name."""

    level: ClassVar[int] = logging.INFO
    at: float


class NodeEvent(Event, frozen=True, kw_only=True):
    """The base of the events about one process of one node."""

    node_id: int
    generation: int
    """1 for the first process of a node id, then 2, ..."""
    pid: int | None = None


class BeforeWarmup(Event, frozen=True, kw_only=True):
    """The supervisor is about to prepare its memory for the forks. The place to load what nodes shall share."""

    level = logging.DEBUG

    def __str__(self) -> str:
        return "warming up before the first fork"


class AfterWarmup(Event, frozen=True, kw_only=True):
    """Memory is collected, trimmed and frozen: the first fork follows."""

    duration_s: float
    frozen_objects: int

    def __str__(self) -> str:
        return f"warmed up in {self.duration_s:.3f} s: {self.frozen_objects} objects are frozen for sharing"


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


class Held(Event, frozen=True, kw_only=True):
    """No node is forked yet: something is awaited first. Again at each change of the reason."""

    level = logging.DEBUG
    reason: str

    def __str__(self) -> str:
        return f"no node is forked yet: {self.reason}"


class Released(Event, frozen=True, kw_only=True):
    """What was awaited is there: nodes are forked from now on."""

    level = logging.DEBUG

    def __str__(self) -> str:
        return "nodes may be forked"


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

    @property
    def planned(self) -> bool:
        """Whether nothing is wrong with the node."""
        return self.status == 0

    def __str__(self) -> str:
        uptime = f"{self.uptime_s:.3f} s"
        return f"node {self.node_id} (pid {self.pid}) stops after {uptime}, status {self.status}: {self.reason}"


class NodeTerminating(NodeEvent, frozen=True, kw_only=True):
    """A node is being killed."""

    level = logging.WARNING
    reason: str
    doing: str = ""
    """What it was doing, by its last statistics."""

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

    def __str__(self) -> str:
        return (
            f"node {self.node_id} (pid {self.pid}, generation {self.generation}) ended after {self.uptime_s:.3f} s, "
            f"{self.status}: {self.reason}"
        )


class NodeRestarting(NodeEvent, frozen=True, kw_only=True):
    """A node will be started again. ``generation`` is that of the start to come."""

    delay_s: float
    attempt: int
    """Which start in a row after unplanned exits this will be; 0 for a planned one."""
    reason: str

    def __str__(self) -> str:
        attempt = f", attempt {self.attempt}" if self.attempt else ""
        return f"node {self.node_id} starts again in {self.delay_s:.3f} s{attempt}: {self.reason}"


class NodeEnded(NodeEvent, frozen=True, kw_only=True):
    """A node will not be started again."""

    reason: str

    def __str__(self) -> str:
        return f"node {self.node_id} is done: {self.reason}"


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
        return f"replacing node {self.node_id}: {self.reason}"


class ReplacementFinished(NodeEvent, frozen=True, kw_only=True):
    """A replacement is healthy."""

    down_s: float
    """From the end of the old process to the first healthy report of the new one."""

    def __str__(self) -> str:
        return f"node {self.node_id} is replaced (pid {self.pid}); it was down for {self.down_s:.3f} s"


class ReplacementAborted(NodeEvent, frozen=True, kw_only=True):
    """A replacement was given up."""

    level = logging.ERROR
    reason: str

    def __str__(self) -> str:
        return f"replacing node {self.node_id} failed: {self.reason}"


class RolloutStarted(Event, frozen=True, kw_only=True):
    """Nodes are being replaced, max_unavailable at a time."""

    node_ids: tuple[int, ...]

    def __str__(self) -> str:
        return f"restarting {len(self.node_ids)} node(s), one process after the other"


class RolloutFinished(Event, frozen=True, kw_only=True):
    """No replacement is left to do."""

    replaced: int
    aborted: str = ""
    """Why the rest was left alone; "" if all went well."""

    def __str__(self) -> str:
        end = f", then stopped: {self.aborted}" if self.aborted else ""
        return f"rolling restart over: {self.replaced} node(s) replaced{end}"


class Scaled(Event, frozen=True, kw_only=True):
    """The wanted number of nodes has changed."""

    before: int
    after: int

    def __str__(self) -> str:
        return f"scaling from {self.before} to {self.after} nodes"


class Controlled(Event, frozen=True, kw_only=True):
    """The supervisor has dealt with everything that was due, and waits."""

    level = logging.DEBUG
    next_deadline: float | None
    """When it will look again if nothing happens (monotonic seconds)."""

    def __str__(self) -> str:
        return "everything that was due is done"


class Suspended(Event, frozen=True, kw_only=True):
    """The supervisor itself did not run for a while: all its nodes get their time anew."""

    level = logging.WARNING
    duration_s: float

    def __str__(self) -> str:
        return f"the supervisor slept {self.duration_s:.1f} s too long: nodes are not blamed for that time"


class SignalReceived(Event, frozen=True, kw_only=True):
    """The supervisor has got a signal."""

    signal: int
    name: str
    action: str

    def __str__(self) -> str:
        return f"received {self.name}: {self.action}"


class Quieting(Event, frozen=True, kw_only=True):
    """Nodes finish what they have and take no more."""

    reason: str

    def __str__(self) -> str:
        return f"quieting: {self.reason}"


class Stopping(Event, frozen=True, kw_only=True):
    """All nodes are being stopped."""

    reason: str

    def __str__(self) -> str:
        return f"stopping: {self.reason}"


class Stopped(Event, frozen=True, kw_only=True):
    """Everything has ended; run() returns."""

    exit_code: int
    reason: str

    def __str__(self) -> str:
        return f"stopped with exit code {self.exit_code}: {self.reason}"


class ErrorOccurred(Event, frozen=True, kw_only=True):
    """Something went wrong that did not stop the supervisor."""

    level = logging.ERROR
    where: str
    """What was being done: "fork", "listener", "control", ..."""
    error: str
    node_id: int | None = None

    def __str__(self) -> str:
        node = f" (node {self.node_id})" if self.node_id is not None else ""
        return f"error in {self.where}{node}: {self.error}"


_encoder = msgspec.json.Encoder()


def encode_event(event: Event) -> bytes:
    """Return an event as one line of JSON, without its line end."""
    return _encoder.encode(event)


def every_event() -> dict[str, type[Event]]:
    """Return all event types by their name."""
    return {
        name: value
        for name, value in globals().items()
        if isinstance(value, type) and issubclass(value, Event) and value not in (Event, NodeEvent)
    }


EventType = type[Any]
