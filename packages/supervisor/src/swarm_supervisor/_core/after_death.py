"""What follows the end of a life: another one, at once or after a delay, or none. Pure."""

from __future__ import annotations

from enum import Enum

from swarm_supervisor._core import replacement, shutdown
from swarm_supervisor._core.fleet import Cause, Fleet, Life, Member, Mode
from swarm_supervisor._core.lifecycle import State
from swarm_supervisor._core.reasons import how_it_ended, planned, recycled
from swarm_supervisor._core.restart_policy import Restart, after_unplanned_exit
from swarm_supervisor._core.step import Step
from swarm_supervisor.events import CrashLoop, NodeEnded, NodeRestarting
from swarm_supervisor.settings import DO_NOT_RESTART


class Sequel(Enum):
    """What follows a death."""

    AT_ONCE = "at once"
    AFTER_DELAY = "after the delay, not counted"
    COUNTED = "after a growing delay"
    END = "never again"


def sequel(life: Life, restart: str) -> Sequel:
    """Judge the end of a main life, under a restart mode."""
    code = life.exit.code if life.exit is not None else None
    if code == DO_NOT_RESTART:
        return Sequel.END
    if life.cause in (Cause.REPLACED, Cause.SCALED_DOWN):
        return Sequel.AT_ONCE
    if life.cause is Cause.RECYCLED or recycled(life):
        return Sequel.AFTER_DELAY
    returned = life.cause in (None, Cause.OPERATOR) and code == 0
    if restart == "never" or (restart == "on-failure" and returned):
        return Sequel.END
    return Sequel.AFTER_DELAY if planned(life) else Sequel.COUNTED


def after_death(step: Step, member: Member, life: Life) -> None:
    """Decide what happens after a death."""
    fleet = step.fleet
    member.last_exit = how_it_ended(life)
    if life is member.spare:
        member.spare = None
        if fleet.mode is not Mode.STOPPING:
            replacement.spare_gone(step, member, life)
    elif fleet.mode is not Mode.STOPPING:
        _main_gone(step, member, life)
    if member.id >= fleet.wanted and member.main.state is State.DEAD and member.spare is None:
        fleet.members.pop(member.id, None)
        fleet.accounts.removed(member.id, step.now)
    shutdown.finish_if_over(step)


def _main_gone(step: Step, member: Member, life: Life) -> None:
    fleet = step.fleet
    if member.id >= fleet.wanted:
        return
    what = sequel(life, fleet.settings.restart)
    reason = member.last_exit
    delay_s, attempt = 0.0, 0
    if what is Sequel.AFTER_DELAY and not _has_earned_its_place(fleet, life, step.now):
        delay_s = fleet.settings.node_restart_delay
    elif what is Sequel.COUNTED:
        verdict = _counted(step, member, life)
        if verdict.crash_loop and fleet.settings.on_crash_loop == "exit":
            shutdown.begin(step, f"node {member.id} is in a crash loop: {reason}", 5)
            return
        delay_s, attempt = verdict.delay_s, verdict.attempt
    if replacement.old_gone(step, member, life, what is Sequel.END):
        return
    if what is Sequel.END:
        member.failed = life.exit is None or life.exit.code != 0
        member.history.looping = False
        step.emit(
            NodeEnded(
                at=step.now,
                node_id=member.id,
                generation=life.generation,
                pid=life.pid,
                reason=reason,
                failed=member.failed,
            )
        )
        return
    fresh = fleet.new_life(member, step.now + delay_s, reason)
    step.emit(
        NodeRestarting(
            at=step.now, node_id=member.id, generation=fresh.generation, delay_s=delay_s, attempt=attempt, reason=reason
        )
    )


def _has_earned_its_place(fleet: Fleet, life: Life, now: float) -> bool:
    """Whether a node that asks to be recycled has worked long enough; otherwise it would be forked again and again."""
    asked = life.cause is Cause.RECYCLED or recycled(life)
    return asked and life.stable(now, fleet.settings.node_restart_delay)


def _counted(step: Step, member: Member, life: Life) -> Restart:
    """Count a crash, and report a crash loop that starts with it."""
    settings, history = step.fleet.settings, member.history
    stable = life.stable(life.well_until(step.now), settings.stable_after)
    verdict = after_unplanned_exit(history, settings, stable=stable, now=step.now, random=step.fleet.random())
    if verdict.crash_loop:
        step.emit(
            CrashLoop(
                at=step.now,
                node_id=member.id,
                generation=life.generation,
                pid=life.pid,
                restarts=max(history.row, len(history.exits)),
                window_s=settings.restart_window,
                reason=member.last_exit,
            )
        )
    return verdict
