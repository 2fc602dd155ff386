"""The owner thread of a subscription group: the only place where its Kafka client is made, called and closed.

One turn is: fetch or wait, serve requests, store progress, wake what is due. The parts of a turn are in `intake.py`,
`commits.py` and `seeks.py`, what librdkafka calls back for in `rebalances.py`; `client.py` is what other threads see.
"""

from __future__ import annotations

import functools
import time

import confluent_kafka
import msgspec
from confluent_kafka import KafkaError, KafkaException

from swarm_consumer._connection import commits, seeks
from swarm_consumer._connection.client_properties import ClientProperties, client_error
from swarm_consumer._connection.client_statistics import UNREADABLE
from swarm_consumer._connection.group_state import GroupState
from swarm_consumer._connection.intake import BUSY_POLL_S, IDLE_POLL_S, Intake
from swarm_consumer._connection.rebalances import Rebalances
from swarm_consumer._connection.silent_partitions import SilentPartitions
from swarm_consumer._connection.stuck_client import StuckClientWatch
from swarm_consumer._scheduling.lane import LaneState
from swarm_consumer._scheduling.progress import Key
from swarm_consumer._scheduling.retry import Backoff
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.events import (
    ClientCreated,
    ClientError,
    DrainOverrun,
    ErrorOccurred,
    StatisticsEmitted,
    describe,
)
from swarm_consumer.kafka.client_errors import Consequence, Repetitions, judge
from swarm_consumer.kafka.clients import ClientFactory

FATAL_DRAIN_S = 5.0
"""What handlers at work are given when the client has died."""
SEEKS_S = 1.0
"""How long seeks may take in a turn: a broker that does not answer holds each of them up, and polls have to go on."""
LAST_ANSWER_S = 1.0
"""How long a stop waits for the answer to a commit that is under way."""
LEAVE_S = 2.0
"""How long a static member that leaves for good waits for its partitions to be taken."""

_abandoned: list[confluent_kafka.Consumer] = []
"""Stuck clients. Neither close() nor the destructor of one returns: they are left for the end of the process."""


