"""How long to wait before a node is started again, and when its deaths are a crash loop. Pure."""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from swarm_supervisor.settings import Settings

_JITTER = 0.1
_MOST_DOUBLINGS = 60  # 2.0 ** 1100 would overflow; a cap that 2**60 delays do not reach is no cap


@dataclass(slots=True)
class RestartHistory:
    """The unplanned exits of one node id, as far as they matter."""

    row: int = 0
    """Unplanned exits in a row, without a stable life between them."""
    exits: deque[float] = field(default_factory=deque)
    """When they were (monotonic seconds): those within the window, at most max_restarts."""
    looping: bool = False
    """The last exit was part of a crash loop."""


class Restart(NamedTuple):
    """What to do after an unplanned exit."""

    delay_s: float
    attempt: int
    """Which start in a row this will be."""
    crash_loop: bool
    """A crash loop has begun with this exit."""


def after_unplanned_exit(
    history: RestartHistory, settings: Settings, *, stable: bool, now: float, random: float
) -> Restart:
    """Record an exit and return what follows. ``stable``: the life had been healthy for stable_after.

    ``random`` is in [0, 1): nodes that died together shall not start together. The delay is never below
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
