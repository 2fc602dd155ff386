"""One run of a consumer on a worker thread: the instance, the hook, its output, and its result."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from swarm_consumer._connection.connection import Connection
from swarm_consumer._connection.gate import Tenure
from swarm_consumer._handling.batch import Batch
from swarm_consumer._handling.consumer import Consumer
from swarm_consumer._producing.deliveries import produced_by
from swarm_consumer._producing.producer import Producer
from swarm_consumer._reporting.bus import Bus
from swarm_consumer._running import batch_events
from swarm_consumer._running.dead_letter_post import SETTLE_TIMEOUT_S, DeadLetterPost, context_of
from swarm_consumer._running.event_loop import EventLoop
from swarm_consumer._running.partition_context import PartitionContext
from swarm_consumer._running.returned import complete
from swarm_consumer._scheduling.lane import Lane, LaneState
from swarm_consumer._scheduling.run import Run, run_in_hand
from swarm_consumer.events import ErrorOccurred


class Execution:
    """Calls consumers. Shared by all worker threads of a node; stateless between runs."""

    def __init__(self, bus: Bus, producer: Producer, event_loop: EventLoop) -> None:
        self._bus = bus
        self._producer = producer
        self._event_loop = event_loop
        self._letters = DeadLetterPost(bus, producer)
        self.after_batch: tuple[Callable[[], None], ...] = ()
        self.state: Any = None  # the value that the app's lifespan yields

    def work(self, connection: Connection, lane: Lane, occupy: Callable[[Run | None], None]) -> None:
        """Do the next run of a lane, on a worker thread: `occupy` is called with it, and with None at its end."""
        if lane.backlog.suspects is not None and connection.is_to_be_alone(lane):
            self._work_alone(connection, lane, occupy)
            return
        gate = connection.workers.gate
        if not gate.enter(connection.frozen):
            connection.put_off(lane)
            return
        try:
            self._work(connection, lane, occupy)
        finally:
            gate.leave()

    def _work_alone(self, connection: Connection, lane: Lane, occupy: Callable[[Run | None], None]) -> None:
        """Do the next runs of a lane whose records are suspected, with nothing beside them in this process."""
        if lane.state is not LaneState.READY:
            return  # it was done while this worker was on its way
        gate = connection.workers.gate
        in_company = functools.partial(connection.in_company, lane)
        contained = functools.partial(self._bus.call, "note of a suspect", in_company)
        tenure = gate.begin_alone(contained, connection.frozen)
        if tenure is None:
            # The process stops, or its other handlers take longer than suspects can wait.
            if gate.enter(connection.frozen):
                try:
                    self._work(connection, lane, occupy)
                finally:
                    gate.leave()
            else:
                connection.put_off(lane)
            return
        try:
            end = tenure.begun + gate.alone_s
            self._work(connection, lane, occupy, tenure)
            while lane.backlog.suspects is not None and lane.state is LaneState.READY:
                if tenure.over or time.monotonic() >= end:
                    break
                self._work(connection, lane, occupy, tenure)
        finally:
            gate.end_alone(tenure)

    def _work(
        self,
        connection: Connection,
        lane: Lane,
        occupy: Callable[[Run | None], None],
        tenure: Tenure | None = None,
    ) -> None:
        former = connection.owing(lane)
        if former is not None:  # the thread for hooks is busy with another hook
            self._hook(connection, former, "revoked")
        run = connection.take(lane, tenure)
        if run is None:
            return
        if run.action != "consume":
            self._call_hook(connection, run)
            return
        occupy(run)
        try:
            if run.judgement is not None:
                self._letters.give_up(connection, run, run.judgement)
            else:
                self._consume(connection, run)
            for callback in self.after_batch:
                self._bus.call("after_batch callback", callback)
        finally:
            occupy(None)

    def _consume(self, connection: Connection, run: Run) -> None:
        batch = self._batch(connection, run)
        batch_events.started(self._bus, run)
        error = self._call(connection, run, batch)
        run.deadly = error is not None and not isinstance(error, Exception)
        diverted = isinstance(error, Exception) and self._letters.divert(connection, run, error)
        outcome = connection.finish(run, error is not None, diverted=diverted)
        if not diverted:
            batch_events.ended(self._bus, run, batch, error, outcome)
        if run.deadly:
            connection.fail(
                f"{run.topic}[{run.partition}] offset {run.first_offset}: the handler raised "
                f"{type(error).__name__}, which ends the node"
            )

    @staticmethod
    def _batch(connection: Connection, run: Run) -> Batch[Any]:
        lane = run.lane
        if lane.decoders.epoch != run.epoch:
            lane.decoders = replace(lane.decoders, epoch=run.epoch)
        end = connection.statistics.known(lane.key).end
        return Batch(run.topic, run.partition, run.records, lane.decoders, end)

    def hook(self, connection: Connection, lane: Lane, action: str) -> None:
        """Call one of the hooks without messages, on the thread for hooks, while no suspect is alone in the process.

        An exception is reported and affects nothing else. A partition without messages so far gets its consumer here.
        """
        gate = connection.workers.gate
        if not gate.enter(connection.out_of_time):
            return
        try:
            self._hook(connection, lane, action)
        finally:
            gate.leave()

    def _hook(self, connection: Connection, lane: Lane, action: str) -> None:
        run = connection.begin_hook(lane, action)
        if run is not None:
            self._call_hook(connection, run)

    def _call_hook(self, connection: Connection, run: Run) -> None:
        action = run.action
        token = run_in_hand.set(run)
        try:
            consumer = self._prepared(connection, run)
            self._in_wrap(run.lane, action, getattr(consumer, action))
            self._complete(run)
        except BaseException as error:  # noqa: BLE001  a hook must not affect others
            self._after_failure(run)
            self._bus.emit(
                ErrorOccurred(where=f"hook {action}()", error=error, topic=run.topic, partition=run.partition)
            )
        finally:
            run_in_hand.reset(token)
            connection.finish(run, failed=False)

    def _call(self, connection: Connection, run: Run, batch: Batch[Any]) -> BaseException | None:
        lane = run.lane
        run.reached = False
        token = run_in_hand.set(run)
        try:
            consumer = self._prepared(connection, run)
            if "wrap" in lane.route.hooks:
                self._in_wrap(lane, "consume", functools.partial(_reach, run, consumer, batch))
            elif (result := _reach(run, consumer, batch)) is not None:
                complete("consume", result, self._event_loop)
            self._complete(run)
        except BaseException as error:  # noqa: BLE001  the caller decides
            self._after_failure(run)
            return error
        finally:
            run_in_hand.reset(token)
        return None

    def _complete(self, run: Run) -> None:
        """After a success: commit the open transaction, or wait until all output is acknowledged."""
        run.over = True
        if (run.transaction is not None or run.spoiled is not None) and run.lane.consumer is not None:
            context_of(run).transactions.complete(run)
        if run.deferred is not None or (run.produced is not None and run.produced.unsettled):
            self._settle(run)

    def _settle(self, run: Run) -> None:
        """Wait for the output of a run; raises DeliveryError if a message was not delivered."""
        self._producer.settle(produced_by(run), SETTLE_TIMEOUT_S)
        if run.deferred is not None and run.lane.consumer is not None:
            run.lane.consumer._context.settle_elsewhere(SETTLE_TIMEOUT_S)

    def _after_failure(self, run: Run) -> None:
        """Abort an open transaction; a mark that waits for acknowledgements only counts if all of them arrived."""
        run.over = True
        if run.transaction is not None and run.lane.consumer is not None:
            transactions = context_of(run).transactions
            self._bus.call("abort of a transaction", functools.partial(transactions.discard, run))
        if run.deferred is None:
            return
        try:
            self._settle(run)
        except BaseException:  # noqa: BLE001  the failure itself is reported
            run.deferred = None
        if produced_by(run).tainted:
            run.deferred = None

    def _prepared(self, connection: Connection, run: Run) -> Consumer:
        """Return the lane's consumer, created and initialized on first use."""
        lane = run.lane
        consumer = lane.consumer
        if consumer is None:
            consumer = self._instance(connection, lane)
        if not lane.initialized:
            if "initialized" in lane.route.hooks:
                self._in_wrap(lane, "initialized", consumer.initialized)
            lane.initialized = True
            connection.consumer_ready(run)
        return consumer

    def _instance(self, connection: Connection, lane: Lane) -> Consumer:
        consumer = lane.route.consumer()
        consumer._context = PartitionContext(connection, lane, self._producer)
        consumer._state = self.state
        lane.consumer = consumer
        return consumer

    def _in_wrap(self, lane: Lane, action: str, call: Callable[[], Any]) -> None:
        assert lane.consumer is not None
        if "wrap" not in lane.route.hooks:  # most consumers do not define it
            complete(action, call(), self._event_loop)
            return
        failure: BaseException | None = None
        with lane.consumer.wrap(action):
            try:
                complete(action, call(), self._event_loop)
            except BaseException as error:
                failure = error
                raise
        if failure is not None:
            raise failure  # the wrap swallowed the exception, but it cannot turn a failure into a success


def _reach(run: Run, consumer: Consumer, batch: Batch[Any]) -> Any:
    run.reached = True
    return consumer.consume(batch)
