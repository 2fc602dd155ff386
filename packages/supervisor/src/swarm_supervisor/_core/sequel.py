"""What follows the end of a process: another one, at once or after a delay, or none. Pure."""

from __future__ import annotations

from enum import Enum

from swarm_supervisor._core.fleet import Cause, Life
from swarm_supervisor._core.reasons import planned, recycled
from swarm_supervisor._core.restart_policy import first_delay
from swarm_supervisor.settings import DO_NOT_RESTART, Settings


class Sequel(Enum):
    """What follows a death."""

    AT_ONCE = "at once"
    AFTER_DELAY = "after the delay, not counted"
    COUNTED = "after a growing delay"
    END = "never again"


def sequel(life: Life, restart: str) -> Sequel:
    """Judge the end of a main life, under a restart mode. Without an exit status yet: if it has no code of its own."""
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


def uncounted_delay(life: Life, settings: Settings, now: float) -> float:
    """Return the delay after an end that is not counted.

    A node that asks to be recycled, and one that gets a signal from outside, have earned a quick return by the time
    that they were healthy. Otherwise they would be forked again and again.
    """
    if life.cause is Cause.RECYCLED or recycled(life):
        return 0.0 if life.stable(now, settings.node_restart_delay) else settings.node_restart_delay
    return first_delay(settings) if life.stable(now, settings.stable_after) else settings.node_restart_delay
