"""The end of the swarm: gracefully, by force, or because no node has work left. Pure."""

from __future__ import annotations

from swarm_supervisor._core import leaving
from swarm_supervisor._core.fleet import Cause, Mode
from swarm_supervisor._core.lifecycle import State
from swarm_supervisor._core.messages import Finish
from swarm_supervisor._core.step import Step
from swarm_supervisor._core.transitions import kill, stop
from swarm_supervisor.events import ErrorOccurred, Stopped, Stopping


def begin(step: Step, reason: str, exit_code: int) -> None:
    """Stop all nodes in parallel, within one budget. A second call changes nothing."""
    fleet = step.fleet
    if fleet.mode in (Mode.STOPPING, Mode.STOPPED):
        return
    settings = fleet.settings
    _enter(step, reason, exit_code, settings.shutdown_timeout + settings.shutdown_grace)
    for life in list(fleet.lives()):
        leaving.tell_to_leave(step, life)  # also one that is stopping already
        stop(step, life, Cause.SHUTDOWN, f"the swarm is stopping: {reason}")
    finish_if_over(step)


def force(step: Step, reason: str) -> None:
    """Kill all nodes now, whether or not the swarm is stopping. The exit code becomes 4, unless a worse one is set."""
    fleet = step.fleet
    if fleet.mode is Mode.STOPPED:
        return
    if fleet.mode is not Mode.STOPPING:
        _enter(step, reason, 4, fleet.settings.shutdown_grace)
    fleet.exit_code = fleet.exit_code or 4
    fleet.deadlines.set(fleet.budget, step.now + fleet.settings.shutdown_grace)
    for life in list(fleet.lives()):
        if life.cause is Cause.SHUTDOWN:
            life.reason = f"forced: {reason}"
        kill(step, life, Cause.SHUTDOWN, f"forced: {reason}")
    finish_if_over(step)


def _enter(step: Step, reason: str, exit_code: int, budget_s: float) -> None:
    fleet = step.fleet
    fleet.mode, fleet.reason, fleet.exit_code = Mode.STOPPING, reason, exit_code
    fleet.queue.clear()
    fleet.rollout = None
    fleet.deadlines.set(fleet.budget, step.now + budget_s)
    fleet.budget.excused = False
    step.emit(Stopping(at=step.now, reason=reason))


def budget_spent(step: Step) -> None:
    """Return without the processes that KILL has not ended yet. They die as soon as they leave the kernel."""
    left = [life for life in step.fleet.lives() if life.alive]
    for life in left:
        kill(step, life, Cause.SHUTDOWN, "the shutdown time is over")
    pids = ", ".join(str(life.pid) for life in left)
    step.emit(ErrorOccurred(at=step.now, where="shutdown", error=f"stopped waiting for pid {pids}"))
    _finish(step)


def finish_if_over(step: Step) -> None:
    """End if no node is running and none will run."""
    fleet = step.fleet
    if fleet.mode is Mode.STOPPED:
        return
    if fleet.mode is Mode.STOPPING:
        if next(fleet.lives(), None) is None:
            _finish(step)
        return
    if all(member.main.state is State.DEAD and member.spare is None for member in fleet.members.values()):
        failed = [member.id for member in fleet.members.values() if member.failed]
        fleet.exit_code = 1 if failed else 0
        names = ", ".join(map(str, failed))
        fleet.reason = f"all nodes are done, and node {names} failed" if failed else "all nodes are done"
        _finish(step)


def _finish(step: Step) -> None:
    fleet = step.fleet
    fleet.mode = Mode.STOPPED
    fleet.deadlines.set(fleet.budget, None)
    step.emit(Stopped(at=step.now, exit_code=fleet.exit_code, reason=fleet.reason))
    step.order(Finish(fleet.exit_code))
