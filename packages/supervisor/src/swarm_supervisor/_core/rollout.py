"""Which nodes to replace next: a limited number at a time, until the queue is empty. Pure."""

from __future__ import annotations

from swarm_health import Status
from swarm_supervisor._core import replacement
from swarm_supervisor._core.fleet import Cause, Fleet, Kind, Life, Mode
from swarm_supervisor._core.lifecycle import State
from swarm_supervisor._core.step import Step
from swarm_supervisor.events import RolloutFinished


def advance(step: Step) -> None:
    """Advance every replacement that may advance now."""
    fleet = step.fleet
    for member in fleet.members.values():
        if member.spare is not None and member.spare.state is State.WARM:
            replacement.spare_ready(step, member)
    for request in list(fleet.queue):
        asked = fleet.members.get(request.node_id)
        if asked is None or asked.main.generation != request.generation or asked.main.state is not State.RUNNING:
            fleet.queue.remove(request)  # it gets or got a new process anyway
        elif _may_begin(fleet, request.kind) and asked.spare is None:
            fleet.queue.remove(request)
            replacement.begin(step, asked, request)
    _close(step)


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
    return replacement.down(fleet) + under_way < fleet.settings.max_unavailable


def _stops_for_memory(life: Life) -> bool:
    # This includes a node that lost its spare while it drains.
    return life.cause is Cause.MEMORY or (life.cause is Cause.REPLACED and life.status == Status.MEMORY)


def _close(step: Step) -> None:
    fleet = step.fleet
    rollout = fleet.rollout
    if rollout is None or fleet.mode is Mode.STOPPING:
        return
    waiting = any(request.kind is Kind.RESTART for request in fleet.queue)
    under_way = any(
        member.replacement is not None and member.replacement.kind is Kind.RESTART for member in fleet.members.values()
    )
    if not waiting and not under_way:
        fleet.rollout = None
        step.emit(RolloutFinished(at=step.now, replaced=rollout.replaced, aborted=rollout.aborted))
