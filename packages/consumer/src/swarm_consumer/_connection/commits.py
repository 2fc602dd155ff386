"""From the ledger to the broker: positions are committed in turns, and once more when a partition leaves.

Functions that take a client are called by the thread that owns it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from swarm_consumer._connection.requests import SERVE_S
from swarm_consumer._scheduling.ledger import Committable, Key
from swarm_consumer._scheduling.remembrance import is_token
from swarm_consumer.events import CommitRefused, Committed, ErrorOccurred
from swarm_consumer.kafka.client_errors import commit_may_succeed_later, commit_refusal

if TYPE_CHECKING:
    from swarm_consumer._connection.connection import Connection

RETRY_S = 0.1
"""Between two attempts of a blocking mark, or of a question that the broker has not answered."""
ASK_S = 0.5
"""Time limit for the broker to return committed offsets during the wait for handlers in a rebalance."""


def topic_partition(one: Committable) -> TopicPartition:
    """Return a position in the client's type."""
    options: dict[str, Any] = {}
    if one.metadata is not None:  # the constructor does not accept None for these
        options["metadata"] = one.metadata
    if one.leader_epoch is not None:
        options["leader_epoch"] = one.leader_epoch
    return TopicPartition(one.topic, one.partition, one.offset, **options)


def collect(connection: Connection) -> None:
    """Queue every position that has moved for the commit at the end of the interval."""
    with connection._lock:
        _collect(connection)


def _collect(connection: Connection) -> None:
    moved = connection.partitions.ledger.take_committable()
    if moved:
        connection.turns.moved((one.topic, one.partition) for one in moved)


def commit_now(connection: Connection, client: confluent_kafka.Consumer, keys: Iterable[Key]) -> None:
    """Commit the positions of these partitions at once, whatever is committed; made again until it is taken.

    On the owner's thread the partitions are ours, so this cannot rewind another member.
    """
    keys = list(keys)
    collect(connection)
    with connection._lock:
        for key in keys:
            connection.partitions.ledger.committing(key)
        connection.turns.at_once(keys, time.monotonic())
    commit_due(connection, client)


def take_last(connection: Connection, keys: Iterable[Key]) -> list[Committable]:
    """Return and forget the uncommitted positions of leaving partitions. The lock is held."""
    keys = list(keys)
    _collect(connection)
    ledger = connection.partitions.ledger
    # What is under way may have been refused: inside a callback that is not known before the partition has gone.
    left = [key for key in keys if connection.turns.wanted([key]) or connection.turns.under_way(key)]
    last = [present for key in left if (present := ledger.present(key)) is not None]
    connection.turns.forget(keys)
    return last


def commit_due(connection: Connection, client: confluent_kafka.Consumer) -> KafkaException | None:
    """Send everything that is due in one commit; return the error if it could not be sent."""
    now = time.monotonic()
    with connection._lock:
        due = connection.turns.due(now, at_last=connection.unpolled)
        if not due:
            return None
        ledger, places = connection.partitions.ledger, []
        for key in due:
            if (present := ledger.present(key)) is not None:
                places.append(present)
                ledger.committing(key)
            elif not ledger.is_doubtful(key):
                connection.turns.forget([key])
    return send(connection, client, places)


def send(
    connection: Connection, client: confluent_kafka.Consumer, places: Sequence[Committable]
) -> KafkaException | None:
    """Commit these positions, even during another commit; return the error if it could not be sent."""
    if not places:
        return None
    now = time.monotonic()
    with connection._lock:
        # Noted before it is sent, because the answer may arrive before commit() returns.
        sent = frozenset(((one.topic, one.partition), one.offset) for one in places)
        connection.turns.sent(sent, now)
    try:
        client.commit(offsets=[topic_partition(one) for one in places], asynchronous=True)
    except KafkaException as error:
        with connection._lock:
            connection.turns.answered(sent, [key for key, _ in sent], now)
        connection.bus.emit(
            ErrorOccurred(where="commit", error=error, topic=places[0].topic, partition=places[0].partition)
        )
        return error
    return None


def commit_blocking(connection: Connection, key: Key, epoch: int, timeout_s: float) -> bool:
    """Commit a partition's position and wait for the broker; False when it did not take it.

    Called by workers. The owner only sends the commit: a blocking commit would hold it as long as librdkafka looks
    for a coordinator, without a poll, a rebalance or a commit of any other partition.
    """

    def send(client: confluent_kafka.Consumer) -> Future[None] | None:
        with connection._lock:
            ledger = connection.partitions.ledger
            present = ledger.present(key) if ledger.owns(key, epoch) else None
        if present is None:
            return None
        collect(connection)
        answer: Future[None] = Future()
        waiting = [one for one in connection.awaited.get(key, ()) if not one[1].done()]
        with connection._lock:
            # Only a commit sent from now on counts: one in flight may be older than a seek back.
            connection.awaited[key] = [*waiting, (connection.turns.count, answer)]
            connection.turns.at_once([key], time.monotonic())
        if (error := commit_due(connection, client)) is not None:
            answer.cancel()  # no answer will come; the next waiter removes it
            raise error
        return answer

    deadline = time.monotonic() + timeout_s
    while True:
        try:
            answer = connection.requests.ask(send, max(0.0, deadline - time.monotonic()))
            if answer is None:
                return False
            try:
                answer.result(max(0.0, deadline - time.monotonic()))
            except FutureTimeout:
                answer.cancel()
                raise TimeoutError(f"{connection.group.name}: no answer to the commit within {timeout_s:g} s") from None
            return True
        except TimeoutError as error:
            reason: Exception = error
        except KafkaException as error:
            reason = error
            # During a rebalance or a move of the coordinator the next attempt may succeed.
            if commit_may_succeed_later(error.args[0]) and time.monotonic() + RETRY_S < deadline:
                time.sleep(RETRY_S)
                continue
        connection.bus.emit(ErrorOccurred(where="blocking mark", error=reason, topic=key[0], partition=key[1]))
        return False


