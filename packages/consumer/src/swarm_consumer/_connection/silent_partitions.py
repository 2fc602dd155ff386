"""Silent partitions: query their ends, and help stalled ones. Runs on the owner thread.

`stalls.py` decides. The query is one batched request for all of them, at most every half minute, and none
while every partition delivers records.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import confluent_kafka
from confluent_kafka import KafkaException, TopicPartition

from swarm_consumer._connection import starts
from swarm_consumer._scheduling.ledger import Key
from swarm_consumer._scheduling.partition import Partition
from swarm_consumer._scheduling.stalls import Look, Remedy, Stall, StallWatch
from swarm_consumer.events import ErrorOccurred, PartitionStalled

if TYPE_CHECKING:
    from swarm_consumer._connection.connection import Connection

LOOK_S = 30.0
"""Time between two looks; a partition that delivered nothing in between is silent."""
ROOM_S = 5.0
"""How long the client's queue must have been empty before a look: with a full queue the client need not fetch."""
TIMEOUT_S = 1.0
"""Time limit for the broker to return the ends; the owner thread waits for it."""
STALLED = 5
"""swarm_health.Status.STALLED, which this package does not know."""


class SilentPartitions:
    """Watches the silent partitions of one subscription group."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._watch = StallWatch()
        self._places: dict[Key, tuple[int, int | None]] = {}  # epoch and expected offset at the last look
        self._next_look = time.monotonic() + LOOK_S
        self.remake: str | None = None
        """Why the client must be recreated; the owner clears it when that is done."""

    def look(self, client: confluent_kafka.Consumer, now: float, empty_since: float | None) -> bool:
        """Look if it is time; return whether it was. `empty_since`: the first empty poll since the last look."""
        if now < self._next_look:
            return False
        self._next_look = now + LOOK_S
        connection = self._connection
        with connection._lock:
            partitions = dict(connection.partitions.by_key)
        places = {key: (one.epoch, one.expected) for key, one in partitions.items()}
        silent = [key for key, place in places.items() if self._places.get(key) == place]
        # An assignment or loss since the last look is neither a stall nor proof that a stall is over.
        stayed = [key for key, (epoch, _) in places.items() if self._places.get(key, (None,))[0] == epoch]
        self._places = places
        ends = starts.ends(client, silent, TIMEOUT_S) if silent else {}
        connection.ends.answered(ends, silent, now)
        could = [key for key in ends if _could_bring(partitions[key]) and not connection.quieting]
        fetched = {key: connection.statistics.known(key).fetched for key in could}
        looks = {key: Look(place, ends[key]) for key, place in fetched.items()}
        nowhere = [key for key, place in fetched.items() if place is None]
        begins = starts.ends(client, nowhere, TIMEOUT_S, beginning=True) if nowhere else {}
        for key in nowhere:  # a partition that was never fetched may be empty: then its end is its start
            if begins.get(key, ends[key]) >= ends[key]:
                del looks[key]
        had_room = empty_since is not None and now - empty_since >= ROOM_S
        if connection.statistics.join_state is None:
            return True  # statistics are off, so it is unknown where the client fetches
        for stall in self._watch.judge(looks, stayed, now, had_room=had_room):
            self._help(client, partitions[stall.key], stall, now)
        return True

    def _help(self, client: confluent_kafka.Consumer, silent: Partition, stall: Stall, now: float) -> None:
        connection = self._connection
        topic, partition = stall.key
        event = PartitionStalled(
            topic=topic,
            partition=partition,
            offset=stall.offset,
            end=stall.end,
            stalled_s=now - stall.since + LOOK_S,
            remedy=stall.remedy.value,
        )
        connection.bus.emit(event)
        if stall.remedy is Remedy.SEEK:
            place = next((one for one in (silent.expected, silent.start, stall.offset) if one is not None), None)
            if place is None:
                return  # the client must find its own start, because our position might skip records
            try:
                client.seek(TopicPartition(topic, partition, place))
            except KafkaException as error:
                connection.bus.emit(ErrorOccurred(where="seek", error=error, topic=topic, partition=partition))
        elif stall.remedy is Remedy.REMAKE:
            self.remake = str(event)
        else:
            connection.complain(STALLED, str(event))


def _could_bring(partition: Partition) -> bool:
    """Whether a partition can deliver records."""
    waits = partition.flow_paused or partition.paused_until is not None
    return not waits and not partition.revoking and partition.pending_seek is None
