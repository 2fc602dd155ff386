"""The state of a subscription group at work, as its owner thread, its workers and the runtime share it.

The Kafka client itself belongs to one thread alone, the owner (`owner.py`): librdkafka's close() hangs when another
thread is inside poll(). So nothing here touches the client. What a handler wants of it is left as a request, and what
a worker has done is written into lanes and ledger, from where the owner stores it.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from swarm_consumer._connection.client_statistics import ClientStatistics
from swarm_consumer._connection.partition_ends import PartitionEnds
from swarm_consumer._connection.workers import Workers
from swarm_consumer._reporting.bus import Bus
from swarm_consumer._scheduling.commit_turns import CommitTurns
from swarm_consumer._scheduling.counters import Counters
from swarm_consumer._scheduling.going_back import go_back
from swarm_consumer._scheduling.lane import Lane, LaneState, Outcome, Run
from swarm_consumer._scheduling.lanes import Lanes
from swarm_consumer._scheduling.progress import Key, Ledger
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.events import ClientError, PartitionPaused, PartitionResumed
from swarm_consumer.kafka.client_errors import Repetitions, commit_may_succeed_later
from swarm_consumer.routing.routes import SubscriptionGroup

Result = TypeVar("Result")

SERVE_S = 1.0
"""How long the owner stays with requests before it polls again, and how long one may wait for the broker there."""
RETRY_S = 0.1
"""Between two attempts of a question that the broker has not answered."""
ANSWER_S = 0.05
"""Between two looks whether a commit is answered, if nobody tells it."""
ASK_S = 2.0
"""How long the owner's thread waits for what the broker says about a group's offsets."""


class Handlers(Protocol):
    """Calls into consumers, on the thread of whoever asks: `execution.Execution`."""

    def consume(self, client: GroupState, run: Run, again: bool) -> None:
        """Give a batch to the lane's consumer and report how it went."""

    def hook(self, client: GroupState, lane: Lane, action: str) -> None:
        """Call one of the hooks without messages."""


