"""Planned replacement: forked, warm, go, healthy. Pure.

The spare of a node is forked and warmed while the old process works on; it is told to go when the old one has gone,
since a static member of a consumer group, a lock or a port allows one holder only. Before go a failure costs nothing:
the old one stays. After go it halts the rollout.
"""

from swarm_health import Status
from swarm_supervisor._core.firing import fire, kill, stop
from swarm_supervisor._core.fleet import Cause, Fleet, Kind, Life, Member, Mode, Replacement, Request, Rollout
from swarm_supervisor._core.lifecycle import State, Trigger
from swarm_supervisor._core.messages import Action, Emit
from swarm_supervisor._core.reasons import how_it_ended
from swarm_supervisor.events import (
    ReplacementAborted,
    ReplacementFinished,
    ReplacementStarted,
    RolloutFinished,
    RolloutStarted,
)


def request_restart(fleet: Fleet, node_id: int | None, reason: str, now: float, out: list[Action]) -> None:
    """Ask for a new process of one node, or of every node that runs.

    A node that waits for its delay is started now if it is named; one that has ended for good likewise. One that is
    scaled away gets no new process.
    """
    if fleet.mode in (Mode.STOPPING, Mode.STOPPED):
        return
    if node_id is not None and node_id < fleet.wanted:
        member = fleet.members[node_id]
        if member.main.state is State.BACKING_OFF:
            fleet.deadlines.set(member.main, now)
        elif member.main.state is State.DEAD:
            fleet.new_life(member, now, now, reason)
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
        out.append(Emit(RolloutStarted(at=now, node_ids=tuple(member.id for member in asked))))
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


def advance(fleet: Fleet, now: float, out: list[Action]) -> None:
    """Go on with what may go on now."""
    for member in fleet.members.values():
        if member.spare is not None and member.spare.state is State.WARM:
            spare_ready(fleet, member, now, out)
    for request in list(fleet.queue):
        asked = fleet.members.get(request.node_id)
        if asked is None or asked.main.generation != request.generation or asked.main.state is not State.RUNNING:
            fleet.queue.remove(request)  # it gets, or has got, a new process anyway
        elif _may_begin(fleet, request.kind) and asked.spare is None:
            fleet.queue.remove(request)
            _begin(fleet, asked, request, now, out)
    _close_rollout(fleet, now, out)


def spare_ready(fleet: Fleet, member: Member, now: float, out: list[Action]) -> None:
    """The spare is warm: the old one may go, as soon as no more nodes than allowed are down then."""
    current = member.replacement
    if current is None or current.old.state is not State.RUNNING:
        return
    if current.kind is Kind.MEMORY or _down(fleet) < fleet.settings.max_unavailable:
        why = f"restart requested: {current.reason}" if current.kind is Kind.RESTART else current.reason
        stop(fleet, current.old, Cause.REPLACED, why, now, out)


def spare_gone(fleet: Fleet, member: Member, spare: Life, now: float, out: list[Action]) -> None:
    """A spare has died before it was told to go."""
    current = member.replacement
    if current is None or spare.cause is Cause.ABORTED:
        return
    why = how_it_ended(spare)
    if current.old.cause is Cause.REPLACED:  # it was told to stop already: a fresh process follows it, and nothing else
        member.replacement = None
        _halt(fleet, member, f"its spare died after the old process was told to stop: {why}", now, out)
        return
    abort(fleet, member, f"its spare died: {why}", now, out)


def fork_failed(fleet: Fleet, member: Member, error: str, now: float, out: list[Action]) -> None:
    """A spare could not be forked."""
    abort(fleet, member, f"its spare could not be forked: {error}", now, out)


def abort(fleet: Fleet, member: Member, reason: str, now: float, out: list[Action]) -> None:
    """Give a replacement up before go. The old process stays, unless its memory was the reason and still is."""
    current = member.replacement
    member.replacement = None
    _halt(fleet, member, reason, now, out)
    if current is None or current.old.state is not State.RUNNING:
        return
    if current.kind is Kind.RECYCLE:
        fleet.queue.append(Request(member.id, current.old.generation, Kind.RECYCLE, current.reason, bare=True))
        return
    if current.old.status != Status.MEMORY:
        return
    if current.kind is Kind.MEMORY:
        stop_for_memory(fleet, current.old, current.reason, now, out)
    else:  # it went over its limit meanwhile: that is another replacement, when its turn comes
        request_memory(fleet, member, memory_reason(current.old.status_reason))


def drop(fleet: Fleet, member: Member, reason: str, now: float, out: list[Action]) -> None:
    """A replacement is not needed any more: end its spare. Nothing has gone wrong with it."""
    member.replacement = None
    spare = member.spare
    if spare is not None and spare.state is not State.DEAD:
        kill(fleet, spare, Cause.ABORTED, reason, now, out)
        if not spare.alive:  # it was never forked
            member.spare = None


