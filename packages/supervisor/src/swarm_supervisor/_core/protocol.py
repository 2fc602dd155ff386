"""A planned replacement as data: phases x cues -> next phase and tasks. Pure.

The spare of a node is forked and warmed up while the old process keeps working. It is told to go when the old one has
gone, because a static group member, a lock or a port allows only one holder. Before go a failure costs nothing: the old
one stays. After go it halts the rollout.

A phase is not stored but derived from the lives of the node (`replacement.phase_of`), so it cannot disagree with them.
So two steps need no cue: a spare that reports ready takes WARMING to WARM, and an old process that begins
to end takes WARM to HANDING_OVER, and WARMING to OLD_LOST. ``python -m swarm_supervisor.lifecycle`` prints the table.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Phase(Enum):
    """The phase of a node's replacement."""

    NONE = "none"
    """No replacement in progress."""
    WARMING = "warming"
    """The old process is working; its spare is not ready."""
    WARM = "warm"
    """The old process is working until it may stop; its spare is ready."""
    HANDING_OVER = "handing over"
    """The old process is ending, for any reason; its spare is ready."""
    SPARE_LOST = "spare lost"
    """The old process was told to stop for its spare, which is no longer ready."""
    OLD_LOST = "old lost"
    """The old process is ending for another reason; its spare is not ready."""
    WENT = "went"
    """The spare was told to go. It is the main process now, but not healthy yet."""


class Cue(Enum):
    """A cue for the replacement of a node."""

    BEGIN = "begin"
    """The node's turn has come."""
    MAY_STOP = "old may stop"
    """The old process may stop within the limit of nodes down."""
    NOT_FORKED = "spare not forked"
    SPARE_GONE = "spare gone"
    MAIN_GONE = "main gone"
    """The main process has ended, and another one will follow."""
    MAIN_DONE = "main done"
    """The main process has ended, and none will follow."""
    HEALTHY = "healthy"
    """The main process is healthy for the first time."""
    UNWANTED = "unwanted"
    """The node is scaled down."""


class Task(Enum):
    """A task of a move."""

    FORK_SPARE = "fork a spare"
    STOP_OLD = "stop the old process"
    GO = "tell the spare to go"
    END_SPARE = "kill the spare"
    KEEP_OLD = "keep the old process"
    """Not if it is still over the memory limit it is replaced for. A node that asked for a new process asks again."""
    HALT = "halt the rollout"
    """Uses the reason of the move."""
    FINISH = "emit ReplacementFinished"


class Move(NamedTuple):
    """The result of a cue in a phase."""

    next: Phase
    tasks: tuple[Task, ...] = ()
    reason: str = ""
    """Why the rollout halts. ``{why}`` stands for the known facts about the end of the process."""


P, Q, T = Phase, Cue, Task  # short names, so that the table can be read by column
_UNNEEDED = Move(P.NONE, (T.END_SPARE,))

PROTOCOL: dict[tuple[Phase, Cue], Move] = {
    (P.NONE, Q.BEGIN): Move(P.WARMING, (T.FORK_SPARE,)),
    # The old process is working and is not affected by its spare.
    (P.WARMING, Q.NOT_FORKED): Move(P.NONE, (T.HALT, T.KEEP_OLD), "its spare could not be forked: {why}"),
    (P.WARMING, Q.SPARE_GONE): Move(P.NONE, (T.HALT, T.KEEP_OLD), "its spare died: {why}"),
    (P.WARMING, Q.UNWANTED): _UNNEEDED,
    (P.WARM, Q.MAY_STOP): Move(P.HANDING_OVER, (T.STOP_OLD,)),
    (P.WARM, Q.UNWANTED): _UNNEEDED,
    # However the old process ends, the warm spare is better than a process forked later.
    (P.HANDING_OVER, Q.MAIN_GONE): Move(P.WENT, (T.GO,)),
    (P.HANDING_OVER, Q.MAIN_DONE): _UNNEEDED,
    (P.HANDING_OVER, Q.UNWANTED): _UNNEEDED,
    # It was already told to stop, so a fresh process follows it.
    (P.SPARE_LOST, Q.SPARE_GONE): Move(
        P.NONE, (T.HALT,), "its spare died after the old process was told to stop: {why}"
    ),
    (P.SPARE_LOST, Q.MAIN_GONE): Move(
        P.NONE, (T.END_SPARE, T.HALT), "its spare was lost while the old process stopped"
    ),
    (P.SPARE_LOST, Q.MAIN_DONE): _UNNEEDED,
    (P.SPARE_LOST, Q.UNWANTED): _UNNEEDED,
    # It ends without a replacement, so the rest is decided as if there had been no spare.
    (P.OLD_LOST, Q.NOT_FORKED): Move(P.NONE, (T.HALT,), "its spare could not be forked: {why}"),
    (P.OLD_LOST, Q.SPARE_GONE): Move(P.NONE, (T.HALT,), "its spare died: {why}"),
    (P.OLD_LOST, Q.MAIN_GONE): _UNNEEDED,
    (P.OLD_LOST, Q.MAIN_DONE): _UNNEEDED,
    (P.OLD_LOST, Q.UNWANTED): _UNNEEDED,
    # There is no way back: the old process has gone.
    (P.WENT, Q.HEALTHY): Move(P.NONE, (T.FINISH,)),
    (P.WENT, Q.MAIN_GONE): Move(P.NONE, (T.HALT,), "the new process died before it was healthy: {why}"),
    (P.WENT, Q.MAIN_DONE): Move(P.NONE, (T.HALT,), "the new process died before it was healthy: {why}"),
    (P.WENT, Q.UNWANTED): Move(P.NONE),
}


def printed() -> str:
    """Return the table as text, one line per cell."""
    lines = []
    for (phase, cue), (following, tasks, _) in PROTOCOL.items():
        what = ", ".join(task.value for task in tasks)
        lines.append(f"{phase.value:12} {cue.value:16} -> {following.value:12} {what}".rstrip())
    return "\n".join(lines)
