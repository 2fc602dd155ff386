"""Every decision of the supervisor: ``step(fleet, happening, now) -> actions``. Pure: no clock, no process, no wait.

The shell calls `step` for whatever happens, and with a `Tick` when `fleet.next_deadline` has come. A `Tick` asks for
one fork at most: between two forks the loop looks at signals and pipes.
"""

from typing import assert_never

from swarm_health import Status
from swarm_supervisor._core import messages, replacement, requests, rollout, shutdown
from swarm_supervisor._core.firing import fire, stop
from swarm_supervisor._core.fleet import Budget, Cause, Fleet, Life, Member, Mode
from swarm_supervisor._core.judgement import after_death
from swarm_supervisor._core.lifecycle import State, Trigger
from swarm_supervisor._core.messages import Action, Emit, Happening, NodeHappening
from swarm_supervisor._core.reasons import unhealthy_reason
from swarm_supervisor.events import ErrorOccurred, Held, Quieting, Released, Scaled, Suspended

FORK_RETRY_S = 1.0
"""The least time until a fork that failed is tried again: processes or descriptors do not come back in an instant."""
_BOOTED = frozenset({State.RUNNING, State.DEAD})
_TURNING = frozenset({State.BOOTING, State.RUNNING})
_ON_ITS_WAY_OUT = frozenset({State.DUMPING, State.STOPPING, State.LAST_DUMP, State.KILLING, State.DEAD})


def step(fleet: Fleet, happening: Happening, now: float) -> list[Action]:
    """Take in what has happened and return what is to be done, in order. ``now`` never goes back."""
    out: list[Action] = []
    fleet.changed = False
    _take_in(fleet, happening, now, out)
    if fleet.changed:
        if not fleet.booted:
            fleet.booted = all(member.main.state in _BOOTED for member in fleet.wanted_members())
        if fleet.queue or fleet.rollout is not None or any(member.spare for member in fleet.members.values()):
            rollout.advance(fleet, now, out)
    return out


def _take_in(fleet: Fleet, happening: Happening, now: float, out: list[Action]) -> None:
    match happening:  # what comes most often comes first
        case messages.Reported():
            _reported(fleet, happening, now, out)
        case messages.Tick():
            _tick(fleet, happening, now, out)
        case messages.Forked():
            _forked(fleet, happening, now, out)
        case messages.ForkFailed():
            _fork_failed(fleet, happening, now, out)
        case messages.StacksThere():
            _stacks_there(fleet, happening, now, out)
        case messages.Exited():
            _exited(fleet, happening, now, out)
        case messages.Slept():
            _slept(fleet, happening, now, out)
        case messages.StopSwarm():
            _stop(fleet, happening, now, out)
        case messages.Hold():
            _hold(fleet, happening, now, out)
        case messages.Release():
            _release(fleet, happening, now, out)
        case messages.ForceStop():
            _force(fleet, happening, now, out)
        case messages.QuietSwarm():
            _quiet(fleet, happening, now, out)
        case messages.Restart():
            _restart(fleet, happening, now, out)
        case messages.Scale():
            _scale(fleet, happening, now, out)
        case _:
            assert_never(happening)


def _tick(fleet: Fleet, _: messages.Tick, now: float, out: list[Action]) -> None:
    while (thing := fleet.deadlines.pop(now)) is not None:
        if isinstance(thing, Budget):
            shutdown.budget_spent(fleet, now, out)
        elif isinstance(thing, Life):
            if thing.state is State.BACKING_OFF:
                if fleet.held:
                    continue  # it has no deadline now: `_release` gives it one
                fire(fleet, thing, Trigger.DUE, now, out)
                return
            _overdue(fleet, thing, now, out)


def _overdue(fleet: Fleet, life: Life, now: float, out: list[Action]) -> None:
    settings = fleet.settings
    if life.state is State.RUNNING:
        _blame(life, f"no report for {now - (life.last_report_at or 0.0):.1f} s ({settings.node_report_timeout:g} s)")
    elif life.state in (State.BOOTING, State.WARMING):
        what = "healthy" if life.state is State.BOOTING else "ready"
        _blame(life, f"not {what} within the boot timeout of {settings.boot_timeout:g} s")
    fire(fleet, life, Trigger.DUE, now, out)


def _blame(life: Life, reason: str) -> None:
    life.cause, life.reason = Cause.SILENT, reason
    life.status, life.status_reason = Status.NOT_REPORTING, reason


