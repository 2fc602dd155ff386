"""The owner thread of a subscription group: the only place that touches its Kafka client.

librdkafka's close() hangs when another thread is inside poll(), so everything a handler wants from the client is left
here as a request, and everything a worker does is written into lanes and ledger, from where this thread stores it.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from itertools import groupby
from typing import Any, TypeVar

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from swarm_consumer import flow
from swarm_consumer.client_properties import ClientProperties, client_error
from swarm_consumer.client_statistics import ClientStatistics
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.events import (
    Assigned,
    Bus,
    ClientCreated,
    ClientError,
    Committed,
    DrainOverrun,
    ErrorOccurred,
    Lost,
    PartitionPaused,
    PartitionResumed,
    Polled,
    RevocationOverrun,
    Revoked,
    Sought,
    StatisticsEmitted,
)
from swarm_consumer.execution import Execution
from swarm_consumer.lanes import Lane, Lanes, LaneState, Outcome, Run
from swarm_consumer.offsets import topic_partition
from swarm_consumer.progress import Key, Ledger, Storable
from swarm_consumer.redaction import ScrubbingFilter
from swarm_consumer.retry import Backoff
from swarm_consumer.routing import SubscriptionGroup
from swarm_consumer.workers import Workers

Result = TypeVar("Result")

IDLE_POLL_S = 0.1
"""Longest stay inside poll(): how late a stop, a due retry or a request may be noticed when no message comes."""
BUSY_POLL_S = 0.02
"""The same while handlers are at work: how late their progress is stored."""
KEEPALIVE_S = 0.1
"""Longest time between two polls while enough messages are held: rebalances are served by polls alone."""

SEEK_TIMEOUT_S = 5.0
"""How long the broker may take to name the offset of a time or of an end."""
COMMIT_RETRY_S = 0.1
"""Between two attempts of a blocking mark."""

_PASSING_COMMIT_ERRORS = frozenset(
    {
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._WAIT_COORD,
    }
)

_UNRELEASED = KafkaError(KafkaError.UNRELEASED_INSTANCE_ID).str()

_partition_of = confluent_kafka.Message.partition
_topic_of = confluent_kafka.Message.topic
_error_of = confluent_kafka.Message.error

librdkafka_logger = logging.getLogger("swarm_consumer.librdkafka")
_scrubbing = ScrubbingFilter()
librdkafka_logger.addFilter(_scrubbing)


class SubscriptionClient:
    """One subscription group at work: a client, the thread that owns it, and the lanes of its partitions.

    It is also the poll stamp that liveness reads: subscription_group, last_poll, max_poll_interval_s, join_state,
    join_state_since.
    """

    def __init__(
        self,
        group: SubscriptionGroup,
        properties: ClientProperties,
        workers: Workers,
        execution: Execution,
        bus: Bus,
        wake: Callable[[], None],
        revocation_timeout_s: float,
    ) -> None:
        self.group = group
        self.lock = threading.Lock()
        self.lanes = Lanes(Ledger(), group.max_poll_interval_s)
        self.stopping = False
        self.fatal: str | None = None
        self.configuration_error: ConfigurationError | None = None
        self.overrun = False
        self.statistics = ClientStatistics()
        self.last_poll: float | None = None
        self.hook_run: Run | None = None
        self._batches = self._messages = self._errors = self._retries = self._dead_lettered = 0
        self._counters: dict[Key, list[int]] = {}  # messages, batches, errors of each partition
        self._properties = properties
        self._workers = workers
        self._execution = execution
        self._bus = bus
        self._wake_runtime = wake
        self._revocation_timeout_s = revocation_timeout_s
        self._changed = threading.Condition(self.lock)
        self._waiting_below = -1  # the owner sleeps until fewer messages than this are held; -1: it does not sleep
        self._requests: deque[Callable[[], None]] = deque()
        self._quiet = False
        self._leaving = False
        self._deadline = 0.0
        self._closing = False
        self._client: confluent_kafka.Consumer | None = None
        self._fetch_size = max(route.settings.max_messages for route in group.routes)
        only = group.routes[0]
        self._single_topic = only.topic if len(group.routes) == 1 and not only.is_pattern else None
        self._max_wait = min(route.settings.max_wait for route in group.routes)
        self._enough = 2 * self._fetch_size * workers.count
        self._least_bound = min(route.settings.held_bound for route in group.routes)
        self._unreleased = 0  # refusals in a row of our static id
        self._unreleased_before = 0
        self._own_id_backoff = Backoff(1.0, 5.0)
        self._flow_paused = 0  # how many lanes are
        self._attention = False  # a lane waits for a time or a seek: look at all lanes at each turn
        self._ends_to_tell = False  # some partition's end was reached and eofed() not called yet
        self._has_ticks = any("tick" in route.hooks for route in group.routes)
        self._last_errors: dict[str, float] = {}
        self.thread = threading.Thread(target=self._run, name=f"swarm-owner-{group.name}"[:60], daemon=True)

    # -- the poll stamp ------------------------------------------------------------------------------------------

    @property
    def subscription_group(self) -> str:
        """The subscription group's name."""
        return self.group.name

    @property
    def max_poll_interval_s(self) -> float:
        """max.poll.interval.ms in seconds."""
        return self.group.max_poll_interval_s

    @property
    def join_state(self) -> str | None:
        """The state of the group membership as librdkafka's statistics name it; None before the first statistics."""
        return self.statistics.join_state

    @property
    def join_state_since(self) -> float | None:
        """Since when, in monotonic seconds."""
        return self.statistics.join_state_since

    # -- called by the runtime -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the owner thread, which makes the client."""
        self.thread.start()

    def quiet(self) -> None:
        """Take no more messages, finish what is at work, keep the membership."""
        with self.lock:
            self._quiet = True
            self.lanes.frozen = True
            self._changed.notify_all()

    def stop(self, deadline: float, *, leaving: bool) -> None:
        """Take no more, finish what is at work, store it, close the client; all before `deadline` (monotonic)."""
        with self.lock:
            self._deadline = deadline
            self._leaving = leaving
            self.stopping = True
            self.lanes.frozen = True
            self._changed.notify_all()

    @property
    def idle(self) -> bool:
        """Whether no handler of this group is at work."""
        with self.lock:
            return not self.lanes.running()

    # -- called by workers ---------------------------------------------------------------------------------------

    def work(self, lane: Lane, occupy: Callable[[Run | None], None]) -> None:
        """Do one run of a lane (see workers.LaneOwner)."""
        with self.lock:
            was_retry = lane.retry is not None
            run = self.lanes.take(lane, time.monotonic())
        if run is None:
            return
        occupy(run)
        try:
            self._execution.consume(self, run, was_retry)
        finally:
            occupy(None)

    def divertible(self, run: Run) -> confluent_kafka.Message | None:
        """Return the message that a failed run gives up, None when it is to be tried again."""
        with self.lock:
            return self.lanes.divertible(run)

    def finish(self, run: Run, failed: bool, *, diverted: bool = False) -> Outcome:
        """Write down how a run ended, queue the lane again if it has more to do; return the Outcome."""
        with self.lock:
            if run.deferred is not None:
                offset, metadata, leader_epoch = run.deferred
                self.lanes.ledger.mark(run.lane.key, run.epoch, offset, metadata, leader_epoch)
            outcome = self.lanes.finish(run, failed, time.monotonic(), diverted=diverted)
            if run.lane.blocked or run.lane.pending_seek is not None:
                self._attention = True
            if run.action == "consume":
                self._count(run, failed, diverted)
            if outcome.queue:
                self._workers.submit(self, self.lanes.by_key[run.lane.key])
            if self._waiting_below >= 0 and (
                self.lanes.held_total < self._waiting_below or run.lane.revoking or self.lanes.frozen
            ):
                self._changed.notify_all()
        return outcome

    def _count(self, run: Run, failed: bool, diverted: bool) -> None:
        counters = self._counters.get(run.lane.key)
        if counters is None:
            counters = self._counters[run.lane.key] = [0, 0, 0]
        if run.attempt > 1:
            self._retries += 1
        if diverted:
            self._dead_lettered += 1
        if failed:
            self._errors += 1
            counters[2] += 1
            return
        messages = len(run.records)
        self._batches += 1
        self._messages += messages
        counters[0] += messages
        counters[1] += 1

    def request(self, function: Callable[[confluent_kafka.Consumer], Result], timeout_s: float) -> Result:
        """Have `function(client)` called by the owner thread and return its result. Raises TimeoutError."""
        future: Future[Result] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                assert self._client is not None
                future.set_result(function(self._client))
            except BaseException as error:  # noqa: BLE001  it is raised again where it was asked for
                future.set_exception(error)

        with self.lock:
            self._requests.append(call)
            self._changed.notify_all()
        try:
            return future.result(timeout_s)
        except FutureTimeout:
            future.cancel()
            raise TimeoutError(f"{self.group.name}: the client did not answer within {timeout_s:g} s") from None

    def commit_now(self, key: Key, epoch: int, timeout_s: float) -> bool:
        """Store and commit a partition's position and wait for the broker; False when it did not take it."""

        def commit(client: confluent_kafka.Consumer) -> bool:
            with self.lock:
                present = self.lanes.ledger.present(key) if self.lanes.ledger.owns(key, epoch) else None
            if present is None:
                return False
            self._store()
            answer = client.commit(offsets=[topic_partition(present)], asynchronous=False)
            refused = next((one.error for one in answer or [] if one.error is not None), None)
            if refused is not None:
                raise KafkaException(refused)
            return True

        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return self.request(commit, max(0.0, deadline - time.monotonic()))
            except TimeoutError as error:
                reason: Exception = error
            except KafkaException as error:
                reason = error
                # A rebalance in progress or a coordinator that moves: the next attempt may well be taken.
                if _worth_retrying(error.args[0]) and time.monotonic() + COMMIT_RETRY_S < deadline:
                    time.sleep(COMMIT_RETRY_S)
                    continue
            self._bus.emit(ErrorOccurred(where="blocking mark", error=reason, topic=key[0], partition=key[1]))
            return False

    def group_metadata(self, timeout_s: float) -> Any:
        """Return what a transaction needs to commit offsets in this member's name."""
        return self.request(lambda client: client.consumer_group_metadata(), timeout_s)

    def committed_metadata(self, key: Key, timeout_s: float) -> str | None:
        """Return the metadata committed with a partition's offset."""
        answer = self.request(
            lambda client: client.committed([TopicPartition(*key)], timeout=timeout_s), timeout_s + 1.0
        )
        return answer[0].metadata

    def pause(self, lane: Lane, until: float, duration: float | None) -> None:
        """Pause a lane at its handler's wish."""
        with self.lock:
            self.lanes.pause(lane, until)
            self._attention = True
        self._bus.emit(
            PartitionPaused(
                topic=lane.key[0], partition=lane.key[1], reason="asked by the handler", duration_s=duration
            )
        )

    def resume(self, lane: Lane) -> None:
        """Resume a lane at its handler's wish."""
        with self.lock:
            if self.lanes.by_key.get(lane.key) is lane and self.lanes.resume(lane):
                self._workers.submit(self, lane)
        self._bus.emit(PartitionResumed(topic=lane.key[0], partition=lane.key[1], reason="asked by the handler"))

    # -- the owner thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._create()
        except ConfigurationError as error:
            self.configuration_error = error
            self._wake_runtime()
            return
        try:
            while not self.stopping and self.fatal is None:
                if self._unreleased:
                    self._wait_for_own_id()
                else:
                    self._turn()
            self._drain()
        except BaseException as error:  # noqa: BLE001  a dead owner must never look alive
            self.fail(f"the owner thread of {self.group.name} ended: {type(error).__name__}: {error}")
            self._bus.emit(ErrorOccurred(where=f"owner thread {self.group.name}", error=error))
        finally:
            self._close()
            self._wake_runtime()

    def _create(self) -> None:
        configuration = self._properties.for_client()
        _scrubbing.learn(self._properties.secrets)
        configuration.update(
            {"error_cb": self._on_error, "stats_cb": self._on_statistics, "on_commit": self._on_commit}
        )
        try:
            self._client = confluent_kafka.Consumer(configuration, logger=librdkafka_logger)
            self._client.subscribe(
                list(self.group.topics),
                on_assign=self._guarded(self._on_assign),
                on_revoke=self._guarded(self._on_revoke),
                on_lost=self._guarded(self._on_lost),
            )
        except (KafkaException, TypeError, ValueError) as error:
            raise client_error(error, self._properties) from None
        self._bus.emit(
            ClientCreated(
                subscription_group=self.group.name,
                group=self.group.group,
                topics=self.group.topics,
                instance_id=self._properties.instance_id,
            )
        )
        self._wake_runtime()

    def _wait_for_own_id(self) -> None:
        """Make the client anew, after a pause, when the broker still holds our static id for a session that died.

        With group.protocol=consumer a broker lets nobody have a static id before its last holder left or its session
        ended, and librdkafka takes the refusal as fatal for the client. It is no fault of this node: it waits.
        """
        client, self._client = self._client, None
        if client is not None:
            client.close()
        with self.lock:
            until = time.monotonic() + self._own_id_backoff.delay_s(self._unreleased)
            while not self.stopping and (remaining := until - time.monotonic()) > 0:
                self.last_poll = time.monotonic()
                self._changed.wait(min(remaining, IDLE_POLL_S))
        if not self.stopping:
            attempts, self._unreleased = self._unreleased, 0
            self._create()
            self._unreleased_before = attempts

    def _turn(self) -> None:
        """One turn: fetch or wait, store, wake what is due."""
        self.last_poll = now = time.monotonic()
        lanes = self.lanes
        if self._quiet:
            self._pause_all()
            self._poll(IDLE_POLL_S)
        elif lanes.held_total < self._enough and lanes.held_total < self._least_bound and not self._flow_paused:
            self._poll(self._poll_time(now))
        else:
            self._balance(now)
        self._housekeep()

    def _balance(self, now: float) -> None:
        with self.lock:
            what = flow.decide(self.lanes.by_key.values(), now, self._workers.count, self._enough)
        for lane in what.pause:
            self._flow_pause(lane, paused=True)
        for lane in what.resume:
            self._flow_pause(lane, paused=False)
        if what.fetch:
            self._poll(self._poll_time(now))
            return
        with self.lock:
            low = max(1, self._enough // 2) + what.blocked
            if self.lanes.held_total >= low and not self._requests and not self.lanes.frozen:
                self._waiting_below = low
                self._changed.wait(self._until_due(now, KEEPALIVE_S))
                self._waiting_below = -1
        if time.monotonic() - now >= KEEPALIVE_S * 0.8:
            self._poll(0, drain=False)

    def _poll_time(self, now: float) -> float:
        longest = BUSY_POLL_S if self._workers.occupied() else IDLE_POLL_S
        return self._until_due(now, min(longest, self._max_wait))

    def _until_due(self, now: float, longest: float) -> float:
        with_wait = self.lanes.next_wake() if self._attention else None
        return longest if with_wait is None else max(0.0, min(longest, with_wait - now))

    def _poll(self, timeout_s: float, *, drain: bool = True) -> None:
        """Serve the client once; hand what it returned to the lanes.

        consume(n, t) would wait the whole t to fill n: so one poll that waits, and then what is already there.
        """
        client = self._client
        assert client is not None
        first = client.poll(timeout_s)
        if first is None:
            return
        records = client.consume(self._fetch_size - 1, 0) if drain and self._fetch_size > 1 else []
        records.insert(0, first)
        ends: list[Key] = []
        if any(map(_error_of, records)):
            records, ends = self._take_errors(records)
        if self.lanes.frozen:
            return  # quieting or stopping: nothing was marked of them, so they will come again
        if records:
            if self._bus.wants(Polled):
                self._bus.emit(Polled(subscription_group=self.group.name, messages=len(records)))
            self._distribute(records)
        for key in ends:  # after the messages that came before them
            self._eof(key)

    def _distribute(self, records: list[confluent_kafka.Message]) -> None:
        """Hand records to their lanes; the client returns one partition after another, in long runs."""
        # Only C code walks the records here: a Python loop would cost more than all the rest of a turn.
        partitions = list(map(_partition_of, records))
        topic = self._single_topic
        if topic is not None and partitions.count(partitions[0]) == len(partitions):
            self._receive((topic, partitions[0]), records)  # type: ignore[arg-type]
            return
        keys: Iterable[Any] = partitions if topic is not None else zip(map(_topic_of, records), partitions, strict=True)
        start = 0
        for key, run in groupby(keys):
            end = start + len(list(run))
            self._receive(key if topic is None else (topic, key), records[start:end])
            start = end

    def _receive(self, key: Key, records: list[confluent_kafka.Message]) -> None:
        with self.lock:
            lane = self.lanes.by_key.get(key)
            # Not ours any more, or about to go on elsewhere: these messages are fetched again by whom they belong to.
            if lane is None or lane.revoking or lane.pending_seek is not None:
                return
            lane.eof = False
            if self.lanes.receive(lane, records):
                self._workers.submit(self, lane)

    def _take_errors(self, records: list[confluent_kafka.Message]) -> tuple[list[confluent_kafka.Message], list[Key]]:
        """Report errors; return the messages, and the partitions whose end was reached."""
        good, ends = [], []
        for record in records:
            error = record.error()
            if error is None:
                good.append(record)
            elif error.code() == KafkaError._PARTITION_EOF:
                ends.append((record.topic() or "", record.partition() or 0))
            else:
                self._report_error(error, record.topic())
        return good, ends

    def _housekeep(self) -> None:
        """Do what is due: requests of handlers, progress to store, retries and pauses that end, seeks, ticks."""
        self._serve_requests()
        self._store()
        if self._attention and not self.lanes.frozen:
            self._attend(time.monotonic())
        if self._ends_to_tell and not self.lanes.frozen:
            self._tell_ends()
        if self._has_ticks and not self.lanes.frozen:
            self._tick(time.monotonic())

    def _attend(self, now: float) -> None:
        """Wake the lanes whose time has come, and do the seeks that were asked for."""
        with self.lock:
            for lane in self.lanes.wake(now):
                self._workers.submit(self, lane)
            lanes = self.lanes.by_key.values()
            seeks = [lane for lane in lanes if lane.pending_seek is not None and not lane.running]
            self._attention = bool(seeks) or any(lane.blocked or lane.paused_until is not None for lane in lanes)
        for lane in seeks:
            self._seek(lane)

    def _store(self) -> None:
        with self.lock:
            storables = self.lanes.ledger.take_storable()
        if storables:
            self._store_offsets(storables)

    def _store_offsets(self, storables: Iterable[Storable]) -> None:
        assert self._client is not None
        offsets = [topic_partition(one) for one in storables]
        try:
            self._client.store_offsets(offsets=offsets)
        except KafkaException as error:
            # _STATE: none of them is assigned any more. The ledger lets go of a partition in the rebalance callback,
            # on this thread, so this is a partition the client gave up by itself; the next owner does it again.
            if error.args[0].code() != KafkaError._STATE:
                self._bus.emit(ErrorOccurred(where="store_offsets", error=error))

    # -- flow, seek, tick, end of partition ----------------------------------------------------------------------

    def _flow_pause(self, lane: Lane, *, paused: bool) -> None:
        assert self._client is not None
        where = [TopicPartition(*lane.key)]
        try:
            if paused:
                self._client.pause(where)
            else:
                self._client.resume(where)
        except KafkaException as error:
            self._bus.emit(ErrorOccurred(where="pause", error=error, topic=lane.key[0], partition=lane.key[1]))
            return
        lane.flow_paused = paused
        self._flow_paused += 1 if paused else -1
        event = PartitionPaused if paused else PartitionResumed
        self._bus.emit(event(topic=lane.key[0], partition=lane.key[1], reason=f"{len(lane.held)} messages are held"))

    def _pause_all(self) -> None:
        """Pause every partition that is not paused: while quiet or draining, polls shall return nothing."""
        for lane in list(self.lanes.by_key.values()):
            if not lane.flow_paused:
                self._flow_pause(lane, paused=True)

    def _seek(self, lane: Lane) -> None:
        assert self._client is not None
        target = lane.pending_seek
        place = TopicPartition(*lane.key)
        try:
            if isinstance(target, int):
                place.offset = target
            elif isinstance(target, str):
                # Asked now, so that "latest" is the end of this moment and not of the later one at which the client
                # would look it up.
                low, high = self._client.get_watermark_offsets(place, timeout=SEEK_TIMEOUT_S)
                place.offset = low if target == "earliest" else high
            else:
                place.offset = int(target.timestamp() * 1000)
                found = self._client.offsets_for_times([place], timeout=SEEK_TIMEOUT_S)[0]
                if found.error is not None:
                    raise KafkaException(found.error)
                place = TopicPartition(*lane.key, found.offset)
                if found.offset < 0:  # nothing is that new: go on at the end
                    place.offset = self._client.get_watermark_offsets(place, timeout=SEEK_TIMEOUT_S)[1]
            self._client.seek(place)
        except KafkaException as error:
            self._bus.emit(ErrorOccurred(where="seek", error=error, topic=lane.key[0], partition=lane.key[1]))
            return  # tried again at the next turn
        position = place.offset if place.offset >= 0 else None
        with self.lock:
            self.lanes.sought(lane, position)
        if position is not None:
            # The automatic commit passes over a stored offset below the committed one: going back needs a commit of
            # its own. The partition is ours here, on this thread, so it can rewind nobody else.
            self._store()
            self._client.commit(offsets=[TopicPartition(*lane.key, position)], asynchronous=True)
        self._bus.emit(Sought(topic=lane.key[0], partition=lane.key[1], target=str(target)))

    def _tick(self, now: float) -> None:
        with self.lock:
            due = [
                lane
                for lane in self.lanes.by_key.values()
                if "tick" in lane.route.hooks
                and lane.state is not LaneState.WAITING
                and lane.consumer is not None
                and now >= lane.next_tick
                and not lane.running
            ]
            for lane in due:
                lane.next_tick = now + lane.route.settings.tick_interval
        for lane in due:
            self._workers.submit_hook(functools.partial(self._execution.hook, self, lane, "tick"))

    def _eof(self, key: Key) -> None:
        with self.lock:
            lane = self.lanes.by_key.get(key)
            if lane is not None and "eofed" in lane.route.hooks:
                lane.eof = self._ends_to_tell = True

    def _tell_ends(self) -> None:
        """Call eofed() where the end was reached and everything before it is done with."""
        with self.lock:
            reached = [lane for lane in self.lanes.by_key.values() if lane.eof and lane.consumer is not None]
            due = [lane for lane in reached if lane.state is LaneState.IDLE and not lane.held]
            for lane in due:
                lane.eof = False
            self._ends_to_tell = any(lane.eof for lane in self.lanes.by_key.values())
        for lane in due:
            self._workers.submit_hook(functools.partial(self._execution.hook, self, lane, "eofed"))

    # -- rebalances (called by librdkafka inside poll and close, on this thread) ---------------------------------

    def _guarded(
        self, callback: Callable[[confluent_kafka.Consumer, list[TopicPartition]], None]
    ) -> Callable[[confluent_kafka.Consumer, list[TopicPartition]], None]:
        """Keep our errors out of librdkafka, which they would leave half-way through a rebalance: they end the node."""

        def call(client: confluent_kafka.Consumer, partitions: list[TopicPartition]) -> None:
            try:
                callback(client, partitions)
            except Exception as error:  # noqa: BLE001
                self._bus.emit(ErrorOccurred(where="rebalance", error=error))
                self.fail(f"{self.group.name}: a rebalance failed: {type(error).__name__}: {error}")

        return call

    def _on_assign(self, _: confluent_kafka.Consumer, partitions: list[TopicPartition]) -> None:
        keys = []
        now = time.monotonic()
        with self.lock:
            for partition in partitions:
                key = (partition.topic, partition.partition)
                route = self.group.route_of(partition.topic)
                if route is None:
                    continue
                self.lanes.assign(key, route, now)
                keys.append(key)
            self._count_flow_paused()
        self._unreleased_before = 0
        self.statistics.assigned(keys)
        self._bus.emit(Assigned(subscription_group=self.group.name, partitions=tuple(sorted(keys))))

    def _on_revoke(self, _: confluent_kafka.Consumer, partitions: list[TopicPartition]) -> None:
        """Wait for what is at work, run the revoked hooks, and leave the progress to librdkafka's own commit.

        Only store_offsets here: librdkafka commits the stored offsets while it unassigns. An explicit commit would be
        followed by that one, with an older offset.
        """
        keys = [(partition.topic, partition.partition) for partition in partitions]
        started = time.monotonic()
        budget = self._revocation_timeout_s
        if self.stopping:
            budget = min(budget, max(0.0, self._deadline - started))
        deadline = started + budget
        with self.lock:
            owned = [lane for key in keys if (lane := self.lanes.by_key.get(key)) is not None]
            for lane in owned:
                lane.revoking = True
            self._wait_while(lambda: any(lane.running is not None for lane in owned), deadline)
        if not self._closing:
            self._hooks(owned, "revoked", deadline)
        with self.lock:
            unfinished = tuple(sorted(lane.key for lane in owned if lane.running is not None))
            storables = []
            for lane in owned:
                self.lanes.close(lane.key)
                storable = self.lanes.ledger.release(lane.key)
                if storable is not None:
                    storables.append(storable)
            self._count_flow_paused()
        if storables:
            self._store_offsets(storables)
        self.statistics.unassigned(keys)
        if unfinished:
            waited = time.monotonic() - started
            self._bus.emit(
                RevocationOverrun(subscription_group=self.group.name, partitions=unfinished, waited_s=waited)
            )
        self._bus.emit(Revoked(subscription_group=self.group.name, partitions=tuple(sorted(keys))))

    def _on_lost(self, _: confluent_kafka.Consumer, partitions: list[TopicPartition]) -> None:
        keys = [(partition.topic, partition.partition) for partition in partitions]
        with self.lock:
            closed = [lane for key in keys if (lane := self.lanes.close(key)) is not None]
            for key in keys:
                self.lanes.ledger.release(key)
            self._count_flow_paused()
        self.statistics.unassigned(keys)
        self._bus.emit(Lost(subscription_group=self.group.name, partitions=tuple(sorted(keys))))
        for lane in closed:
            if "revoked" in lane.route.hooks and lane.consumer is not None and lane.running is None:
                self._workers.submit_hook(functools.partial(self._execution.hook, self, lane, "revoked"))

    def _count_flow_paused(self) -> None:
        self._flow_paused = sum(lane.flow_paused for lane in self.lanes.by_key.values())

    def _hooks(self, lanes: Iterable[Lane], action: str, deadline: float) -> None:
        """Run a hook of several lanes and wait for it until `deadline`."""
        called = [
            lane for lane in lanes if action in lane.route.hooks and lane.consumer is not None and lane.running is None
        ]
        left = len(called)

        def call(lane: Lane) -> None:
            nonlocal left
            try:
                self._execution.hook(self, lane, action)
            finally:
                with self.lock:
                    left -= 1
                    self._changed.notify_all()

        for lane in called:
            self._workers.submit_hook(functools.partial(call, lane))
        with self.lock:
            self._wait_while(lambda: left > 0, deadline)

    def _wait_while(self, condition: Callable[[], bool], deadline: float) -> None:
        """Wait, with the lock held, until `condition()` is False or the deadline has come."""
        self._waiting_below = 1 << 62
        while condition() and (remaining := deadline - time.monotonic()) > 0:
            if self._requests:
                # What is waited for may itself be waiting for us: a blocking mark, a transaction.
                self.lock.release()
                try:
                    self._serve_requests()
                finally:
                    self.lock.acquire()
                continue
            self._changed.wait(min(remaining, 0.5))
        self._waiting_below = -1

    def _serve_requests(self) -> None:
        while self._requests:
            self._requests.popleft()()

    # -- the end -------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Finish what is at work, run the shutdown hooks, store; polls go on, so that the membership lives on."""
        if self.fatal is not None:
            with self.lock:
                self.lanes.frozen = True
                if not self.stopping:
                    self._deadline = time.monotonic() + 5.0
        # A fifth of the time, at most 5 s, is kept for closing the client: progress that is done shall be committed
        # even when a handler never returns.
        begun = time.monotonic()
        deadline = self._deadline - min(5.0, max(0.0, self._deadline - begun) * 0.2)
        while time.monotonic() < deadline:
            with self.lock:
                if not self.lanes.running():
                    break
            self.last_poll = time.monotonic()
            if self.fatal is None:
                self._pause_all()
                self._poll(BUSY_POLL_S)
                self._housekeep()
            else:
                with self.lock:
                    self._wait_while(lambda: bool(self.lanes.running()), min(deadline, time.monotonic() + 0.1))
        self._hooks(list(self.lanes.by_key.values()), "shutdown", deadline)
        self._store()
        with self.lock:
            unfinished = self.lanes.running()
        if unfinished:
            self.overrun = True
            run = unfinished[0]
            self._bus.emit(
                DrainOverrun(
                    subscription_group=self.group.name,
                    reason=f"{run.topic}[{run.partition}] offsets {run.first_offset} to {run.last_offset}: "
                    f"{run.action} did not return within {time.monotonic() - begun:.1f} s",
                )
            )

    def _close(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        self._client = client
        self._closing = True
        try:
            if self._leaving and self.fatal is None:
                # close() keeps a static member in the group; unsubscribing first makes it leave for good.
                client.unsubscribe()
                until = min(time.monotonic() + 2.0, self._deadline)
                while self.lanes.by_key and time.monotonic() < until:
                    client.poll(BUSY_POLL_S)
            client.close()
        except (KafkaException, RuntimeError) as error:
            self._bus.emit(ErrorOccurred(where=f"closing the client of {self.group.name}", error=error))
        finally:
            self._client = None
            with self.lock:
                for key in list(self.lanes.by_key):
                    self.lanes.close(key)
                    self.lanes.ledger.release(key)

    # -- callbacks of the client ---------------------------------------------------------------------------------

    def _on_error(self, error: KafkaError) -> None:
        self._report_error(error, None)

    def _report_error(self, error: KafkaError, topic: str | None) -> None:
        reason = self._properties.scrub(error.str())
        if (error.fatal() or error.code() == KafkaError._FATAL) and _UNRELEASED in reason:
            self._unreleased = self._unreleased_before + 1
            reason = (
                f"the broker still holds the static member id {self._properties.instance_id} in group "
                f"{self.group.group} for its last holder; this node waits until that session ends. If this goes on, "
                f"another process uses the id: give each swarm a group.instance.id prefix of its own"
            )
            self._report_once("UNRELEASED_INSTANCE_ID", reason)
            return
        if error.fatal() or error.code() == KafkaError._FATAL:
            if error.code() == KafkaError.FENCED_INSTANCE_ID or "FENCED_INSTANCE_ID" in reason:
                reason = (
                    f"another process uses the static member id {self._properties.instance_id} in group "
                    f"{self.group.group}; give each swarm a group.instance.id prefix of its own ({reason})"
                )
            self.fail(f"{self.group.name}: {error.name()}: {reason}", error)
            return
        if topic is not None and topic not in reason:
            reason = f"{topic}: {reason}"
        self._report_once(error.name(), reason)

    def _report_once(self, code: str, reason: str) -> None:
        """Report trouble once, and again when it still stands a minute later."""
        now = time.monotonic()
        what = f"{code} {_without_numbers(reason)}"
        if now - self._last_errors.get(what, -60.0) < 60.0:
            return
        if len(self._last_errors) > 100:
            self._last_errors.clear()
        self._last_errors[what] = now
        self._bus.emit(ClientError(subscription_group=self.group.name, code=code, reason=reason))

    def fail(self, reason: str, error: KafkaError | None = None) -> None:
        """End the node for this reason. May be called from any thread."""
        if self.fatal is not None:
            return
        self.fatal = reason
        name = error.name() if error is not None else "_FAIL"
        self._bus.emit(ClientError(subscription_group=self.group.name, code=name, reason=reason, fatal=True))
        self._wake_runtime()

    def _on_statistics(self, text: str) -> None:
        self.statistics.update(text, time.monotonic())
        if self._bus.wants(StatisticsEmitted):
            import msgspec

            self._bus.emit(
                StatisticsEmitted(subscription_group=self.group.name, statistics=msgspec.json.decode(text, type=dict))
            )

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        if error is not None and error.code() == KafkaError._NO_OFFSET:
            return  # an interval in which nothing was stored
        refused = error or next((one.error for one in partitions if one.error is not None), None)
        offsets = tuple((one.topic, one.partition, one.offset) for one in partitions if one.offset >= 0)
        if refused is None:
            self.statistics.committed(offsets)
        self._bus.emit(
            Committed(
                subscription_group=self.group.name,
                offsets=offsets,
                error=None if refused is None else f"{refused.name()}: {refused.str()}",
            )
        )

    def totals(self) -> dict[str, int]:
        """Return the counters of this group since its start."""
        with self.lock:
            return {
                "batches": self._batches,
                "messages": self._messages,
                "bytes": sum(self.statistics.received_bytes.values()),
                "errors": self._errors,
                "retries": self._retries,
                "dead_lettered": self._dead_lettered,
            }

    def partition_statistics(self, started: dict[Key, float], now: float) -> list[dict[str, object]]:
        """Return counters, lag and progress of each assigned partition."""
        statistics = self.statistics
        with self.lock:
            rows = []
            for key in sorted(self.lanes.by_key):
                messages, batches, errors = self._counters.get(key, (0, 0, 0))
                rows.append(
                    {
                        "topic": key[0],
                        "partition": key[1],
                        "messages": messages,
                        "bytes": statistics.received_bytes.get(key, 0),
                        "batches": batches,
                        "errors": errors,
                        "lag": statistics.lags.get(key),
                        "position": self.lanes.ledger.position(key),
                        "committed": statistics.committed_offsets.get(key),
                        "in_flight_age_s": now - started[key] if key in started else None,
                    }
                )
            return rows

    def lane_states(self) -> dict[Key, LaneState]:
        """Return each assigned partition's state."""
        with self.lock:
            return {key: lane.state for key, lane in self.lanes.by_key.items()}


def _worth_retrying(error: KafkaError) -> bool:
    return bool(error.retriable()) or error.code() in _PASSING_COMMIT_ERRORS


def _without_numbers(text: str) -> str:
    """Return the text without what differs between reports of the same trouble, such as the milliseconds waited."""
    import re

    return re.sub(r"\bafter \d+ms\b.*|\d+ms|\(\d+[^)]*\)", "", text)
