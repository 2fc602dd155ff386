"""The replacement of a node by its spare, as `protocol.PROTOCOL` has it. Pure."""

from collections.abc import Callable

from swarm_health import Status
from swarm_supervisor._core.firing import fire, kill, stop
from swarm_supervisor._core.fleet import Cause, Fleet, Kind, Life, Member, Replacement, Request
from swarm_supervisor._core.lifecycle import LifecycleError, State, Trigger
from swarm_supervisor._core.messages import Action, Emit
from swarm_supervisor._core.protocol import PROTOCOL, Cue, Phase, Task
from swarm_supervisor._core.reasons import how_it_ended
from swarm_supervisor._core.requests import memory_reason, request_memory
from swarm_supervisor.events import ReplacementAborted, ReplacementFinished, ReplacementStarted


def phase_of(member: Member) -> Phase:
    """How far the replacement of a node has come."""
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


def begin(fleet: Fleet, member: Member, request: Request, now: float, out: list[Action]) -> None:
    """Begin a replacement that was asked for, or stop a node that is too young for one."""
    old = member.main
    young = not old.stable(now, fleet.settings.node_restart_delay)
    if request.kind is Kind.RECYCLE and (young or request.bare):
        # One that wants to go as soon as it has come would be forked without a pause: it waits for its delay.
        stop(fleet, old, Cause.RECYCLED, request.reason, now, out)
        return
    if request.kind is Kind.MEMORY and not old.stable(now, fleet.settings.stable_after):
        # A node that is over its limit as soon as it has booted would be replaced for ever: this is a crash.
        _stop_for_memory(fleet, old, request.reason, now, out)
        return
    begun = Replacement(request.kind, request.reason, old)
    _follow(fleet, member, Cue.BEGIN, "", now, out, begun=begun)


def spare_ready(fleet: Fleet, member: Member, now: float, out: list[Action]) -> None:
    """The spare is warm: the old one may go, as soon as no more nodes than allowed are down then."""
    current = member.replacement
    if current is None or phase_of(member) is not Phase.WARM:
        return
    if current.kind is Kind.MEMORY or down(fleet) < fleet.settings.max_unavailable:
        _follow(fleet, member, Cue.MAY_STOP, "", now, out)


def spare_gone(fleet: Fleet, member: Member, spare: Life, now: float, out: list[Action]) -> None:
    """A spare has died before it was told to go."""
    _follow(fleet, member, Cue.SPARE_GONE, how_it_ended(spare), now, out)


def fork_failed(fleet: Fleet, member: Member, error: str, now: float, out: list[Action]) -> None:
    """A spare could not be forked."""
    _follow(fleet, member, Cue.NOT_FORKED, error, now, out)


def old_gone(fleet: Fleet, member: Member, old: Life, ends: bool, now: float, out: list[Action]) -> bool:
    """A main life is over. Return whether its spare takes over: it does if it is warm, unless the node ``ends``."""
    cue = Cue.MAIN_DONE if ends else Cue.MAIN_GONE
    return _follow(fleet, member, cue, how_it_ended(old), now, out) is Phase.WENT


def running(fleet: Fleet, member: Member, now: float, out: list[Action]) -> None:
    """A main life is healthy for the first time."""
    _follow(fleet, member, Cue.HEALTHY, "", now, out)


def unwanted(fleet: Fleet, member: Member, now: float, out: list[Action]) -> None:
    """A node is scaled down: its replacement is not needed any more. Nothing has gone wrong with it."""
    _follow(fleet, member, Cue.UNWANTED, "", now, out)


def down(fleet: Fleet) -> int:
    """How many wanted nodes do not run now, but will."""
    return sum(member.main.state not in (State.RUNNING, State.DEAD) for member in fleet.wanted_members())


def _follow(
    fleet: Fleet,
    member: Member,
    cue: Cue,
    why: str,
    now: float,
    out: list[Action],
    *,
    begun: Replacement | None = None,
) -> Phase:
    """Apply the table to a replacement, if one is under way or ``begun``; return its phase as the table has it.

    `LifecycleError` if it has no such cell: that is a bug here, never bad input.
    """
    before, current = phase_of(member), begun or member.replacement
    if current is None:
        return before
    if (before, cue) not in PROTOCOL:
        raise LifecycleError(f"{cue.value!r} cannot happen to a replacement that is {before.value}")
    following, tasks, reason = PROTOCOL[before, cue]
    member.replacement = None if following is Phase.NONE else current
    for task in tasks:
        _TASKS[task](fleet, member, current, cue, reason.format(why=why), now, out)
    return following


