"""Seeks: where a partition goes on when its handler asked for an offset, a time or an end. On the owner thread."""

from __future__ import annotations

from datetime import datetime

import confluent_kafka
from confluent_kafka import KafkaException, TopicPartition

from swarm_consumer import commits
from swarm_consumer.events import ErrorOccurred, Sought
from swarm_consumer.group_state import GroupState
from swarm_consumer.lane import Lane
from swarm_consumer.progress import Key

TIMEOUT_S = 5.0
"""How long the broker may take to name the offset of a time or of an end."""


def seek(group: GroupState, client: confluent_kafka.Consumer, lane: Lane) -> None:
    """Do the seek that waits in a lane; one that fails is tried again at the next turn."""
    target = lane.pending_seek
    try:
        place = resolve(client, lane.key, target)
        client.seek(place)
    except KafkaException as error:
        group.bus.emit(ErrorOccurred(where="seek", error=error, topic=lane.key[0], partition=lane.key[1]))
        return
    position = place.offset if place.offset >= 0 else None
    with group.lock:
        group.lanes.sought(lane, position)
    if position is not None:
        # The automatic commit passes over a stored offset below the committed one: going back needs a commit of
        # its own. The partition is ours here, on this thread, so it can rewind nobody else.
        commits.store(group, client)
        client.commit(offsets=[TopicPartition(*lane.key, position)], asynchronous=True)
    group.bus.emit(Sought(topic=lane.key[0], partition=lane.key[1], target=str(target)))


def resolve(client: confluent_kafka.Consumer, key: Key, target: int | datetime | str) -> TopicPartition:
    """Return the partition with the offset that a target means now. Raises KafkaException.

    Asked now, so that "latest" is the end of this moment and not of the later one at which the client would look it up.
    """
    if isinstance(target, int):
        return TopicPartition(*key, target)
    place = TopicPartition(*key)
    if isinstance(target, str):
        low, high = client.get_watermark_offsets(place, timeout=TIMEOUT_S)
        return TopicPartition(*key, low if target == "earliest" else high)
    place.offset = int(target.timestamp() * 1000)
    found = client.offsets_for_times([place], timeout=TIMEOUT_S)[0]
    if found.error is not None:
        raise KafkaException(found.error)
    if found.offset < 0:  # nothing is that new: go on at the end
        return TopicPartition(*key, client.get_watermark_offsets(place, timeout=TIMEOUT_S)[1])
    return TopicPartition(*key, found.offset)
