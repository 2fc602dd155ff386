"""Seeks to an offset, a time or an end, requested by a handler. Runs on the owner thread."""

from __future__ import annotations

import operator
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import confluent_kafka
from confluent_kafka import KafkaException, TopicPartition

from swarm_consumer._connection import commits
from swarm_consumer._scheduling.backoff import Backoff
from swarm_consumer._scheduling.ledger import Key
from swarm_consumer._scheduling.partition import Beginning, Partition
from swarm_consumer.events import ErrorOccurred, Sought
from swarm_consumer.kafka.client_errors import nowhere_to_begin

if TYPE_CHECKING:
    from swarm_consumer._connection.connection import Connection

TIMEOUT_S = 2.0
"""Time limit for the broker to return the offset of a time or end; the owner thread waits for it."""
LARGEST_OFFSET = 2**63 - 2
_backoff = Backoff(1.0, 30.0)


class OutOfRange(Exception):
    """An offset beyond the end with initial_offset="error": there is no rule for where to continue."""


def checked(target: Any) -> int | datetime | str:
    """Return a handler's seek target in the form that `resolve` takes. Raises TypeError and ValueError.

    Here an error is raised in the handler; later it would be raised in the owner thread.
    """
    if isinstance(target, str):
        if target not in ("earliest", "latest"):
            raise ValueError(f"seek to an offset, a datetime, 'earliest' or 'latest', not {target!r}")
        return target
    if isinstance(target, datetime):
        if target.utcoffset() is None:
            raise ValueError(
                f"seek to a datetime with a time zone, such as datetime.now(timezone.utc): {target!r} has none"
            )
        if target.timestamp() < 0:
            raise ValueError(f"there are no records before 1970: {target!r}")
        return target
    try:
        offset = operator.index(target)
    except TypeError:
        offset = None
    if offset is None or isinstance(target, bool):
        raise TypeError(f"seek to an offset (an int), a datetime, 'earliest' or 'latest', not {target!r}")
    if not 0 <= offset <= LARGEST_OFFSET:
        raise ValueError(f"there is no offset {offset}")
    return offset


def seek(connection: Connection, client: confluent_kafka.Consumer, partition: Partition) -> None:
    """Do the seek that waits in a partition; one that fails is tried again after a pause."""
    target = partition.pending_seek
    topic, number = partition.key
    try:
        place = resolve(client, partition.key, target, partition.route.settings.initial_offset)
        client.seek(place)
    except OutOfRange as error:
        reason = nowhere_to_begin(connection.group.consumer_group, str(error))
        connection.fail(f"{connection.subscription_group}: {reason}", "_AUTO_OFFSET_RESET")
        return
    except KafkaException as error:
        partition.seek_failures += 1
        partition.seek_at = time.monotonic() + _backoff.delay_s(partition.seek_failures)
        connection.bus.emit(ErrorOccurred(where="seek", error=error, topic=topic, partition=number))
        return
    with connection._lock:
        connection.partitions.sought(partition, None if isinstance(target, Beginning) else place.offset)
    commits.commit_now(connection, client, [partition.key])
    asked = str(target) if target == place.offset else f"{place.offset}, asked for {target}"
    connection.bus.emit(Sought(topic=topic, partition=number, target=asked))


def resolve(
    client: confluent_kafka.Consumer, key: Key, target: int | datetime | str, initial_offset: str = "earliest"
) -> TopicPartition:
    """Return the partition with the current offset of a target. Raises KafkaException and OutOfRange.

    The broker is asked now, so that "latest" is the current end, not the end when the client would look it up.
    An offset that no longer exists means the first that does. An offset beyond the end is out of range for the client
    and is handled by initial_offset: the offset belongs to another log, and continuing at the end would skip records.
    """
    place = TopicPartition(*key)
    if isinstance(target, datetime):
        place.offset = int(target.timestamp() * 1000)
        found = client.offsets_for_times([place], timeout=TIMEOUT_S)[0]
        if found.error is not None:
            raise KafkaException(found.error)
        if found.offset >= 0:
            return TopicPartition(*key, found.offset)
        target = "latest"  # no record is that new, so continue at the end
    low, high = client.get_watermark_offsets(place, timeout=TIMEOUT_S)
    if isinstance(target, int):
        if target > high:
            if initial_offset == "error":
                raise OutOfRange(f"a handler seeks to offset {target} of {key[0]}[{key[1]}], whose end is {high}")
            target = initial_offset
        elif target < low:
            target = "earliest"
    if isinstance(target, int):
        return TopicPartition(*key, target)
    return TopicPartition(*key, low if target == "earliest" else high)
