"""The transactions of a producer: one at a time, and none starts before the outcome of the last one is known."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, NoReturn

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException

from swarm_consumer._producing.turns import Turns
from swarm_consumer.errors import DeliveryError, SwarmConsumerError
from swarm_consumer.kafka.client_errors import kafka_error_of, without_frames

FLUSH_BEFORE_ABORT_S = 5.0
"""How long an abort waits for what was produced in its transaction."""


LEAST_COMMIT_S = 0.05
"""A commit is not repeated with less time than this. librdkafka hands a call's steps to its own thread; a step that ran
out of time is done later, and its result can end a later call of the same commit too early, in an error of state."""


class TransactionScope:
    """What a transaction commits besides messages: offsets, each list with the group metadata of its consumer."""

    __slots__ = ("offsets", "on_committed", "on_doubt")

    def __init__(self) -> None:
        self.offsets: list[tuple[list[confluent_kafka.TopicPartition], Any]] = []
        self.on_committed: list[Callable[[], None]] = []
        self.on_doubt: list[Callable[[bool], None]] = []  # whether its outcome is unknown

    def add_offsets(self, offsets: list[confluent_kafka.TopicPartition], metadata: Any) -> None:
        """Commit these offsets with the transaction."""
        self.offsets.append((offsets, metadata))

    def _doubted(self, doubtful: bool) -> None:
        for call in self.on_doubt:
            call(doubtful)

    def _committed(self) -> None:
        for call in self.on_committed:
            call()


class Transactions:
    """Begins and ends transactions. `begin` takes the producer's turn, `commit` and `abort` give it back.

    No frame here keeps the client in a variable: a stored error keeps its frames, and with them the threads.

    A commit or abort without an answer in time is neither done nor undone: librdkafka requires the same
    call again and accepts no other. It is repeated before the next transaction starts.
    """

    def __init__(
        self,
        client: Callable[[], confluent_kafka.Producer],
        flush: Callable[[float], None],
        note_fatal: Callable[[confluent_kafka.KafkaError], None],
    ) -> None:
        self._client = client
        self._flush = flush
        self._note_fatal = note_fatal
        self._turns = Turns()
        self._uncommitted: TransactionScope | None = None  # its commit was not answered
        self._unaborted = False  # the abort was not answered

    def begin(self, timeout: float) -> TransactionScope:
        """Start a transaction when its turn comes. Raises DeliveryError."""
        if not self._turns.take(timeout):
            raise _no_turn(timeout)
        return self._begin(timeout)

    async def begin_async(self, timeout: float) -> TransactionScope:
        """The same without blocking the event loop."""
        if not await self._turns.take_async(timeout):
            raise _no_turn(timeout)
        # Not a separate task: if it were cancelled before its start, as at the end of the loop, it would keep the turn.
        begun = asyncio.get_running_loop().run_in_executor(None, self._begin, timeout)
        try:
            return await asyncio.shield(begun)
        except asyncio.CancelledError:
            begun.add_done_callback(self._forgotten)
            raise

    def commit(self, scope: TransactionScope, timeout: float) -> None:
        """Commit offsets and output. Raises DeliveryError if that failed or the outcome is unknown."""
        asked = False
        try:
            for offsets, metadata in scope.offsets:
                self._client().send_offsets_to_transaction(offsets, metadata, timeout)
            asked = True
            self._commit(timeout)
        except BaseException as error:  # noqa: BLE001  raised again
            if asked and not _is_definite(error):
                self._uncommitted = scope
                scope._doubted(True)
                raise DeliveryError(
                    f"the commit of the transaction was not answered within {timeout:g} s: its outcome is "
                    f"checked before the next one begins; is the broker reachable?"
                ) from without_frames(error)
            self._abort(timeout)
            self._raise_translated(error)
        else:
            scope._committed()
        finally:
            self._turns.give()

    def abort(self, timeout: float) -> None:
        """Undo everything. A failure of that is resolved before the next transaction starts."""
        try:
            self._abort(timeout)
        except SwarmConsumerError:  # the producer is closed, or another process has it
            return
        finally:
            self._turns.give()

    # ------------------------------------------------------------------------------------------------------------

    def _begin(self, timeout: float) -> TransactionScope:
        try:
            self._resolve(timeout)
            self._client().begin_transaction()
        except BaseException as error:  # noqa: BLE001  raised again
            self._turns.give()
            self._raise_translated(error)
        return TransactionScope()

    def _resolve(self, timeout: float) -> None:
        """Find out the outcome of the last transaction, if unknown. Raises DeliveryError while it stays unknown."""
        scope = self._uncommitted
        if scope is not None:
            try:
                self._commit(timeout)
            except KafkaException as error:
                if not _is_definite(error):
                    raise DeliveryError(
                        f"the outcome of the last transaction is not known yet: {error.args[0].str()}"
                    ) from error
                self._uncommitted = None
                scope._doubted(False)
                self._abort(timeout)
                if error.args[0].fatal():
                    raise
            else:
                self._uncommitted = None
                scope._committed()
                scope._doubted(False)
        if self._unaborted:
            self._abort(timeout)
            if self._unaborted:
                raise DeliveryError(f"the last transaction could not be aborted within {timeout:g} s")

    def _commit(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._client().commit_transaction(max(0.0, deadline - time.monotonic()))
            except KafkaException as error:
                if not _is_definite(error) and deadline - time.monotonic() > LEAST_COMMIT_S:
                    continue
                raise
            return

    def _abort(self, timeout: float) -> None:
        self._unaborted = False
        try:
            # librdkafka 2.16 with Kafka 4.1: an abort that overtakes the request which adds the first partition ends
            # the producer (INVALID_TXN_STATE, fatal). So messages must arrive before they are undone.
            with contextlib.suppress(DeliveryError):
                self._flush(min(timeout, FLUSH_BEFORE_ABORT_S))
            self._client().abort_transaction(timeout)
        except (KafkaException, SystemError) as error:
            if (cause := kafka_error_of(error)) is None:
                raise
            self._unaborted = bool(cause.retriable())
            self._note_fatal(cause)

    def _raise_translated(self, error: BaseException) -> NoReturn:
        cause = None if isinstance(error, SwarmConsumerError) else kafka_error_of(error)
        if cause is None:
            raise error
        self._note_fatal(cause)
        raise DeliveryError(f"the transaction was aborted: {cause.str()}") from without_frames(error)

    def _forgotten(self, begun: asyncio.Future[TransactionScope]) -> None:
        if not begun.cancelled() and begun.exception() is None:
            asyncio.get_running_loop().run_in_executor(None, self.abort, 30.0)


def _is_definite(error: BaseException) -> bool:
    """Whether an error means that the transaction was not committed."""
    cause = kafka_error_of(error)
    if cause is None or cause.retriable():
        return False
    # BeginCommit, CommittingTransaction, CommitNotAcked: it is still under way.
    return not (cause.code() == KafkaError._STATE and "Commit" in cause.str())


def _no_turn(timeout: float) -> DeliveryError:
    return DeliveryError(
        f"no transaction could begin within {timeout:g} s: the node has one producer, and other handlers' transactions "
        f"took all of that time; mark inside them to end them earlier, or run more nodes"
    )
