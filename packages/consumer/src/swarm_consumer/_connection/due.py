"""What is due between two polls: lanes to be woken, seeks, ticks, ends that were reached. On the owner thread."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import confluent_kafka

from swarm_consumer._connection import seeks
from swarm_consumer._scheduling.lane import Lane, LaneState
from swarm_consumer._scheduling.ledger import Key
from swarm_consumer._scheduling.partition import Partition

if TYPE_CHECKING:
    from swarm_consumer._connection.connection import Connection

SEEKS_S = 1.0
"""Time limit for seeks in a turn: each blocks on an unresponsive broker, but polls must continue."""


class Due:
    """Does what is due of one connection's partitions."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ends_reached = False  # the end of a partition was reached but eofed() is not called yet
        self._has_ticks = any("tick" in route.hooks for route in connection.group.routes)

    def see_to(self, client: confluent_kafka.Consumer) -> None:
        """Do all of it."""
        if self._connection.attention:
            self.attend(client, time.monotonic())
        if self._ends_reached:
            self.tell_ends()
        if self._has_ticks:
            self.call_ticks(time.monotonic())

    def attend(self, client: confluent_kafka.Consumer, now: float) -> None:
        """Wake due lanes and carry out requested seeks."""
        connection = self._connection
        with connection._lock:
            for lane in connection.partitions.wake(now):
                connection.workers.submit(connection, lane)
            partitions = connection.partitions.by_key.values()
            waiting = [one for one in partitions if one.pending_seek is not None and not one.running]
            connection.attention = bool(waiting) or any(map(_wakes, partitions))
        for partition in waiting:
            if now >= partition.seek_at:
                seeks.seek(connection, client, partition)
                if time.monotonic() - now >= SEEKS_S:
                    return  # the others in the next turn

    def call_ticks(self, now: float) -> None:
        connection = self._connection
        with connection._lock:
            due = []
            for lane in _lanes(connection):
                if "tick" not in lane.route.hooks or lane.state is LaneState.WAITING:
                    continue
                if now >= lane.next_tick:
                    lane.next_tick = now + lane.route.settings.tick_interval
                    lane.tick_due = True  # for a running lane the worker calls it, between two batches
                if (
                    lane.tick_due
                    and lane.state in (LaneState.IDLE, LaneState.PAUSED)
                    and connection.partitions.is_free(lane)
                ):
                    lane.tick_due = False
                    due.append(lane)
        for lane in due:
            connection.call_hook(lane, "tick")

    def end_reached(self, key: Key) -> None:
        with self._connection._lock:
            partition = self._connection.partitions.by_key.get(key)
            if partition is not None and "eofed" in partition.route.hooks:
                partition.eof = self._ends_reached = True

    def tell_ends(self) -> None:
        """Call eofed() where the end was reached and everything before it has been handled."""
        connection = self._connection
        with connection._lock:
            partitions = connection.partitions.by_key.values()
            due = [one for one in partitions if one.eof and all(map(self._is_through, one.lanes))]
            for partition in due:
                partition.eof = False
            self._ends_reached = any(partition.eof for partition in partitions)
        for partition in due:
            for lane in partition.lanes:
                connection.call_hook(lane, "eofed")

    def _is_through(self, lane: Lane) -> bool:
        """Whether a lane has handled everything that came."""
        free = self._connection.partitions.is_free(lane)
        return lane.state is LaneState.IDLE and not lane.backlog.held and free


def _wakes(partition: Partition) -> bool:
    """Whether a time will come when there is something to do."""
    return partition.paused_until is not None or any(lane.blocked for lane in partition.lanes)


def _lanes(connection: Connection) -> list[Lane]:
    return [lane for partition in connection.partitions.by_key.values() for lane in partition.lanes]
