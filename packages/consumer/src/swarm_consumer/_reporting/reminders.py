"""Repeated messages of a node: failures that are only counted, and the wait for a first partition.

A group assigns partitions when all its members have joined. With the classic protocol that can take as long as the
session of a lost member (45 s by default), during which nothing else would be logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from swarm_consumer._reporting.bus import Bus
from swarm_consumer.events import AwaitingPartitions

FIRST_S = 10.0
"""A wait for partitions is reported after this time, then each time it has doubled."""
_JOINED = "steady"
"""librdkafka's join state of a member with an assignment, even an empty one."""


class Waiting(Protocol):
    """The part of a client that matters here."""

    @property
    def subscription_group(self) -> str:
        """The subscription group's name."""

    @property
    def join_state(self) -> str | None:
        """Its state in joining the group; None before the first statistics."""

    @property
    def has_partitions(self) -> bool:
        """Whether any partition is assigned to it."""


class PartitionWait:
    """When to report one client's wait for partitions. Pure."""

    __slots__ = ("_began", "_next_s", "_told_empty")

    def __init__(self) -> None:
        self._began: float | None = None
        self._next_s = FIRST_S
        self._told_empty = False

    def look(self, has_partitions: bool, join_state: str | None, now: float) -> float | None:
        """Return the length of the wait in seconds, if it should be reported now.

        A member with an empty assignment is not waiting; that is reported once.
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
    """Reports them; `look` is called about once a second."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waits: dict[str, PartitionWait] = {}

    def look(self, clients: Sequence[Waiting], now: float) -> None:
        """Report what is due. `clients` are those that should have partitions."""
        self._bus.tell_repeated()
        for client in clients:
            name, state = client.subscription_group, client.join_state
            waited = self._waits.setdefault(name, PartitionWait()).look(client.has_partitions, state, now)
            if waited is not None:
                self._bus.emit(AwaitingPartitions(subscription_group=name, waited_s=waited, join_state=state))
