"""Why a life is or was ended, in words for readers of logs, status and the page. Pure."""

from __future__ import annotations

from swarm_health import Status
from swarm_supervisor._core.fleet import UNPLANNED, Cause, Life
from swarm_supervisor.settings import DO_NOT_RESTART

SIGTERM, SIGKILL = 15, 9


def unhealthy_reason(status: int, reported: str) -> str:
    """Why an unhealthy node is stopped. A named status needs no number beside its reason."""
    if not reported:
        return f"it reported status {status}"
    return reported if status in _NAMED else f"status {status}: {reported}"


_NAMED = frozenset(int(status) for status in Status)


def planned(life: Life) -> bool:
    """Whether the end of a life is planned, so that it does not count as a crash."""
    if life.cause is not None:
        return life.cause not in UNPLANNED
    if recycled(life):
        return True
    # A node without handlers, early or late in its life, dies of the signal itself.
    return life.exit is not None and life.exit.signal == SIGTERM


def recycled(life: Life) -> bool:
    """Whether it ended on its own and cleanly after it had asked for a fresh process."""
    return life.cause is None and bool(life.recycle) and life.exit is not None and life.exit.code == 0


def cause_of(life: Life) -> str:
    """Who or what wanted the end of a life, as the value of a `Cause`; "" if it ended on its own."""
    if life.cause is not None:
        return life.cause.value
    if recycled(life):
        return Cause.RECYCLED.value
    return Cause.OPERATOR.value if life.exit is not None and life.exit.signal == SIGTERM else ""


def why_it_ended(life: Life) -> str:
    """Why a life ended, in words that follow its exit status."""
    exited = life.exit
    parts = []
    if life.cause is not None:
        parts.append(life.reason)
    elif exited is None:
        parts.append("never started")
    elif exited.signal == SIGTERM:
        parts.append("it got TERM from outside")
    elif exited.signal == SIGKILL and not exited.hint:
        parts.append("the signal did not come from the supervisor; perhaps the kernel was short of memory (see dmesg)")
    elif exited.signal is not None:
        parts.append("the signal did not come from the supervisor")
    elif recycled(life):
        parts.append(f"recycled: {life.recycle}")
    elif exited.code == 0:
        parts.append("the target returned")
    elif exited.code == DO_NOT_RESTART:
        parts.append("it asked not to be restarted")
    elif not life.said:
        parts.append("it gave no reason")
    if life.kills:
        parts.append("did not stop in time and was killed")
    if life.said and life.said not in "; ".join(parts):  # it may have reported the same before
        parts.append(life.said)
    if exited is not None and exited.hint and not life.kills:
        parts.append(exited.hint)
    return "; ".join(parts)


def how_it_ended(life: Life) -> str:
    """How and why a life ended, in words."""
    why = why_it_ended(life)
    return f"{life.exit.text}: {why}" if life.exit is not None and why else life.exit.text if life.exit else why


def doing(life: Life) -> str:
    """What it was doing according to its last statistics; "" if not known."""
    statistics = life.statistics
    if statistics is None:
        return ""
    parts = [statistics.state] if statistics.state else []
    if statistics.in_flight_age_s is not None:
        parts.append(f"{statistics.in_flight_age_s:.1f} s into a batch")
    busy = [f"{row.topic}[{row.partition}]" for row in statistics.partitions if row.in_flight_age_s is not None]
    if busy:
        parts.append(f"at {', '.join(busy[:5])}" + (f" and {len(busy) - 5} more" if len(busy) > 5 else ""))
    return ", ".join(parts)
