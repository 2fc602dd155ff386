"""What a node says again while it lasts: failures that are only counted, and the wait for a first partition.

A group hands out partitions when all its members have joined. With the classic protocol that can take as long as the
session of a member that is no more (45 s by default), in which nothing else would be in the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from swarm_consumer._reporting.bus import Bus
from swarm_consumer.events import AwaitingPartitions

FIRST_S = 10.0
"""A wait for partitions is told after this; then each time it has become twice as long."""
_JOINED = "steady"
"""librdkafka's join state of a member that has its assignment, be it an empty one."""


class Waiting(Protocol):
    """What is looked at of a client."""

    @property
    def subscription_group(self) -> str:
        """The subscription group's name."""

    @property
    def join_state(self) -> str | None:
        """Where it stands in joining its group; None before the first statistics."""

    @property
    def has_partitions(self) -> bool:
        """Whether any partition is assigned to it."""


class PartitionWait:
    """When the wait of one client for partitions is to be told. Pure."""

    __slots__ = ("_began", "_next_s", "_told_empty")

    def __init__(self) -> None:
        self._began: float | None = None
        self._next_s = FIRST_S
        self._told_empty = False

    def look(self, has_partitions: bool, join_state: str | None, now: float) -> float | None:
        """Return for how long it has been waiting, in seconds, if that is to be told now.

        A member with an empty assignment waits for nothing: that is told once.
        """
        if has_partitions:
            self._began, self._next_s, self._told_empty = None, FIRST_S, False
            return None
        if self._began is None:
            self._began = now
        waited = now - self._began
        if waited < self._next_s or (join_state == _JOINED and self._told_empty):
            return None
        self._told_empty = join_state == _JOINED
        self._next_s = 2 * waited
        return waited


class Reminders:
    """Tells them; `look` is called every second or so."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waits: dict[str, PartitionWait] = {}

    def look(self, clients: Sequence[Waiting], now: float) -> None:
        """Tell what is due. `clients` are those that should have partitions."""
        self._bus.tell_repeated()
        for client in clients:
            name, state = client.subscription_group, client.join_state
            waited = self._waits.setdefault(name, PartitionWait()).look(client.has_partitions, state, now)
            if waited is not None:
                self._bus.emit(AwaitingPartitions(subscription_group=name, waited_s=waited, join_state=state))
