"""Takes one life through one transition of the table, and turns the orders of the table into actions. Pure."""

from collections.abc import Callable

from swarm_supervisor._core import messages
from swarm_supervisor._core.fleet import UNPLANNED, Cause, Fleet, Kind, Life, Mode
from swarm_supervisor._core.lifecycle import Order, Trigger, transition
from swarm_supervisor._core.messages import Action, Emit
from swarm_supervisor._core.reasons import doing, planned, why_it_ended
from swarm_supervisor.events import NodeExited, NodeRunning, NodeStopping, NodeTerminating


def fire(fleet: Fleet, life: Life, trigger: Trigger, now: float, out: list[Action]) -> None:
    """Apply the table to a life. `LifecycleError` if it has no such cell: that is a bug here, never bad input."""
    before = life.state
    following, orders, keep = transition(before, trigger, fleet.table)
    life.state = following
    if not keep:
        duration = fleet.durations[following]
        fleet.deadlines.set(life, None if duration is None else now + duration)
        life.excused = False
    if following is not before:
        fleet.changed = True
    for order in orders:
        _ORDERS[order](fleet, life, now, out)


def stop(fleet: Fleet, life: Life, cause: Cause, reason: str, now: float, out: list[Action]) -> None:
    """Make a life end in order, for a reason. One that is ending already keeps its reason and its deadline."""
    if life.cause is None:
        life.cause, life.reason = cause, reason
    fire(fleet, life, Trigger.STOP, now, out)


def kill(fleet: Fleet, life: Life, cause: Cause, reason: str, now: float, out: list[Action]) -> None:
    """Make a life end at once."""
    if life.cause is None:
        life.cause, life.reason = cause, reason
    fire(fleet, life, Trigger.KILL, now, out)


def _fork(fleet: Fleet, life: Life, now: float, out: list[Action]) -> None:
    out.append(messages.Fork(life.node_id, life.generation, life.spare, fleet.mode is Mode.QUIET))


def _term(fleet: Fleet, life: Life, now: float, out: list[Action]) -> None:
    out.append(messages.Term(life.node_id, life.generation))


def _kill(fleet: Fleet, life: Life, now: float, out: list[Action]) -> None:
    life.kills += 1
    out.append(messages.Kill(life.node_id, life.generation))
    if fleet.mode is Mode.STOPPING and fleet.exit_code == 0:
        fleet.exit_code = 4


def _dump(fleet: Fleet, life: Life, now: float, out: list[Action]) -> None:
    out.append(messages.Dump(life.node_id, life.generation))


def _go(fleet: Fleet, life: Life, now: float, out: list[Action]) -> None:
    life.boot_at = now
    out.append(messages.Go(life.node_id, life.generation))


def _tell_running(fleet: Fleet, life: Life, now: float, out: list[Action]) -> None:
    life.healthy_at = now
    out.append(
        Emit(
            NodeRunning(
                at=now, node_id=life.node_id, generation=life.generation, pid=life.pid, boot_s=now - life.boot_at
            )
        )
    )


def _tell_stopping(fleet: Fleet, life: Life, now: float, out: list[Action]) -> None:
    # A warm spare takes over from one that is over its memory limit, so that its stop is a planned one: but it has one.
    current = fleet.members[life.node_id].replacement
    for_memory = life.cause is Cause.REPLACED and current is not None and current.kind is Kind.MEMORY
    unwell = for_memory or life.cause in UNPLANNED
    out.append(
        Emit(
            NodeStopping(
                at=now,
                node_id=life.node_id,
                generation=life.generation,
                pid=life.pid,
                status=life.status if unwell else 0,
                reason=life.reason,
                uptime_s=life.uptime_s(now),
                planned=life.cause not in UNPLANNED,
            )
        )
    )


def _tell_terminating(fleet: Fleet, life: Life, now: float, out: list[Action]) -> None:
    reason = (
        "still there after a KILL; a process in the kernel takes it when it comes out" if life.kills else life.reason
    )
    out.append(
        Emit(
            NodeTerminating(
                at=now,
                node_id=life.node_id,
                generation=life.generation,
                pid=life.pid,
                reason=reason,
                doing=doing(life),
                times=life.kills + 1,
            )
        )
    )


def _tell_exited(fleet: Fleet, life: Life, now: float, out: list[Action]) -> None:
    exited = life.exit
    out.append(
        Emit(
            NodeExited(
                at=now,
                node_id=life.node_id,
                generation=life.generation,
                pid=life.pid,
                code=exited.code if exited else None,
                signal=exited.signal if exited else None,
                status=exited.text if exited else "",
                uptime_s=life.uptime_s(now),
                planned=planned(life),
                reason=why_it_ended(life),
            )
        )
    )


_ORDERS: dict[Order, Callable[[Fleet, Life, float, list[Action]], None]] = {
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
