"""How long to wait before a node is restarted, and which deaths are a crash loop. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from swarm_supervisor.settings import Settings

_JITTER = 0.1
_MOST_DOUBLINGS = 60  # 2.0 ** 1100 would overflow; 2**60 delays are more than any cap


@dataclass(slots=True)
class RestartHistory:
    """The relevant unplanned exits of one node id."""

    row: int = 0
    """Number of unplanned exits in a row, without a stable life in between."""
    exits: deque[float] = field(default_factory=deque)
    """Times of the exits within the window (monotonic seconds), at most max_restarts."""
    looping: bool = False
    """Whether the last exit was part of a crash loop."""


class Restart(NamedTuple):
    """What to do after an unplanned exit."""

    delay_s: float
    attempt: int
    """The number of the next start in a row."""
    crash_loop: bool
    """Whether a crash loop starts with this exit."""


def after_unplanned_exit(
    history: RestartHistory, settings: Settings, *, stable: bool, now: float, random: float
) -> Restart:
    """Record an exit and return what follows. ``stable``: the life had been healthy for stable_after.

    ``random`` is in [0, 1), so that nodes that died together do not start together. The delay is never below
    node_restart_delay, and never above restart_delay_max.
    """
    if stable:
        history.row = 0
    history.row += 1
    history.exits.append(now)
    while len(history.exits) > settings.max_restarts or history.exits[0] <= now - settings.restart_window:
        history.exits.popleft()
    was_looping = history.looping and not stable
    history.looping = max(history.row, len(history.exits)) >= settings.max_restarts
    return Restart(_delay(history, settings, random), history.row, history.looping and not was_looping)


def _delay(history: RestartHistory, settings: Settings, random: float) -> float:
    least, most = settings.node_restart_delay, settings.restart_delay_max
    delay = most if history.looping else least * 2.0 ** min(history.row - 1, _MOST_DOUBLINGS)
    return max(least, min(delay * (1 + _JITTER * random), most * (1 - _JITTER * random)))
