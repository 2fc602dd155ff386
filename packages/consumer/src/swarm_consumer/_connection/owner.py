"""The owner thread of a subscription group: the only place that creates, calls and closes its Kafka client.

One turn is: fetch or wait, serve requests, commit progress, wake what is due. The parts of a turn are in `intake.py`,
`commits.py`, `due.py` and `seeks.py`, what librdkafka calls back for in `rebalances.py`, the end in `ending.py`;
`connection.py` is what other threads see.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

import confluent_kafka
import msgspec
from confluent_kafka import KafkaError, KafkaException

from swarm_consumer._connection import commits, group_members
from swarm_consumer._connection.client_statistics import UNREADABLE
from swarm_consumer._connection.due import Due
from swarm_consumer._connection.ending import Ending
from swarm_consumer._connection.intake import IDLE_POLL_S, Intake
from swarm_consumer._connection.left_behind import LeftBehind, joined_again
from swarm_consumer._connection.rebalances import Rebalances, longest_revocation_s
from swarm_consumer._connection.silent_partitions import SilentPartitions
from swarm_consumer._connection.stuck_client import StuckClientWatch
from swarm_consumer._scheduling.backoff import Backoff
from swarm_consumer._scheduling.ledger import Key
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.events import (
    ClientCreated,
    ClientError,
    ErrorOccurred,
    StatisticsEmitted,
    describe,
)
from swarm_consumer.kafka.client_errors import Consequence, Repetitions, is_fatal, judge
from swarm_consumer.kafka.clients import ClientFactory
from swarm_consumer.routing.client_properties import ClientProperties, client_error

if TYPE_CHECKING:
    from swarm_consumer._connection.connection import Connection

RETAKEN_S = 60.0
"""For this long after a static id was taken back, its loss means that another process has it."""


class Owner:
    """The body of one subscription group's owner thread."""

    def __init__(
        self, connection: Connection, clients: ClientFactory, properties: ClientProperties, revocation_timeout_s: float
    ) -> None:
        self.connection = connection
        self._clients = clients
        self.properties = properties
        self.due = Due(connection)
        self.intake = Intake(connection, self._report_error, self.due.end_reached)
        self.rebalances = Rebalances(
            connection, revocation_timeout_s, self.intake.assignment_changed, incremental=properties.incremental
        )
        self._client: confluent_kafka.Consumer | None = None
        self._own_id_refused = 0  # refusals of our static id in a row
        self._own_id_refused_before = 0
        self._own_id_backoff = Backoff(1.0, 5.0)
        self._own_id_taken = False
        self._own_id_retaken_at = -float("inf")
        self._own_id_changes = 0
        self._ending = Ending(connection, self.intake, self.rebalances)
        self._repetitions = Repetitions()
        self._watch = StuckClientWatch()
        self.silent = SilentPartitions(connection)
        self.left_behind = LeftBehind(
            connection.group,
            connection.kept,
            properties.node_id,
            self._owned_by_members,
            applies=properties.instance_id is not None and properties.is_classic and properties.incremental,
            revocation_s=longest_revocation_s(revocation_timeout_s, connection.group),
        )
        self._rejoin: list[Key] = []

    def run(self) -> None:
        """Make the client, turn until asked to stop, drain, close."""
        connection = self.connection
        if not connection.stopping:
            connection.membership.evict_departed()
        try:
            try:
                client = self._create()
            except ConfigurationError as error:
                connection.configuration_error = error
                return
            while not connection.stopping and connection.fatal is None:
                if self._own_id_refused:
                    client = self._wait_for_own_id(client)
                elif self._own_id_taken:
                    client = self._change_own_id(client)
                elif self.silent.remake is not None:
                    client = self._make_anew(client)
                elif self._rejoin:
                    client = self._join_again(client)
                else:
                    self._turn(client)
            self._ending.drain(self._client, self._housekeep)
        except BaseException as error:  # noqa: BLE001  a dead owner must never look alive
            name = connection.subscription_group
            connection.fail(f"the owner thread of {name} ended: {describe(error)}")
            connection.bus.emit(ErrorOccurred(where=f"owner thread {name}", error=error))
        finally:
            client_left, self._client = self._client, None
            if client_left is not None:
                self._ending.close(client_left, stuck=self._watch.stuck)
            connection.wake_runtime()

    # -- the client's beginning ----------------------------------------------------------------------------------

    def _create(self) -> confluent_kafka.Consumer:
        connection, rebalances = self.connection, self.rebalances
        connection.membership.begin_anew(self.properties.instance_id)
        self.left_behind.begin(time.monotonic())
        rebalances.assigned_once = False
        self._ending.can_leave = True
        with connection._lock:
            connection.turns.begin_anew(time.monotonic())
        rebalances.rejoin.settled()
        try:
            client = self._client = self._clients.consumer(
                self.properties.for_client(),
                error_cb=lambda error: self._report_error(error, None),
                stats_cb=self._take_statistics,
                on_commit=functools.partial(commits.report, connection),
            )
            client.subscribe(
                list(connection.group.topics),
                on_assign=rebalances.guarded(self._assigned),
                on_revoke=rebalances.guarded(rebalances.revoke),
                on_lost=rebalances.guarded(rebalances.lose),
            )
        except (KafkaException, TypeError, ValueError) as error:
            raise client_error(error, self.properties) from None
        connection.bus.emit(
            ClientCreated(
                subscription_group=connection.subscription_group,
                group=connection.group.consumer_group,
                topics=connection.group.topics,
                instance_id=self.properties.instance_id,
            )
        )
        connection.wake_runtime()
        return client

    def _wait_for_own_id(self, client: confluent_kafka.Consumer) -> confluent_kafka.Consumer:
        """Recreate the client, after a pause, if the broker still holds our static id for a dead session.

        With group.protocol=consumer a broker refuses a static id until its previous holder leaves or its session
        ends, and librdkafka treats the refusal as fatal for the client. It is not this node's fault, so it waits.
        """
        connection = self.connection
        self._client = None
        client.close()
        self._pause(self._own_id_backoff.delay_s(self._own_id_refused))
        if connection.stopping:
            return client  # closed, so there is nothing to drain
        connection.membership.evict_again()
        self._own_id_refused_before, self._own_id_refused = self._own_id_refused, 0
        return self._create()

    def _change_own_id(self, client: confluent_kafka.Consumer) -> confluent_kafka.Consumer:
        """Recreate the client after another member took our static id: under that id, and the next time another one.

        A broker that was killed under load has taken its groups from an earlier part of its log, and fenced all members
        by their own predecessors (seen with Kafka 4.1.1): a member that comes back under its id takes its partitions at
        once, and under other ids all would wait for the sessions of those predecessors. Another process that has the id
        comes back as well, within a moment. The partitions are lost without a callback: for a client with a fatal error
        librdkafka makes none.
        """
        connection = self.connection
        if lost := [confluent_kafka.TopicPartition(*key) for key in connection.assigned()]:
            self.rebalances.lose(client, lost)
        self._client = None
        client.close()
        self._own_id_taken = False
        now = time.monotonic()
        if now - self._own_id_retaken_at > RETAKEN_S:
            self._own_id_retaken_at = now
            return client if connection.stopping else self._create()
        if self._own_id_changes:
            self._pause(self._own_id_backoff.delay_s(self._own_id_changes))
        self._own_id_changes += 1
        if connection.stopping:
            return client
        self.properties.change_static_id()
        return self._create()

    def _pause(self, seconds: float) -> None:
        """Wait without a client, unless asked to stop."""
        connection = self.connection
        with connection._lock:
            until = time.monotonic() + seconds
            while not connection.stopping and (remaining := until - time.monotonic()) > 0:
                connection.last_poll = time.monotonic()
                connection._changed.wait(min(remaining, IDLE_POLL_S))

    def _make_anew(self, client: confluent_kafka.Consumer) -> confluent_kafka.Consumer:
        """Recreate a client that no longer fetches a partition, or does not rejoin its group."""
        connection = self.connection
        self.silent.remake = None
        if self._is_told_to_stop():
            return client  # the end closes it, and leaves the group first if that is wanted
        self._client = None
        client.close()
        if self._is_told_to_stop() and not connection.membership.is_kept_by_close:
            self._ending.tell_membership(leaving=self._ending.leaves())
            return client
        # Also in a stop that has come meanwhile: close() has kept a static member in its group, and only a client can
        # leave it.
        return self._create()

    def _is_told_to_stop(self) -> bool:
        return self.connection.stopping

    def _join_again(self, client: confluent_kafka.Consumer) -> confluent_kafka.Consumer:
        """Leave the group and come back, so that all of its partitions are divided again."""
        connection = self.connection
        reason, self._rejoin = joined_again(self._rejoin), []
        connection.bus.emit(
            ClientError(subscription_group=connection.subscription_group, code="_UNCLAIMED", reason=reason)
        )
        self._ending.leave(client)
        return self._make_anew(client)

    # -- a turn --------------------------------------------------------------------------------------------------

    def _turn(self, client: confluent_kafka.Consumer) -> None:
        connection = self.connection
        connection.last_poll = now = time.monotonic()
        if connection.quieting:
            self.intake.pause_all(client)
            self.intake.poll(client, IDLE_POLL_S)
        else:
            self.intake.turn(client, now)
        if connection.membership.is_unknown:  # a node may die before it has partitions, and be waited for all the same
            connection.membership.note(client)
        self._housekeep(client)
        if not connection.quieting:  # it could take none of them
            self._rejoin = self.left_behind.look(client, now, connection.assigned)

    def _owned_by_members(self) -> frozenset[Key] | None:
        reach, group = self.properties.of_connection(), self.connection.group.consumer_group
        return group_members.owned(self._clients, reach, group, self._is_told_to_stop)

    def _housekeep(self, client: confluent_kafka.Consumer) -> None:
        """Do what is due: requests of handlers, progress to commit, retries and pauses that end, seeks, ticks."""
        connection = self.connection
        connection.requests.serve(client)
        if connection.kept is not None:
            connection.kept.see_to(time.monotonic())
        commits.collect(connection)
        commits.commit_due(connection, client)
        if connection.partitions.frozen:
            return
        self.due.see_to(client)
        if self.silent.look(client, time.monotonic(), self.intake.empty_since):
            self.intake.empty_since = None

    # -- callbacks of the client ---------------------------------------------------------------------------------

    def _assigned(self, client: confluent_kafka.Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        self.rebalances.assign(client, partitions)
        if self._ending.static_in_vain or not static_in_vain(client, self.properties):
            return
        self._ending.static_in_vain = True
        self.connection.bus.emit(
            ClientError(
                subscription_group=self.connection.subscription_group,
                code="UNSUPPORTED_VERSION",
                reason=f"the brokers know no static members, as before Kafka 2.3, and took no notice of the id "
                f"{self.properties.instance_id}: this node is a dynamic member, and leaves the group whenever it stops",
            )
        )

    def _report_error(self, error: KafkaError, topic: str | None) -> None:
        connection = self.connection
        reason = self.properties.scrub(error.str())
        if topic is not None and topic not in reason:
            reason = f"{topic}: {reason}"
        judgement = judge(
            error,
            reason,
            connection.group.consumer_group,
            self.properties.instance_id,
            id_may_change=self.properties.static_id_may_change,
        )
        if is_fatal(error):
            self._ending.can_leave = False
        if judgement.consequence is Consequence.END:
            connection.fail(f"{connection.subscription_group}: {judgement.code}: {judgement.reason}", judgement.code)
            return
        reason = judgement.reason
        if judgement.consequence is Consequence.WAIT_FOR_OWN_ID:
            before = 0 if self.rebalances.assigned_once else self._own_id_refused_before
            self._own_id_refused = before + 1
        elif judgement.consequence is Consequence.CHANGE_OWN_ID:
            self._own_id_taken = True
        if self._repetitions.is_new(judgement.code, reason, time.monotonic()):
            connection.bus.emit(
                ClientError(subscription_group=connection.subscription_group, code=judgement.code, reason=reason)
            )

    def _take_statistics(self, text: str) -> None:
        connection = self.connection
        now = time.monotonic()
        connection.statistics.update(text, now)
        stuck = self._watch.look(connection.statistics, now)
        if stuck is not None:
            connection.fail(
                f"{connection.subscription_group}: {stuck}; it does not recover from that: the node must start again"
            )
        lost = self.rebalances.rejoin.look(connection.statistics.group_state, connection.statistics.join_state, now)
        if lost is not None and not (connection.quieting or connection.stopping):
            self.silent.remake = lost
            connection.bus.emit(
                ClientError(subscription_group=connection.subscription_group, code="_STATE", reason=lost)
            )
        if connection.bus.wants(StatisticsEmitted):
            try:
                statistics = msgspec.json.decode(text, type=dict)
            except UNREADABLE:  # an exception raised by poll() would end this thread and the node
                return
            connection.bus.emit(
                StatisticsEmitted(subscription_group=connection.subscription_group, statistics=statistics)
            )


def static_in_vain(client: confluent_kafka.Consumer, properties: ClientProperties) -> bool:
    """Whether the broker has taken a static member for a dynamic one.

    librdkafka leaves the static id out of what it sends to a broker before Kafka 2.3, and says so once a day at most.
    The member id that a broker makes begins with the static id or, for a dynamic member, with the client's.
    """
    if properties.instance_id is None or not properties.is_classic:
        return False
    member_id = client.memberid() or ""
    its_own = member_id.startswith(f"{properties.instance_id}-")
    return not its_own and member_id.startswith(f"{properties.in_effect()['client.id']}-")
