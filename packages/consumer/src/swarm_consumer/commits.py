"""From the ledger to the broker: storing offsets for the automatic commit, and committing at once where it is wished.

The functions that take a client are called by the thread that owns it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from swarm_consumer.client_errors import commit_may_succeed_later, commit_refusal
from swarm_consumer.events import CommitRefused, Committed, ErrorOccurred
from swarm_consumer.group_state import GroupState
from swarm_consumer.offsets import topic_partition
from swarm_consumer.progress import Key, Storable

RETRY_S = 0.1
"""Between two attempts of a blocking mark."""
ASK_S = 0.5
"""How long the broker may take to say what is committed, while handlers are waited for in a rebalance."""
CONFIRM_S = 5.0
"""A commit that was made at once and is not answered after so long is made again."""
REFUSED_S = 1.0
"""The same for one that was refused."""


def store(group: GroupState, client: confluent_kafka.Consumer) -> None:
    """Store every position that has moved; librdkafka commits what is stored every auto.commit.interval.ms."""
    with group.lock:
        storables = group.lanes.ledger.take_storable()
    if storables:
        store_offsets(group, client, storables)


def store_offsets(group: GroupState, client: confluent_kafka.Consumer, storables: Iterable[Storable]) -> None:
    """Store these positions."""
    offsets = [topic_partition(one) for one in storables]
    try:
        client.store_offsets(offsets=offsets)
    except KafkaException as error:
        # _STATE: none of them is assigned any more. The ledger lets go of a partition in the rebalance callback,
        # on this thread, so this is a partition the client gave up by itself; the next owner does it again.
        if error.args[0].code() != KafkaError._STATE:
            group.bus.emit(ErrorOccurred(where="store_offsets", error=error))


def commit_now(group: GroupState, client: confluent_kafka.Consumer, keys: Iterable[Key]) -> None:
    """Commit the positions of these partitions at once, whatever is committed; made again until it is confirmed.

    The automatic commit passes over a stored offset below the committed one: going back needs a commit of its own. The
    partitions are ours here, on the owner's thread, so it can rewind nobody else.
    """
    store(group, client)
    with group.lock:
        places = [present for key in keys if (present := group.lanes.ledger.present(key)) is not None]
        for one in places:
            group.lanes.ledger.committing((one.topic, one.partition))
    if not places:
        return
    again = time.monotonic() + CONFIRM_S
    group.unconfirmed.update({(one.topic, one.partition): (one.offset, again) for one in places})
    try:
        client.commit(offsets=[topic_partition(one) for one in places], asynchronous=True)
    except KafkaException as error:
        group.bus.emit(ErrorOccurred(where="commit", error=error, topic=places[0].topic, partition=places[0].partition))


def confirm(group: GroupState, client: confluent_kafka.Consumer, now: float) -> None:
    """Make the commits again that were made at once and that the broker has not taken."""
    # Copies: a worker whose transaction has overtaken a commit strikes it out.
    for key in [key for key in list(group.unconfirmed) if key not in group.lanes.by_key]:
        group.unconfirmed.pop(key, None)
    due = [key for key, (_, again) in list(group.unconfirmed.items()) if now >= again]
    if due:
        commit_now(group, client, due)


def commit_blocking(group: GroupState, key: Key, epoch: int, timeout_s: float) -> bool:
    """Store and commit a partition's position and wait for the broker; False when it did not take it.

    Called by workers. The owner only sends the commit: inside a blocking one it would stay as long as librdkafka looks
    for a coordinator, without a poll, a rebalance or a stored offset of any other partition.
    """

    def send(client: confluent_kafka.Consumer) -> Future[None] | None:
        with group.lock:
            present = group.lanes.ledger.present(key) if group.lanes.ledger.owns(key, epoch) else None
        if present is None:
            return None
        store(group, client)
        answer: Future[None] = Future()
        waiting = [one for one in group.awaited.get(key, ()) if not one[1].done()]
        group.awaited[key] = [*waiting, (present.offset, answer)]
        try:
            client.commit(offsets=[topic_partition(present)], asynchronous=True)
        except BaseException:
            answer.cancel()  # none will come: the next one who waits strikes it out
            raise
        return answer

    deadline = time.monotonic() + timeout_s
    while True:
        try:
            answer = group.request(send, max(0.0, deadline - time.monotonic()))
            if answer is None:
                return False
            try:
                answer.result(max(0.0, deadline - time.monotonic()))
            except FutureTimeout:
                answer.cancel()
                raise TimeoutError(f"{group.group.name}: no answer to the commit within {timeout_s:g} s") from None
            return True
        except TimeoutError as error:
            reason: Exception = error
        except KafkaException as error:
            reason = error
            # A rebalance in progress or a coordinator that moves: the next attempt may well be taken.
            if commit_may_succeed_later(error.args[0]) and time.monotonic() + RETRY_S < deadline:
                time.sleep(RETRY_S)
                continue
        group.bus.emit(ErrorOccurred(where="blocking mark", error=reason, topic=key[0], partition=key[1]))
        return False


def ask_for_answers(group: GroupState, client: confluent_kafka.Consumer) -> None:
    """Find out about awaited commits where nothing may be polled: inside a rebalance callback, where handlers wait."""
    keys = list(group.awaited)
    try:
        answers = client.committed([TopicPartition(*key) for key in keys], timeout=ASK_S)
    except KafkaException:
        return
    for one in answers:
        if one.error is None and one.offset >= 0:
            _answer(group, (one.topic, one.partition), one.offset, None)


def _answer(group: GroupState, key: Key, offset: int, refused: KafkaError | None) -> None:
    """Tell those who wait for a partition's commit: one that was taken answers all up to it."""
    left = []
    for wanted, answer in group.awaited.pop(key, ()):
        if (wanted <= offset if refused is None else wanted == offset) and answer.set_running_or_notify_cancel():
            answer.set_result(None) if refused is None else answer.set_exception(KafkaException(refused))
        elif not answer.done():
            left.append((wanted, answer))
    if left:
        group.awaited[key] = left


def report(group: GroupState, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
    """Tell what the broker answered to a commit (librdkafka's on_commit)."""
    if error is not None and error.code() == KafkaError._NO_OFFSET:
        return  # an interval in which nothing was stored
    offsets = tuple((one.topic, one.partition, one.offset) for one in partitions if one.offset >= 0)
    refusals = {}
    for one in partitions:
        key, refused = (one.topic, one.partition), error or one.error
        if one.offset >= 0:
            _answer(group, key, one.offset, refused)
        if refused is not None:
            refusals[key] = refused
        if group.unconfirmed.get(key, (-1, 0.0))[0] == one.offset:
            if refused is None:
                group.unconfirmed.pop(key, None)
            else:
                group.unconfirmed[key] = one.offset, time.monotonic() + REFUSED_S
    refused = error or next(iter(refusals.values()), None)
    if refused is None:
        group.statistics.committed(offsets)
    group.bus.emit(
        Committed(
            subscription_group=group.group.name,
            offsets=offsets,
            error=None if refused is None else f"{refused.name()}: {refused.str()}",
        )
    )
    if refused is None or commit_may_succeed_later(refused):
        return
    reason = commit_refusal(refused, group.group.group)
    if group.refusals.is_new(refused.name(), reason, time.monotonic()):
        group.bus.emit(
            CommitRefused(
                subscription_group=group.group.name,
                partitions=tuple(sorted(refusals)),
                code=refused.name(),
                reason=reason,
            )
        )