def _find(fleet: Fleet, happening: NodeHappening) -> tuple[Member, Life] | None:
    member = fleet.members.get(happening.node_id)
    life = member.life(happening.generation) if member is not None else None
    if member is None or life is None:
        fleet.stale += 1
        return None
    return member, life


def _forked(fleet: Fleet, happening: messages.Forked, now: float, out: list[Action]) -> None:
    if (found := _find(fleet, happening)) is None:
        return
    member, life = found
    member.fork_error, member.fork_failures = "", 0
    life.pid, life.forked_at, life.boot_at = happening.pid, now, now
    fire(fleet, life, Trigger.FORKED_SPARE if life.spare else Trigger.FORKED, now, out)


def _fork_failed(fleet: Fleet, happening: messages.ForkFailed, now: float, out: list[Action]) -> None:
    if (found := _find(fleet, happening)) is None:
        return
    member, life = found
    member.fork_failures += 1
    out.append(
        Emit(
            ErrorOccurred(at=now, where="fork", error=happening.error, node_id=life.node_id, times=member.fork_failures)
        )
    )
    if life.spare:
        stop(fleet, life, Cause.ABORTED, happening.error, now, out)
        member.spare = None
        replacement.fork_failed(fleet, member, happening.error, now, out)
        return
    member.fork_error = happening.error  # not for a spare: the node itself runs
    fire(fleet, life, Trigger.FORK_FAILED, now, out)
    life.reason = f"the fork failed: {happening.error}"
    fleet.deadlines.set(life, now + max(FORK_RETRY_S, fleet.settings.node_restart_delay))


def _reported(fleet: Fleet, report: messages.Reported, now: float, out: list[Action]) -> None:
    if (found := _find(fleet, report)) is None:
        return
    member, life = found
    if report.statistics is not None:
        life.statistics, life.statistics_at = report.statistics, now
        fleet.accounts.take(report.node_id, report.generation, report.statistics, now)
    if report.said:
        life.said = report.said
    if report.recycle:
        life.recycle = report.recycle
        requests.request_recycling(fleet, member, life)
    if report.ready:
        fire(fleet, life, Trigger.READY, now, out)
        if life.state is State.WARM:
            replacement.spare_ready(fleet, member, now, out)
    if report.status is not None:
        _status(fleet, member, life, report, now, out)
    if report.leaving:
        if life.cause is None:
            life.cause, life.reason = Cause.OPERATOR, f"somebody sent it {report.leaving}"
        fire(fleet, life, Trigger.LEAVING, now, out)


def _status(fleet: Fleet, member: Member, life: Life, report: messages.Reported, now: float, out: list[Action]) -> None:
    status = report.status or 0
    life.last_report_at = now
    before = life.state
    if before not in _ON_ITS_WAY_OUT:
        life.status, life.status_reason = status, report.reason
    if status > 0 and (status != Status.MEMORY or before not in _TURNING):
        if life.cause is None:
            life.cause = Cause.MEMORY if status == Status.MEMORY else Cause.UNHEALTHY
            life.reason = unhealthy_reason(status, report.reason)
        fire(fleet, life, Trigger.UNHEALTHY, now, out)
        return
    if before not in _ON_ITS_WAY_OUT:
        life.well_at = now
    fire(fleet, life, Trigger.HEALTHY, now, out)  # over its memory limit, a node turns all the same
    if before is State.BOOTING:
        replacement.running(fleet, member, now, out)
        requests.request_recycling(fleet, member, life)
    if status > 0 and before in _TURNING and fleet.mode is not Mode.STOPPING:
        requests.request_memory(fleet, member, requests.memory_reason(report.reason))
    elif fleet.queue and before is State.RUNNING:
        requests.recovered(fleet, member)


def _stacks_there(fleet: Fleet, happening: messages.StacksThere, now: float, out: list[Action]) -> None:
    member = fleet.members.get(happening.node_id)
    life = member.life(happening.generation) if member is not None else None
    if life is not None and life.state in _ON_ITS_WAY_OUT:
        fire(fleet, life, Trigger.DUMPED, now, out)


def _exited(fleet: Fleet, happening: messages.Exited, now: float, out: list[Action]) -> None:
    if (found := _find(fleet, happening)) is None:
        return
    member, life = found
    life.exit = happening
    fleet.accounts.ended(happening.node_id, happening.generation, now)
    fire(fleet, life, Trigger.EXITED, now, out)
    after_death(fleet, member, life, now, out)


