"""Decide and order what follows the end of a life, as `sequel` judges it. Pure."""

from __future__ import annotations

from swarm_supervisor._core import replacement, shutdown
from swarm_supervisor._core.fleet import Life, Member, Mode
from swarm_supervisor._core.lifecycle import State
from swarm_supervisor._core.reasons import how_it_ended
from swarm_supervisor._core.restart_policy import Restart, after_excused_exit, after_unplanned_exit
from swarm_supervisor._core.sequel import Sequel, sequel, uncounted_delay
from swarm_supervisor._core.step import Step
from swarm_supervisor.events import CrashLoop, NodeEnded, NodeRestarting


def after_death(step: Step, member: Member, life: Life) -> None:
    """Decide what happens after a death."""
    fleet = step.fleet
    life.concluded = True
    member.last_exit = how_it_ended(life)
    if life.explained:
        member.last_exit += f"; explained: {life.explained}"
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
    if what is Sequel.AFTER_DELAY:
        delay_s = uncounted_delay(life, fleet.settings, step.now)
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


def _counted(step: Step, member: Member, life: Life) -> Restart:
    """Count a crash, and report a crash loop that starts with it."""
    settings, history = step.fleet.settings, member.history
    stable = life.stable(life.well_until(step.now), settings.stable_after)
    if life.explained:
        return after_excused_exit(history, settings, stable=stable, now=step.now, random=step.fleet.random())
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
