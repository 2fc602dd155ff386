"""What goes into a decision and what comes out of it: plain values, no file descriptor, no process.

The shell translates what happens into a `Happening`, hands it to `decisions.step` and carries out each `Action`.
"""

import msgspec

from swarm_health import NodeStatistics
from swarm_supervisor.events import Event


class Tick(msgspec.Struct, frozen=True, gc=False):
    """A deadline may have passed."""


class Forked(msgspec.Struct, frozen=True, gc=False):
    """The answer to `Fork`."""

    node_id: int
    generation: int
    pid: int
    duration_s: float = 0.0


class ForkFailed(msgspec.Struct, frozen=True, gc=False):
    """The other answer to `Fork`: no process, no descriptor, or refused."""

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
    """The signal that made the node stop by itself."""
    said: str = ""
    """What else the node gave as the reason for its end."""
    statistics: NodeStatistics | None = None
    recycle: str = ""
    """Why the node wants a fresh process in its place; "" if it does not."""


class StacksThere(msgspec.Struct, frozen=True, gc=False):
    """A node has dumped its stacks, or never will."""

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
    """What else is known about this end: the OOM killer, for instance."""


class Slept(msgspec.Struct, frozen=True, gc=False):
    """The supervisor itself did not run for so many seconds although something was due."""

    duration_s: float
    culprit: str = ""
    """The listener or callback that kept it for that time; "" if it was none."""
    rested: bool = True
    """It has been there for a while since it was last away: nodes could make themselves heard."""


class StopSwarm(msgspec.Struct, frozen=True, gc=False):
    """Stop everything in order."""

    reason: str
    exit_code: int = 0


class Hold(msgspec.Struct, frozen=True, gc=False):
    """Fork no node until `Release`; or, while they are held, for another reason."""

    reason: str


class Release(msgspec.Struct, frozen=True, gc=False):
    """Nodes may be forked."""


class ForceStop(msgspec.Struct, frozen=True, gc=False):
    """Kill everything now."""

    reason: str


class QuietSwarm(msgspec.Struct, frozen=True, gc=False):
    """Finish what is there, take no more."""

    reason: str


class Restart(msgspec.Struct, frozen=True, gc=False):
    """Replace one node, or all of them, max_unavailable at a time."""

    reason: str
    node_id: int | None = None


class Scale(msgspec.Struct, frozen=True, gc=False):
    """Run so many nodes from now on."""

    nodes: int


NodeHappening = Forked | ForkFailed | Reported | StacksThere | Exited
"""What happens to one process of one node."""

Happening = NodeHappening | Tick | Slept | StopSwarm | Hold | Release | ForceStop | QuietSwarm | Restart | Scale
"""Everything that can happen. `decisions.step` takes each of these, and nothing else."""


class NodeAction(msgspec.Struct, frozen=True):
    """Something to be done with one process of one node."""

    node_id: int
    generation: int


class Fork(NodeAction, frozen=True):
    """Fork, and answer with `Forked` or `ForkFailed` before anything else."""

    spare: bool
    quiet: bool


class Term(NodeAction, frozen=True):
    """Send TERM, and CONT if the process is stopped."""


class Kill(NodeAction, frozen=True):
    """Send KILL to the process and to its process group."""


class Dump(NodeAction, frozen=True):
    """Ask for the stacks; `StacksThere` may answer."""


class Go(NodeAction, frozen=True):
    """Tell a spare that it may take over."""


class Leave(NodeAction, frozen=True):
    """Tell a node that its id goes for good."""


class Quiet(NodeAction, frozen=True):
    """Tell a node to take no more work."""


class Emit(msgspec.Struct, frozen=True):
    """Tell the listeners."""

    event: Event


class Finish(msgspec.Struct, frozen=True):
    """run() returns."""

    exit_code: int


Action = Fork | Term | Kill | Dump | Go | Leave | Quiet | Emit | Finish
"""Everything that the shell can be asked to do, in order."""
