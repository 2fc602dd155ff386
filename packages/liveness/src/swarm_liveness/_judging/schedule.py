"""What a reporter does at a turn, and until when it may sleep. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from swarm_liveness._judging.verdict import Judgement


@dataclass(frozen=True, slots=True)
class Schedule:
    """Where a reporter stands. Times are monotonic seconds."""

    beat_at: float
    statistics_at: float
    reported: int = 0
    """The code that was reported last; 0 also where a bad report was dropped and must be tried again."""
    state: str = ""
    """The runtime's state that was told last; "" where it has to be told again."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be done now."""

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

    A bad verdict that has not been reported goes out at once, and so does a ``state`` that has not been told (None:
    the runtime could not be asked for it): who waits for readiness must not wait for an interval. Without a judgement
    (the runtime could not be asked) there is no beat: if that lasts, the supervisor's silence control ends the process.
    """
    code = 0 if judgement is None else judgement.verdict.code
    beat = now >= schedule.beat_at or code not in (0, schedule.reported)
    told = schedule.state if state is None else state
    statistics = now >= schedule.statistics_at or told != schedule.state
    following = Schedule(
        beat_at=now + liveness_interval if beat else schedule.beat_at,
        statistics_at=now + statistics_interval if statistics else schedule.statistics_at,
        reported=code if beat else schedule.reported,
        state=told,
    )
    return Turn(beat and judgement is not None, statistics, following)


def dropped(schedule: Schedule) -> Schedule:
    """The schedule after a report that was dropped: a bad one is tried again at the next turn."""
    return replace(schedule, reported=0)


def untold(schedule: Schedule) -> Schedule:
    """The schedule after statistics that were dropped: the state that they carried is told at the next turn."""
    return replace(schedule, state="")


def wake_at(schedule: Schedule, judgement: Judgement | None, next_sample: float | None) -> float:
    """The earliest deadline: beat, statistics, soonest TTL, next memory sample (monotonic seconds)."""
    deadline = min(schedule.beat_at, schedule.statistics_at)
    if judgement is not None and judgement.next_expiry is not None:
        deadline = min(deadline, judgement.next_expiry)
    return deadline if next_sample is None else min(deadline, next_sample)
