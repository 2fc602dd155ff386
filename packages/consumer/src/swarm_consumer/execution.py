"""One run of a consumer, on a worker thread: the instance, the hook, what it produced, and what became of it."""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Callable
from typing import Any

from swarm_consumer.batch import Batch
from swarm_consumer.bus import Bus
from swarm_consumer.consumer import Consumer
from swarm_consumer.dead_letters import letter_headers
from swarm_consumer.deliveries import Deliveries
from swarm_consumer.event_loop import EventLoop
from swarm_consumer.events import (
    BatchFailed,
    BatchFinished,
    BatchStarted,
    DeadLettered,
    DeadLetterLimitReached,
    ErrorOccurred,
    RetryStarted,
)
from swarm_consumer.group_state import GroupState
from swarm_consumer.lane import Lane, Run
from swarm_consumer.partition_context import PartitionContext
from swarm_consumer.producer import Producer

SETTLE_TIMEOUT_S = 60.0
"""How long a batch waits at its end for the acknowledgement of what it produced, before it counts as failed."""


class Execution:
    """Calls consumers. Shared by all worker threads of a node; keeps nothing of a run."""

    def __init__(self, bus: Bus, producer: Producer, event_loop: EventLoop) -> None:
        self._bus = bus
        self._producer = producer
        self._event_loop = event_loop
        self.after_batch: tuple[Callable[[], None], ...] = ()
        self.state: Any = None  # what the app's lifespan yields

    def consume(self, client: GroupState, run: Run, again: bool) -> None:
        """Give a batch to the lane's consumer and report how it went."""
        lane = run.lane
        bus = self._bus
        batch: Batch[Any] = Batch(
            run.topic, run.partition, run.records, lane.route.decoders, client.statistics.end_offsets.get(lane.key)
        )
        if again:
            bus.emit(
                RetryStarted(
                    topic=run.topic, partition=run.partition, offset=run.first_offset or 0, attempt=run.attempt
                )
            )
        if bus.wants(BatchStarted):
            bus.emit(
                BatchStarted(
                    topic=run.topic,
                    partition=run.partition,
                    first_offset=run.first_offset or 0,
                    last_offset=run.last_offset or 0,
                    messages=len(run.records),
                    attempt=run.attempt,
                )
            )
        error = self._call(client, run, batch)
        if isinstance(error, Exception) and self._divert(client, run, error):
            client.finish(run, failed=True, diverted=True)
            self._tell_observers()
            return
        outcome = client.finish(run, error is not None)
        if error is not None:
            bus.emit(
                BatchFailed(
                    topic=run.topic,
                    partition=run.partition,
                    offset=run.first_offset or 0 if outcome.first_unmarked is None else outcome.first_unmarked,
                    offset_in_hand=batch._offset_in_hand(error),
                    attempt=run.attempt,
                    retry_in_s=0.0 if outcome.isolating else outcome.retry_in_s,
                    error=error,
                )
            )
            if outcome.refusal is not None:
                bus.emit(
                    DeadLetterLimitReached(
                        topic=run.topic,
                        partition=run.partition,
                        offset=run.first_offset or 0,
                        reason=outcome.refusal,
                    )
                )
            if not isinstance(error, Exception):
                client.fail(
                    f"{run.topic}[{run.partition}] offset {run.first_offset}: the handler raised "
                    f"{type(error).__name__}, which ends the node"
                )
        elif bus.wants(BatchFinished):
            bus.emit(
                BatchFinished(
                    topic=run.topic,
                    partition=run.partition,
                    first_offset=run.first_offset or 0,
                    last_offset=run.last_offset or 0,
                    messages=len(run.records),
                    duration_s=time.monotonic() - run.started,
                )
            )
        self._tell_observers()

    def _tell_observers(self) -> None:
        for callback in self.after_batch:
            self._bus.call("after_batch callback", callback)

    def _divert(self, client: GroupState, run: Run, error: Exception) -> bool:
        """Send the message of a failed run to the dead letters if its attempts are used up; whether that is done."""
        record = client.divertible(run)
        limits = run.lane.route.settings.dead_letters
        if record is None or limits is None:
            return False
        if limits.topic is not None:
            headers = letter_headers(record, run.lane.route.group, run.attempt, error)
            _, timestamp = record.timestamp()
            letter: dict[str, Any] = {"key": record.key(), "headers": headers}
            if timestamp > 0:
                letter["timestamp_ms"] = timestamp
            try:
                if self._producer.transactional:
                    with self._producer.transaction(SETTLE_TIMEOUT_S):
                        self._producer.produce(limits.topic, record.value(), **letter)
                else:
                    self._producer.produce(limits.topic, record.value(), **letter).wait(SETTLE_TIMEOUT_S)
            except Exception as failure:  # noqa: BLE001  no letter, no progress: the message is tried again
                self._bus.emit(
                    ErrorOccurred(
                        where=f"dead letter for offset {run.first_offset}",
                        error=failure,
                        topic=run.topic,
                        partition=run.partition,
                    )
                )
                return False
        self._bus.emit(
            DeadLettered(
                topic=run.topic,
                partition=run.partition,
                offset=run.first_offset or 0,
                attempts=run.attempt,
                dead_letter_topic=limits.topic,
                error=error,
            )
        )
        return True

    def hook(self, client: GroupState, lane: Lane, action: str) -> None:
        """Call one of the hooks without messages; what it raises is reported and hurts nobody."""
        if lane.consumer is None:
            return
        with client.lock:
            run = client.lanes.begin_hook(lane, action, time.monotonic())
        if run is None:
            return
        client.hook_run = run
        try:
            self._in_wrap(lane, action, getattr(lane.consumer, action))
            context = lane.consumer._context
            if context.deliveries.pending:
                self._producer.settle(context.deliveries, SETTLE_TIMEOUT_S)
        except BaseException as error:  # noqa: BLE001  a hook must hurt nobody
            self._bus.emit(
                ErrorOccurred(where=f"hook {action}()", error=error, topic=run.topic, partition=run.partition)
            )
        finally:
            client.hook_run = None
            client.finish(run, failed=False)

    def _call(self, client: GroupState, run: Run, batch: Batch[Any]) -> BaseException | None:
        lane = run.lane
        try:
            consumer = lane.consumer
            if consumer is None:
                consumer = self._instance(client, lane)
            context = consumer._context
            context.deliveries = deliveries = Deliveries()
            if not lane.initialized:
                if "initialized" in lane.route.hooks:
                    self._in_wrap(lane, "initialized", consumer.initialized)
                lane.initialized = True
            if "wrap" in lane.route.hooks:
                self._in_wrap(lane, "consume", lambda: consumer.consume(batch))
            else:
                result = consumer.consume(batch)
                if result is not None:
                    self._await(result)
            if deliveries.pending or deliveries.failed is not None:
                self._producer.settle(deliveries, SETTLE_TIMEOUT_S)
        except BaseException as error:  # noqa: BLE001  the caller decides what follows
            self._keep_deferred_mark(run)
            return error
        return None

    def _keep_deferred_mark(self, run: Run) -> None:
        """After a failure: a mark that waited for acknowledgements counts only if all of them came."""
        if run.deferred is None or run.lane.consumer is None:
            return
        try:
            self._producer.settle(run.lane.consumer._context.deliveries, SETTLE_TIMEOUT_S)
        except Exception:  # noqa: BLE001  the failure itself is reported
            run.deferred = None

    def _instance(self, client: GroupState, lane: Lane) -> Consumer:
        consumer = lane.route.consumer()
        consumer._context = PartitionContext(client, lane, self._producer)
        consumer._state = self.state
        lane.consumer = consumer
        return consumer

    def _in_wrap(self, lane: Lane, action: str, call: Callable[[], Any]) -> None:
        assert lane.consumer is not None
        surroundings = (
            lane.consumer.wrap(action)
            if "wrap" in lane.route.hooks
            else contextlib.nullcontext()  # most consumers do not define it
        )
        with surroundings:
            self._await(call())

    def _await(self, result: Any) -> None:
        if inspect.iscoroutine(result):
            self._event_loop.run(result)
