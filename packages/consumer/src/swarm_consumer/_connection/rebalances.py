"""Rebalances: partitions come and go. librdkafka calls this inside poll() and close(), on the owner thread."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import confluent_kafka
from confluent_kafka import KafkaException, TopicPartition

from swarm_consumer._connection import commits, starts
from swarm_consumer._connection.kept_progress import replaceable
from swarm_consumer._connection.rejoin import RejoinWatch
from swarm_consumer._scheduling import suspicion
from swarm_consumer._scheduling.lane import Lane
from swarm_consumer._scheduling.ledger import Key
from swarm_consumer._scheduling.partition import Partition
from swarm_consumer._scheduling.take_over import Refusal, suspects_survive
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.events import Assigned, ErrorOccurred, Lost, RevocationOverrun, Revoked, describe
from swarm_consumer.routing.routes import SubscriptionGroup

if TYPE_CHECKING:
    from swarm_consumer._connection.connection import Connection

LONG_RUNNING_S = 5.0
"""How long a revocation waits for the handler of a long_running topic without its own limit."""

SETTLE_S = 1.0
"""How long a revocation waits for a commit that librdkafka retries."""

Callback = Callable[[confluent_kafka.Consumer, list[TopicPartition]], None]


class Rebalances:
    """Opens and closes the partitions of one connection, and waits for work in flight before a partition leaves.

    on_change is called with the lock held whenever partitions were opened or closed.
    """

    def __init__(
        self,
        connection: Connection,
        revocation_timeout_s: float,
        on_change: Callable[[], None],
        *,
        incremental: bool = True,
    ) -> None:
        self._connection = connection
        self._revocation_timeout_s = revocation_timeout_s
        self._on_change = on_change
        self._incremental = incremental
        self.assigned_once = False  # since the current client was created
        self.rejoin = RejoinWatch()
        self.closing = False  # the last revocation is the end of the node: `shutdown` was called, so `revoked` is not

    def guarded(self, callback: Callback) -> Callback:
        """Keep our errors from interrupting librdkafka half-way through a rebalance: they end the node instead."""

        def call(client: confluent_kafka.Consumer, partitions: list[TopicPartition]) -> None:
            connection = self._connection
            connection.unpolled = True
            try:
                callback(client, partitions)
            except BaseException as error:  # noqa: BLE001
                connection.bus.emit(ErrorOccurred(where="rebalance", error=error))
                connection.fail(f"{connection.subscription_group}: a rebalance failed: {describe(error)}")
            finally:
                connection.unpolled = False

        return call

    def assign(self, client: confluent_kafka.Consumer, partitions: list[TopicPartition]) -> None:
        """Open each partition that came, and find out where it begins.

        That is its committed offset, or where its last owner was, if that is known for sure (`take_over.py`). What it
        begins with is then committed at once, because the token of our claim in a commit is what makes our own notes
        sure for the next owner.
        """
        connection = self._connection
        routes = {(one.topic, one.partition): connection.group.route_of(one.topic) for one in partitions}
        keys = [key for key, route in routes.items() if route is not None]
        self._refuse(client, [key for key, route in routes.items() if route is None])
        kept = connection.kept
        found = starts.committed(client, keys) if keys else {}
        notes = kept.recall(keys) if kept is not None and keys else {}
        taken_over: dict[Key, tuple[int, int | None]] = {}
        refused: list[Key] = []
        verdicts: dict[Key, Refusal | None] = {}
        if kept is not None:
            taken_over, refused, verdicts = kept.positions(notes, found, functools.partial(starts.ends, client))
        pinned = self._pinned(client, [key for key, one in found.items() if one.offset is None])
        placed = taken_over | {key: (offset, None) for key, offset in pinned.items()}
        if placed:
            self._place(client, partitions, placed)
        sure = kept is not None and kept.keeps_positions
        base = {key for key, one in found.items() if sure and replaceable(one)}
        at_once = placed.keys() | base
        starting = {
            key: placed[key][0] if key in placed else found[key].offset if key in found else None for key in keys
        }
        suspected = kept.suspects(notes, verdicts, starting, routes) if kept is not None else {}
        now = time.monotonic()
        with connection._lock:
            for key in keys:
                route = routes[key]
                assert route is not None
                partition = connection.partitions.assign(key, route, now)
                connection.counters.assigned(key)
                if key in taken_over or key in refused:
                    connection.counters.took_over(key, refused=key in refused)
                one = found.get(key)
                start, leader_epoch = (None, None) if one is None else (one.offset, one.leader_epoch)
                start, leader_epoch = placed.get(key, (start, leader_epoch))
                # Without an answer it is unknown whether the first record is below the committed offset, so its
                # offset is committed; with notes also if nothing is committed, or nothing would make them sure.
                partition.start_unknown = one is None or (start is None and sure)
                if start is not None:
                    connection.partitions.begin(partition, start, leader_epoch, commit=key in at_once)
                if partition.place is not None and not sure and start is not None:
                    # Nothing else says later whether the topic is another one: then its records are not suspected.
                    partition.place.committed(start)
                if (accused := suspected.get(key)) is not None:
                    suspicion.accuse(partition, *accused)
                    connection.counters.suspects(key)
                if key in notes and notes[key].letters and suspects_survive(verdicts.get(key)):
                    suspicion.continue_letters(partition, notes[key].letters)
            self._on_change()
        if kept is not None:
            kept.tell()
        self.assigned_once = True
        connection.membership.note(client)
        self.rejoin.settled()
        connection.statistics.assigned(keys)
        if at_once:
            commits.commit_now(connection, client, at_once)
        connection.bus.emit(Assigned(subscription_group=connection.subscription_group, partitions=tuple(sorted(keys))))

    def _refuse(self, client: confluent_kafka.Consumer, keys: list[Key]) -> None:
        """Report partitions without a handler, and do not fetch them."""
        connection = self._connection
        for topic in sorted({topic for topic, _ in keys}):
            error = ConfigurationError(
                f"topic {topic!r} was assigned to subscription group {connection.subscription_group!r}, and none of "
                f"its topics and patterns ({', '.join(connection.group.topics)}) matches it for Python: its "
                f"records wait. Declare the topic, or write the pattern so that Kafka and Python both match it"
            )
            connection.bus.emit(ErrorOccurred(where="assignment", error=error, topic=topic))
        if keys:
            with contextlib.suppress(KafkaException):
                client.pause([TopicPartition(*key) for key in keys])

    def _pinned(self, client: confluent_kafka.Consumer, without: list[Key]) -> dict[Key, int]:
        """Return the current end of partitions without a committed offset, under "latest"."""
        if not without or self._connection.group.routes[0].settings.initial_offset != "latest":
            return {}
        return starts.ends(client, without)

    def _place(
        self,
        client: confluent_kafka.Consumer,
        partitions: list[TopicPartition],
        placed: dict[Key, tuple[int, int | None]],
    ) -> None:
        """Have the client start where we say; with the leader's epoch it looks whether the log was cut since."""
        assigned = []
        for one in partitions:
            offset, leader_epoch = placed.get((one.topic, one.partition), (one.offset, None))
            epoch: dict[str, Any] = {} if leader_epoch is None else {"leader_epoch": leader_epoch}
            assigned.append(TopicPartition(one.topic, one.partition, offset, **epoch))
        (client.incremental_assign if self._incremental else client.assign)(assigned)

    def revoke(self, client: confluent_kafka.Consumer, partitions: list[TopicPartition]) -> None:
        """Wait for running work, run the revoked hooks, and commit everything not committed yet.

        librdkafka releases the partitions when that commit has been answered.
        """
        connection = self._connection
        keys = [(partition.topic, partition.partition) for partition in partitions]
        started = time.monotonic()
        with connection._lock:
            owned = [one for key in keys if (one := connection.partitions.by_key.get(key)) is not None]
            for partition in owned:
                partition.revoking = True
            deadline = started + max(map(self._budget_s, owned), default=0.0)
            self.wait_while(client, functools.partial(self._worth_waiting, owned, started), deadline)
        if not self.closing:
            self.hooks(client, owned, "revoked", deadline)
        self._settle(client, keys)
        with connection._lock:
            unfinished = tuple(sorted(partition.key for partition in owned if partition.running))
            deadly = {partition.key for partition in owned if partition.deadly}
            if not (self.closing or connection.is_ending):
                for partition in owned:
                    if partition.running and partition.place is not None and not partition.deadly:
                        partition.place.run_on()
            last = commits.take_last(connection, keys)
            for key in keys:
                connection.partitions.close(key, tell=not self.closing)
                connection.partitions.ledger.release(key, gracefully=key not in unfinished and key not in deadly)
            self._on_change()
        commits.send(connection, client, last)
        self._tell_revoked(owned)
        self._unpause(client, owned)
        connection.statistics.unassigned(keys)
        connection.ends.forget(keys)
        if unfinished:
            waited = time.monotonic() - started
            connection.bus.emit(
                RevocationOverrun(
                    subscription_group=connection.subscription_group, partitions=unfinished, waited_s=waited
                )
            )
        connection.bus.emit(Revoked(subscription_group=connection.subscription_group, partitions=tuple(sorted(keys))))

    def _settle(self, client: confluent_kafka.Consumer, keys: list[Key]) -> None:
        """Wait for commits in flight, because a retried one would overtake the last one."""
        until = time.monotonic() + SETTLE_S
        while not commits.arrived(self._connection, client, keys) and time.monotonic() < until:
            with self._connection._lock:
                self._connection._changed.wait(commits.RETRY_S)

    def _budget_s(self, partition: Partition) -> float:
        """Return how long a revocation waits for the partition's handler."""
        settings = partition.route.settings
        if settings.revocation_timeout is not None:
            return settings.revocation_timeout
        # A job of minutes or hours does not end within any such time: it would only block the connection.
        return min(self._revocation_timeout_s, LONG_RUNNING_S) if settings.long_running else self._revocation_timeout_s

    def _worth_waiting(self, partitions: list[Partition], started: float) -> bool:
        waited = time.monotonic() - started
        return any(partition.running and waited < self._budget_s(partition) for partition in partitions)

    def _tell_revoked(self, closed: Iterable[Partition]) -> None:
        """Queue revoked() of idle lanes; for a running lane, the end of the run does that."""
        connection = self._connection
        for lane in _lanes(closed):
            if lane.owes_revoked and lane.running is None:
                connection.call_hook(lane, "revoked")

    def _unpause(self, client: confluent_kafka.Consumer, partitions: Iterable[Partition]) -> None:
        """Resume partitions paused for memory: the client keeps the pause, but a new assignment does not know it."""
        paused = [TopicPartition(*partition.key) for partition in partitions if partition.flow_paused]
        if not paused:
            return
        try:
            client.resume(paused)
        except KafkaException as error:
            self._connection.bus.emit(ErrorOccurred(where="resume", error=error))

    def lose(self, client: confluent_kafka.Consumer, partitions: list[TopicPartition]) -> None:
        """Drop work in flight, because other members already have these partitions."""
        connection = self._connection
        keys = [(partition.topic, partition.partition) for partition in partitions]
        with connection._lock:
            tell = not self.closing
            closed = [one for key in keys if (one := connection.partitions.close(key, tell=tell)) is not None]
            for key in keys:
                connection.partitions.ledger.release(key)
            connection.turns.forget(keys)
            self._on_change()
        commits.give_up_awaited(connection, keys)
        self._unpause(client, closed)
        self.rejoin.lost(time.monotonic())
        connection.statistics.unassigned(keys)
        connection.ends.forget(keys)
        connection.bus.emit(Lost(subscription_group=connection.subscription_group, partitions=tuple(sorted(keys))))
        self._tell_revoked(closed)

    def hooks(
        self, client: confluent_kafka.Consumer, partitions: Iterable[Partition], action: str, deadline: float
    ) -> None:
        """Run a hook of several partitions and wait for it until `deadline`."""
        connection = self._connection
        called = [lane for lane in _lanes(partitions) if lane.wants(action) and lane.running is None]
        left = len(called)

        def call(lane: Lane) -> None:
            nonlocal left
            try:
                connection.workers.hook(connection, lane, action)
            finally:
                with connection._lock:
                    left -= 1
                    connection._changed.notify_all()

        for lane in called:
            connection.workers.submit_hook(functools.partial(call, lane))
        with connection._lock:
            self.wait_while(client, lambda: left > 0, deadline)

    def wait_while(
        self, client: confluent_kafka.Consumer | None, condition: Callable[[], bool], deadline: float
    ) -> None:
        """Wait, with the lock held, until `condition()` is False, or until the deadline or that of a stop."""
        connection = self._connection
        connection.waiting_below = 1 << 62
        before, connection.unpolled = connection.unpolled, True
        while condition():
            until = min(deadline, connection.work_deadline) if connection.stopping else deadline
            remaining = until - time.monotonic()
            if remaining <= 0:
                break
            if client is not None and connection.requests.waiting:
                # The awaited work may itself wait for us: a blocking mark, a transaction.
                connection._lock.release()
                try:
                    connection.requests.serve(client)
                finally:
                    connection._lock.acquire()
                continue
            if client is not None and connection.awaited:
                connection._lock.release()
                try:
                    commits.commit_due(connection, client)
                    commits.ask_for_answers(connection, client)
                finally:
                    connection._lock.acquire()
            connection._changed.wait(min(remaining, 0.05 if connection.awaited else 0.5))
        connection.unpolled = before
        connection.waiting_below = -1


def _lanes(partitions: Iterable[Partition]) -> list[Lane]:
    return [lane for partition in partitions for lane in partition.lanes]


def revocation_timeout_s(given: float | None, group: SubscriptionGroup) -> float:
    """Return the group's revocation budget; raises ConfigurationError if it does not fit into the poll interval."""
    longest = group.max_poll_interval_s
    own = [route.settings.revocation_timeout for route in group.routes]
    for one in (given, *own):
        if one is not None and one >= longest:
            raise ConfigurationError(
                f"revocation_timeout ({one:g} s) must be shorter than max.poll.interval.ms of "
                f"subscription group {group.name!r} ({longest:g} s): it is too long by "
                f"{one - longest:g} s, and the broker would take the partitions away before it ends"
            )
    return min(30.0, 0.8 * longest) if given is None else given


def longest_revocation_s(common_s: float, group: SubscriptionGroup) -> float:
    """Return the longest that a revocation of the group may wait for handlers; common_s: without a topic's own."""
    own = (route.settings.revocation_timeout for route in group.routes)
    return max([common_s, *(one for one in own if one is not None)])
