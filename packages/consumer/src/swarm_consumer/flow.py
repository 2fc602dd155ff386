"""When to fetch, when to wait, and which partitions to pause for memory. Pure.

The client is not asked for messages that nobody can work on: they are better kept in its own bounded queue, which
costs nothing. Pausing a partition throws its prefetched messages away, and when all partitions of a broker are paused
it takes librdkafka up to a second to resume. So a partition is paused only when its held messages are over the bound
and will not be worked off within about that second.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from swarm_consumer.lane import Lane, LaneState

RESUME_S = 1.0
"""How long a resume may take: a partition whose held messages last longer loses nothing by being paused."""


@dataclass(slots=True)
class Flow:
    """What to do now: ask the client for more or not, whom to pause and whom to resume."""

    fetch: bool = True
    pause: list[Lane] = field(default_factory=list)
    resume: list[Lane] = field(default_factory=list)
    blocked: int = 0  # held messages of lanes that cannot go on for now


def decide(lanes: Iterable[Lane], now: float, concurrency: int, enough: int) -> Flow:
    """Return what to do: `enough` held messages that can be worked on are enough for `concurrency` workers."""
    flow = Flow()
    supplied = 0
    supply = 0
    draining = False
    for lane in lanes:
        held = len(lane.held)
        if lane.flow_paused:
            if held <= lane.route.settings.held_bound // 2 and not lane.blocked:
                flow.resume.append(lane)
        elif held >= lane.route.settings.held_bound:
            if lane.blocked or _outlasts_resume(lane, held, now):
                flow.pause.append(lane)
            else:
                draining = True
        if not held:
            continue
        if lane.blocked or (lane.running is not None and now - lane.running.started > RESUME_S):
            flow.blocked += held
        elif lane.state in (LaneState.READY, LaneState.RUNNING):
            supplied += 1
            supply += held
    flow.fetch = not draining if supplied < concurrency else supply < enough
    return flow


def _outlasts_resume(lane: Lane, held: int, now: float) -> bool:
    if lane.running is not None and now - lane.running.started > RESUME_S:
        return True
    return lane.rate > 0 and held / lane.rate > 2 * RESUME_S