class GroupState:
    """One subscription group at work: its lanes, what it has done, what is asked of its client.

    It is also the poll stamp that liveness reads: subscription_group, last_poll, max_poll_interval_s, join_state,
    join_state_since. `lock` guards lanes, ledger and counters; `changed` is notified when the owner has to look.
    """

    def __init__(
        self, group: SubscriptionGroup, workers: Workers, execution: Handlers, bus: Bus, wake: Callable[[], None]
    ) -> None:
        self.group = group
        self.workers = workers
        self.execution = execution
        self.bus = bus
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.lanes = Lanes(Ledger(), group.max_poll_interval_s)
        self.statistics = ClientStatistics()
        self.ends = PartitionEnds()
        self.quieting = False
        self.stopping = False
        self.leaving = False
        self.deadline = 0.0  # of the stop, monotonic
        self.work_deadline = 0.0  # of handlers and hooks within it
        self.fatal: str | None = None
        self.complaint: tuple[int, str] | None = None
        self.configuration_error: ConfigurationError | None = None
        self.overrun = False
        self.last_poll: float | None = None
        self.hook_runs: dict[int, Run] = {}  # hooks at work, by the thread that calls them
        self.attention = False  # a lane waits for a time or a seek: the owner looks at all lanes at each turn
        self.waiting_below = -1  # the owner sleeps until fewer messages than this are held; -1: it does not sleep
        self.turns = CommitTurns(group.commit_interval_s, time.monotonic())
        self.unpolled = False  # the owner is inside a callback of its client, where no answer can be polled
        self.awaited: dict[Key, list[tuple[int, Future[None]]]] = {}  # the owner's: commits that workers wait for
        self.refusals = Repetitions()
        self.wake_runtime = wake
        self.counters = Counters()
        self.behind: dict[Key, float] = {}  # since when a partition is known to have lag, for `observation`
        self._requests: deque[Callable[[confluent_kafka.Consumer], None]] = deque()

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

    @property
    def has_partitions(self) -> bool:
        """Whether any partition is assigned at this moment."""
        return bool(self.lanes.by_key)

    # -- called by the runtime -----------------------------------------------------------------------------------

    def quiet(self) -> None:
        """Take no more messages, finish what is at work, keep the membership."""
        with self.lock:
            self.quieting = True
            self.lanes.frozen = True
            self.changed.notify_all()

    def stop(self, deadline: float, *, leaving: bool) -> None:
        """Take no more, finish what is at work, store it, close the client; all before `deadline` (monotonic)."""
        with self.lock:
            self.end_by(deadline)
            self.leaving = leaving
            self.stopping = True
            self.lanes.frozen = True
            self.changed.notify_all()

    def end_by(self, deadline: float) -> None:
        """Set the deadline of the stop, and of what may be at work until then."""
        # A fifth of the time, at most 5 s, is kept for closing the client: progress that is done shall be committed
        # even when a handler never returns.
        self.deadline = deadline
        self.work_deadline = deadline - min(5.0, max(0.0, deadline - time.monotonic()) * 0.2)

    @property
    def idle(self) -> bool:
        """Whether no handler of this group is at work."""
        with self.lock:
            return not self.lanes.at_work

    def fail(self, reason: str, code: str = "_FAIL") -> None:
        """End the node for this reason. May be called from any thread."""
        if self.fatal is not None:
            return
        self.fatal = reason
        # The event names group and code itself.
        told = reason.removeprefix(f"{self.group.name}: ").removeprefix(f"{code}: ")
        self.bus.emit(ClientError(subscription_group=self.group.name, code=code, reason=told, fatal=True))
        self.wake_runtime()

    def complain(self, code: int, reason: str) -> None:
        """Note what a handler finds wrong with this process; the first complaint stays."""
        with self.lock:
            if self.complaint is None:
                self.complaint = code, reason

    # -- called by workers ---------------------------------------------------------------------------------------

    def work(self, lane: Lane, occupy: Callable[[Run | None], None]) -> None:
        """Do one run of a lane (see workers.LaneOwner)."""
        run = None
        with self.lock:
            owing = self.lanes.owing(lane.key)
        if owing is not None:  # the thread for hooks is busy with another one
            self.execution.hook(self, owing, "revoked")
        with self.lock:
            free = self.lanes.is_free(lane) and not (self.lanes.frozen or lane.revoking)
            ticks = free and lane.tick_due and lane.state is LaneState.READY
            if ticks:
                lane.tick_due = False
            else:
                was_retry = lane.retry is not None
                run = self.lanes.take(lane, time.monotonic())
        if ticks:  # between two batches; its end queues the lane again
            self.execution.hook(self, lane, "tick")
            return
        if run is None:
            return
        occupy(run)
        try:
            self.execution.consume(self, run, was_retry)
        finally:
            occupy(None)

    def divertible(self, run: Run) -> confluent_kafka.Message | None:
        """Return the message that a failed run gives up, None when it is to be tried again."""
        with self.lock:
            return self.lanes.divertible(run)

    def letter_moves(self, run: Run) -> bool:
        """Whether a dead letter for a run's message moves the offset past it."""
        with self.lock:
            return self.lanes.letter_moves(run)

    def count_attempts_anew(self, run: Run) -> None:
        """Begin with the first attempt at consume(): those that ended in initialized() were none of its."""
        with self.lock:
            if run.lane.failures:
                run.lane.failures = 0
                run.attempt = 1

    def go_back(self, lane: Lane, epoch: int) -> None:
        """Have everything of a lane that is not marked handled anew, at once or at the end of its run."""
        with self.lock:
            lane.going_back = lane.epoch == epoch
            if lane.going_back and lane.running is None and go_back(self.lanes, lane, time.monotonic()):
                self.attention = True

    def finish(self, run: Run, failed: bool, *, diverted: bool = False) -> Outcome:
        """Write down how a run ended, queue the lane again if it has more to do; return the Outcome."""
        with self.lock:
            if run.deferred is not None:
                offset, metadata, leader_epoch = run.deferred
                self.lanes.ledger.mark(run.lane.key, run.epoch, offset, metadata, leader_epoch)
            outcome = self.lanes.finish(run, failed, time.monotonic(), diverted=diverted)
            if run.lane.going_back and go_back(self.lanes, run.lane, time.monotonic()):
                outcome = replace(outcome, queue=False)
            if run.lane.blocked or run.lane.pending_seek is not None:
                self.attention = True
            if run.action == "consume":
                self.counters.count(run, failed, diverted, time.monotonic() - run.started)
            if outcome.queue:
                self.workers.submit(self, self.lanes.by_key[run.lane.key])
            if outcome.owes_revoked:
                self.workers.submit_hook(functools.partial(self.execution.hook, self, run.lane, "revoked"))
            if self.waiting_below >= 0 and (
                self.lanes.held_total < self.waiting_below or run.lane.revoking or self.lanes.frozen
            ):
                self.changed.notify_all()
        return outcome

    def pause(self, lane: Lane, until: float, duration: float | None) -> None:
        """Pause a lane at its handler's wish."""
        with self.lock:
            self.lanes.pause(lane, until)
            self.attention = True
        self.bus.emit(
            PartitionPaused(
                topic=lane.key[0], partition=lane.key[1], reason="asked by the handler", duration_s=duration
            )
        )

    def resume(self, lane: Lane) -> None:
        """Resume a lane at its handler's wish."""
        with self.lock:
            if self.lanes.by_key.get(lane.key) is lane and self.lanes.resume(lane):
                self.workers.submit(self, lane)
        self.bus.emit(PartitionResumed(topic=lane.key[0], partition=lane.key[1], reason="asked by the handler"))

    # -- requests: what workers want of the client, done by its owner ----------------------------------------------

    def request(self, function: Callable[[confluent_kafka.Consumer], Result], timeout_s: float) -> Result:
        """Have `function(client)` called by the owner thread and return its result. Raises TimeoutError."""
        future: Future[Result] = Future()

        def call(client: confluent_kafka.Consumer) -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(client))
            except BaseException as error:  # noqa: BLE001  it is raised again where it was asked for
                future.set_exception(error)

        with self.lock:
            self._requests.append(call)
            self.changed.notify_all()
        try:
            return future.result(timeout_s)
        except FutureTimeout:
            future.cancel()
            raise TimeoutError(f"{self.group.name}: the client did not answer within {timeout_s:g} s") from None

    @property
    def has_requests(self) -> bool:
        """Whether something is asked of the client."""
        return bool(self._requests)

    def serve_requests(self, client: confluent_kafka.Consumer) -> None:
        """Do what was asked, for a second at most. Called by the owner thread."""
        if not self._requests:
            return
        until = time.monotonic() + SERVE_S
        while self._requests:
            self._requests.popleft()(client)
            if time.monotonic() >= until:
                return

    def group_metadata(self, key: Key, epoch: int, timeout_s: float, *, after_commits: bool) -> Any:
        """Return what a transaction needs to commit offsets in this member's name; None if the partition is gone.

        Asked on the owner's thread, where no rebalance comes between the look at the epoch and the metadata. With
        `after_commits` every commit that was sent before has arrived then: the coordinator answers one connection in
        order, so what it says about the group's offsets comes after them.
        """
        deadline = time.monotonic() + timeout_s
        not_yet = object()

        def ask(client: confluent_kafka.Consumer) -> Any:
            with self.lock:
                if not self.lanes.ledger.owns(key, epoch):
                    return None
                # Not answered may mean that it waits for its next attempt, and then arrives after the transaction.
                # What another thread of the handler has marked meanwhile must not arrive after it either.
                if after_commits and self._not_settled(key):
                    if self._to_be_sent(key):
                        self.turns.at_once([key], time.monotonic())
                    if not self.unpolled:
                        return not_yet
                    raise KafkaException(KafkaError(KafkaError._IN_PROGRESS, "a commit is not answered"))
            if after_commits:
                client.committed([TopicPartition(*key)], timeout=min(ASK_S, timeout_s))
                with self.lock:
                    self.lanes.ledger.plain_marks_arrived(key)
                    self.turns.forget([key])
            return client.consumer_group_metadata()

        while (answer := self.request(ask, max(0.0, deadline - time.monotonic()))) is not_yet:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{self.group.name}: no answer to a commit within {timeout_s:g} s")
            with self.lock:
                while self._not_settled(key) and not self.unpolled and time.monotonic() < deadline:
                    self.changed.wait(ANSWER_S)
        return answer

    def _not_settled(self, key: Key) -> bool:
        """Whether a commit of this partition is still to be sent, or is not answered."""
        return self._to_be_sent(key) or bool(self.turns.under_way(key))

    def _to_be_sent(self, key: Key) -> bool:
        return bool(self.turns.wanted([key])) and not self.lanes.ledger.is_doubtful(key)

    def committed_metadata(self, key: Key, timeout_s: float) -> str | None:
        """Return the metadata committed with a partition's offset. Raises KafkaException and TimeoutError."""
        deadline = time.monotonic() + timeout_s

        def ask(client: confluent_kafka.Consumer) -> str | None:
            remaining = max(0.1, deadline - time.monotonic())
            (answer,) = client.committed([TopicPartition(*key)], timeout=min(SERVE_S, remaining))
            if answer.error is not None:
                raise KafkaException(answer.error)
            return answer.metadata

        while True:
            try:
                return self.request(ask, max(0.0, deadline - time.monotonic()))
            except KafkaException as error:
                if not commit_may_succeed_later(error.args[0]) or time.monotonic() + RETRY_S >= deadline:
                    raise
                time.sleep(RETRY_S)

    # -- what observers read -------------------------------------------------------------------------------------

    def lane_states(self) -> dict[Key, LaneState]:
        """Return each assigned partition's state."""
        with self.lock:
            return {key: lane.state for key, lane in self.lanes.by_key.items()}
