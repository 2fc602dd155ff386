"""A subscription group's connection to Kafka, as its owner thread, the workers and the runtime share it.

The Kafka client itself belongs to one thread alone, the owner (`owner.py`): librdkafka's close() hangs when another
thread is inside poll(). So nothing here touches the client. What a handler wants of it is left as a request, and what
a worker has done is written into partitions and ledger, from where the owner commits it.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import confluent_kafka

from swarm_consumer._connection.client_statistics import ClientStatistics
from swarm_consumer._connection.gate import Tenure
from swarm_consumer._connection.kept_progress import KeptProgress
from swarm_consumer._connection.membership import Membership
from swarm_consumer._connection.owner import Owner
from swarm_consumer._connection.partition_ends import PartitionEnds
from swarm_consumer._connection.requests import Requests
from swarm_consumer._connection.workers import Workers
from swarm_consumer._reporting.bus import Bus
from swarm_consumer._scheduling import run_ends, suspicion
from swarm_consumer._scheduling.commit_turns import CommitTurns
from swarm_consumer._scheduling.counters import Counters
from swarm_consumer._scheduling.going_back import go_back
from swarm_consumer._scheduling.lane import Lane, LaneState
from swarm_consumer._scheduling.ledger import Key, Ledger
from swarm_consumer._scheduling.partition import Partition
from swarm_consumer._scheduling.partitions import Partitions
from swarm_consumer._scheduling.run import Outcome, Run
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.events import ClientError, PartitionPaused, PartitionResumed
from swarm_consumer.kafka.client_errors import Repetitions
from swarm_consumer.kafka.clients import ClientFactory
from swarm_consumer.routing.client_properties import ClientProperties
from swarm_consumer.routing.routes import SubscriptionGroup


class Connection:
    """One subscription group at work: what is assigned, what was done, what is asked of its client, and its owner.

    It is also the poll stamp that liveness reads: subscription_group, last_poll, max_poll_interval_s, join_state,
    join_state_since.

    `_lock` guards partitions, ledger and counters; `_changed` is notified when the owner has to look. Both, and the
    partitions with their ledger, are for this wing alone (`.ci/wings.py` checks that); others use the methods.
    """

    def __init__(
        self,
        group: SubscriptionGroup,
        clients: ClientFactory,
        properties: ClientProperties,
        workers: Workers,
        bus: Bus,
        wake: Callable[[], None],
        revocation_timeout_s: float,
        kept: KeptProgress | None = None,
        membership: Membership | None = None,
    ) -> None:
        self.group = group
        self.kept = kept
        self.membership = membership or Membership(group, properties.instance_id, bus)
        self.workers = workers
        self.bus = bus
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self.partitions = Partitions(Ledger(), group.max_poll_interval_s)
        if kept is not None:
            self.partitions.claim = kept.claim
            self.partitions.handled = kept.handled
        self.requests = Requests(group.name, self._changed)
        self.statistics = ClientStatistics()
        self.ends = PartitionEnds()
        self.quieting = False
        self.stopping = False
        self.failed = False
        self._leaving: Callable[[], bool] = lambda: False
        self.deadline = 0.0  # of the stop, monotonic
        self.work_deadline = 0.0  # of handlers and hooks within it
        self.fatal: str | None = None
        self.complaint: tuple[int, str] | None = None
        self.configuration_error: ConfigurationError | None = None
        self.overrun = False
        self.last_poll: float | None = None
        self.hook_runs: dict[int, Run] = {}  # running hooks, by the thread that calls them
        self.attention = False  # something waits for a time or a seek, so the owner looks at all lanes in each turn
        self.waiting_below = -1  # the owner sleeps until fewer messages than this are held; -1 if it does not sleep
        self.turns = CommitTurns(group.commit_interval_s, time.monotonic())
        self.unpolled = False  # the owner is inside a callback of its client, where no answer can be polled
        self.awaited: dict[Key, list[tuple[int, Future[None]]]] = {}  # for the owner: commits that workers wait for
        self.refusals = Repetitions()
        self.wake_runtime = wake
        self.counters = Counters()
        self.behind: dict[Key, float] = {}  # since when a partition has had lag, for `observation`
        self._owner = Owner(self, clients, properties, revocation_timeout_s)
        self.thread = threading.Thread(target=self._owner.run, name=f"swarm-owner-{group.name}"[:60], daemon=True)

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
        """The state of the group membership in librdkafka's statistics; None before the first ones."""
        return self.statistics.join_state

    @property
    def join_state_since(self) -> float | None:
        """The start of that state in monotonic seconds."""
        return self.statistics.join_state_since

    # -- orders of the runtime -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the owner thread, which creates the client."""
        self.thread.start()

    def quiet(self) -> None:
        """Take no more messages, finish running work, keep the membership."""
        with self._lock:
            self.quieting = True
            self.partitions.frozen = True
            self._changed.notify_all()

    @property
    def id_is_the_apps(self) -> bool:
        """Whether it is a static member under an id of the application's own."""
        properties = self._owner.properties
        return properties.instance_id is not None and not properties.static_id_may_change

    @property
    def is_ending(self) -> bool:
        """Whether this connection ends, or is about to."""
        return self.stopping or self.fatal is not None or self.complaint is not None

    @property
    def leaving(self) -> bool:
        """Whether the member leaves its group for good. An order to leave may come late: ask when the client ends."""
        return self.stopping and self._leaving()

    def stop(self, deadline: float, *, leaving: Callable[[], bool], failed: bool = False) -> None:
        """Take no more, finish what is at work, commit it, close the client; all before `deadline` (monotonic).

        failed: the process ends by a fault of its own or of its brokers.
        """
        with self._lock:
            self.end_by(deadline)
            self._leaving = leaving
            self.failed = failed
            self.stopping = True
            self.partitions.frozen = True
            self._changed.notify_all()

    def end_by(self, deadline: float) -> None:
        """Set the deadline of the stop, and of running work."""
        # A fifth of the time, at most 5 s, is reserved for closing the client, so that progress is committed
        # even if a handler never returns.
        self.deadline = deadline
        self.work_deadline = deadline - min(5.0, max(0.0, deadline - time.monotonic()) * 0.2)

    def fail(self, reason: str, code: str = "_FAIL") -> None:
        """End the node for this reason. May be called from any thread."""
        if self.fatal is not None:
            return
        self.fatal = reason
        # The event itself names group and code.
        told = reason.removeprefix(f"{self.group.name}: ").removeprefix(f"{code}: ")
        self.bus.emit(ClientError(subscription_group=self.group.name, code=code, reason=told, fatal=True))
        self.wake_runtime()

    def complain(self, code: int, reason: str) -> None:
        """Note a handler's complaint about this process; the first one is kept."""
        with self._lock:
            if self.complaint is None:
                self.complaint = code, reason

    # -- runs: what workers take and finish ----------------------------------------------------------------------

    def owing(self, lane: Lane) -> Lane | None:
        """Return the partition's former lane if its revoked() is still to be called, and may be called now."""
        if not self.partitions.has_former:  # as nearly always: no lock for it
            return None
        with self._lock:
            return self.partitions.owing(lane.key)

    def take(self, lane: Lane, tenure: Tenure | None = None) -> Run | None:
        """Begin the next run of a lane: a tick due between two batches, or a batch; None if there is nothing to do.

        tenure: the worker's time alone in the process, if it has one.
        """
        with self._lock:
            if lane.tick_due and lane.state is LaneState.READY and self.partitions.may_start(lane):
                lane.tick_due = False
                return self._hook_run(lane, "tick")
            now = time.monotonic()
            if tenure is None:
                return self.partitions.take(lane, now)
            run = self.partitions.take(lane, now, by_itself=not tenure.over)
            if run is not None:
                tenure.until = now + suspicion.alone_s(run, self.workers.gate.alone_s)
            return run

    def is_to_be_alone(self, lane: Lane) -> bool:
        """Whether a handler is about to be given a suspect."""
        with self._lock:
            return suspicion.is_to_be_alone(lane, self.partitions.handled)

    def in_company(self, lane: Lane) -> None:
        """Note that others run beside the present run of a lane."""
        with self._lock:
            suspicion.in_company(lane)

    def frozen(self) -> bool:
        """Whether nothing is begun any more, at least for now."""
        return self.partitions.frozen

    def put_off(self, lane: Lane) -> None:
        """Leave a lane alone that could not be begun."""
        with self._lock:
            for one in self.partitions.put_off(lane):
                self.workers.submit(self, one)

    def out_of_time(self) -> bool:
        """Whether the connection ends, and the time for hooks is over."""
        return self.stopping and time.monotonic() >= self.work_deadline

    def may_give_up(self, run: Run) -> bool:
        """Whether the message of a run may get a dead letter instead of a handler, which the run was judged to."""
        with self._lock:
            return self.partitions.ledger.owns(run.lane.key, run.epoch) and run.lane.state is not LaneState.CLOSED

    def blame_nothing(self) -> None:
        """Note that the process ends for a reason of its own: what is still running is not to blame."""
        with self._lock:
            suspicion.blame_nothing(self.partitions.running())

    def begin_hook(self, lane: Lane, action: str) -> Run | None:
        """Begin the run of a hook, on the thread that calls it; None if the hook is obsolete."""
        with self._lock:
            return self._hook_run(lane, action)

    def _hook_run(self, lane: Lane, action: str) -> Run | None:
        run = self.partitions.begin_hook(lane, action, time.monotonic())
        if run is not None:
            self.hook_runs[threading.get_ident()] = run
        return run

    def call_hook(self, lane: Lane, action: str) -> None:
        """Have a hook called on the thread for hooks."""
        self.workers.submit_hook(functools.partial(self.workers.hook, self, lane, action))

    def finish(self, run: Run, failed: bool, *, diverted: bool = False) -> Outcome:
        """Record the end of a run, queue the lane again if it has more to do, and return the Outcome."""
        with self._lock:
            if run.action != "consume":
                self.hook_runs.pop(threading.get_ident(), None)
            if run.deferred is not None:
                offset, metadata, leader_epoch = run.deferred
                self.partitions.ledger.mark(run.lane.key, run.epoch, offset, metadata, leader_epoch)
            outcome = self.partitions.finish(run, failed, time.monotonic(), diverted=diverted)
            partition = run.lane.partition
            if partition.going_back and go_back(self.partitions, partition, time.monotonic()):
                outcome = outcome._replace(queue=())
            if run.lane.blocked or partition.pending_seek is not None:
                self.attention = True
            if run.judgement is not None and not diverted:
                self.counters.was_parked(run.lane.key)
            elif run.action == "consume":
                self.counters.count(run, failed, diverted, time.monotonic() - run.started)
            for lane in outcome.queue:
                self.workers.submit(self, lane)
            if outcome.owes_revoked:
                self.call_hook(run.lane, "revoked")
            if self.waiting_below >= 0 and (
                self.partitions.held_total < self.waiting_below or partition.revoking or self.partitions.frozen
            ):
                self._changed.notify_all()
        return outcome

    def divertible(self, run: Run) -> confluent_kafka.Message | None:
        """Return the message that a failed run gives up, or None if it is retried."""
        with self._lock:
            return run_ends.divertible(run, self.partitions.ledger)

    def letter_moves(self, run: Run) -> bool:
        """Whether a dead letter for a run's message moves the offset past it."""
        with self._lock:
            return run_ends.letter_moves(run, self.partitions.ledger)

    def consumer_ready(self, run: Run) -> None:
        """Note that the consumer of a run is ready. What failed or died before, in its hook, does not count."""
        with self._lock:
            if run.lane.backlog.failures:
                run.lane.backlog.failures = 0
                run.attempt = 1
            if run.action == "consume":
                suspicion.given(run)

    # -- what handlers want --------------------------------------------------------------------------------------

    def is_gone(self, partition: Partition) -> bool:
        """Whether a partition is being, or has been, taken away."""
        return partition.revoking or self.partitions.by_key.get(partition.key) is not partition

    def may_mark(self, key: Key, epoch: int, next_offset: int) -> bool:
        """Whether everything before `next_offset` may be marked, as `Ledger.may_mark` says; raises ValueError."""
        with self._lock:
            return self.partitions.ledger.may_mark(key, epoch, next_offset)

    def mark(
        self, key: Key, epoch: int, next_offset: int, metadata: str | None = None, leader_epoch: int | None = None
    ) -> bool:
        """Note that everything before `next_offset` is done; False for a stale epoch. Raises ValueError, too."""
        with self._lock:
            return self.partitions.ledger.mark(key, epoch, next_offset, metadata, leader_epoch)

    def go_back(self, partition: Partition, epoch: int) -> None:
        """Have all unmarked messages of a partition handled again, at once or at the end of its run."""
        with self._lock:
            partition.going_back = partition.epoch == epoch
            if partition.going_back and not partition.running and go_back(self.partitions, partition, time.monotonic()):
                self.attention = True

    def pause(self, partition: Partition, until: float, duration: float | None) -> None:
        """Pause a partition at its handler's wish."""
        with self._lock:
            self.partitions.pause(partition, until)
            self.attention = True
        topic, number = partition.key
        reason = "asked by the handler"
        self.bus.emit(PartitionPaused(topic=topic, partition=number, reason=reason, duration_s=duration))

    def resume(self, partition: Partition) -> None:
        """Resume a partition at its handler's wish."""
        with self._lock:
            if self.partitions.by_key.get(partition.key) is partition:
                for lane in self.partitions.resume(partition):
                    self.workers.submit(self, lane)
        topic, number = partition.key
        self.bus.emit(PartitionResumed(topic=topic, partition=number, reason="asked by the handler"))

    # -- read by observers -------------------------------------------------------------------------------------

    @property
    def has_partitions(self) -> bool:
        """Whether any partition is assigned now."""
        return bool(self.partitions.by_key)

    @property
    def idle(self) -> bool:
        """Whether no handler of this group is running."""
        with self._lock:
            return not self.partitions.at_work

    @property
    def caught_up(self) -> bool:
        """Whether everything that came is handled, except in partitions that are paused without an end."""
        with self._lock:
            return self.partitions.caught_up

    def assigned(self) -> list[Key]:
        """Return the assigned partitions."""
        with self._lock:
            return list(self.partitions.by_key)
