"""Every decision of the supervisor: ``step(fleet, happening, now) -> actions``. Pure: no clock, no process, no wait.

The shell calls `step` for every happening, and with a `Tick` at `fleet.next_deadline`. A `Tick` asks for
at most one fork, so that the loop looks at signals and pipes between two forks.
"""

from __future__ import annotations

from typing import assert_never

from swarm_health import Status
from swarm_supervisor._core import commands, messages, replacement, requests, rollout, shutdown
from swarm_supervisor._core.after_death import after_death
from swarm_supervisor._core.fleet import Budget, Cause, Fleet, Life, Member, Mode
from swarm_supervisor._core.lifecycle import ON_ITS_WAY_OUT, State, Trigger
from swarm_supervisor._core.messages import Action, Happening, NodeHappening
from swarm_supervisor._core.reasons import unhealthy_reason
from swarm_supervisor._core.step import Step
from swarm_supervisor._core.transitions import fire, stop
from swarm_supervisor.events import ErrorOccurred, Suspended

FORK_RETRY_S = 1.0
"""The shortest time before a failed fork is retried: missing processes or descriptors take time to come back."""
_BOOTED = frozenset({State.RUNNING, State.DEAD})
_TURNING = frozenset({State.BOOTING, State.RUNNING})


def step(fleet: Fleet, happening: Happening, now: float) -> list[Action]:
    """Take a happening and return the actions to carry out, in order. ``now`` never goes back."""
    this = Step(fleet, now)
    fleet.changed = False
    _take_in(this, happening)
    if fleet.changed:
        if not fleet.booted:
            fleet.booted = all(member.main.state in _BOOTED for member in fleet.wanted_members())
        if fleet.queue or fleet.rollout is not None or any(member.spare for member in fleet.members.values()):
            rollout.advance(this)
    return this.actions


def _take_in(step: Step, happening: Happening) -> None:
    match happening:  # the most frequent happenings come first
        case messages.Reported():
            _reported(step, happening)
        case messages.Tick():
            _tick(step, happening)
        case messages.Forked():
            _forked(step, happening)
        case messages.ForkFailed():
            _fork_failed(step, happening)
        case messages.StacksThere():
            _stacks_there(step, happening)
        case messages.Exited():
            _exited(step, happening)
        case messages.Concluded():
            _concluded(step, happening)
        case messages.Excuse():
            _explained(step, happening)
        case messages.Slept():
            _slept(step, happening)
        case messages.StopSwarm():
            shutdown.begin(step, happening.reason, happening.exit_code)
        case messages.Hold():
            commands.hold(step, happening)
        case messages.Release():
            commands.release(step, happening)
        case messages.ForceStop():
            shutdown.force(step, happening.reason)
        case messages.QuietSwarm():
            commands.quiet(step, happening)
        case messages.Restart():
            commands.restart(step, happening)
        case messages.Scale():
            commands.scale(step, happening)
        case _:
            assert_never(happening)


def _tick(step: Step, _: messages.Tick) -> None:
    while (thing := step.fleet.deadlines.pop(step.now)) is not None:
        if isinstance(thing, Budget):
            shutdown.budget_spent(step)
        elif isinstance(thing, Life):
            if thing.state is State.BACKING_OFF:
                if step.fleet.held:
                    continue  # it has no deadline now; `commands.release` sets one
                fire(step, thing, Trigger.DUE)
                return
            _overdue(step, thing)


def _overdue(step: Step, life: Life) -> None:
    settings = step.fleet.settings
    if life.state is State.RUNNING:
        _blame(
            life, f"no report for {step.now - (life.last_report_at or 0.0):.1f} s ({settings.node_report_timeout:g} s)"
        )
    elif life.state in (State.BOOTING, State.WARMING):
        what = "healthy" if life.state is State.BOOTING else "ready"
        _blame(life, f"not {what} within the boot timeout of {settings.boot_timeout:g} s")
    fire(step, life, Trigger.DUE)


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


def _forked(step: Step, happening: messages.Forked) -> None:
    if (found := _find(step.fleet, happening)) is None:
        return
    member, life = found
    member.fork_error, member.fork_failures = "", 0
    life.pid, life.forked_at, life.boot_at = happening.pid, step.now, step.now
    fire(step, life, Trigger.FORKED_SPARE if life.spare else Trigger.FORKED)


