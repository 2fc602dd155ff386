"""Going back: a partition is handled again from its first unmarked message. Pure.

For undelivered output of a handler's own threads: it is unknown which message it was for, so a retry
of one batch would not bring it back.
"""

from __future__ import annotations

from swarm_consumer._scheduling.lane import Lane, LaneState
from swarm_consumer._scheduling.lanes import Lanes


class Beginning(int):
    """The start of a partition without marks: a target for a seek, but not progress to commit."""


def go_back(lanes: Lanes, lane: Lane, now: float) -> bool:
    """Request a seek to the first unmarked message, after the first back-off. Returns whether there is one.

    The caller holds the group's lock; no run of the lane is in progress.
    """
    lane.going_back = False
    place = lanes.ledger.resume_at(lane.key)
    if place is None or lane.pending_seek is not None or lanes.by_key.get(lane.key) is not lane:
        return False
    lanes.drop_held(lane)
    lane.retry = None
    lane.pending_seek = place if lanes.ledger.position(lane.key) is not None else Beginning(place)
    lane.seek_at = now + lane.backoff.delay_s(1)
    if lane.state in (LaneState.READY, LaneState.WAITING):
        lane.state = LaneState.IDLE
    return True
