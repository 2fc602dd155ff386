"""The life of one process of a node as data: states x triggers -> next state and orders. Pure.

Every generation of a node has its own life: it begins in BACKING_OFF, before its fork, and ends in DEAD, reaped.
`after_death` decides what happens after a death. ``python -m swarm_supervisor.lifecycle`` prints the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from swarm_supervisor.settings import Settings


class _Keyed(Enum):
    # Enum hashes by name in Python code (1 us per look-up); members compare by identity, so an identity hash is enough.
    __hash__ = object.__hash__


class State(_Keyed):
    """The state of a life."""

    BACKING_OFF = "backing off"
    """No process yet: it is forked after the delay."""
    BOOTING = "booting"
    """Forked (or told to go), but not healthy yet."""
    RUNNING = "running"
    """Has reported healthy and keeps reporting in time."""
    DUMPING = "dumping"
    """Silent: asked for its stacks; TERM follows."""
    STOPPING = "stopping"
    """TERM has been sent."""
    LAST_DUMP = "last dump"
    """Out of time: asked for its stacks; KILL follows."""
    KILLING = "killing"
    """KILL has been sent."""
    DEAD = "dead"
    """Reaped, or never forked. No trigger applies."""
    WARMING = "warming"
    """The spare of a planned replacement: forked, not ready yet."""
    WARM = "warm"
    """The spare is ready and waits until the old process has gone."""


class Trigger(_Keyed):
    """What happens to a life."""

    DUE = "due"
    """The deadline of its state has passed."""
    FORKED = "forked"
    FORKED_SPARE = "forked as a spare"
    FORK_FAILED = "fork failed"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    READY = "ready"
    LEAVING = "leaving"
    """It reports that it is stopping because of a signal from outside."""
    DUMPED = "dumped"
    """Its stacks have arrived."""
    STOP = "stop"
    """The swarm wants it to stop: shutdown, scale down, replacement."""
    KILL = "kill"
    """The swarm has no time left for it."""
    GO = "go"
    """The old process has gone."""
    EXITED = "exited"


class Order(_Keyed):
    """An order of a transition."""

    FORK = "fork"
    TERM = "signal TERM"
    KILL = "signal KILL"
    DUMP = "ask for its stacks"
    GO = "tell it to go"
    TELL_RUNNING = "emit NodeRunning"
    TELL_STOPPING = "emit NodeStopping"
    TELL_TERMINATING = "emit NodeTerminating"
    TELL_EXITED = "emit NodeExited"


class Transition(NamedTuple):
    """The result of a trigger in a state."""

    next: State
    orders: tuple[Order, ...] = ()
    keep: bool = False
    """The deadline stays unchanged. Otherwise entering the next state, even the same one, resets its deadline."""


def _stay(state: State) -> Transition:
    return Transition(state, (), keep=True)


S, T = State, Trigger  # short names, so that the table can be read by column
_TERM = Transition(S.STOPPING, (Order.TELL_STOPPING, Order.TERM))
_LEAVES = Transition(S.STOPPING, (Order.TELL_STOPPING,))
_KILL = Transition(S.KILLING, (Order.TELL_TERMINATING, Order.KILL))
_DEAD = Transition(S.DEAD, (Order.TELL_EXITED,))
_GIVE_UP = Transition(S.LAST_DUMP, (Order.TELL_STOPPING, Order.DUMP))

TABLE: dict[tuple[State, Trigger], Transition] = {
    # There is no process to signal yet.
    (S.BACKING_OFF, T.DUE): Transition(S.BACKING_OFF, (Order.FORK,), keep=True),
    (S.BACKING_OFF, T.FORKED): Transition(S.BOOTING),
    (S.BACKING_OFF, T.FORKED_SPARE): Transition(S.WARMING),
    (S.BACKING_OFF, T.FORK_FAILED): _stay(S.BACKING_OFF),
    (S.BACKING_OFF, T.STOP): Transition(S.DEAD),
    (S.BACKING_OFF, T.KILL): Transition(S.DEAD),
    # A process that boots too slowly has no work that a TERM could save.
    (S.BOOTING, T.DUE): _GIVE_UP,
    (S.BOOTING, T.HEALTHY): Transition(S.RUNNING, (Order.TELL_RUNNING,)),
    (S.BOOTING, T.UNHEALTHY): _TERM,
    (S.BOOTING, T.READY): _stay(S.BOOTING),
    (S.BOOTING, T.LEAVING): _LEAVES,
    (S.BOOTING, T.STOP): _TERM,
    (S.BOOTING, T.KILL): _KILL,
    (S.BOOTING, T.EXITED): _DEAD,
    (S.RUNNING, T.DUE): Transition(S.DUMPING, (Order.TELL_STOPPING, Order.DUMP)),
    (S.RUNNING, T.HEALTHY): Transition(S.RUNNING),
    (S.RUNNING, T.UNHEALTHY): _TERM,
    (S.RUNNING, T.READY): _stay(S.RUNNING),
    (S.RUNNING, T.LEAVING): _LEAVES,
    (S.RUNNING, T.STOP): _TERM,
    (S.RUNNING, T.KILL): _KILL,
    (S.RUNNING, T.EXITED): _DEAD,
    # The verdict stands, even if a report arrives now.
    (S.DUMPING, T.DUE): Transition(S.STOPPING, (Order.TERM,)),
    (S.DUMPING, T.DUMPED): Transition(S.STOPPING, (Order.TERM,)),
    (S.DUMPING, T.HEALTHY): _stay(S.DUMPING),
    (S.DUMPING, T.UNHEALTHY): _stay(S.DUMPING),
    (S.DUMPING, T.READY): _stay(S.DUMPING),
    (S.DUMPING, T.LEAVING): _stay(S.DUMPING),
    (S.DUMPING, T.STOP): Transition(S.STOPPING, (Order.TERM,)),
    (S.DUMPING, T.KILL): _KILL,
    (S.DUMPING, T.EXITED): _DEAD,
    # While it stops it may be busy draining, so silence no longer counts, only the stop deadline does.
    (S.STOPPING, T.DUE): Transition(S.LAST_DUMP, (Order.DUMP,)),
    (S.STOPPING, T.HEALTHY): _stay(S.STOPPING),
    (S.STOPPING, T.UNHEALTHY): _stay(S.STOPPING),
    (S.STOPPING, T.READY): _stay(S.STOPPING),
    (S.STOPPING, T.LEAVING): _stay(S.STOPPING),
    (S.STOPPING, T.DUMPED): _stay(S.STOPPING),
    (S.STOPPING, T.STOP): _stay(S.STOPPING),
    (S.STOPPING, T.KILL): _KILL,
    (S.STOPPING, T.EXITED): _DEAD,
    # It keeps the rest of its time, because a drain that ends now still ends well.
    (S.LAST_DUMP, T.DUE): _KILL,
    (S.LAST_DUMP, T.HEALTHY): _stay(S.LAST_DUMP),
    (S.LAST_DUMP, T.UNHEALTHY): _stay(S.LAST_DUMP),
    (S.LAST_DUMP, T.READY): _stay(S.LAST_DUMP),
    (S.LAST_DUMP, T.LEAVING): _stay(S.LAST_DUMP),
    (S.LAST_DUMP, T.DUMPED): _stay(S.LAST_DUMP),
    (S.LAST_DUMP, T.STOP): _stay(S.LAST_DUMP),
    (S.LAST_DUMP, T.KILL): _KILL,
    (S.LAST_DUMP, T.EXITED): _DEAD,
    # KILL cannot be refused, but a process in the kernel (state D) only receives it when it comes out.
    (S.KILLING, T.DUE): Transition(S.KILLING, (Order.TELL_TERMINATING, Order.KILL)),
    (S.KILLING, T.HEALTHY): _stay(S.KILLING),
    (S.KILLING, T.UNHEALTHY): _stay(S.KILLING),
    (S.KILLING, T.READY): _stay(S.KILLING),
    (S.KILLING, T.LEAVING): _stay(S.KILLING),
    (S.KILLING, T.DUMPED): _stay(S.KILLING),
    (S.KILLING, T.STOP): _stay(S.KILLING),
    (S.KILLING, T.KILL): _stay(S.KILLING),
    (S.KILLING, T.EXITED): _DEAD,
    # A spare touches nothing that the old process holds until it is told to go.
    (S.WARMING, T.DUE): _GIVE_UP,
    (S.WARMING, T.HEALTHY): _stay(S.WARMING),
    (S.WARMING, T.UNHEALTHY): _TERM,
    (S.WARMING, T.READY): Transition(S.WARM),
    (S.WARMING, T.LEAVING): _LEAVES,
    (S.WARMING, T.STOP): _TERM,
    (S.WARMING, T.KILL): _KILL,
    (S.WARMING, T.EXITED): _DEAD,
    (S.WARM, T.HEALTHY): _stay(S.WARM),
    (S.WARM, T.UNHEALTHY): _TERM,
    (S.WARM, T.READY): _stay(S.WARM),
    (S.WARM, T.LEAVING): _LEAVES,
    (S.WARM, T.GO): Transition(S.BOOTING, (Order.GO,)),
    (S.WARM, T.STOP): _TERM,
    (S.WARM, T.KILL): _KILL,
    (S.WARM, T.EXITED): _DEAD,
}

ON_ITS_WAY_OUT = frozenset({S.DUMPING, S.STOPPING, S.LAST_DUMP, S.KILLING, S.DEAD})
"""States that no report leads out of: the verdict stands."""
KILL_AGAIN_AFTER_S = 5.0
"""How long after a KILL the supervisor reports that the process still exists, and kills it again."""


class LifecycleError(AssertionError):
    """A trigger that cannot happen in this state, or a cue in this phase: a bug in the supervisor."""


def durations(settings: Settings) -> dict[State, float | None]:
    """Longest time in each state in seconds; None: no deadline, or one set elsewhere (the delay of a restart)."""
    last_dump = min(settings.stack_dump_timeout, settings.shutdown_timeout)
    return {
        S.BACKING_OFF: None,
        S.BOOTING: settings.boot_timeout,
        S.RUNNING: settings.node_report_timeout,
        S.DUMPING: settings.stack_dump_timeout,
        S.STOPPING: settings.shutdown_timeout - last_dump,  # the last dump is part of the stop time
        S.LAST_DUMP: last_dump,
        S.KILLING: KILL_AGAIN_AFTER_S,
        S.DEAD: None,
        S.WARMING: settings.boot_timeout,
        S.WARM: None,  # bounded by the stop of the old process
    }


def transition(state: State, trigger: Trigger, table: Mapping[tuple[State, Trigger], Transition] = TABLE) -> Transition:
    """The result of a trigger in a state. `LifecycleError` if it cannot happen there."""
    try:
        return table[state, trigger]
    except KeyError:
        raise LifecycleError(f"{trigger.value!r} cannot happen to a life that is {state.value}") from None


def printed() -> str:
    """Return the table as text, one line per cell."""
    lines = []
    for (state, trigger), (following, orders, keep) in TABLE.items():
        what = ", ".join(order.value for order in orders) or ("-" if following is state and keep else "")
        lines.append(f"{state.value:12} {trigger.value:16} -> {following.value:12} {what}".rstrip())
    return "\n".join(lines)