class Owner:
    """The body of one subscription group's owner thread."""

    def __init__(
        self, group: GroupState, clients: ClientFactory, properties: ClientProperties, revocation_timeout_s: float
    ) -> None:
        self.group = group
        self._clients = clients
        self.properties = properties
        self.intake = Intake(group, self._report_error, self._end_reached)
        self.rebalances = Rebalances(
            group, revocation_timeout_s, self.intake.assignment_changed, incremental=properties.incremental
        )
        self._client: confluent_kafka.Consumer | None = None
        self._own_id_refused = 0  # refusals in a row of our static id
        self._own_id_refused_before = 0
        self._own_id_backoff = Backoff(1.0, 5.0)
        self._ends_to_tell = False  # some partition's end was reached and eofed() not called yet
        self._has_ticks = any("tick" in route.hooks for route in group.group.routes)
        self._repetitions = Repetitions()
        self._watch = StuckClientWatch()
        self.silent = SilentPartitions(group)

    def run(self) -> None:
        """Make the client, turn until told to stop, drain, close."""
        group = self.group
        try:
            client = self._create()
        except ConfigurationError as error:
            group.configuration_error = error
            group.wake_runtime()
            return
        try:
            while not group.stopping and group.fatal is None:
                if self._own_id_refused:
                    client = self._wait_for_own_id(client)
                elif self.silent.remake is not None:
                    client = self._make_anew(client)
                else:
                    self._turn(client)
            self._drain(self._client)
        except BaseException as error:  # noqa: BLE001  a dead owner must never look alive
            name = group.subscription_group
            group.fail(f"the owner thread of {name} ended: {describe(error)}")
            group.bus.emit(ErrorOccurred(where=f"owner thread {name}", error=error))
        finally:
            self._close()
            group.wake_runtime()

    # -- the client's beginning ----------------------------------------------------------------------------------

    def _create(self) -> confluent_kafka.Consumer:
        group, rebalances = self.group, self.rebalances
        rebalances.assigned_once = False
        with group.lock:
            group.turns.begin_anew(time.monotonic())
        rebalances.rejoin.settled()
        try:
            client = self._client = self._clients.consumer(
                self.properties.for_client(),
                error_cb=lambda error: self._report_error(error, None),
                stats_cb=self._take_statistics,
                on_commit=functools.partial(commits.report, group),
            )
            client.subscribe(
                list(group.group.topics),
                on_assign=rebalances.guarded(rebalances.assign),
                on_revoke=rebalances.guarded(rebalances.revoke),
                on_lost=rebalances.guarded(rebalances.lose),
            )
        except (KafkaException, TypeError, ValueError) as error:
            raise client_error(error, self.properties) from None
        group.bus.emit(
            ClientCreated(
                subscription_group=group.subscription_group,
                group=group.group.group,
                topics=group.group.topics,
                instance_id=self.properties.instance_id,
            )
        )
        group.wake_runtime()
        return client

    def _wait_for_own_id(self, client: confluent_kafka.Consumer) -> confluent_kafka.Consumer:
        """Make the client anew, after a pause, when the broker still holds our static id for a session that died.

        With group.protocol=consumer a broker lets nobody have a static id before its last holder left or its session
        ended, and librdkafka takes the refusal as fatal for the client. It is no fault of this node: it waits.
        """
        group = self.group
        self._client = None
        client.close()
        with group.lock:
            until = time.monotonic() + self._own_id_backoff.delay_s(self._own_id_refused)
            while not group.stopping and (remaining := until - time.monotonic()) > 0:
                group.last_poll = time.monotonic()
                group.changed.wait(min(remaining, IDLE_POLL_S))
        if group.stopping:
            return client  # closed: nothing is left to drain
        self._own_id_refused_before, self._own_id_refused = self._own_id_refused, 0
        return self._create()

    def _make_anew(self, client: confluent_kafka.Consumer) -> confluent_kafka.Consumer:
        """Make the client anew: one that does not fetch a partition any more, or does not join its group again."""
        self.silent.remake = self._client = None
        client.close()
        return client if self.group.stopping else self._create()

    # -- a turn --------------------------------------------------------------------------------------------------

    def _turn(self, client: confluent_kafka.Consumer) -> None:
        group = self.group
        group.last_poll = now = time.monotonic()
        if group.quieting:
            self.intake.pause_all(client)
            self.intake.poll(client, IDLE_POLL_S)
        else:
            self.intake.turn(client, now)
        self._housekeep(client)

    def _housekeep(self, client: confluent_kafka.Consumer) -> None:
        """Do what is due: requests of handlers, progress to store, retries and pauses that end, seeks, ticks."""
        group = self.group
        group.serve_requests(client)
        commits.collect(group)
        commits.commit_due(group, client)
        if group.lanes.frozen:
            return
        if group.attention:
            self._attend(client, time.monotonic())
        if self._ends_to_tell:
            self._tell_ends()
        now = time.monotonic()
        if self._has_ticks:
            self._tick(now)
        if self.silent.look(client, now, self.intake.empty_since):
            self.intake.empty_since = None

    def _attend(self, client: confluent_kafka.Consumer, now: float) -> None:
        """Wake the lanes whose time has come, and do the seeks that were asked for."""
        group = self.group
        with group.lock:
            for lane in group.lanes.wake(now):
                group.workers.submit(group, lane)
            lanes = group.lanes.by_key.values()
            waiting = [lane for lane in lanes if lane.pending_seek is not None and not lane.running]
            group.attention = bool(waiting) or any(lane.blocked or lane.paused_until is not None for lane in lanes)
        for lane in waiting:
            if now >= lane.seek_at:
                seeks.seek(group, client, lane)
                if time.monotonic() - now >= SEEKS_S:
                    return  # the others at the next turn

    def _tick(self, now: float) -> None:
        group = self.group
        with group.lock:
            due = []
            for lane in group.lanes.by_key.values():
                if "tick" not in lane.route.hooks or lane.state is LaneState.WAITING:
                    continue
                if now >= lane.next_tick:
                    lane.next_tick = now + lane.route.settings.tick_interval
                    lane.tick_due = True  # of one that is at work the worker calls it, between two batches
                if lane.tick_due and lane.state in (LaneState.IDLE, LaneState.PAUSED) and group.lanes.is_free(lane):
                    lane.tick_due = False
                    due.append(lane)
        for lane in due:
            group.workers.submit_hook(functools.partial(group.execution.hook, group, lane, "tick"))

    def _end_reached(self, key: Key) -> None:
        with self.group.lock:
            lane = self.group.lanes.by_key.get(key)
            if lane is not None and "eofed" in lane.route.hooks:
                lane.eof = self._ends_to_tell = True

    def _tell_ends(self) -> None:
        """Call eofed() where the end was reached and everything before it is done with."""
        group = self.group
        with group.lock:
            reached = [lane for lane in group.lanes.by_key.values() if lane.eof]
            due = [one for one in reached if one.state is LaneState.IDLE and not one.held and group.lanes.is_free(one)]
            for lane in due:
                lane.eof = False
            self._ends_to_tell = any(lane.eof for lane in group.lanes.by_key.values())
        for lane in due:
            group.workers.submit_hook(functools.partial(group.execution.hook, group, lane, "eofed"))

    # -- the end -------------------------------------------------------------------------------------------------

    def _drain(self, client: confluent_kafka.Consumer | None) -> None:
        """Finish what is at work, run the shutdown hooks, store; polls go on, so that the membership lives on.

        Without a client, which was closed to be made anew, only handlers that outlived it are waited for.
        """
        group = self.group
        if group.fatal is not None:
            with group.lock:
                group.lanes.frozen = True
                if not group.stopping:
                    group.end_by(time.monotonic() + FATAL_DRAIN_S)
        begun = time.monotonic()
        deadline = group.work_deadline
        while time.monotonic() < deadline:
            with group.lock:
                if not group.lanes.at_work:
                    break
            group.last_poll = time.monotonic()
            if group.fatal is None and client is not None:
                self.intake.pause_all(client)
                self.intake.poll(client, BUSY_POLL_S)
                self._housekeep(client)
            else:
                with group.lock:
                    soon = min(deadline, time.monotonic() + 0.1)
                    self.rebalances.wait_while(client, lambda: group.lanes.at_work, soon)
        if client is not None:
            self.rebalances.hooks(client, list(group.lanes.by_key.values()), "shutdown", deadline)
            self._commit_the_rest(client, min(deadline, time.monotonic() + LAST_ANSWER_S))
        with group.lock:
            unfinished = group.lanes.running()
        if unfinished:
            group.overrun = True
            run = unfinished[0]
            group.bus.emit(
                DrainOverrun(
                    subscription_group=group.subscription_group,
                    reason=f"{run.topic}[{run.partition}] offsets {run.first_offset} to {run.last_offset}: "
                    f"{run.action} did not return within {time.monotonic() - begun:.1f} s",
                )
            )

    def _commit_the_rest(self, client: confluent_kafka.Consumer, until: float) -> None:
        """Commit what is done while answers can be polled and refusals tried again: in close() neither is possible."""
        group, again = self.group, 0.0
        commits.collect(group)
        while group.fatal is None and (now := time.monotonic()) < until:
            with group.lock:
                under_way = group.turns.is_under_way()
                left = group.turns.wanted(list(group.lanes.by_key))
                if left and not under_way and now >= again:
                    group.turns.at_once(left, now)
                    again = now + commits.RETRY_S
            if not left and not under_way:
                break
            commits.commit_due(group, client)
            self.intake.poll(client, BUSY_POLL_S)

    def _close(self) -> None:
        group = self.group
        client, self._client = self._client, None
        if client is None:
            return
        self.rebalances.closing = True
        try:
            if self._watch.stuck:
                _abandoned.append(client)
                return
            # Before the order to leave: librdkafka may leave the group first and call back for the revocation then.
            with group.lock:
                last = commits.take_last(group, list(group.lanes.by_key))
            commits.send(group, client, last)
            if group.leaving and group.fatal is None:
                # close() keeps a static member in the group; unsubscribing first makes it leave for good.
                client.unsubscribe()
                until = min(time.monotonic() + LEAVE_S, group.deadline)
                while group.lanes.by_key and time.monotonic() < until:
                    client.poll(BUSY_POLL_S)
            client.close()
        except BaseException as error:  # noqa: BLE001  what our callbacks raise comes up here too
            where = f"closing the client of {group.subscription_group}"
            group.bus.emit(ErrorOccurred(where=where, error=error))
        finally:
            with group.lock:
                for key in list(group.lanes.by_key):
                    group.lanes.close(key)
                    group.lanes.ledger.release(key)

    # -- what the client tells -----------------------------------------------------------------------------------

    def _report_error(self, error: KafkaError, topic: str | None) -> None:
        group = self.group
        reason = self.properties.scrub(error.str())
        if topic is not None and topic not in reason:
            reason = f"{topic}: {reason}"
        judgement = judge(error, reason, group.group.group, self.properties.instance_id)
        if judgement.consequence is Consequence.END:
            group.fail(f"{group.subscription_group}: {judgement.code}: {judgement.reason}", judgement.code)
            return
        reason = judgement.reason
        if judgement.consequence is Consequence.WAIT_FOR_OWN_ID:
            before = 0 if self.rebalances.assigned_once else self._own_id_refused_before
            self._own_id_refused = before + 1
        if self._repetitions.is_new(judgement.code, reason, time.monotonic()):
            group.bus.emit(ClientError(subscription_group=group.subscription_group, code=judgement.code, reason=reason))

    def _take_statistics(self, text: str) -> None:
        group = self.group
        now = time.monotonic()
        group.statistics.update(text, now)
        stuck = self._watch.look(group.statistics, now)
        if stuck is not None:
            group.fail(f"{group.subscription_group}: {stuck}; it does not recover from that: the node must start again")
        lost = self.rebalances.rejoin.look(group.statistics.group_state, group.statistics.join_state, now)
        if lost is not None and not (group.quieting or group.stopping):
            self.silent.remake = lost
            group.bus.emit(ClientError(subscription_group=group.subscription_group, code="_STATE", reason=lost))
        if group.bus.wants(StatisticsEmitted):
            try:
                statistics = msgspec.json.decode(text, type=dict)
            except UNREADABLE:  # raised out of poll(), it would end this thread and the node
                return
            group.bus.emit(StatisticsEmitted(subscription_group=group.subscription_group, statistics=statistics))
