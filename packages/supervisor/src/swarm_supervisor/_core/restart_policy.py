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
    node_restart_delay, or first_restart_delay for the first exit in a row, and never above restart_delay_max.
    """
    if stable:
        history.row = 0
    history.row += 1
    history.exits.append(now)
    _forget(history, settings, now)
    was_looping = history.looping and not stable
    history.looping = max(history.row, len(history.exits)) >= settings.max_restarts
    return Restart(_delay(history, settings, random), history.row, history.looping and not was_looping)


def after_excused_exit(
    history: RestartHistory, settings: Settings, *, stable: bool, now: float, random: float
) -> Restart:
    """Return what follows an unplanned exit that is explained: it is not recorded, and nothing grows.

    A node that is in a crash loop for other reasons still waits.
    """
    if stable:
        history.row = 0
    _forget(history, settings, now)
    loops = max(history.row, len(history.exits)) >= settings.max_restarts
    history.looping = history.looping and loops and not stable
    most, first = settings.restart_delay_max, first_delay(settings)
    delay = (settings.node_restart_delay, most) if history.looping else (first, first)
    return Restart(_jittered(*delay, most, random), 0, False)


def expected(history: RestartHistory, settings: Settings, *, stable: bool, now: float) -> Restart:
    """Return what would follow an unplanned exit at some time, without the random part. Nothing is recorded."""
    copy = RestartHistory(history.row, deque(history.exits), history.looping)
    return after_unplanned_exit(copy, settings, stable=stable, now=now, random=0.0)


def _forget(history: RestartHistory, settings: Settings, now: float) -> None:
    exits, since = history.exits, now - settings.restart_window
    while exits and (len(exits) > settings.max_restarts or exits[0] <= since):
        exits.popleft()


def first_delay(settings: Settings) -> float:
    """Return the delay before the first restart in a row."""
    first = settings.first_restart_delay
    return settings.node_restart_delay if first is None else first


def _delay(history: RestartHistory, settings: Settings, random: float) -> float:
    first, least, most = first_delay(settings), settings.node_restart_delay, settings.restart_delay_max
    if history.looping:
        return _jittered(least, most, most, random)
    if history.row == 1:
        return _jittered(first, first, most, random)
    doublings = history.row - 1 if first == least else history.row - 2  # a shorter first delay comes before the others
    return _jittered(least, least * 2.0 ** min(doublings, _MOST_DOUBLINGS), most, random)


def _jittered(least: float, delay: float, most: float, random: float) -> float:
    return max(least, min(delay * (1 + _JITTER * random), most * (1 - _JITTER * random)))
