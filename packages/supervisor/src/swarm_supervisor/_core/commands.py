"""Commands of the application or operator: quiet, scale, hold, restart. Pure.

Stopping is in `shutdown`.
"""

from __future__ import annotations

from swarm_supervisor._core import leaving, messages, replacement, requests, shutdown
from swarm_supervisor._core.fleet import Cause, Member, Mode
from swarm_supervisor._core.lifecycle import ON_ITS_WAY_OUT, State
from swarm_supervisor._core.step import Step
from swarm_supervisor._core.transitions import stop
from swarm_supervisor.events import Held, Quieting, Released, Scaled


def quiet(step: Step, happening: messages.QuietSwarm) -> None:
    """Let all nodes finish their work and take no more."""
    fleet = step.fleet
    if fleet.mode is not Mode.RUNNING:
        return
    fleet.mode, fleet.reason = Mode.QUIET, happening.reason
    step.emit(Quieting(at=step.now, reason=happening.reason))
    for life in fleet.lives():
        if life.alive and life.state not in ON_ITS_WAY_OUT:
            step.order(messages.Quiet(life.node_id, life.generation))


def scale(step: Step, happening: messages.Scale) -> None:
    """Change the number of nodes. Scaling down removes the highest ids first."""
    fleet = step.fleet
    if fleet.mode in (Mode.STOPPING, Mode.STOPPED) or happening.nodes == fleet.wanted:
        return
    before, fleet.wanted = fleet.wanted, happening.nodes
    fleet.changed = True
    step.emit(Scaled(at=step.now, before=before, after=fleet.wanted))
    for node_id in range(before, fleet.wanted):
        member = fleet.members.get(node_id)
        if member is None:
            fleet.add(node_id, step.now)
        elif member.main.state is State.DEAD:  # scaled down a moment ago: only its spare is still there
            fleet.new_life(member, step.now, "scaled up again")
    for member in sorted(fleet.members.values(), key=lambda each: -each.id):
        if member.id >= fleet.wanted:
            _remove(step, member)
    shutdown.finish_if_over(step)  # the remaining nodes may all be done


def _remove(step: Step, member: Member) -> None:
    replacement.unwanted(step, member)
    life = member.main
    if life.state is not State.DEAD:
        leaving.tell_of_removal(step, life)
        stop(step, life, Cause.SCALED_DOWN, f"scaled down to {step.fleet.wanted} nodes")
    if member.main.state is State.DEAD and member.spare is None:
        del step.fleet.members[member.id]


def hold(step: Step, happening: messages.Hold) -> None:
    """Fork no node until `release`. While nodes are held, this changes the reason."""
    fleet = step.fleet
    if fleet.held == happening.reason or fleet.mode in (Mode.STOPPING, Mode.STOPPED):
        return
    if any(life.alive for life in fleet.lives()):
        return  # it only concerns the first nodes
    fleet.held = happening.reason
    step.emit(Held(at=step.now, reason=happening.reason))


def release(step: Step, _: messages.Release) -> None:
    """Fork the held nodes."""
    fleet = step.fleet
    if not fleet.held:
        return
    fleet.held = ""
    step.emit(Released(at=step.now))
    for life in fleet.lives():
        if life.state is State.BACKING_OFF and life.deadline is None:
            fleet.deadlines.set(life, step.now)


def restart(step: Step, happening: messages.Restart) -> None:
    """Replace the process of one node, or of all."""
    if happening.node_id is None or happening.node_id in step.fleet.members:
        requests.request_restart(step, happening.node_id, happening.reason)
