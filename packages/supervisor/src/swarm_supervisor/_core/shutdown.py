"""The end of the swarm: in order, by force, or because nothing is left to do. Pure."""

from swarm_supervisor._core.firing import kill, stop
from swarm_supervisor._core.fleet import Cause, Fleet, Mode
from swarm_supervisor._core.lifecycle import State
from swarm_supervisor._core.messages import Action, Emit, Finish
from swarm_supervisor.events import ErrorOccurred, Stopped, Stopping


def begin(fleet: Fleet, reason: str, exit_code: int, now: float, out: list[Action]) -> None:
    """Stop all nodes in parallel, within one budget. A second call changes nothing."""
    if fleet.mode in (Mode.STOPPING, Mode.STOPPED):
        return
    settings = fleet.settings
    _enter(fleet, reason, exit_code, settings.shutdown_timeout + settings.shutdown_grace, now, out)
    for life in list(fleet.lives()):
        stop(fleet, life, Cause.SHUTDOWN, f"the swarm is stopping: {reason}", now, out)
    finish_if_over(fleet, now, out)


def force(fleet: Fleet, reason: str, now: float, out: list[Action]) -> None:
    """Kill all nodes now, whether the swarm is stopping or not. The exit code becomes 4, unless it says more."""
    if fleet.mode is Mode.STOPPED:
        return
    if fleet.mode is not Mode.STOPPING:
        _enter(fleet, reason, 4, fleet.settings.shutdown_grace, now, out)
    fleet.exit_code = fleet.exit_code or 4
    fleet.deadlines.set(fleet.budget, now + fleet.settings.shutdown_grace)
    for life in list(fleet.lives()):
        if life.cause is Cause.SHUTDOWN:
            life.reason = f"forced: {reason}"
        kill(fleet, life, Cause.SHUTDOWN, f"forced: {reason}", now, out)
    finish_if_over(fleet, now, out)


def _enter(fleet: Fleet, reason: str, exit_code: int, budget_s: float, now: float, out: list[Action]) -> None:
    fleet.mode, fleet.reason, fleet.exit_code = Mode.STOPPING, reason, exit_code
    fleet.queue.clear()
    fleet.rollout = None
    fleet.deadlines.set(fleet.budget, now + budget_s)
    fleet.budget.excused = False
    out.append(Emit(Stopping(at=now, reason=reason)))


def budget_spent(fleet: Fleet, now: float, out: list[Action]) -> None:
    """Leave without those whom not even KILL has ended: PR_SET_PDEATHSIG waits for them."""
    left = [life for life in fleet.lives() if life.alive]
    for life in left:
        kill(fleet, life, Cause.SHUTDOWN, "the time of the shutdown is over", now, out)
    pids = ", ".join(str(life.pid) for life in left)
    out.append(Emit(ErrorOccurred(at=now, where="shutdown", error=f"left without waiting any longer for pid {pids}")))
    _finish(fleet, now, out)


def finish_if_over(fleet: Fleet, now: float, out: list[Action]) -> None:
    """End when nothing runs and nothing will."""
    if fleet.mode is Mode.STOPPED:
        return
    if fleet.mode is Mode.STOPPING:
        if next(fleet.lives(), None) is None:
            _finish(fleet, now, out)
        return
    if all(member.main.state is State.DEAD and member.spare is None for member in fleet.members.values()):
        failed = [member.id for member in fleet.members.values() if member.failed]
        fleet.exit_code = 1 if failed else 0
        names = ", ".join(map(str, failed))
        fleet.reason = f"all nodes are done, and node {names} failed" if failed else "all nodes are done"
        _finish(fleet, now, out)


def _finish(fleet: Fleet, now: float, out: list[Action]) -> None:
    fleet.mode = Mode.STOPPED
    fleet.deadlines.set(fleet.budget, None)
    out.append(Emit(Stopped(at=now, exit_code=fleet.exit_code, reason=fleet.reason)))
    out.append(Finish(fleet.exit_code))
