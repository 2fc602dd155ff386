"""Take one life through one transition of the table, and turn the table's orders into actions. Pure."""

from __future__ import annotations

from collections.abc import Callable

from swarm_supervisor._core import leaving, messages
from swarm_supervisor._core.fleet import UNPLANNED, Cause, Kind, Life, Mode
from swarm_supervisor._core.lifecycle import Order, Trigger, transition
from swarm_supervisor._core.reasons import cause_of, doing, planned, why_it_ended
from swarm_supervisor._core.step import Step
from swarm_supervisor.events import NodeExited, NodeRunning, NodeStopping, NodeTerminating


def fire(step: Step, life: Life, trigger: Trigger) -> None:
    """Apply the table to a life. `LifecycleError` if there is no such cell: that is a bug here, never bad input."""
    fleet = step.fleet
    before = life.state
    following, orders, keep = transition(before, trigger, fleet.table)
    life.state = following
    if not keep:
        duration = fleet.durations[following]
        fleet.deadlines.set(life, None if duration is None else step.now + duration)
        life.excused = False
    if following is not before:
        fleet.changed = True
    for order in orders:
        _ORDERS[order](step, life)


def stop(step: Step, life: Life, cause: Cause, reason: str) -> None:
    """Stop a life gracefully, for a reason. A life that is already ending keeps its reason and deadline."""
    if life.cause is None:
        life.cause, life.reason = cause, reason
    fire(step, life, Trigger.STOP)


def kill(step: Step, life: Life, cause: Cause, reason: str) -> None:
    """Kill a life now."""
    if life.cause is None:
        life.cause, life.reason = cause, reason
    fire(step, life, Trigger.KILL)


def _fork(step: Step, life: Life) -> None:
    fleet = step.fleet
    prospect = leaving.prospect(fleet, fleet.members[life.node_id], step.now)
    step.order(messages.Fork(life.node_id, life.generation, life.spare, fleet.mode is Mode.QUIET, prospect))


def _term(step: Step, life: Life) -> None:
    leaving.tell(step, life)
    step.order(messages.Term(life.node_id, life.generation))
    if life.hangs:
        # It may end on its own before the last dump, when its drain is over, and then no one would know where it hung.
        step.order(messages.Dump(life.node_id, life.generation))


def _kill(step: Step, life: Life) -> None:
    fleet = step.fleet
    life.kills += 1
    step.order(messages.Kill(life.node_id, life.generation))
    if fleet.mode is Mode.STOPPING and fleet.exit_code == 0:
        fleet.exit_code = 4


def _dump(step: Step, life: Life) -> None:
    step.order(messages.Dump(life.node_id, life.generation))


def _go(step: Step, life: Life) -> None:
    life.boot_at = step.now
    step.order(messages.Go(life.node_id, life.generation))


def _tell_running(step: Step, life: Life) -> None:
    life.healthy_at = step.now
    step.emit(
        NodeRunning(
            at=step.now, node_id=life.node_id, generation=life.generation, pid=life.pid, boot_s=step.now - life.boot_at
        )
    )


def _tell_stopping(step: Step, life: Life) -> None:
    # A warm spare takes over from a node over its memory limit, so its stop is planned, if there is a spare.
    current = step.fleet.members[life.node_id].replacement
    for_memory = life.cause is Cause.REPLACED and current is not None and current.kind is Kind.MEMORY
    unwell = for_memory or life.cause in UNPLANNED
    step.emit(
        NodeStopping(
            at=step.now,
            node_id=life.node_id,
            generation=life.generation,
            pid=life.pid,
            status=life.status if unwell else 0,
            reason=life.reason,
            uptime_s=life.uptime_s(step.now),
            planned=life.cause not in UNPLANNED,
        )
    )


def _tell_terminating(step: Step, life: Life) -> None:
    reason = (
        "it still exists after a KILL; a process in the kernel receives it when it comes out"
        if life.kills
        else life.reason
    )
    step.emit(
        NodeTerminating(
            at=step.now,
            node_id=life.node_id,
            generation=life.generation,
            pid=life.pid,
            reason=reason,
            doing=doing(life),
            times=life.kills + 1,
        )
    )


def _tell_exited(step: Step, life: Life) -> None:
    exited = life.exit
    step.emit(
        NodeExited(
            at=step.now,
            node_id=life.node_id,
            generation=life.generation,
            pid=life.pid,
            code=exited.code if exited else None,
            signal=exited.signal if exited else None,
            status=exited.text if exited else "",
            uptime_s=life.uptime_s(step.now),
            planned=planned(life),
            reason=why_it_ended(life),
            cause=cause_of(life),
            oom=exited is not None and exited.oom,
            killed=life.kills > 0,
        )
    )


_ORDERS: dict[Order, Callable[[Step, Life], None]] = {
    Order.FORK: _fork,
    Order.TERM: _term,
    Order.KILL: _kill,
    Order.DUMP: _dump,
    Order.GO: _go,
    Order.TELL_RUNNING: _tell_running,
    Order.TELL_STOPPING: _tell_stopping,
    Order.TELL_TERMINATING: _tell_terminating,
    Order.TELL_EXITED: _tell_exited,
}