def _slept(fleet: Fleet, happening: messages.Slept, now: float, out: list[Action]) -> None:
    """Put deadlines off: nobody knows what nodes did while the supervisor did not run.

    Each state begins anew, once: the next time, before the node has been heard, only the absence itself is given back,
    and nothing for the time of a listener, or to whom the supervisor is away all the time. Else a node that hangs would
    never be judged by a supervisor that is away again and again, and a stop would never end.
    """
    settings = fleet.settings
    times = _count_absence(fleet, happening, now)
    for life in fleet.lives():
        if (duration := fleet.durations[life.state]) is not None:
            _excuse(fleet, life, duration, happening, now)
    _excuse(fleet, fleet.budget, settings.shutdown_timeout + settings.shutdown_grace, happening, now)
    out.append(Emit(Suspended(at=now, duration_s=happening.duration_s, listener=happening.culprit, times=times)))


def _excuse(fleet: Fleet, timed: Life | Budget, anew_s: float, happening: messages.Slept, now: float) -> None:
    if timed.deadline is None:
        return
    if not timed.excused:
        timed.excused = True
        fleet.deadlines.set(timed, max(timed.deadline, now + anew_s))
    elif happening.rested and not happening.culprit:
        fleet.deadlines.set(timed, timed.deadline + happening.duration_s)


def _count_absence(fleet: Fleet, happening: messages.Slept, now: float) -> int:
    if not happening.culprit and happening.rested:
        fleet.absences.forget("")
    return fleet.absences.count(happening.culprit, now)


def _quiet(fleet: Fleet, happening: messages.QuietSwarm, now: float, out: list[Action]) -> None:
    if fleet.mode is not Mode.RUNNING:
        return
    fleet.mode, fleet.reason = Mode.QUIET, happening.reason
    out.append(Emit(Quieting(at=now, reason=happening.reason)))
    for life in fleet.lives():
        if life.alive and life.state not in _ON_ITS_WAY_OUT:
            out.append(messages.Quiet(life.node_id, life.generation))


def _scale(fleet: Fleet, happening: messages.Scale, now: float, out: list[Action]) -> None:
    if fleet.mode in (Mode.STOPPING, Mode.STOPPED) or happening.nodes == fleet.wanted:
        return
    before, fleet.wanted = fleet.wanted, happening.nodes
    fleet.changed = True
    out.append(Emit(Scaled(at=now, before=before, after=fleet.wanted)))
    for node_id in range(before, fleet.wanted):
        member = fleet.members.get(node_id)
        if member is None:
            fleet.add(node_id, now)
        elif member.main.state is State.DEAD:  # scaled down a moment ago: only its spare has not gone yet
            fleet.new_life(member, now, now, "scaled up again")
    for member in sorted(fleet.members.values(), key=lambda each: -each.id):
        if member.id >= fleet.wanted:
            _remove(fleet, member, now, out)
    shutdown.finish_if_over(fleet, now, out)  # the nodes that are left may all be done


def _remove(fleet: Fleet, member: Member, now: float, out: list[Action]) -> None:
    replacement.unwanted(fleet, member, now, out)
    life = member.main
    if life.state is not State.DEAD:
        if life.alive:
            out.append(messages.Leave(life.node_id, life.generation))
        stop(fleet, life, Cause.SCALED_DOWN, f"scaled down to {fleet.wanted} nodes", now, out)
    if member.main.state is State.DEAD and member.spare is None:
        del fleet.members[member.id]


def _stop(fleet: Fleet, happening: messages.StopSwarm, now: float, out: list[Action]) -> None:
    shutdown.begin(fleet, happening.reason, happening.exit_code, now, out)


def _hold(fleet: Fleet, happening: messages.Hold, now: float, out: list[Action]) -> None:
    if fleet.held == happening.reason or fleet.mode in (Mode.STOPPING, Mode.STOPPED):
        return
    if any(life.alive for life in fleet.lives()):
        return  # it is about the first nodes
    fleet.held = happening.reason
    out.append(Emit(Held(at=now, reason=happening.reason)))


def _release(fleet: Fleet, _: messages.Release, now: float, out: list[Action]) -> None:
    if not fleet.held:
        return
    fleet.held = ""
    out.append(Emit(Released(at=now)))
    for life in fleet.lives():
        if life.state is State.BACKING_OFF and life.deadline is None:
            fleet.deadlines.set(life, now)


def _force(fleet: Fleet, happening: messages.ForceStop, now: float, out: list[Action]) -> None:
    shutdown.force(fleet, happening.reason, now, out)


def _restart(fleet: Fleet, happening: messages.Restart, now: float, out: list[Action]) -> None:
    if happening.node_id is None or happening.node_id in fleet.members:
        requests.request_restart(fleet, happening.node_id, happening.reason, now, out)
