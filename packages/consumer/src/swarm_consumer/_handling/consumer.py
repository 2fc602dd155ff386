"""What users write, a class with `consume` or a function, and what they may call in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime
from typing import Any, Literal, Protocol

from swarm_consumer._handling.batch import Batch
from swarm_consumer._handling.message import Message
from swarm_consumer._payloads.codec import Codec
from swarm_consumer._producing.deliveries import Delivery
from swarm_consumer._producing.producer import Producer
from swarm_consumer.errors import ConsumptionError


class TransactionBlock(AbstractContextManager[None], AbstractAsyncContextManager[None]):
    """A block of a transaction, for ``with`` and in async handlers for ``async with``."""


class _Context(Protocol):
    """The implementation behind a consumer: `PartitionContext` of `_running`. `Consumer` documents each method."""

    topic: str
    partition: int
    producer: Producer

    @property
    def attempt(self) -> int: ...
    def settle_elsewhere(self, timeout: float) -> None: ...
    def is_revoked(self) -> bool: ...
    def is_stopping(self) -> bool: ...
    def mark(self, message: Message[Any] | int, metadata: str | None, blocking: bool, timeout: float) -> bool: ...
    def offset_metadata(self, timeout: float) -> str | None: ...
    def transaction(self, timeout: float) -> TransactionBlock: ...
    def pause(self, duration: float | None) -> None: ...
    def resume(self) -> None: ...
    def seek(self, target: int | datetime | str) -> None: ...
    def complain(self, code: int, reason: str) -> None: ...
    def produce(self, topic: str, value: Any, **options: Any) -> Delivery: ...


class Consumer:
    """Handles the batches of one topic-partition. One instance per assigned partition, kept between batches.

    Override `consume`; the other hooks are optional. All of them run one at a time for a given instance, on a worker
    thread of the node.
    """

    _context: _Context
    _state: Any

    # -- hooks ---------------------------------------------------------------------------------------------------

    def initialized(self) -> None:
        """Called once, before the first batch of this partition. If it raises, it is retried like a batch."""

    def consume(self, messages: Batch[Any]) -> Any:
        """Handle one batch: messages of one partition, in order. May be ``async def``.

        Its return marks the batch as done; raise to retry it. The return value is ignored, except that an
        awaitable or a future is awaited, and that lazy objects (a generator, map(), a list of coroutines) and
        False fail the batch.
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not define consume(self, messages)")

    def revoked(self) -> None:
        """Called when the partition has been taken away, after the last batch and before progress is handed over.

        Marks made here still count, unless the partition was lost rather than revoked.
        """

    def shutdown(self) -> None:
        """Called once when the node stops, after the last batch. Marks made here still count."""

    def tick(self) -> None:
        """Called every `tick_interval` seconds while no batch of this partition is being handled."""

    def eofed(self) -> None:
        """Called when the end of the partition has been reached. Defining it switches the client's EOF events on."""

    @contextlib.contextmanager
    def wrap(self, action: str) -> Iterator[None]:
        """Surround every other hook; `action` is its name. A context manager that yields once.

        It sees the hook's exception and may raise another one, but cannot suppress it: a hook whose exception
        it swallows still fails.
        """
        yield

    # -- where and what ------------------------------------------------------------------------------------------

    @property
    def topic(self) -> str:
        """The topic of this instance."""
        return self._context.topic

    @property
    def partition(self) -> int:
        """The partition of this instance."""
        return self._context.partition

    @property
    def state(self) -> Any:
        """The value yielded by the app's lifespan in this process; None without one. Not set in the constructor."""
        try:
            return self._state
        except AttributeError:
            raise ConsumptionError(
                f"{type(self).__qualname__}: self.state is available from initialized() on, not in the constructor"
            ) from None

    @property
    def attempt(self) -> int:
        """The number of the current attempt at this batch, starting with 1."""
        return self._context.attempt

    @property
    def retrying(self) -> bool:
        """Whether this batch, or part of it, has failed before."""
        return self._context.attempt > 1

    @property
    def is_revoked(self) -> bool:
        """Whether the partition is being, or has been, taken away.

        A handler that has seen True may return early: afterwards its return marks nothing, only its own
        `mark_as_consumed` calls count, up to the moment the partition is handed over.
        """
        return self._context.is_revoked()

    @property
    def is_stopping(self) -> bool:
        """Whether the node is stopping. As with `is_revoked`, a handler that has seen True marks only explicitly."""
        return self._context.is_stopping()

    # -- progress ------------------------------------------------------------------------------------------------

    def mark_as_consumed(
        self,
        message: Message[Any] | int,
        *,
        metadata: str | None = None,
        blocking: bool = False,
        timeout: float = 30.0,
    ) -> bool:
        """Mark this message (or offset) and all before it as done; return whether the partition is still ours.

        With `blocking`, wait up to `timeout` seconds until the broker has the commit and return False if it has not.
        `metadata` is stored with exactly this offset and removed when the offset moves on. After `self.produce()` the
        mark counts when all of that is acknowledged, in hooks too. In your own thread it waits for that here. If
        something that such threads produced was not delivered, it raises DeliveryError, and the partition goes back to
        its first unmarked message, because it is unknown for which message it was; marks with earlier messages
        then return False. Call `Delivery.wait` in such threads to handle the error.
        Raises ValueError for a message that was not delivered to this consumer.
        """
        return self._context.mark(message, metadata, blocking, timeout)

    def offset_metadata(self, *, timeout: float = 10.0) -> str | None:
        """Return the metadata string committed with this partition's offset, from the broker."""
        return self._context.offset_metadata(timeout)

    def transaction(self, *, timeout: float = 60.0) -> TransactionBlock:
        """Commit output and progress together: ``with self.transaction(): ...``, ``async with`` in async handlers.

        What is produced inside and the offset become visible together, or neither does. With a mark inside, that is the
        offset, and both are committed at the end of the block. Without one, the block is a part of one transaction for
        the whole batch, together with the other such blocks: it is committed when consume() returns, and an error that
        leaves consume() or any of the blocks undoes all of it. In hooks a block without a mark commits its output
        alone. Blocks of one batch come one after the other, and a mark of an earlier message takes nothing back. Needs
        App(producer={"transactional.id": ...}); a node has one transaction at a time, others wait for it.
        Raises DeliveryError when it cannot be committed, ConsumptionError when the partition was taken away meanwhile.
        """
        return self._context.transaction(timeout)

    # -- flow ----------------------------------------------------------------------------------------------------

    def pause(self, duration: float | None = None) -> None:
        """Deliver no further batch of this partition for `duration` seconds, or until `resume()`."""
        self._context.pause(duration)

    def resume(self) -> None:
        """End a pause."""
        self._context.resume()

    def seek(self, target: int | datetime | Literal["earliest", "latest"]) -> None:
        """Continue at an offset, a time, or an end of the partition, after this batch has returned.

        The return of this batch then marks nothing: progress continues at the target. If the handler raises
        after all, the seek is dropped and the batch retried.
        """
        self._context.seek(target)

    # -- health --------------------------------------------------------------------------------------------------

    def unhealthy(self, code: int, reason: str) -> None:
        """Report that this process can no longer do its work, and why. The supervisor stops and replaces it.

        ``code`` is your own positive int; 1 to 5 belong to swarm_health.Status. The first complaint of a
        process is kept. The batch continues: return, or raise to have the successor handle it again. Without
        a supervisor nothing happens (see Runtime.complaint). Raises ValueError for a code that is not from 1 to 2**31 -
        1.
        """
        self._context.complain(code, reason)

    # -- output --------------------------------------------------------------------------------------------------

    @property
    def producer(self) -> Producer:
        """The node's producer, made on first use.

        No batch waits for messages produced on it instead of with `self.produce`; a failure is reported as
        ErrorOccurred.
        """
        return self._context.producer

    def produce(
        self,
        topic: str,
        value: Any = None,
        *,
        key: Any = None,
        headers: Any = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        codec: Codec | None = None,
    ) -> Delivery:
        """Produce a message. It is acknowledged by the broker before this batch counts as done.

        bytes and str are sent unchanged, None is a tombstone, anything else becomes JSON, unless `codec` encodes the
        value, or the codec with which the app reads that topic. Returns a `Delivery` to wait on, which is optional. If
        the broker does not acknowledge, the batch fails and is retried; a DeliveryError that `Delivery.wait` has raised
        is yours to handle and does not fail the batch. With a transactional.id it only works in a transaction:
        ConsumptionError outside of one.
        """
        return self._context.produce(
            topic, value, key=key, headers=headers, partition=partition, timestamp_ms=timestamp_ms, codec=codec
        )


class FunctionConsumer(Consumer):
    """The consumer behind ``@app.consume``: calls a function with the batch, and with itself if it takes two."""

    function: Any = None
    wants_consumer: bool = False

    def consume(self, messages: Batch[Any]) -> Any:
        """Call the function."""
        function = type(self).function
        return function(messages, self) if type(self).wants_consumer else function(messages)
