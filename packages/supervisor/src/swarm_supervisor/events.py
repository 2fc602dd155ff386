"""The events for listeners of a supervisor: typed and frozen, each with its time and a text for a log line.

``at`` is monotonic time in seconds (CLOCK_MONOTONIC), comparable between the processes of one machine.
"""

from __future__ import annotations

import logging

import msgspec

from swarm_supervisor._ends import End as End
from swarm_supervisor._event import Event, NodeEvent, repeated
from swarm_supervisor._node_events import (
    AfterFork,
    BeforeFork,
    CrashLoop,
    NodeEnded,
    NodeExited,
    NodeReported,
    NodeRestarting,
    NodeRunning,
    NodeStarted,
    NodeStopping,
    NodeTerminating,
    ReplacementAborted,
    ReplacementFinished,
    ReplacementStarted,
    StacksDumped,
)

__all__ = [
    "AfterFork",
    "AfterWarmup",
    "BeforeFork",
    "BeforeWarmup",
    "Controlled",
    "CrashLoop",
    "End",
    "ErrorOccurred",
    "Event",
    "Held",
    "NodeEnded",
    "NodeEvent",
    "NodeExited",
    "NodeReported",
    "NodeRestarting",
    "NodeRunning",
    "NodeStarted",
    "NodeStopping",
    "NodeTerminating",
    "Quieting",
    "Released",
    "ReplacementAborted",
    "ReplacementFinished",
    "ReplacementStarted",
    "RolloutFinished",
    "RolloutStarted",
    "Scaled",
    "SignalReceived",
    "StacksDumped",
    "Stopped",
    "Stopping",
    "Suspended",
    "encode_event",
    "every_event",
]


class BeforeWarmup(Event, frozen=True, kw_only=True):
    """The supervisor is about to prepare its memory for the forks. This is the place to load what nodes share."""

    level = logging.DEBUG

    def __str__(self) -> str:
        return "warming up before the first fork"


class AfterWarmup(Event, frozen=True, kw_only=True):
    """Memory is collected, trimmed and frozen. The first fork follows."""

    duration_s: float
    frozen_objects: int

    def __str__(self) -> str:
        return f"warmed up in {self.duration_s:.3f} s: {self.frozen_objects} objects frozen for sharing"


class Held(Event, frozen=True, kw_only=True):
    """No node is forked yet, because the start is waiting for something. Sent again if the reason changes."""

    level = logging.DEBUG
    reason: str

    def __str__(self) -> str:
        return f"start on hold, no node is forked yet: {self.reason}"


class Released(Event, frozen=True, kw_only=True):
    """The wait is over: nodes are forked from now on."""

    level = logging.DEBUG

    def __str__(self) -> str:
        return "nodes may be forked"


class RolloutStarted(Event, frozen=True, kw_only=True):
    """Nodes are being replaced, max_unavailable at a time."""

    node_ids: tuple[int, ...]

    def __str__(self) -> str:
        return f"rolling restart of {_nodes(self.node_ids)}"


class RolloutFinished(Event, frozen=True, kw_only=True):
    """All replacements are done."""

    replaced: int
    aborted: str = ""
    """Why the remaining nodes were not replaced; "" if all went well."""

    def __str__(self) -> str:
        count = "1 node" if self.replaced == 1 else f"{self.replaced} nodes"
        end = f", then aborted: {self.aborted}" if self.aborted else ""
        return f"rolling restart over: {count} replaced{end}"

    @property
    def severity(self) -> int:
        """An aborted rollout has to be restarted by an operator."""
        return logging.ERROR if self.aborted else logging.INFO


class Scaled(Event, frozen=True, kw_only=True):
    """The wanted number of nodes has changed."""

    before: int
    after: int

    def __str__(self) -> str:
        return f"scaling from {self.before} to {self.after} nodes"


class Controlled(Event, frozen=True, kw_only=True):
    """The supervisor has handled everything that was due and waits."""

    level = logging.DEBUG
    next_deadline: float | None
    """The time of its next turn if nothing happens (monotonic seconds)."""

    def __str__(self) -> str:
        return "idle: nothing is due"


class Suspended(Event, frozen=True, kw_only=True):
    """The supervisor itself did not run for a while. Its nodes get their time again, once until their next report."""

    level = logging.WARNING
    duration_s: float
    listener: str = ""
    """The listener, reader or timer that blocked it for that time; "" if none did."""
    times: int = 1
    """How often this listener has blocked it, or how often in a row the supervisor was away."""

    @property
    def severity(self) -> int:
        """A repetition is logged at its 2nd, 4th, 8th, ... time."""
        return repeated(self.level, self.times)

    def __str__(self) -> str:
        times = f" ({self.times} times so far)" if self.times > 1 else ""
        if self.listener:
            return (
                f"{self.listener} took {self.duration_s:.1f} s{times}, which stopped supervision meanwhile: let it do "
                "its work in a separate process"
            )
        return f"the supervisor did not run for {self.duration_s:.1f} s{times}: nodes are not blamed for that time"


class SignalReceived(Event, frozen=True, kw_only=True):
    """The supervisor has received a signal."""

    signal: int
    name: str
    action: str

    def __str__(self) -> str:
        return f"received {self.name}: {self.action}"


class Quieting(Event, frozen=True, kw_only=True):
    """Nodes finish their work and take no more."""

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
    times: int = 1
    """How often in a row, including this time."""

    @property
    def severity(self) -> int:
        """A repetition is logged at its 2nd, 4th, 8th, ... time."""
        return repeated(self.level, self.times)

    def __str__(self) -> str:
        node = f" (node {self.node_id})" if self.node_id is not None else ""
        times = f" ({self.times} times in a row)" if self.times > 1 else ""
        return f"error in {self.where}{node}: {self.error}{times}"


def _nodes(ids: tuple[int, ...]) -> str:
    if len(ids) == 1:
        return f"node {ids[0]}"
    return f"{len(ids)} nodes" if len(ids) > 8 else f"nodes {', '.join(map(str, ids[:-1]))} and {ids[-1]}"


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