def stop_for_memory(fleet: Fleet, life: Life, reason: str, now: float, out: list[Action]) -> None:
    """Stop a node that is over its memory limit without a replacement at hand."""
    life.cause, life.reason = Cause.MEMORY, reason
    fire(fleet, life, Trigger.UNHEALTHY, now, out)


def old_gone(fleet: Fleet, member: Member, old: Life, ends: bool, now: float, out: list[Action]) -> bool:
    """A main life is over. Return whether its spare takes over: it does if it is warm, unless the node ``ends``.

    However the old one has ended, nothing is gained by a spare that is killed and a process that is forked later.
    """
    current = member.replacement
    if current is None or current.old is not old:
        if current is not None:  # the replacement itself, after go
            member.replacement = None
            _halt(fleet, member, f"the new process died before it was healthy: {how_it_ended(old)}", now, out)
        return False
    spare = member.spare
    if spare is not None and spare.state is State.WARM and not ends:
        current.old_ended_at = now
        member.main, member.spare = spare, None
        member.restarts += 1
        fleet.restarts += 1
        spare.spare = False
        fire(fleet, spare, Trigger.GO, now, out)
        return True
    drop(fleet, member, "nothing is left to take over from", now, out)
    if old.cause is Cause.REPLACED and not ends:
        _halt(fleet, member, "its spare was lost while the old process stopped", now, out)
    return False


def running(fleet: Fleet, member: Member, now: float, out: list[Action]) -> None:
    """A main life is healthy for the first time."""
    current = member.replacement
    if current is None or current.old is member.main:
        return
    member.replacement = None
    if fleet.rollout is not None and current.kind is Kind.RESTART:
        fleet.rollout.replaced += 1
    down_s = now - (current.old_ended_at if current.old_ended_at is not None else now)
    life = member.main
    out.append(
        Emit(ReplacementFinished(at=now, node_id=member.id, generation=life.generation, pid=life.pid, down_s=down_s))
    )


def _may_begin(fleet: Fleet, kind: Kind) -> bool:
    if kind is Kind.MEMORY:
        return not any(
            (member.replacement is not None and member.replacement.kind is Kind.MEMORY)
            or (member.main.alive and _stops_for_memory(member.main))
            for member in fleet.members.values()
        )
    under_way = sum(
        member.replacement is not None and member.main.state is State.RUNNING for member in fleet.wanted_members()
    )
    return _down(fleet) + under_way < fleet.settings.max_unavailable


def _stops_for_memory(life: Life) -> bool:
    # Also one that was to be replaced, and whose spare was lost while it drains.
    return life.cause is Cause.MEMORY or (life.cause is Cause.REPLACED and life.status == Status.MEMORY)


def _down(fleet: Fleet) -> int:
    """How many wanted nodes do not run now, but will."""
    return sum(member.main.state not in (State.RUNNING, State.DEAD) for member in fleet.wanted_members())


def _begin(fleet: Fleet, member: Member, request: Request, now: float, out: list[Action]) -> None:
    old = member.main
    young = not old.stable(now, fleet.settings.node_restart_delay)
    if request.kind is Kind.RECYCLE and (young or request.bare):
        # One that wants to go as soon as it has come would be forked without a pause: it waits for its delay.
        stop(fleet, old, Cause.RECYCLED, request.reason, now, out)
        return
    if request.kind is Kind.MEMORY and not old.stable(now, fleet.settings.stable_after):
        # A node that is over its limit as soon as it has booted would be replaced for ever: this is a crash.
        stop_for_memory(fleet, old, request.reason, now, out)
        return
    member.replacement = Replacement(request.kind, request.reason, old)
    spare = member.spare = Life(member.id, fleet.next_generation(member.id), now, spare=True, reason=request.reason)
    fleet.deadlines.set(spare, now)
    out.append(Emit(ReplacementStarted(at=now, node_id=member.id, generation=spare.generation, reason=request.reason)))


def _halt(fleet: Fleet, member: Member, reason: str, now: float, out: list[Action]) -> None:
    out.append(
        Emit(ReplacementAborted(at=now, node_id=member.id, generation=fleet.generations[member.id], reason=reason))
    )
    for request in list(fleet.queue):
        if request.kind is Kind.RESTART:
            fleet.queue.remove(request)
    if fleet.rollout is not None:
        fleet.rollout.aborted = f"node {member.id}: {reason}"
    fleet.changed = True


def _close_rollout(fleet: Fleet, now: float, out: list[Action]) -> None:
    rollout = fleet.rollout
    if rollout is None or fleet.mode is Mode.STOPPING:
        return
    waiting = any(request.kind is Kind.RESTART for request in fleet.queue)
    under_way = any(
        member.replacement is not None and member.replacement.kind is Kind.RESTART for member in fleet.members.values()
    )
    if not waiting and not under_way:
        fleet.rollout = None
        out.append(Emit(RolloutFinished(at=now, replaced=rollout.replaced, aborted=rollout.aborted)))
