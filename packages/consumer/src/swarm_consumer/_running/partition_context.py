"""The context behind a consumer instance: its lane, and access to the owner thread, the producer and the ledger."""

from __future__ import annotations

import operator
import threading
import time
from datetime import datetime
from typing import Any

from swarm_consumer._connection import commits, seeks
from swarm_consumer._connection.connection import Connection
from swarm_consumer._handling.message import Message
from swarm_consumer._producing.deliveries import Deliveries, Delivery, produced_by
from swarm_consumer._producing.producer import Producer
from swarm_consumer._running.run_transactions import Block, RunTransactions
from swarm_consumer._scheduling.lane import Lane
from swarm_consumer._scheduling.run import Run, run_in_hand
from swarm_consumer.errors import ConsumptionError, DeliveryError

_making = threading.Lock()


class PartitionContext:
    """The runtime's side of one Consumer instance. Every method may be called from the handler's thread."""

    def __init__(self, connection: Connection, lane: Lane, producer: Producer) -> None:
        self._connection = connection
        self._lane = lane
        self.topic, self.partition = lane.key
        self.producer = producer
        self._elsewhere = Deliveries()
        self._elsewhere_epoch = lane.epoch
        self.transactions = RunTransactions(connection, lane, producer)

    @property
    def attempt(self) -> int:
        """See Consumer.attempt."""
        run = self._lane.running
        return run.attempt if run is not None else self._lane.backlog.failures + 1

    def is_revoked(self) -> bool:
        """See Consumer.is_revoked."""
        gone = self._connection.is_gone(self._lane.partition)
        if gone and self._lane.running is not None:
            self._lane.running.marks_only = True
        return gone

    def is_stopping(self) -> bool:
        """See Consumer.is_stopping."""
        stopping = self._connection.stopping
        if stopping and self._lane.running is not None:
            self._lane.running.marks_only = True
        return stopping

    def mark(self, message: Message[Any] | int, metadata: str | None, blocking: bool, timeout: float) -> bool:
        """See Consumer.mark_as_consumed."""
        offset, leader_epoch = self._place(message)
        if metadata is not None:
            _check_metadata(metadata)
        run = self._lane.running
        epoch = run.epoch if run is not None else self._lane.epoch
        if isinstance(message, Message):
            epoch = message._decoders.epoch or epoch
        connection, key = self._connection, self._lane.key
        if (transaction := run.transaction if run is not None else None) is not None or self._unsettled(run):
            if not connection.may_mark(key, epoch, offset + 1):
                if transaction is not None:
                    transaction.refused = True
                return False
            if run is not None and transaction is not None:
                return self.transactions.mark(run, transaction, (offset + 1, metadata, leader_epoch), blocking)
            # Output must be acknowledged before messages may count as done. In a handler or hook the mark is
            # kept until its end, which waits anyway; a blocking mark, or one from another thread, waits here.
            if run is not None and not blocking and run_in_hand.get() is run:
                if run.deferred is None or run.deferred[0] <= offset + 1:
                    run.deferred = (offset + 1, metadata, leader_epoch)
                return True
            if run is not None and run.produced is not None:
                self.producer.settle(run.produced, timeout)
            self.settle_elsewhere(timeout)
        ours = connection.mark(key, epoch, offset + 1, metadata, leader_epoch)
        if ours and blocking:
            return commits.commit_blocking(connection, key, epoch, timeout)
        return ours

    def _unsettled(self, run: Run | None) -> bool:
        """Whether a produced message is in flight, or has failed without being raised."""
        return (run is not None and run.produced is not None and run.produced.unsettled) or self.elsewhere.unsettled

    def settle_elsewhere(self, timeout: float) -> None:
        """Wait for messages produced by the handler's own threads. Raises DeliveryError if one failed.

        It is unknown for which message it was, so the partition then goes back to its first unmarked message.
        """
        epoch = self._lane.epoch
        try:
            self.producer.settle(self.elsewhere, timeout)
        except DeliveryError:
            self._connection.go_back(self._lane.partition, epoch)
            raise

    @property
    def elsewhere(self) -> Deliveries:
        """Messages produced by the handler's own threads since the last assignment, seek or going back."""
        if self._elsewhere_epoch != self._lane.epoch:
            with _making:
                if self._elsewhere_epoch != (epoch := self._lane.epoch):
                    self._elsewhere, self._elsewhere_epoch = Deliveries(), epoch
        return self._elsewhere

    def _place(self, message: Message[Any] | int) -> tuple[int, int | None]:
        if not isinstance(message, Message):
            offset = operator.index(message)
            if offset < 0:
                raise ValueError(f"there is no offset {offset}")
            return offset, None
        record = message.record
        if (record.topic(), record.partition()) != self._lane.key:
            raise ValueError(f"{message!r} does not belong to {self.topic}[{self.partition}]")
        return message.offset, record.leader_epoch()

    def transaction(self, timeout: float) -> Block:
        """See Consumer.transaction."""
        return self.transactions.block(timeout)

    def offset_metadata(self, timeout: float) -> str | None:
        """See Consumer.offset_metadata."""
        return commits.committed_metadata(self._connection, self._lane.key, timeout)

    def pause(self, duration: float | None) -> None:
        """See Consumer.pause."""
        if duration is not None and not duration >= 0:  # NaN is not a duration either
            raise ValueError(f"a pause of {duration} s is not possible")
        until = float("inf") if duration is None else time.monotonic() + duration
        self._connection.pause(self._lane.partition, until, duration)

    def resume(self) -> None:
        """See Consumer.resume."""
        self._connection.resume(self._lane.partition)

    def complain(self, code: int, reason: str) -> None:
        """See Consumer.unhealthy."""
        if not isinstance(code, int) or isinstance(code, bool) or not 0 < code < 2**31:
            raise ValueError(f"the code of a complaint is an int from 1 to 2**31 - 1, not {code!r}")
        self._connection.complain(code, f"{self.topic}[{self.partition}]: {reason}")

    def seek(self, target: int | datetime | str) -> None:
        """See Consumer.seek."""
        target = seeks.checked(target)
        run = self._lane.running
        if run is None or run.action != "consume":
            raise ConsumptionError("seek() is possible inside consume() only")
        run.seek = target

    def produce(self, topic: str, value: Any, **options: Any) -> Delivery:
        """See Consumer.produce."""
        run = self._lane.running
        if self.producer.transactional:
            if run is None or run.transaction is None or not run.transaction.inside:
                # The node has one producer: this message would become part of another thread's open transaction
                # and be lost with it.
                raise ConsumptionError(
                    "the app's producer has a transactional.id: produce inside `with self.transaction():`"
                )
            return self.producer.produce(topic, value, told=True, **options)  # the commit shows whether it arrived
        if run is not None and run_in_hand.get() is run:
            return self.producer.produce(topic, value, deliveries=(produced_by(run),), told=True, **options)
        groups = (self.elsewhere,) if run is None else (produced_by(run), self.elsewhere)
        return self.producer.produce(topic, value, deliveries=groups, **options)


def _check_metadata(metadata: str | None) -> None:
    """Refuse here what the client would refuse in its own thread, where the error would be lost."""
    if metadata is None:
        return
    if not isinstance(metadata, str):
        raise TypeError(f"metadata must be a str, not {type(metadata).__name__}: {metadata!r}")
    metadata.encode()
