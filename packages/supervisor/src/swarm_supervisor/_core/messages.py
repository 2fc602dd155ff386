"""The input and output of a decision: plain values, no file descriptor, no process.

The shell translates events into a `Happening`, passes it to `decisions.step` and carries out each `Action`.
"""

from __future__ import annotations

import msgspec

from swarm_health import NodeStatistics
from swarm_supervisor._core.prospect import Prospect
from swarm_supervisor.events import Event


class Tick(msgspec.Struct, frozen=True, gc=False):
    """A deadline may have passed."""


class Forked(msgspec.Struct, frozen=True, gc=False):
    """The answer to `Fork` after a success."""

    node_id: int
    generation: int
    pid: int
    duration_s: float = 0.0


class ForkFailed(msgspec.Struct, frozen=True, gc=False):
    """The answer to `Fork` after a failure: no process, no descriptor, or refused."""

    node_id: int
    generation: int
    error: str


class Reported(msgspec.Struct, frozen=True):
    """A health pipe was read."""

    node_id: int
    generation: int
    status: int | None = None
    reason: str = ""
    ready: bool = False
    leaving: str = ""
    """The outside signal that made the node stop."""
    said: str = ""
    """Another reason that the node gave for its end."""
    statistics: NodeStatistics | None = None
    recycle: str = ""
    """Why the node asks for a fresh process in its place; "" if it does not."""


class StacksThere(msgspec.Struct, frozen=True, gc=False):
    """A node has dumped its stacks, or will never do so."""

    node_id: int
    generation: int


class Exited(msgspec.Struct, frozen=True, gc=False):
    """A process has been reaped."""

    node_id: int
    generation: int
    code: int | None
    signal: int | None
    text: str
    hint: str = ""
    """Other facts about this end, such as the OOM killer."""
    oom: bool = False
    """Whether the OOM killer sent the KILL."""


class Concluded(msgspec.Struct, frozen=True, gc=False):
    """The answer to `Conclude`."""

    node_id: int
    generation: int


class Excuse(msgspec.Struct, frozen=True, gc=False):
    """A listener explains an end: it is no reason to wait longer for the next process, and does not count."""

    node_id: int
    generation: int
    reason: str


class Slept(msgspec.Struct, frozen=True, gc=False):
    """The supervisor itself did not run for some seconds although something was due."""

    duration_s: float
    culprit: str = ""
    """The listener or callback that blocked it for that time; "" if none did."""
    rested: bool = True
    """Whether it has run for a while since the last absence, so that nodes could report."""


class StopSwarm(msgspec.Struct, frozen=True, gc=False):
    """Stop everything gracefully."""

    reason: str
    exit_code: int = 0


class Hold(msgspec.Struct, frozen=True, gc=False):
    """Fork no node until `Release`. While nodes are held, this changes the reason."""

    reason: str


class Release(msgspec.Struct, frozen=True, gc=False):
    """Nodes may be forked."""


class ForceStop(msgspec.Struct, frozen=True, gc=False):
    """Kill everything now."""

    reason: str


class QuietSwarm(msgspec.Struct, frozen=True, gc=False):
    """Finish the current work and take no more."""

    reason: str


class Restart(msgspec.Struct, frozen=True, gc=False):
    """Replace one node, or all of them, max_unavailable at a time."""

    reason: str
    node_id: int | None = None


class Scale(msgspec.Struct, frozen=True, gc=False):
    """Change the number of nodes."""

    nodes: int


NodeHappening = Forked | ForkFailed | Reported | StacksThere | Exited | Concluded | Excuse
"""What happens to one process of one node."""

Happening = NodeHappening | Tick | Slept | StopSwarm | Hold | Release | ForceStop | QuietSwarm | Restart | Scale
"""Everything that can happen. `decisions.step` takes each of these, and nothing else."""


class NodeAction(msgspec.Struct, frozen=True):
    """An action on one process of one node."""

    node_id: int
    generation: int


class Fork(NodeAction, frozen=True):
    """Fork, and answer with `Forked` or `ForkFailed` before anything else."""

    spare: bool
    quiet: bool
    prospect: Prospect
    """What the process has to know about its own end."""


class Term(NodeAction, frozen=True):
    """Send TERM, and CONT if the process is stopped."""


class Kill(NodeAction, frozen=True):
    """Send KILL to the process and to its process group."""


class Dump(NodeAction, frozen=True):
    """Ask for the stacks; `StacksThere` may answer."""


class Go(NodeAction, frozen=True):
    """Tell a spare that it may take over."""


class Leave(NodeAction, frozen=True):
    """Tell a node that has to stop that no successor comes, or not soon."""


class Remove(NodeAction, frozen=True):
    """Tell a node that was told to leave that it is scaled away: its id is not used any more."""


class Return(NodeAction, frozen=True):
    """Tell a node that has to stop that its successor comes at once."""


class Quiet(NodeAction, frozen=True):
    """Tell a node to take no more work."""


class Conclude(msgspec.Struct, frozen=True):
    """Answer with `Concluded` before anything else. Its listeners know of an end now and may have excused it."""

    node_id: int
    generation: int


class Emit(msgspec.Struct, frozen=True):
    """Tell the listeners."""

    event: Event


class Finish(msgspec.Struct, frozen=True):
    """run() returns."""

    exit_code: int


Action = Fork | Term | Kill | Dump | Go | Leave | Remove | Return | Quiet | Conclude | Emit | Finish
"""Everything that the shell can be asked to do."""
