"""The figures of an assigned partition: position, lag, and lag as time. Pure.

Unknown is None, never 0. The position starts at the assignment: at the first record, or before that at the start of the
partition or the committed offset. The lag is the end minus the position. It is 0 if all records so far are
handled and the client has fetched up to the end, even if the last offsets of a partition hold no record (markers
of transactions, records removed by compaction or an abort).
"""

from __future__ import annotations

from dataclasses import dataclass

import confluent_kafka
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE

from swarm_consumer._connection.client_statistics import KnownPartition
from swarm_consumer._scheduling.partition import Partition


@dataclass(frozen=True, slots=True)
class PartitionFigures:
    """The state of a partition."""

    position: int | None
    """Offset of the next record to be handled."""
    lag: int | None
    """Number of available records that are not handled."""
    oldest_at: float | None
    """Timestamp of the oldest received record that is not handled, in seconds of the wall clock."""


def partition_figures(
    partition: Partition, marked: int | None, known: KnownPartition, committed: int | None, end: int | None = None
) -> PartitionFigures:
    """Return the figures of a partition.

    marked: the next offset that is not done, None if nothing was done under this assignment. known, committed: the
    client's figures. end: an end from a separate query.
    """
    drained = partition.drained
    position = marked
    if position is None:
        position = partition.first_offset
    if position is None:
        position = partition.start
    if position is None:
        position = committed
    if position is None and drained and not known.waiting:
        position = known.fetched  # no offset is committed: the policy has chosen where the client starts
    oldest = partition.oldest_unhandled(marked)
    return PartitionFigures(position, _lag(partition, position, known, end, drained), _timestamp_s(oldest))


def _lag(
    partition: Partition, position: int | None, known: KnownPartition, asked: int | None, drained: bool
) -> int | None:
    told = max((one for one in (known.end, asked) if one is not None), default=None)
    end = max((one for one in (told, partition.expected) if one is not None), default=None)
    if position is None or end is None:
        return None
    caught_up = drained and not known.waiting and known.fetched is not None and known.fetched >= end
    if caught_up and told is not None:
        return 0
    if known.start is not None:
        position = max(position, known.start)  # records deleted by retention are not lag
    lag = max(0, end - position)
    return (
        lag if lag or told is not None else None
    )  # all received records are handled; whether there are more is unknown


def _timestamp_s(record: confluent_kafka.Message | None) -> float | None:
    if record is None:
        return None
    kind, milliseconds = record.timestamp()
    return milliseconds / 1000 if kind != TIMESTAMP_NOT_AVAILABLE and milliseconds > 0 else None
