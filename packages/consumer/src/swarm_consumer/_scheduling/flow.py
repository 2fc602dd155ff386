"""When to fetch, when to wait, and which partitions to pause for memory. Pure.

The client is not asked for messages that cannot be worked on: they are better kept in its own bounded queue, which
costs nothing. Pausing a partition throws its prefetched messages away, and when all partitions of a broker are paused
it takes librdkafka up to a second to resume. So a partition is paused only when its held messages are over the bound
and will not be worked off within about that second.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from swarm_consumer._scheduling.lane import BLOCKED, LaneState
from swarm_consumer._scheduling.partition import Partition

RESUME_S = 1.0
"""How long a resume may take: a partition whose held messages last longer loses nothing by being paused."""


@dataclass(slots=True)
class Flow:
    """What to do now: whether to ask the client for more, and which partitions to pause and resume."""

    fetch: bool = True
    pause: list[Partition] = field(default_factory=list)
    resume: list[Partition] = field(default_factory=list)
    blocked: int = 0  # held messages of lanes that cannot continue now


def decide(partitions: Collection[Partition], now: float, concurrency: int, enough: int) -> Flow:
    """Return what to do: `enough` held messages that can be worked on are enough for `concurrency` workers.

    A partition is over its bound by number of messages or by its share of the bytes. It notes since when it has been
    over without a worker.
    """
    flow = Flow()
    supplied = 0
    supply = 0
    workable = False  # some partition can be worked on, now or with the next message
    draining = False
    for partition in partitions:
        held = held_bytes = 0
        blocked = True
        for lane in partition.lanes:  # by hand: this is done at each turn, and the properties would do it three times
            held += len(lane.backlog.held)
            held_bytes += lane.backlog.held_bytes
            if lane.state not in BLOCKED:
                blocked = False
        settings = partition.route.settings
        share = settings.max_held_bytes // len(partitions)
        workable = workable or not blocked
        if partition.flow_paused:
            if held <= settings.held_bound // 2 and held_bytes <= share // 2 and not blocked:
                flow.resume.append(partition)
        elif held < settings.held_bound and held_bytes < share:
            partition.over_since = None
        elif blocked or _outlasts_resume(partition, held, now) or _left_alone(partition, now):
            partition.over_since = None
            flow.pause.append(partition)
        else:
            draining = True
        if not held:
            continue
        for lane in partition.lanes:
            count = len(lane.backlog.held)
            if lane.state in BLOCKED or (lane.running is not None and now - lane.running.started > RESUME_S):
                flow.blocked += count
            elif count and lane.state in (LaneState.READY, LaneState.RUNNING):
                supplied += 1
                supply += count
    flow.fetch = (not draining if supplied < concurrency else supply < enough) and (workable or not partitions)
    return flow


def _left_alone(partition: Partition, now: float) -> bool:
    """Whether no worker has come to it since it has been over its bound, for longer than a resume may take."""
    if partition.running:
        partition.over_since = None
    elif partition.over_since is None:
        partition.over_since = now
    return partition.over_since is not None and now - partition.over_since > RESUME_S


def _outlasts_resume(partition: Partition, held: int, now: float) -> bool:
    if any(now - run.started > RESUME_S for run in partition.running):
        return True
    rate = sum(lane.rate for lane in partition.lanes)
    return rate > 0 and held / rate > 2 * RESUME_S
