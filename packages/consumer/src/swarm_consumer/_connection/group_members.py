"""Asks a group's coordinator which partitions its members have. On the owner thread, with a client of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import ConsumerGroupState

from swarm_consumer._scheduling.ledger import Key
from swarm_consumer.kafka.clients import ClientFactory

ASK_S = 2.0
"""Time limit of the question."""
POLL_S = 0.05


def owned(
    clients: ClientFactory, properties: Mapping[str, Any], group: str, is_stopping: Callable[[], bool]
) -> frozenset[Key] | None:
    """Return the partitions that any member has; None if that is unknown, or the group is in a rebalance.

    properties: how to reach the brokers. is_stopping: whether a stop has come, whose time this would take.
    """
    try:
        admin = clients.admin(properties)
        answer = admin.describe_consumer_groups([group], request_timeout=ASK_S)[group]
        until = time.monotonic() + ASK_S
        while not answer.done() and time.monotonic() < until and not is_stopping():
            admin.poll(POLL_S)  # its callback for a token is called here
        # An error that result() raises here would keep this frame, and with it the client and its threads, until a
        # garbage collection: on any thread, maybe while it holds a lock.
        if not answer.done() or answer.exception() is not None:
            return None
        described = answer.result()
        if described.state is not ConsumerGroupState.STABLE:
            return None
        return frozenset(
            (one.topic, one.partition) for member in described.members for one in member.assignment.topic_partitions
        )
    except Exception:  # noqa: BLE001  the factory may be someone else's, and without an answer it is asked later
        return None
