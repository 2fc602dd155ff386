"""From the ledger's positions to the client's."""

from __future__ import annotations

from typing import Any

from confluent_kafka import TopicPartition

from swarm_consumer._scheduling.progress import Storable


def topic_partition(one: Storable) -> TopicPartition:
    """Return a position as the client takes it."""
    options: dict[str, Any] = {}
    if one.metadata is not None:  # the constructor takes no None for these
        options["metadata"] = one.metadata
    if one.leader_epoch is not None:
        options["leader_epoch"] = one.leader_epoch
    return TopicPartition(one.topic, one.partition, one.offset, **options)
