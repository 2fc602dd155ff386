"""Intake: fetch messages from the client into the partitions, as many as can be worked on. Runs on the owner thread.

`flow.py` decides how many; this file fetches them, hands them to the partitions, and pauses and resumes these.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from swarm_consumer._connection import commits
from swarm_consumer._scheduling import flow, suspicion
from swarm_consumer._scheduling.ledger import Key
from swarm_consumer._scheduling.partition import Partition
from swarm_consumer.events import ErrorOccurred, PartitionPaused, PartitionResumed, Polled

if TYPE_CHECKING:
    from swarm_consumer._connection.connection import Connection

IDLE_POLL_S = 0.1
"""Longest time inside poll(): how late a stop, a due retry or a request is noticed without messages."""
BUSY_POLL_S = 0.02
"""The same while handlers are at work: how late their progress is collected."""
KEEPALIVE_S = 0.1
"""Longest time between two polls while enough messages are held: only polls serve rebalances."""

_partition_of = confluent_kafka.Message.partition
_topic_of = confluent_kafka.Message.topic
_error_of = confluent_kafka.Message.error


class Intake:
    """Fetches for one subscription group.

    on_error is called with an error that came instead of a message, and its topic; on_end with a partition whose end
    was reached, after the messages before it.
    """

    def __init__(
        self,
        connection: Connection,
        on_error: Callable[[KafkaError, str | None], None],
        on_end: Callable[[Key], None],
    ) -> None:
        routes = connection.group.routes
        self._connection = connection
        self._partitions = connection.partitions
        self._on_error = on_error
        self._on_end = on_end
        self._flow_paused = 0  # how many partitions are
        self._polled = 0.0
        self.empty_since: float | None = None
        """Time of the first empty poll since the last reset: the client's queue was empty then."""
        self._least_bytes = min(route.settings.max_held_bytes for route in routes)
        self._least_bound = min(route.settings.held_bound for route in routes)
        # Two batches at a time: each fetch costs the owner a wake-up and a look at all partitions.
        largest = connection.group.largest_batch
        self._fetch_size = max(largest, min(2 * largest, self._least_bound))
        self._single_topic = routes[0].topic if len(routes) == 1 and not routes[0].is_pattern else None
        self._max_wait = min(route.settings.max_wait for route in routes)
        self._enough = self._fetch_size * connection.workers.count  # enough for each worker; more would only wait

    def turn(self, client: confluent_kafka.Consumer, now: float) -> None:
        """Fetch available messages, or wait until some of the held ones are handled."""
        if self._has_room():
            self.poll(client, self._poll_time(now))
        else:
            self._balance(client, now)

    def poll(self, client: confluent_kafka.Consumer, timeout_s: float, *, drain: bool = True) -> None:
        """Serve the client once and hand its messages to the partitions.

        consume(n, t) would wait the whole t to fill n, so one poll waits and then the available messages are taken.
        """
        first = client.poll(timeout_s)
        self._polled = time.monotonic()
        if first is None:
            if self.empty_since is None:
                self.empty_since = time.monotonic()
            return
        records = client.consume(count - 1, 0) if drain and (count := self._fetch_count()) > 1 else []
        records.insert(0, first)
        ends: list[Key] = []
        if any(map(_error_of, records)):
            records, ends = self._take_errors(records)
        if self._partitions.frozen:
            self._see_cuts(client, records)
            return  # quieting or stopping: none of them is marked, so they will be delivered again
        if records:
            bus = self._connection.bus
            if bus.wants(Polled):
                bus.emit(Polled(subscription_group=self._connection.subscription_group, messages=len(records)))
            self._distribute(client, records)
        for key in ends:
            self._on_end(key)

    def pause_all(self, client: confluent_kafka.Consumer) -> None:
        """Pause every partition, so that polls return nothing while quiet or draining."""
        for partition in list(self._partitions.by_key.values()):
            if not partition.flow_paused:
                self._pause(client, partition, paused=True)

    def assignment_changed(self) -> None:
        """Count again how many partitions are paused for memory. Called with the lock held."""
        self._flow_paused = sum(partition.flow_paused for partition in self._partitions.by_key.values())

    # ------------------------------------------------------------------------------------------------------------

    def _balance(self, client: confluent_kafka.Consumer, now: float) -> None:
        connection, partitions = self._connection, self._partitions
        with connection._lock:
            what = flow.decide(partitions.by_key.values(), now, connection.workers.count, self._enough)
        for partition in what.pause:
            self._pause(client, partition, paused=True)
        for partition in what.resume:
            self._pause(client, partition, paused=False)
        if what.fetch:
            self.poll(client, self._poll_time(now))
            return
        with connection._lock:
            low = max(1, self._enough // 2) + what.blocked
            if not connection.requests.waiting and not partitions.frozen:
                connection.waiting_below = low
                connection._changed.wait(self._until_due(now, KEEPALIVE_S))
                connection.waiting_below = -1
        if self._has_room() and not connection.requests.waiting:
            self.poll(client, 0)  # what is there at once; to wait for more comes after the progress was collected
        elif time.monotonic() - self._polled >= KEEPALIVE_S * 0.8:  # requests may have ended many waits early
            self.poll(client, 0, drain=False)

    def _has_room(self) -> bool:
        """Whether there is no doubt that more can be held; otherwise `flow.decide` looks at every partition."""
        held = self._partitions.held_total
        if held >= self._enough or held >= self._least_bound or self._flow_paused:
            return False
        return self._partitions.held_bytes * len(self._partitions.by_key) < self._least_bytes

    def _fetch_count(self) -> int:
        """Return how many messages to take at once; for large ones at most half of a partition's share of the bytes."""
        partitions = self._partitions
        if partitions.held_bytes < 2**20:
            return self._fetch_size
        share = self._least_bytes // max(1, len(partitions.by_key))
        return min(self._fetch_size, max(1, share // 2 * partitions.held_total // partitions.held_bytes))

    def _poll_time(self, now: float) -> float:
        longest = BUSY_POLL_S if self._connection.workers.occupied() else IDLE_POLL_S
        return self._until_due(now, min(longest, self._max_wait))

    def _until_due(self, now: float, longest: float) -> float:
        with_wait = self._partitions.next_wake() if self._connection.attention else None
        return longest if with_wait is None else max(0.0, min(longest, with_wait - now))

    def _distribute(self, client: confluent_kafka.Consumer, records: list[confluent_kafka.Message]) -> None:
        """Hand records to their partitions; the client returns one partition after another, in long runs."""
        # Only C code iterates over the records here: a Python loop would cost more than the rest of a turn.
        partitions = list(map(_partition_of, records))
        topic = self._single_topic
        if topic is not None and partitions.count(partitions[0]) == len(partitions):
            self._receive(client, (topic, partitions[0]), records)  # type: ignore[arg-type]
            return
        keys: Iterable[Any] = partitions if topic is not None else zip(map(_topic_of, records), partitions, strict=True)
        start = 0
        for key, run in groupby(keys):
            end = start + len(list(run))
            self._receive(client, key if topic is None else (topic, key), records[start:end])
            start = end

    def _see_cuts(self, client: confluent_kafka.Consumer, records: list[confluent_kafka.Message]) -> None:
        """Void running work where the log was cut: its offsets now mean other messages, even if none is taken.

        What was done before is void as well: it is committed at the place where the client continues.
        """
        cut: list[Key] = []
        with self._connection._lock:
            for record in records:
                key, offset = (record.topic() or "", record.partition() or 0), record.offset() or 0
                partition = self._partitions.by_key.get(key)
                if partition is None or partition.expected is None or partition.pending_seek is not None:
                    continue
                if offset < partition.expected:
                    partition.expected = None
                    unhandled = self._partitions.unhandled(partition)  # it may not go back that far, under "latest"
                    place = offset if unhandled is None else min(unhandled, offset)
                    partition.epoch = self._partitions.ledger.restart(key, place)
                    suspicion.forget(partition)
                    cut.append(key)
        if cut:
            commits.commit_now(self._connection, client, cut)

    def _receive(self, client: confluent_kafka.Consumer, key: Key, records: list[confluent_kafka.Message]) -> None:
        connection = self._connection
        with connection._lock:
            partition = self._partitions.by_key.get(key)
            # No longer ours, or about to continue elsewhere: the owner of these messages fetches them again.
            if partition is None or partition.revoking or partition.pending_seek is not None:
                return
            partition.eof = False
            for lane in self._partitions.receive(partition, records):
                connection.workers.submit(connection, lane)
            connection.attention |= partition.seeks
        if partition.went_back:
            partition.went_back = False
            commits.commit_now(connection, client, [key])

    def _take_errors(self, records: list[confluent_kafka.Message]) -> tuple[list[confluent_kafka.Message], list[Key]]:
        """Report errors. Return the messages and the partitions whose end was reached."""
        good, ends = [], []
        for record in records:
            error = record.error()
            if error is None:
                good.append(record)
            elif error.code() == KafkaError._PARTITION_EOF:
                ends.append((record.topic() or "", record.partition() or 0))
            else:
                self._on_error(error, record.topic())
        return good, ends

    def _pause(self, client: confluent_kafka.Consumer, partition: Partition, *, paused: bool) -> None:
        where = [TopicPartition(*partition.key)]
        topic, number = partition.key
        try:
            if paused:
                client.pause(where)
            else:
                client.resume(where)
        except KafkaException as error:
            self._connection.bus.emit(ErrorOccurred(where="pause", error=error, topic=topic, partition=number))
            return
        partition.flow_paused = paused
        self._flow_paused += 1 if paused else -1
        event = PartitionPaused if paused else PartitionResumed
        self._connection.bus.emit(event(topic=topic, partition=number, reason=f"{partition.held} messages are held"))
