"""When to fetch, when to wait, and which partitions to pause for memory. Pure.

The client is not asked for messages that cannot be worked on: they are better kept in its own bounded queue, which
costs nothing. Pausing a partition throws its prefetched messages away, and when all partitions of a broker are paused
it takes librdkafka up to a second to resume. So a partition is paused only when its held messages are over the bound
and will not be worked off within about that second.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from swarm_consumer._scheduling.lane import Lane, LaneState

RESUME_S = 1.0
"""How long a resume may take: a partition whose held messages last longer loses nothing by being paused."""


@dataclass(slots=True)
class Flow:
    """What to do now: whether to ask the client for more, and which partitions to pause and resume."""

    fetch: bool = True
    pause: list[Lane] = field(default_factory=list)
    resume: list[Lane] = field(default_factory=list)
    blocked: int = 0  # held messages of lanes that cannot continue now


def decide(lanes: Collection[Lane], now: float, concurrency: int, enough: int) -> Flow:
    """Return what to do: `enough` held messages that can be worked on are enough for `concurrency` workers.

    A lane is over its bound by number of messages or by its share of the bytes. The lane notes since when it has been
    without a worker is noted in the lane.
    """
    flow = Flow()
    supplied = 0
    supply = 0
    workable = False  # some lane can be worked on, now or with the next message
    draining = False
    for lane in lanes:
        held = len(lane.held)
        blocked = lane.blocked
        settings = lane.route.settings
        share = settings.max_held_bytes // len(lanes)
        workable = workable or not blocked
        if lane.flow_paused:
            if held <= settings.held_bound // 2 and lane.held_bytes <= share // 2 and not blocked:
                flow.resume.append(lane)
        elif held < settings.held_bound and lane.held_bytes < share:
            lane.over_since = None
        elif blocked or _outlasts_resume(lane, held, now) or _left_alone(lane, now):
            lane.over_since = None
            flow.pause.append(lane)
        else:
            draining = True
        if not held:
            continue
        if blocked or (lane.running is not None and now - lane.running.started > RESUME_S):
            flow.blocked += held
        elif lane.state in (LaneState.READY, LaneState.RUNNING):
            supplied += 1
            supply += held
    flow.fetch = (not draining if supplied < concurrency else supply < enough) and (workable or not lanes)
    return flow


def _left_alone(lane: Lane, now: float) -> bool:
    """Whether no worker has come to the lane since it has been over its bound, for longer than a resume may take."""
    if lane.running is not None:
        lane.over_since = None
    elif lane.over_since is None:
        lane.over_since = now
    return lane.over_since is not None and now - lane.over_since > RESUME_S


def _outlasts_resume(lane: Lane, held: int, now: float) -> bool:
    if lane.running is not None and now - lane.running.started > RESUME_S:
        return True
    return lane.rate > 0 and held / lane.rate > 2 * RESUME_S
