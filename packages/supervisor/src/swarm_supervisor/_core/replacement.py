"""The replacement of a node by its spare, following `protocol.PROTOCOL`. Pure."""

from __future__ import annotations

from collections.abc import Callable

from swarm_health import Status
from swarm_supervisor._core.fleet import Cause, Fleet, Kind, Life, Member, Replacement, Request
from swarm_supervisor._core.lifecycle import LifecycleError, State, Trigger
from swarm_supervisor._core.protocol import PROTOCOL, Cue, Phase, Task
from swarm_supervisor._core.reasons import how_it_ended
from swarm_supervisor._core.requests import memory_reason, request_memory
from swarm_supervisor._core.step import Step
from swarm_supervisor._core.transitions import fire, kill, stop
from swarm_supervisor.events import ReplacementAborted, ReplacementFinished, ReplacementStarted


def phase_of(member: Member) -> Phase:
    """The phase of a node's replacement."""
    current = member.replacement
    if current is None:
        return Phase.NONE
    if current.old is not member.main:
        return Phase.WENT
    warm = member.spare is not None and member.spare.state is State.WARM
    if current.old.state is State.RUNNING:
        return Phase.WARM if warm else Phase.WARMING
    if warm:
        return Phase.HANDING_OVER
    return Phase.SPARE_LOST if current.old.cause is Cause.REPLACED else Phase.OLD_LOST


def begin(step: Step, member: Member, request: Request) -> None:
    """Start a requested replacement, or stop a node that is too young for one."""
    old = member.main
    young = not old.stable(step.now, step.fleet.settings.node_restart_delay)
    if request.kind is Kind.RECYCLE and (young or request.bare):
        # A node that asks to be replaced right after its start would be forked again and again, so it waits for its
        # delay.
        stop(step, old, Cause.RECYCLED, request.reason)
        return
    if request.kind is Kind.MEMORY and not old.stable(step.now, step.fleet.settings.stable_after):
        # A node that is over its limit right after boot would be replaced for ever, so this counts as a crash.
        _stop_for_memory(step, old, request.reason)
        return
    begun = Replacement(request.kind, request.reason, old)
    _follow(step, member, Cue.BEGIN, "", begun=begun)


def spare_ready(step: Step, member: Member) -> None:
    """The spare is warm: the old process may go as soon as the limit of nodes down allows it."""
    current = member.replacement
    if current is None or phase_of(member) is not Phase.WARM:
        return
    if current.kind is Kind.MEMORY or down(step.fleet) < step.fleet.settings.max_unavailable:
        _follow(step, member, Cue.MAY_STOP, "")


def spare_gone(step: Step, member: Member, spare: Life) -> None:
    """A spare has died before it was told to go."""
    _follow(step, member, Cue.SPARE_GONE, how_it_ended(spare))


def fork_failed(step: Step, member: Member, error: str) -> None:
    """A spare could not be forked."""
    _follow(step, member, Cue.NOT_FORKED, error)


def old_gone(step: Step, member: Member, old: Life, ends: bool) -> bool:
    """A main life is over. Return whether its spare takes over: only if warm, and not if the node ``ends``."""
    cue = Cue.MAIN_DONE if ends else Cue.MAIN_GONE
    return _follow(step, member, cue, how_it_ended(old)) is Phase.WENT


def running(step: Step, member: Member) -> None:
    """A main life is healthy for the first time."""
    _follow(step, member, Cue.HEALTHY, "")


def unwanted(step: Step, member: Member) -> None:
    """A node is scaled down, so its replacement is no longer needed. That is not a failure."""
    _follow(step, member, Cue.UNWANTED, "")


def down(fleet: Fleet) -> int:
    """How many wanted nodes are not running now but will be."""
    return sum(member.main.state not in (State.RUNNING, State.DEAD) for member in fleet.wanted_members())


