"""Rebalances: partitions come and go. librdkafka calls these inside poll() and close(), on the owner thread."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable

import confluent_kafka
from confluent_kafka import TopicPartition

from swarm_consumer import commits, starts
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.events import Assigned, ErrorOccurred, Lost, RevocationOverrun, Revoked, describe
from swarm_consumer.group_state import GroupState
from swarm_consumer.lane import Lane
from swarm_consumer.progress import Key
from swarm_consumer.routing import SubscriptionGroup

Callback = Callable[[confluent_kafka.Consumer, list[TopicPartition]], None]


class Rebalances:
    """Opens and closes the lanes of one subscription group, and waits for work in flight before a partition leaves.

    on_change is called with the lock held whenever lanes were opened or closed.
    """

    def __init__(
        self, group: GroupState, revocation_timeout_s: float, on_change: Callable[[], None], *, incremental: bool = True
    ) -> None:
        self._group = group
        self._revocation_timeout_s = revocation_timeout_s
        self._on_change = on_change
        self._incremental = incremental
        self.assigned_once = False  # since the present client was made
        self.closing = False  # the last revocation is the node's own end: `shutdown` was called, `revoked` is not

    def guarded(self, callback: Callback) -> Callback:
        """Keep our errors out of librdkafka, which they would leave half-way through a rebalance: they end the node."""

        def call(client: confluent_kafka.Consumer, partitions: list[TopicPartition]) -> None:
            group = self._group
            try:
                callback(client, partitions)
            except BaseException as error:  # noqa: BLE001
                group.bus.emit(ErrorOccurred(where="rebalance", error=error))
                group.fail(f"{group.subscription_group}: a rebalance failed: {describe(error)}")

        return call

    def assign(self, client: confluent_kafka.Consumer, partitions: list[TopicPartition]) -> None:
        """Open a lane for each partition that came, and find out where it begins."""
        group = self._group
        routes = {(one.topic, one.partition): group.group.route_of(one.topic) for one in partitions}
        keys = [key for key, route in routes.items() if route is not None]
        found = starts.committed(client, keys) if keys else None
        pinned = self._pin(client, partitions, [key for key, offset in (found or {}).items() if offset is None])
        now = time.monotonic()
        with group.lock:
            for key in keys:
                route = routes[key]
                assert route is not None
                lane = group.lanes.assign(key, route, now)
                group.counters.assigned(key)
                start = pinned.get(key, (found or {}).get(key))
                if start is not None:
                    group.lanes.begin(lane, start, commit=key in pinned)
            self._on_change()
        self.assigned_once = True
        group.statistics.assigned(keys)
        if pinned:
            commits.commit_now(group, client, pinned)
        group.bus.emit(Assigned(subscription_group=group.subscription_group, partitions=tuple(sorted(keys))))

    def _pin(
        self, client: confluent_kafka.Consumer, partitions: list[TopicPartition], without: list[Key]
    ) -> dict[Key, int]:
        """Have the client begin at the present end of partitions without a committed offset, under "latest"."""
        if not without or self._group.group.routes[0].settings.initial_offset != "latest":
            return {}
        pinned = starts.ends(client, without)
        if pinned:
            for partition in partitions:
                partition.offset = pinned.get((partition.topic, partition.partition), partition.offset)
            (client.incremental_assign if self._incremental else client.assign)(partitions)
        return pinned

    def revoke(self, client: confluent_kafka.Consumer, partitions: list[TopicPartition]) -> None:
        """Wait for what is at work, run the revoked hooks, and leave the progress to librdkafka's own commit.

        Only store_offsets here: librdkafka commits the stored offsets while it unassigns. An explicit commit would be
        followed by that one, with an older offset.
        """
        group = self._group
        keys = [(partition.topic, partition.partition) for partition in partitions]
        started = time.monotonic()
        budget = self._revocation_timeout_s
        if group.stopping:
            budget = min(budget, max(0.0, group.deadline - started))
        deadline = started + budget
        with group.lock:
            owned = [lane for key in keys if (lane := group.lanes.by_key.get(key)) is not None]
            for lane in owned:
                lane.revoking = True
            self.wait_while(client, lambda: any(lane.running is not None for lane in owned), deadline)
        if not self.closing:
            self.hooks(client, owned, "revoked", deadline)
        with group.lock:
            unfinished = tuple(sorted(lane.key for lane in owned if lane.running is not None))
            storables = []
            for lane in owned:
                group.lanes.close(lane.key)
                storable = group.lanes.ledger.release(lane.key)
                if storable is not None:
                    storables.append(storable)
            self._on_change()
        if storables:
            commits.store_offsets(group, client, storables)
        group.statistics.unassigned(keys)
        if unfinished:
            waited = time.monotonic() - started
            group.bus.emit(
                RevocationOverrun(subscription_group=group.subscription_group, partitions=unfinished, waited_s=waited)
            )
        group.bus.emit(Revoked(subscription_group=group.subscription_group, partitions=tuple(sorted(keys))))

    def lose(self, _: confluent_kafka.Consumer, partitions: list[TopicPartition]) -> None:
        """Drop what was in flight: others have these partitions already."""
        group = self._group
        keys = [(partition.topic, partition.partition) for partition in partitions]
        with group.lock:
            closed = [lane for key in keys if (lane := group.lanes.close(key)) is not None]
            for key in keys:
                group.lanes.ledger.release(key)
            self._on_change()
        group.statistics.unassigned(keys)
        group.bus.emit(Lost(subscription_group=group.subscription_group, partitions=tuple(sorted(keys))))
        for lane in closed:
            if "revoked" in lane.route.hooks and lane.consumer is not None and lane.running is None:
                group.workers.submit_hook(functools.partial(group.execution.hook, group, lane, "revoked"))

    def hooks(self, client: confluent_kafka.Consumer, lanes: Iterable[Lane], action: str, deadline: float) -> None:
        """Run a hook of several lanes and wait for it until `deadline`."""
        group = self._group
        called = [
            lane for lane in lanes if action in lane.route.hooks and lane.consumer is not None and lane.running is None
        ]
        left = len(called)

        def call(lane: Lane) -> None:
            nonlocal left
            try:
                group.execution.hook(group, lane, action)
            finally:
                with group.lock:
                    left -= 1
                    group.changed.notify_all()

        for lane in called:
            group.workers.submit_hook(functools.partial(call, lane))
        with group.lock:
            self.wait_while(client, lambda: left > 0, deadline)

    def wait_while(self, client: confluent_kafka.Consumer, condition: Callable[[], bool], deadline: float) -> None:
        """Wait, with the lock held, until `condition()` is False or the deadline has come."""
        group = self._group
        group.waiting_below = 1 << 62
        while condition() and (remaining := deadline - time.monotonic()) > 0:
            if group.has_requests:
                # What is waited for may itself be waiting for us: a blocking mark, a transaction.
                group.lock.release()
                try:
                    group.serve_requests(client)
                finally:
                    group.lock.acquire()
                continue
            group.changed.wait(min(remaining, 0.5))
        group.waiting_below = -1


def revocation_timeout_s(given: float | None, group: SubscriptionGroup) -> float:
    """Return the group's revocation budget; raises ConfigurationError when it does not fit into the poll interval."""
    longest = group.max_poll_interval_s
    if given is None:
        return min(30.0, 0.8 * longest)
    if given >= longest:
        raise ConfigurationError(
            f"revocation_timeout ({given:g} s) must be shorter than max.poll.interval.ms of "
            f"subscription group {group.name!r} ({longest:g} s): it is longer by "
            f"{given - longest:g} s, and the broker would have taken the partitions away by then"
        )
    return given