def _fork_spare(
    fleet: Fleet, member: Member, current: Replacement, cue: Cue, reason: str, now: float, out: list[Action]
) -> None:
    spare = member.spare = Life(member.id, fleet.next_generation(member.id), now, spare=True, reason=current.reason)
    fleet.deadlines.set(spare, now)
    out.append(Emit(ReplacementStarted(at=now, node_id=member.id, generation=spare.generation, reason=current.reason)))


def _stop_old(
    fleet: Fleet, member: Member, current: Replacement, cue: Cue, reason: str, now: float, out: list[Action]
) -> None:
    why = f"restart requested: {current.reason}" if current.kind is Kind.RESTART else current.reason
    stop(fleet, current.old, Cause.REPLACED, why, now, out)


def _go(
    fleet: Fleet, member: Member, current: Replacement, cue: Cue, reason: str, now: float, out: list[Action]
) -> None:
    spare = member.spare
    assert spare is not None
    current.old_ended_at = now
    member.main, member.spare = spare, None
    member.restarts += 1
    fleet.restarts += 1
    spare.spare = False
    fire(fleet, spare, Trigger.GO, now, out)


def _end_spare(
    fleet: Fleet, member: Member, current: Replacement, cue: Cue, reason: str, now: float, out: list[Action]
) -> None:
    spare = member.spare
    if spare is not None and spare.state is not State.DEAD:
        why = "scaled down" if cue is Cue.UNWANTED else "nothing is left to take over from"
        kill(fleet, spare, Cause.ABORTED, why, now, out)
        if not spare.alive:  # it was never forked
            member.spare = None


def _keep_old(
    fleet: Fleet, member: Member, current: Replacement, cue: Cue, reason: str, now: float, out: list[Action]
) -> None:
    if current.kind is Kind.RECYCLE:
        fleet.queue.append(Request(member.id, current.old.generation, Kind.RECYCLE, current.reason, bare=True))
    elif current.old.status != Status.MEMORY:
        return
    elif current.kind is Kind.MEMORY:
        _stop_for_memory(fleet, current.old, current.reason, now, out)
    else:  # it went over its limit meanwhile: that is another replacement, when its turn comes
        request_memory(fleet, member, memory_reason(current.old.status_reason))


def _halt(
    fleet: Fleet, member: Member, current: Replacement, cue: Cue, reason: str, now: float, out: list[Action]
) -> None:
    out.append(
        Emit(ReplacementAborted(at=now, node_id=member.id, generation=fleet.generations[member.id], reason=reason))
    )
    for request in list(fleet.queue):
        if request.kind is Kind.RESTART:
            fleet.queue.remove(request)
    if fleet.rollout is not None:
        fleet.rollout.aborted = f"node {member.id}: {reason}"
    fleet.changed = True


def _finish(
    fleet: Fleet, member: Member, current: Replacement, cue: Cue, reason: str, now: float, out: list[Action]
) -> None:
    if fleet.rollout is not None and current.kind is Kind.RESTART:
        fleet.rollout.replaced += 1
    down_s = now - (current.old_ended_at if current.old_ended_at is not None else now)
    life = member.main
    out.append(
        Emit(ReplacementFinished(at=now, node_id=member.id, generation=life.generation, pid=life.pid, down_s=down_s))
    )


_TASKS: dict[Task, Callable[[Fleet, Member, Replacement, Cue, str, float, list[Action]], None]] = {
    Task.FORK_SPARE: _fork_spare,
    Task.STOP_OLD: _stop_old,
    Task.GO: _go,
    Task.END_SPARE: _end_spare,
    Task.KEEP_OLD: _keep_old,
    Task.HALT: _halt,
    Task.FINISH: _finish,
}


def _stop_for_memory(fleet: Fleet, life: Life, reason: str, now: float, out: list[Action]) -> None:
    """Stop a node that is over its memory limit without a replacement at hand."""
    life.cause, life.reason = Cause.MEMORY, reason
    fire(fleet, life, Trigger.UNHEALTHY, now, out)
