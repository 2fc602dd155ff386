"""What the reporter thread does in a turn, and how long it may sleep afterwards. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from swarm_liveness._judging.verdict import Judgement


@dataclass(frozen=True, slots=True)
class Schedule:
    """What the reporter thread has done and will do next. Times are monotonic seconds."""

    beat_at: float
    statistics_at: float
    reported: int = 0
    """The last code reported; also 0 after an unhealthy report was dropped and must be sent again."""
    state: str = ""
    """The last state of the runtime that was reported; "" if it must be reported again."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What to do now."""

    beat: bool
    statistics: bool
    schedule: Schedule


def turn(
    schedule: Schedule,
    judgement: Judgement | None,
    now: float,
    liveness_interval: float,
    statistics_interval: float,
    state: str | None = None,
) -> Turn:
    """Decide one turn.

    An unhealthy verdict that has not been reported yet is sent at once. So is a new `state` (None: the runtime raised
    an error when asked), so that a probe waiting for readiness need not wait for an interval. Without a judgement, when
    the runtime raised an error, there is no heartbeat: if that lasts, the supervisor stops the silent process.
    """
    code = 0 if judgement is None else judgement.verdict.code
    beat = now >= schedule.beat_at or code not in (0, schedule.reported)
    known = schedule.state if state is None else state
    statistics = now >= schedule.statistics_at or known != schedule.state
    following = Schedule(
        beat_at=now + liveness_interval if beat else schedule.beat_at,
        statistics_at=now + statistics_interval if statistics else schedule.statistics_at,
        reported=code if beat else schedule.reported,
        state=known,
    )
    return Turn(beat and judgement is not None, statistics, following)


def dropped(schedule: Schedule) -> Schedule:
    """The schedule after a report was dropped: an unhealthy one is sent again in the next turn."""
    return replace(schedule, reported=0)


def state_dropped(schedule: Schedule) -> Schedule:
    """The schedule after statistics were dropped: the state in them is sent again in the next turn."""
    return replace(schedule, state="")


def wake_at(schedule: Schedule, judgement: Judgement | None, next_sample: float | None) -> float:
    """The earliest of heartbeat, statistics, next TTL and next memory sample (monotonic seconds)."""
    deadline = min(schedule.beat_at, schedule.statistics_at)
    if judgement is not None and judgement.next_expiry is not None:
        deadline = min(deadline, judgement.next_expiry)
    return deadline if next_sample is None else min(deadline, next_sample)
