"""The queue of requested replacements. Each node is in it at most once per reason. Pure."""

from __future__ import annotations

from swarm_supervisor._core.fleet import Fleet, Kind, Life, Member, Mode, Request, Rollout
from swarm_supervisor._core.lifecycle import State
from swarm_supervisor._core.step import Step
from swarm_supervisor.events import RolloutStarted


def request_restart(step: Step, node_id: int | None, reason: str) -> None:
    """Request a new process for one node, or for every running node.

    A named node that waits for its delay, or has ended for good, is started now. A node that is
    being scaled away gets no new process.
    """
    fleet = step.fleet
    if fleet.mode in (Mode.STOPPING, Mode.STOPPED):
        return
    if node_id is not None and node_id < fleet.wanted:
        member = fleet.members[node_id]
        if member.main.state is State.BACKING_OFF:
            fleet.deadlines.set(member.main, step.now)
        elif member.main.state is State.DEAD:
            fleet.new_life(member, step.now, reason)
    queued = {request.node_id for request in fleet.queue}
    asked = [
        member
        for member in fleet.wanted_members()
        if node_id in (None, member.id)
        and member.main.state is State.RUNNING
        and member.replacement is None
        and member.id not in queued
    ]
    fleet.queue.extend(Request(member.id, member.main.generation, Kind.RESTART, reason) for member in asked)
    if asked:
        fleet.rollout = fleet.rollout or Rollout()
        step.emit(RolloutStarted(at=step.now, node_ids=tuple(member.id for member in asked)))
    fleet.changed = True


def request_memory(fleet: Fleet, member: Member, reason: str) -> None:
    """Request a replacement for a node over its memory limit. It is replaced in turn, one node at a time."""
    if member.replacement is not None or any(
        request.node_id == member.id and request.kind is Kind.MEMORY for request in fleet.queue
    ):
        return
    fleet.queue.appendleft(Request(member.id, member.main.generation, Kind.MEMORY, reason))
    fleet.changed = True


def request_recycling(fleet: Fleet, member: Member, life: Life) -> None:
    """Request a replacement for a node that asked for one. It is replaced in turn, as in a restart by hand."""
    ends = member.replacement is not None or fleet.mode in (Mode.STOPPING, Mode.STOPPED)
    if not life.recycle or life is not member.main or life.state is not State.RUNNING or ends:
        return
    if not any(request.node_id == member.id for request in fleet.queue):
        fleet.queue.append(Request(member.id, life.generation, Kind.RECYCLE, f"recycled: {life.recycle}"))
        fleet.changed = True


def memory_reason(reported: str) -> str:
    """Return the reason for replacing a node over its memory limit."""
    return f"over its memory limit: {reported}" if reported else "over its memory limit"


def recovered(fleet: Fleet, member: Member) -> None:
    """Withdraw the request of a waiting node that is within its memory limit again."""
    for request in fleet.queue:
        if request.node_id == member.id and request.kind is Kind.MEMORY:
            fleet.queue.remove(request)
            return