def _follow(step: Step, member: Member, cue: Cue, why: str, *, begun: Replacement | None = None) -> Phase:
    """Apply the table to a replacement that is in progress or ``begun``; return its new phase.

    `LifecycleError` if there is no such cell: that is a bug here, never bad input.
    """
    before, current = phase_of(member), begun or member.replacement
    if current is None:
        return before
    if (before, cue) not in PROTOCOL:
        raise LifecycleError(f"{cue.value!r} cannot happen to a replacement that is {before.value}")
    following, tasks, reason = PROTOCOL[before, cue]
    member.replacement = None if following is Phase.NONE else current
    for task in tasks:
        _TASKS[task](step, member, current, cue, reason.format(why=why))
    return following


def _fork_spare(step: Step, member: Member, current: Replacement, cue: Cue, reason: str) -> None:
    spare = member.spare = Life(member.id, step.fleet.next_generation(member.id), spare=True, reason=current.reason)
    step.fleet.deadlines.set(spare, step.now)
    step.emit(ReplacementStarted(at=step.now, node_id=member.id, generation=spare.generation, reason=current.reason))


def _stop_old(step: Step, member: Member, current: Replacement, cue: Cue, reason: str) -> None:
    why = f"restart requested: {current.reason}" if current.kind is Kind.RESTART else current.reason
    stop(step, current.old, Cause.REPLACED, why)


def _go(step: Step, member: Member, current: Replacement, cue: Cue, reason: str) -> None:
    spare = member.spare
    assert spare is not None
    current.old_ended_at = step.now
    member.main, member.spare = spare, None
    member.restarts += 1
    step.fleet.restarts += 1
    spare.spare = False
    fire(step, spare, Trigger.GO)


def _end_spare(step: Step, member: Member, current: Replacement, cue: Cue, reason: str) -> None:
    spare = member.spare
    if spare is not None and spare.state is not State.DEAD:
        why = "scaled down" if cue is Cue.UNWANTED else "there is no process left to take over from"
        kill(step, spare, Cause.ABORTED, why)
        if not spare.alive:  # it was never forked
            member.spare = None


def _keep_old(step: Step, member: Member, current: Replacement, cue: Cue, reason: str) -> None:
    if current.kind is Kind.RECYCLE:
        step.fleet.queue.append(Request(member.id, current.old.generation, Kind.RECYCLE, current.reason, bare=True))
    elif current.old.status != Status.MEMORY:
        return
    elif current.kind is Kind.MEMORY:
        _stop_for_memory(step, current.old, current.reason)
    else:  # it went over its limit in the meantime; that is another replacement, in its turn
        request_memory(step.fleet, member, memory_reason(current.old.status_reason))


def _halt(step: Step, member: Member, current: Replacement, cue: Cue, reason: str) -> None:
    fleet = step.fleet
    step.emit(
        ReplacementAborted(at=step.now, node_id=member.id, generation=fleet.generations[member.id], reason=reason)
    )
    for request in list(fleet.queue):
        if request.kind is Kind.RESTART:
            fleet.queue.remove(request)
    if fleet.rollout is not None:
        fleet.rollout.aborted = f"node {member.id}: {reason}"
    fleet.changed = True


def _finish(step: Step, member: Member, current: Replacement, cue: Cue, reason: str) -> None:
    if step.fleet.rollout is not None and current.kind is Kind.RESTART:
        step.fleet.rollout.replaced += 1
    down_s = step.now - (current.old_ended_at if current.old_ended_at is not None else step.now)
    life = member.main
    step.emit(
        ReplacementFinished(at=step.now, node_id=member.id, generation=life.generation, pid=life.pid, down_s=down_s)
    )


_TASKS: dict[Task, Callable[[Step, Member, Replacement, Cue, str], None]] = {
    Task.FORK_SPARE: _fork_spare,
    Task.STOP_OLD: _stop_old,
    Task.GO: _go,
    Task.END_SPARE: _end_spare,
    Task.KEEP_OLD: _keep_old,
    Task.HALT: _halt,
    Task.FINISH: _finish,
}


def _stop_for_memory(step: Step, life: Life, reason: str) -> None:
    """Stop a node that is over its memory limit although there is no spare."""
    life.cause, life.reason = Cause.MEMORY, reason
    fire(step, life, Trigger.UNHEALTHY)
