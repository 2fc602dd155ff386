"""Offsets that transactions commit: what one needs of the connection for that, and what the connection learns of it.

A commit outside of the transaction that arrives after it would take the group back behind it. So a transaction with an
offset waits until every such commit of its partition is answered.
"""

from __future__ import annotations

import time
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from swarm_consumer._connection.connection import Connection
from swarm_consumer._scheduling.ledger import Key
from swarm_consumer._scheduling.run import Mark, Run
from swarm_consumer.events import Committed

ANSWER_S = 0.05
"""Pause between two checks for the answer to a commit, without a notification."""
ASK_S = 2.0
"""How long the owner's thread waits for a group's offsets from the broker."""


def moves(connection: Connection, key: Key, mark: Mark) -> bool:
    """Whether a mark moves forward: one of an earlier message would take the group back."""
    with connection._lock:
        position = connection.partitions.ledger.position(key)
    return position is None or mark[0] > position or (mark[0] == position and mark[1] is not None)


def has_plain_marks(connection: Connection, key: Key) -> bool:
    """Whether a mark outside of transactions may still be on its way to the broker."""
    with connection._lock:
        return connection.partitions.ledger.has_plain_marks(key)


def group_metadata(connection: Connection, key: Key, epoch: int, timeout_s: float, *, after_commits: bool) -> Any:
    """Return what a transaction needs to commit offsets in this member's name; None if the partition is gone.

    Asked on the owner's thread, where no rebalance comes between the look at the epoch and the metadata. With
    `after_commits` every commit that was sent before has arrived then: the coordinator answers one connection in
    order, so what it says about the group's offsets comes after them.
    """
    deadline = time.monotonic() + timeout_s
    ledger, turns = connection.partitions.ledger, connection.turns
    not_yet = object()

    def ask(client: confluent_kafka.Consumer) -> Any:
        with connection._lock:
            if not ledger.owns(key, epoch):
                return None
            # Not answered may mean that it waits for its next attempt, and then arrives after the transaction.
            # What another thread of the handler has marked meanwhile must not arrive after it either.
            if after_commits and _not_settled(connection, key):
                if _to_be_sent(connection, key):
                    turns.at_once([key], time.monotonic())
                if not connection.unpolled:
                    return not_yet
                raise KafkaException(KafkaError(KafkaError._IN_PROGRESS, "a commit is not answered"))
        if after_commits:
            client.committed([TopicPartition(*key)], timeout=min(ASK_S, timeout_s))
            with connection._lock:
                ledger.plain_marks_arrived(key)
                turns.forget([key])
        return client.consumer_group_metadata()

    while (answer := connection.requests.ask(ask, max(0.0, deadline - time.monotonic()))) is not_yet:
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{connection.group.name}: no answer to a commit within {timeout_s:g} s")
        with connection._changed:
            while _not_settled(connection, key) and not connection.unpolled and time.monotonic() < deadline:
                connection._changed.wait(ANSWER_S)
    return answer


def doubt(connection: Connection, key: Key, epoch: int, *, doubtful: bool) -> None:
    """Note whether it is unknown if a transaction has committed an offset of this partition."""
    with connection._lock:
        connection.partitions.ledger.doubt(key, epoch, doubtful=doubtful)


def committed(connection: Connection, run: Run, mark: Mark) -> None:
    """Update ledger and figures after a transaction; nothing of it is committed again."""
    key = run.lane.key
    with connection._lock:
        ledger, later = connection.partitions.ledger, run.lane.running
        ledger.committed(key, run.epoch, *mark)
        if later is not None and later is not run and later.first_offset is not None:
            later.overtaken = later.overtaken or later.first_offset < mark[0]
        if ledger.owns(key, run.epoch) and ledger.position(key) == mark[0]:  # otherwise another is wanted by now
            connection.turns.forget([key])
    offsets = ((*key, mark[0]),)
    connection.statistics.committed(offsets)
    connection.bus.emit(Committed(subscription_group=connection.subscription_group, offsets=offsets))


def _not_settled(connection: Connection, key: Key) -> bool:
    """Whether a commit of this partition is still to be sent, or is not answered."""
    return _to_be_sent(connection, key) or bool(connection.turns.under_way(key))


def _to_be_sent(connection: Connection, key: Key) -> bool:
    return bool(connection.turns.wanted([key])) and not connection.partitions.ledger.is_doubtful(key)
