"""Who is to be replaced, and why: a queue that each node is in once at most for the same reason. Pure."""

from swarm_supervisor._core.fleet import Fleet, Kind, Life, Member, Mode, Request, Rollout
from swarm_supervisor._core.lifecycle import State
from swarm_supervisor._core.step import Step
from swarm_supervisor.events import RolloutStarted


def request_restart(step: Step, node_id: int | None, reason: str) -> None:
    """Ask for a new process of one node, or of every node that runs.

    A node that waits for its delay is started now if it is named; one that has ended for good likewise. One that is
    scaled away gets no new process.
    """
    fleet = step.fleet
    if fleet.mode in (Mode.STOPPING, Mode.STOPPED):
        return
    if node_id is not None and node_id < fleet.wanted:
        member = fleet.members[node_id]
        if member.main.state is State.BACKING_OFF:
            fleet.deadlines.set(member.main, step.now)
        elif member.main.state is State.DEAD:
            fleet.new_life(member, step.now, step.now, reason)
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
    """A node is over its memory limit: it is replaced in its turn, one node at a time."""
    if member.replacement is not None or any(
        request.node_id == member.id and request.kind is Kind.MEMORY for request in fleet.queue
    ):
        return
    fleet.queue.appendleft(Request(member.id, member.main.generation, Kind.MEMORY, reason))
    fleet.changed = True


def request_recycling(fleet: Fleet, member: Member, life: Life) -> None:
    """A node wants a fresh process in its place: it is replaced in its turn, like one that somebody restarts."""
    ends = member.replacement is not None or fleet.mode in (Mode.STOPPING, Mode.STOPPED)
    if not life.recycle or life is not member.main or life.state is not State.RUNNING or ends:
        return
    if not any(request.node_id == member.id for request in fleet.queue):
        fleet.queue.append(Request(member.id, life.generation, Kind.RECYCLE, f"recycled: {life.recycle}"))
        fleet.changed = True


def memory_reason(reported: str) -> str:
    """Say why a node is replaced that is over its memory limit."""
    return f"over its memory limit: {reported}" if reported else "over its memory limit"


def recovered(fleet: Fleet, member: Member) -> None:
    """A node whose turn has not come is within its memory limit again."""
    for request in fleet.queue:
        if request.node_id == member.id and request.kind is Kind.MEMORY:
            fleet.queue.remove(request)
            return
