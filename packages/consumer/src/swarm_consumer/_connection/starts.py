"""Where partitions begin when they are assigned. On the owner thread, inside of the rebalance callback.

Asked once for all partitions that came: what the group has committed, and for initial_offset="latest", where nothing
is committed, the end of this moment. That end is committed at once: a group that has begun goes on from there whatever
happens to its first member, so that a record which was handed out is not skipped by its successor.
"""

from __future__ import annotations

from collections.abc import Iterable

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaException, TopicPartition

from swarm_consumer._scheduling.progress import Key

TIMEOUT_S = 2.0
"""How long the broker may take for each of the two questions; without an answer the client finds its own way."""


def committed(client: confluent_kafka.Consumer, keys: Iterable[Key]) -> dict[Key, int | None] | None:
    """Return each partition's committed offset, None where there is none; None when the broker did not say."""
    try:
        answers = client.committed([TopicPartition(*key) for key in keys], timeout=TIMEOUT_S)
    except KafkaException:
        return None
    return {(one.topic, one.partition): one.offset if one.offset >= 0 else None for one in answers if one.error is None}


def ends(
    client: confluent_kafka.Consumer, keys: Iterable[Key], timeout_s: float = TIMEOUT_S, *, beginning: bool = False
) -> dict[Key, int]:
    """Return the offset that the next record of each partition will have, where the broker said it; or of its first.

    OFFSET_END as a time asks for the end (ListOffsets, timestamp -1): one request for each broker, for all partitions.
    Under isolation.level=read_committed it is the end of what may be read.
    """
    place = OFFSET_BEGINNING if beginning else OFFSET_END
    try:
        answers = client.offsets_for_times([TopicPartition(*key, place) for key in keys], timeout=timeout_s)
    except KafkaException:
        return {}
    return {(one.topic, one.partition): one.offset for one in answers if one.error is None and one.offset >= 0}