def _fork_failed(step: Step, happening: messages.ForkFailed) -> None:
    fleet = step.fleet
    if (found := _find(fleet, happening)) is None:
        return
    member, life = found
    member.fork_failures += 1
    step.emit(
        ErrorOccurred(
            at=step.now, where="fork", error=happening.error, node_id=life.node_id, times=member.fork_failures
        )
    )
    if life.spare:
        stop(step, life, Cause.ABORTED, happening.error)
        member.spare = None
        replacement.fork_failed(step, member, happening.error)
        return
    member.fork_error = happening.error  # not for a spare, because the node itself is running
    fire(step, life, Trigger.FORK_FAILED)
    life.reason = f"the fork failed: {happening.error}"
    fleet.deadlines.set(life, step.now + max(FORK_RETRY_S, fleet.settings.node_restart_delay))


def _reported(step: Step, report: messages.Reported) -> None:
    fleet = step.fleet
    if (found := _find(fleet, report)) is None:
        return
    member, life = found
    if report.statistics is not None:
        life.statistics, life.statistics_at = report.statistics, step.now
        fleet.accounts.take(report.node_id, report.generation, report.statistics, step.now)
    if report.said:
        life.said = report.said
    if report.recycle:
        life.recycle = report.recycle
        requests.request_recycling(fleet, member, life)
    if report.ready:
        fire(step, life, Trigger.READY)
        if life.state is State.WARM:
            replacement.spare_ready(step, member)
    if report.status is not None:
        _status(step, member, life, report)
    if report.leaving:
        if life.cause is None:
            life.cause, life.reason = Cause.OPERATOR, f"it got {report.leaving} from outside"
        fire(step, life, Trigger.LEAVING)


def _status(step: Step, member: Member, life: Life, report: messages.Reported) -> None:
    fleet = step.fleet
    status = report.status or 0
    life.last_report_at = step.now
    before = life.state
    if before not in ON_ITS_WAY_OUT:
        life.status, life.status_reason = status, report.reason
    if status > 0 and (status != Status.MEMORY or before not in _TURNING):
        if life.cause is None:
            life.cause = Cause.MEMORY if status == Status.MEMORY else Cause.UNHEALTHY
            life.reason = unhealthy_reason(status, report.reason)
        fire(step, life, Trigger.UNHEALTHY)
        return
    if before not in ON_ITS_WAY_OUT:
        life.well_at = step.now
    fire(step, life, Trigger.HEALTHY)  # a node over its memory limit is still running
    if before is State.BOOTING:
        replacement.running(step, member)
        requests.request_recycling(fleet, member, life)
    if status > 0 and before in _TURNING and fleet.mode is not Mode.STOPPING:
        requests.request_memory(fleet, member, requests.memory_reason(report.reason))
    elif fleet.queue and before is State.RUNNING:
        requests.recovered(fleet, member)


def _stacks_there(step: Step, happening: messages.StacksThere) -> None:
    member = step.fleet.members.get(happening.node_id)
    life = member.life(happening.generation) if member is not None else None
    if life is not None and life.state in ON_ITS_WAY_OUT:
        fire(step, life, Trigger.DUMPED)


def _exited(step: Step, happening: messages.Exited) -> None:
    if (found := _find(step.fleet, happening)) is None:
        return
    _, life = found
    life.exit = happening
    step.fleet.accounts.ended(happening.node_id, happening.generation, step.now)
    fire(step, life, Trigger.EXITED)
    step.order(messages.Conclude(happening.node_id, happening.generation))
    step.fleet.changed = False  # nothing else is decided until it is known what follows


def _explained(step: Step, happening: messages.Excuse) -> None:
    member = step.fleet.members.get(happening.node_id)
    life = member.ended(happening.generation) if member is not None else None
    if life is not None and not life.explained:
        life.explained = happening.reason or "no reason given"
        step.fleet.explained += 1


def _concluded(step: Step, happening: messages.Concluded) -> None:
    member = step.fleet.members.get(happening.node_id)
    life = member.ended(happening.generation) if member is not None else None
    if member is None or life is None:
        step.fleet.stale += 1
        return
    step.fleet.changed = True
    after_death(step, member, life)


def _slept(step: Step, happening: messages.Slept) -> None:
    """Postpone deadlines: it is unknown what nodes did while the supervisor did not run.

    Each state restarts its time once. The next time, before the node has reported, only the absence itself is added,
    and nothing if a listener caused it or the supervisor is away all the time. Otherwise a hung node would
    never be judged by a supervisor that is often away, and a stop would never end.
    """
    fleet = step.fleet
    settings = fleet.settings
    times = _count_absence(fleet, happening, step.now)
    for life in fleet.lives():
        if (duration := fleet.durations[life.state]) is not None:
            _excuse(fleet, life, duration, happening, step.now)
    _excuse(fleet, fleet.budget, settings.shutdown_timeout + settings.shutdown_grace, happening, step.now)
    step.emit(Suspended(at=step.now, duration_s=happening.duration_s, listener=happening.culprit, times=times))


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
