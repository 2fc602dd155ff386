"""What is due between two polls: lanes to be woken, seeks, ticks, ends that were reached. On the owner thread."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import confluent_kafka

from swarm_consumer._connection import seeks
from swarm_consumer._scheduling.lane import LaneState
from swarm_consumer._scheduling.progress import Key

if TYPE_CHECKING:
    from swarm_consumer._connection.connection import Connection

SEEKS_S = 1.0
"""Time limit for seeks in a turn: each blocks on an unresponsive broker, but polls must continue."""


class Due:
    """Does what is due of one connection's partitions."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ends_reached = False  # some partition's end was reached and eofed() not called yet
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
        """Wake the lanes whose time has come, and do the seeks that were asked for."""
        connection = self._connection
        with connection._lock:
            for lane in connection.lanes.wake(now):
                connection.workers.submit(connection, lane)
            lanes = connection.lanes.by_key.values()
            waiting = [lane for lane in lanes if lane.pending_seek is not None and not lane.running]
            connection.attention = bool(waiting) or any(lane.blocked or lane.paused_until is not None for lane in lanes)
        for lane in waiting:
            if now >= lane.seek_at:
                seeks.seek(connection, client, lane)
                if time.monotonic() - now >= SEEKS_S:
                    return  # the others at the next turn

    def call_ticks(self, now: float) -> None:
        connection = self._connection
        with connection._lock:
            due = []
            for lane in connection.lanes.by_key.values():
                if "tick" not in lane.route.hooks or lane.state is LaneState.WAITING:
                    continue
                if now >= lane.next_tick:
                    lane.next_tick = now + lane.route.settings.tick_interval
                    lane.tick_due = True  # of one that is at work the worker calls it, between two batches
                if (
                    lane.tick_due
                    and lane.state in (LaneState.IDLE, LaneState.PAUSED)
                    and connection.lanes.is_free(lane)
                ):
                    lane.tick_due = False
                    due.append(lane)
        for lane in due:
            connection.call_hook(lane, "tick")

    def end_reached(self, key: Key) -> None:
        with self._connection._lock:
            lane = self._connection.lanes.by_key.get(key)
            if lane is not None and "eofed" in lane.route.hooks:
                lane.eof = self._ends_reached = True

    def tell_ends(self) -> None:
        """Call eofed() where the end was reached and everything before it has been handled."""
        connection = self._connection
        with connection._lock:
            reached = [lane for lane in connection.lanes.by_key.values() if lane.eof]
            due = [
                one for one in reached if one.state is LaneState.IDLE and not one.held and connection.lanes.is_free(one)
            ]
            for lane in due:
                lane.eof = False
            self._ends_reached = any(lane.eof for lane in connection.lanes.by_key.values())
        for lane in due:
            connection.call_hook(lane, "eofed")
