"""Tell a process that has to stop whether its successor comes soon, before its TERM. Pure.

What it makes of it is its own affair: see `Node.leaving`. Only the main process of a node is told, because a spare
holds nothing yet.
"""

from __future__ import annotations

from swarm_supervisor._core import messages
from swarm_supervisor._core.deadlines import NEVER
from swarm_supervisor._core.fleet import Fleet, Life, Member, Mode
from swarm_supervisor._core.lifecycle import State
from swarm_supervisor._core.prospect import SOON_S, Prospect
from swarm_supervisor._core.restart_policy import expected, first_delay
from swarm_supervisor._core.sequel import Sequel, sequel, uncounted_delay
from swarm_supervisor._core.step import Step


def tell(step: Step, life: Life) -> None:
    """Tell a process that is about to get TERM whether its successor comes soon."""
    member = step.fleet.members[life.node_id]
    if life is not member.main or life.told_to_leave is not None:
        return
    if successor_in_s(step.fleet, member, life, step.now) > SOON_S:
        tell_to_leave(step, life)
    else:
        life.told_to_leave = False
        step.order(messages.Return(life.node_id, life.generation))


def tell_to_leave(step: Step, life: Life) -> None:
    """Tell a process that no successor comes, or not soon. It may be stopping already, for another reason."""
    if life.alive and not life.spare and life.told_to_leave is not True:
        life.told_to_leave = True
        step.order(messages.Leave(life.node_id, life.generation))


def tell_of_removal(step: Step, life: Life) -> None:
    """Tell a process that its node is scaled away."""
    tell_to_leave(step, life)
    if life.told_to_leave and not life.told_of_removal:
        life.told_of_removal = True
        step.order(messages.Remove(life.node_id, life.generation))


def successor_in_s(fleet: Fleet, member: Member, life: Life, now: float) -> float:
    """When the successor of a process that is told to stop now will start, in seconds after its end, without jitter."""
    if fleet.mode is Mode.STOPPING or member.id >= fleet.wanted:
        return NEVER
    settings = fleet.settings
    what = sequel(life, settings.restart)
    if what is Sequel.END:
        return NEVER
    if what is Sequel.AT_ONCE or (member.spare is not None and member.spare.state is State.WARM):
        return 0.0
    if what is Sequel.AFTER_DELAY:
        return uncounted_delay(life, settings, now)
    return _counted_delay(fleet, member, now, stable=life.stable(life.well_until(now), settings.stable_after))


def prospect(fleet: Fleet, member: Member, now: float) -> Prospect:
    """Return what a process that is forked now has to know about an end that was not ordered."""
    settings = fleet.settings
    return Prospect(
        restart=settings.restart,
        stable_after=settings.stable_after,
        own_delays=(
            _counted_delay(fleet, member, now, stable=False),
            _counted_delay(fleet, member, now + settings.stable_after, stable=True),
        ),
        term_delays=(settings.node_restart_delay, first_delay(settings)),
        recycle_after=settings.node_restart_delay,
    )


def _counted_delay(fleet: Fleet, member: Member, now: float, *, stable: bool) -> float:
    verdict = expected(member.history, fleet.settings, stable=stable, now=now)
    return NEVER if verdict.crash_loop and fleet.settings.on_crash_loop == "exit" else verdict.delay_s