def committed_metadata(connection: Connection, key: Key, timeout_s: float) -> str | None:
    """Return the metadata committed with a partition's offset. Raises KafkaException and TimeoutError."""
    deadline = time.monotonic() + timeout_s

    def ask(client: confluent_kafka.Consumer) -> str | None:
        remaining = max(0.1, deadline - time.monotonic())
        (answer,) = client.committed([TopicPartition(*key)], timeout=min(SERVE_S, remaining))
        if answer.error is not None:
            raise KafkaException(answer.error)
        return None if is_token(answer.metadata) else answer.metadata

    while True:
        try:
            return connection.requests.ask(ask, max(0.0, deadline - time.monotonic()))
        except KafkaException as error:
            if not commit_may_succeed_later(error.args[0]) or time.monotonic() + RETRY_S >= deadline:
                raise
            time.sleep(RETRY_S)


def arrived(connection: Connection, client: confluent_kafka.Consumer, keys: Iterable[Key]) -> bool:
    """Whether every commit of these partitions that is under way has been taken, as the broker says.

    For callbacks, where no answer can be polled while librdkafka keeps trying.
    """
    with connection._lock:
        sent = {key: offsets for key in keys if (offsets := connection.turns.under_way(key))}
    if not sent:
        return True
    try:
        answers = client.committed([TopicPartition(*key) for key in sent], timeout=ASK_S)
    except KafkaException:
        return False
    return all(one.error is None and _is_last(one.offset, sent[one.topic, one.partition]) for one in answers)


def _is_last(offset: int, commits: list[tuple[int, int]]) -> bool:
    return len(commits) == 1 and commits[0][1] == offset


def give_up_awaited(connection: Connection, keys: Iterable[Key]) -> None:
    """End the waits for commits of partitions that were lost: no answer will be theirs."""
    for key in keys:
        for _, answer in connection.awaited.pop(key, ()):
            if answer.set_running_or_notify_cancel():
                answer.set_exception(KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION)))


def ask_for_answers(connection: Connection, client: confluent_kafka.Consumer) -> None:
    """Find out about awaited commits inside a rebalance callback, where handlers wait and nothing may be polled."""
    keys = list(connection.awaited)
    try:
        answers = client.committed([TopicPartition(*key) for key in keys], timeout=ASK_S)
    except KafkaException:
        return
    for one in answers:
        key = (one.topic, one.partition)
        with connection._lock:
            sent = connection.turns.under_way(key)
        if one.error is None and sent and sent[-1][1] == one.offset:
            _answer(connection, key, sent[-1][0], None)


def _answer(connection: Connection, key: Key, number: int, refused: KafkaError | None) -> None:
    """Notify waiters for a commit of a partition sent after `count`; this one has the number `number`."""
    left = []
    for count, answer in connection.awaited.pop(key, ()):
        if number > count and answer.set_running_or_notify_cancel():
            answer.set_result(None) if refused is None else answer.set_exception(KafkaException(refused))
        elif not answer.done():
            left.append((count, answer))
    if left:
        connection.awaited[key] = left


def report(connection: Connection, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
    """Tell what the broker answered to a commit (librdkafka's on_commit)."""
    offsets = tuple((one.topic, one.partition, one.offset) for one in partitions if one.offset >= 0)
    # librdkafka also returns the last error of a partition for the whole request; then the others were accepted.
    alone = any(one.error is not None for one in partitions)
    refusals = {}
    for one in partitions:
        refused = one.error if alone else error
        if refused is not None:
            refusals[one.topic, one.partition] = refused
    with connection._lock:
        places = frozenset(((topic, partition), offset) for topic, partition, offset in offsets)
        number = connection.turns.answered(places, refusals, time.monotonic())
        if connection.kept is not None and error is None:
            for one in partitions:
                if one.error is None and one.offset >= 0:
                    connection.partitions.ledger.taken((one.topic, one.partition), one.offset, one.metadata)
        connection._changed.notify_all()  # a transaction may be waiting for it
    if number is not None:
        for topic, partition, _ in offsets:
            _answer(connection, (topic, partition), number, refusals.get((topic, partition)))
    refused = next(iter(refusals.values()), error)
    if refused is None:
        connection.statistics.committed(offsets)
    connection.bus.emit(
        Committed(
            subscription_group=connection.group.name,
            offsets=offsets,
            error=None if refused is None else f"{refused.name()}: {refused.str()}",
        )
    )
    if refused is None or commit_may_succeed_later(refused):
        return
    reason = commit_refusal(refused, connection.group.consumer_group)
    if connection.refusals.is_new(refused.name(), reason, time.monotonic()):
        connection.bus.emit(
            CommitRefused(
                subscription_group=connection.group.name,
                partitions=tuple(sorted(refusals)),
                code=refused.name(),
                reason=reason,
            )
        )
