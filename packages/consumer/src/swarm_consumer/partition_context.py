"""What stands behind a consumer instance: its lane, and the way to the owner thread, the producer and the ledger."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from swarm_consumer import commits
from swarm_consumer.deliveries import Deliveries, Delivery
from swarm_consumer.errors import ConsumptionError
from swarm_consumer.group_state import GroupState
from swarm_consumer.lane import Lane
from swarm_consumer.message import Message
from swarm_consumer.offsets import topic_partition
from swarm_consumer.producer import Producer
from swarm_consumer.progress import Storable


def _first(mark: tuple[int, str | None, int | None]) -> int:
    return mark[0]


class PartitionContext:
    """The runtime's side of one Consumer instance; all of it may be called from the handler's thread."""

    def __init__(self, client: GroupState, lane: Lane, producer: Producer) -> None:
        self._client = client
        self._lane = lane
        self.topic, self.partition = lane.key
        self.producer = producer
        self.deliveries = Deliveries()
        self._in_transaction = False
        self._transaction_mark: tuple[int, str | None] | None = None

    @property
    def attempt(self) -> int:
        """See Consumer.attempt."""
        run = self._lane.running
        return run.attempt if run is not None else self._lane.failures + 1

    def is_revoked(self) -> bool:
        """See Consumer.is_revoked."""
        lane = self._lane
        gone = lane.revoking or self._client.lanes.by_key.get(lane.key) is not lane
        if gone and lane.running is not None:
            lane.running.marks_only = True
        return gone

    def is_stopping(self) -> bool:
        """See Consumer.is_stopping."""
        stopping = self._client.stopping
        if stopping and self._lane.running is not None:
            self._lane.running.marks_only = True
        return stopping

    def mark(self, message: Message[Any] | int, metadata: str | None, blocking: bool, timeout: float) -> bool:
        """See Consumer.mark_as_consumed."""
        if isinstance(message, Message):
            if (message.topic, message.partition) != self._lane.key:
                raise ValueError(f"{message!r} does not belong to {self.topic}[{self.partition}]")
            offset, leader_epoch = message.offset, message.leader_epoch
        else:
            offset, leader_epoch = message, None
        run = self._lane.running
        if self._in_transaction:
            if blocking:
                raise ConsumptionError(
                    "a mark inside a transaction is committed with it; it cannot be waited for alone"
                )
            if run is not None and run.last_offset is not None and offset > run.last_offset:
                raise ValueError(f"offset {offset} of {self.topic}[{self.partition}] has not been delivered yet")
            self._transaction_mark = (offset + 1, metadata)
            with self._client.lock:
                return run is not None and self._client.lanes.ledger.owns(self._lane.key, run.epoch)
        deliveries = self.deliveries
        if deliveries.pending or deliveries.failed is not None:
            # What was produced for these messages must be acknowledged before they may count as done. The mark is
            # kept until the end of the run, which waits for that anyway; a blocking one waits here.
            if blocking or run is None:
                self.producer.settle(deliveries, timeout)
            else:
                if run.last_offset is not None and offset > run.last_offset:
                    raise ValueError(f"offset {offset} of {self.topic}[{self.partition}] has not been delivered yet")
                with self._client.lock:
                    run.deferred = max(
                        run.deferred or (0, None, None), (offset + 1, metadata, leader_epoch), key=_first
                    )
                    return self._client.lanes.ledger.owns(self._lane.key, run.epoch)
        with self._client.lock:
            epoch = run.epoch if run is not None else self._lane.epoch
            ours = self._client.lanes.ledger.mark(self._lane.key, epoch, offset + 1, metadata, leader_epoch)
        if ours and blocking:
            return commits.commit_blocking(self._client, self._lane.key, epoch, timeout)
        return ours

    @contextlib.contextmanager
    def transaction(self, timeout: float) -> Iterator[None]:
        """See Consumer.transaction."""
        run = self._lane.running
        if run is None or run.action != "consume" or run.last_offset is None:
            raise ConsumptionError("transaction() is possible inside consume() only")
        if self._in_transaction:
            raise ConsumptionError("transactions do not nest")
        with self.producer.transaction(timeout) as scope:
            self._in_transaction = True
            self._transaction_mark = None
            try:
                yield
            finally:
                self._in_transaction = False
            mark = self._marked_in_transaction()
            if mark is None and not run.marks_only and not self._lane.route.settings.manual_marking:
                mark = (run.last_offset + 1, None)
            if mark is not None:
                with self._client.lock:
                    ours = self._client.lanes.ledger.owns(self._lane.key, run.epoch)
                if not ours:
                    raise ConsumptionError(f"{self.topic}[{self.partition}] was taken away during the transaction")
                place = topic_partition(Storable(*self._lane.key, *mark))
                scope.add_offsets([place], self._client.group_metadata(timeout))
        # Committed: what was produced is acknowledged, and the ledger follows.
        self.deliveries = Deliveries()
        if mark is not None:
            with self._client.lock:
                self._client.lanes.ledger.mark(self._lane.key, run.epoch, mark[0], mark[1])

    def _marked_in_transaction(self) -> tuple[int, str | None] | None:
        return self._transaction_mark

    def offset_metadata(self, timeout: float) -> str | None:
        """See Consumer.offset_metadata."""
        return self._client.committed_metadata(self._lane.key, timeout)

    def pause(self, duration: float | None) -> None:
        """See Consumer.pause."""
        if duration is not None and duration < 0:
            raise ValueError(f"a pause of {duration} s is not possible")
        self._client.pause(self._lane, float("inf") if duration is None else time.monotonic() + duration, duration)

    def resume(self) -> None:
        """See Consumer.resume."""
        self._client.resume(self._lane)

    def complain(self, code: int, reason: str) -> None:
        """See Consumer.unhealthy."""
        if not isinstance(code, int) or isinstance(code, bool) or not 0 < code < 2**31:
            raise ValueError(f"the code of a complaint is an int from 1 to 2**31 - 1, not {code!r}")
        self._client.complain(code, f"{self.topic}[{self.partition}]: {reason}")

    def seek(self, target: int | datetime | str) -> None:
        """See Consumer.seek."""
        if isinstance(target, str) and target not in ("earliest", "latest"):
            raise ValueError(f"seek to an offset, a datetime, 'earliest' or 'latest', not {target!r}")
        if isinstance(target, int) and target < 0:
            raise ValueError(f"there is no offset {target}")
        run = self._lane.running
        if run is None or run.action != "consume":
            raise ConsumptionError("seek() is possible inside consume() only")
        run.seek = target

    def produce(self, topic: str, value: Any, **options: Any) -> Delivery:
        """See Consumer.produce."""
        if self.producer.transactional and not self._in_transaction:
            # The node has one producer: this would become a part of whatever transaction another thread has open, and
            # be lost with it.
            raise ConsumptionError(
                "this app's producer has a transactional.id: produce inside `with self.transaction():`"
            )
        return self.producer.produce(topic, value, deliveries=self.deliveries, **options)
