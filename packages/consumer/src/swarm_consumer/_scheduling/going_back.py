"""Going back: a partition is handled again from its first unmarked message. Pure.

For undelivered output of a handler's own threads: it is unknown which message it was for, so a retry
of one batch would not bring it back.
"""

from __future__ import annotations

from swarm_consumer._scheduling.backoff import Backoff
from swarm_consumer._scheduling.lane import LaneState
from swarm_consumer._scheduling.partition import Beginning, Partition
from swarm_consumer._scheduling.partitions import Partitions


def go_back(partitions: Partitions, partition: Partition, now: float) -> bool:
    """Request a seek to the first unmarked message, after the first back-off. Returns whether there is one.

    The caller holds the connection's lock; no run of the partition is in progress.
    """
    partition.going_back = False
    key, ledger, settings = partition.key, partitions.ledger, partition.route.settings
    place = ledger.resume_at(key)
    if place is None or partition.pending_seek is not None or partitions.by_key.get(key) is not partition:
        return False
    partitions.drop(partition)
    partition.pending_seek = place if ledger.position(key) is not None else Beginning(place)
    partition.seek_at = now + Backoff(settings.retry_backoff, settings.retry_backoff_max).delay_s(1)
    for lane in partition.lanes:
        if lane.state in (LaneState.READY, LaneState.WAITING):
            lane.state = LaneState.IDLE
    return True
