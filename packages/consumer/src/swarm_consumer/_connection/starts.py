"""Where partitions start when they are assigned. Runs on the owner thread, inside the rebalance callback.

One query for all new partitions returns the committed offsets and, for initial_offset="latest" where nothing
is committed, the current end. That end is committed at once: a new group continues from there even if
its first member dies, so that its successor does not skip a record that was handed out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaException, TopicPartition

from swarm_consumer._scheduling.ledger import Key

TIMEOUT_S = 2.0
"""Time limit of each of the two queries; without an answer the client uses its own defaults."""


class CommittedOffset(NamedTuple):
    """What a group has committed for a partition."""

    offset: int | None
    """None: nothing."""
    metadata: str | None
    leader_epoch: int | None
    """With it the client finds out whether the log was cut since."""


def committed(client: confluent_kafka.Consumer, keys: Iterable[Key]) -> dict[Key, CommittedOffset]:
    """Return what is committed for each partition for which the broker answered."""
    try:
        answers = client.committed([TopicPartition(*key) for key in keys], timeout=TIMEOUT_S)
    except KafkaException:
        return {}
    return {
        (one.topic, one.partition): CommittedOffset(
            one.offset if one.offset >= 0 else None, one.metadata, one.leader_epoch
        )
        for one in answers
        if one.error is None
    }


def ends(
    client: confluent_kafka.Consumer, keys: Iterable[Key], timeout_s: float = TIMEOUT_S, *, beginning: bool = False
) -> dict[Key, int]:
    """Return the next offset, or the first one, of each partition for which the broker answered.

    OFFSET_END as a time asks for the end (ListOffsets, timestamp -1): one request per broker for all partitions.
    Under isolation.level=read_committed it is the end of the readable part.
    """
    place = OFFSET_BEGINNING if beginning else OFFSET_END
    try:
        answers = client.offsets_for_times([TopicPartition(*key, place) for key in keys], timeout=timeout_s)
    except KafkaException:
        return {}
    return {(one.topic, one.partition): one.offset for one in answers if one.error is None and one.offset >= 0}
