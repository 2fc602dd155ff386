"""Transactions inside a consumer: their run, their offset, and the time of their commit.

A block with a mark is committed at its end. Blocks without one are parts of a single transaction per batch, which
is committed when consume() has returned: only then is it known that the batch is done.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from confluent_kafka import KafkaException

from swarm_consumer._connection import commits, transaction_offsets
from swarm_consumer._connection.connection import Connection
from swarm_consumer._handling.consumer import TransactionBlock
from swarm_consumer._producing.producer import Producer
from swarm_consumer._producing.transactions import TransactionScope
from swarm_consumer._scheduling.lane import Lane
from swarm_consumer._scheduling.ledger import Committable
from swarm_consumer._scheduling.run import Mark, Run, RunTransaction, run_in_hand
from swarm_consumer.errors import ConsumptionError, DeliveryError


class RunTransactions:
    """The transactions of one consumer instance."""

    def __init__(self, connection: Connection, lane: Lane, producer: Producer) -> None:
        self._connection = connection
        self._lane = lane
        self._producer = producer
        self._lock = threading.Lock()
        self.beginning: Run | None = None  # whose block is waiting for its transaction

    def block(self, timeout: float) -> Block:
        """Return the context manager behind Consumer.transaction."""
        return Block(self, self._producer, timeout)

    def mark(self, run: Run, transaction: RunTransaction, mark: Mark, blocking: bool) -> bool:
        """Commit this position with the open transaction."""
        if transaction.mark is None or transaction.mark[0] <= mark[0]:
            transaction.mark = mark
        if blocking:
            if transaction.inside:
                raise ConsumptionError(
                    "a mark inside a transaction is committed with it; it cannot be waited for alone"
                )
            self._commit(run, transaction)
        return True

    def complete(self, run: Run) -> None:
        """Commit the open transaction of a successful run. Raises if its output is not committed."""
        if run.spoiled is not None:
            raise ConsumptionError(
                f"a transaction() block failed, and undid the earlier blocks of this batch, which had no mark of "
                f"their own: mark inside each block that must be kept ({type(run.spoiled).__name__})"
            ) from run.spoiled
        transaction = run.transaction
        if transaction is None:
            return
        if transaction.inside:
            self.discard(run)
            raise ConsumptionError(f"{run.action}() returned inside a transaction: leave the block of transaction()")
        if (
            run.seek is not None
        ):  # messages after it were not handled, and progress must not pass them: the node may end first
            transaction.mark = transaction.mark or _sought(run)
            self._commit(run, transaction)
            return
        if run.last_offset is not None and not run.marks_only:
            transaction.mark = (run.last_offset + 1, None, run.records[-1].leader_epoch())
        if transaction.mark is None:  # it has seen that it should leave, so the next owner repeats the batch
            self.discard(run)
            return
        self._commit(run, transaction)

    def discard(self, run: Run) -> None:
        """Abort the open transaction."""
        with self._lock:
            transaction, run.transaction = run.transaction, None
        if transaction is not None:
            self._producer.transactions.abort(transaction.timeout)

    def letter(self, run: Run, produce: Callable[[], object], timeout: float, *, mark: bool) -> None:
        """Produce a dead letter and move the offset past its message, atomically."""
        transaction = self.opened(run, self._producer.transactions.begin(timeout), timeout)
        try:
            produce()
        except BaseException:
            self.discard(run)
            raise
        if mark and run.last_offset is not None:
            transaction.mark = (run.last_offset + 1, None, run.records[-1].leader_epoch())
        self._commit(run, transaction)

    # -- used by a block -----------------------------------------------------------------------------------------

    def run_to_join(self) -> Run:
        """Return the run that asks for a transaction; raises ConsumptionError if it must not."""
        run = self._lane.running
        if run is None or run_in_hand.get() is not run:
            raise ConsumptionError(
                "transaction() is only possible inside consume() and hooks, in their own thread or task"
            )
        if self.beginning is run or (run.transaction is not None and run.transaction.inside):
            raise ConsumptionError(
                "transactions do not nest, and those of one batch do not run side by side: leave one block of "
                "transaction() before the next begins"
            )
        return run

    def opened(self, run: Run, scope: TransactionScope, timeout: float) -> RunTransaction:
        """Start the run's transaction, unless that of the previous attempt turned out to be committed."""
        transaction = run.transaction = RunTransaction(scope, timeout)
        if run.overtaken:
            self.discard(run)
            raise ConsumptionError(
                f"{run.topic}[{run.partition}]: the transaction of the previous attempt was committed after all; the "
                f"partition continues after it"
            )
        return transaction

    def begun(self, run: Run, scope: TransactionScope, timeout: float) -> None:
        """Do the same for a block. A batch that has already ended would never end its transaction."""
        self.opened(run, scope, timeout)
        if run.over:
            self.discard(run)
            raise ConsumptionError(f"{run.action}() ended before its transaction began: await it in the handler")

    def ended(self, run: Run, transaction: RunTransaction) -> None:
        """Commit at the end of a block, or leave that to the end of the batch."""
        transaction.inside = False
        waits = run.action == "consume" and not self._lane.route.settings.manual_marking
        if transaction.mark is None and waits:
            transaction.blocks += 1
            return
        self._commit(run, transaction)

    def failed(self, run: Run, transaction: RunTransaction, error: BaseException) -> None:
        """Abort because of an error in a block."""
        if transaction.blocks:
            run.spoiled = error
        self.discard(run)

    def _commit(self, run: Run, transaction: RunTransaction) -> None:
        scope, timeout, mark = transaction.scope, transaction.timeout, transaction.mark
        try:
            # The new owner of the partition produces all of it again; even without a mark, because one may have been
            # refused.
            if mark is not None or transaction.refused or run.action == "consume":
                metadata = self._metadata(run, timeout, after_plain_marks=mark is not None)
            if mark is not None and transaction_offsets.moves(self._connection, self._lane.key, mark):
                place = commits.topic_partition(Committable(run.topic, run.partition, *mark))
                scope.add_offsets([place], metadata)
                scope.on_committed.append(functools.partial(transaction_offsets.committed, self._connection, run, mark))
                scope.on_doubt.append(functools.partial(self._doubted, run.epoch))
        except BaseException:
            self.discard(run)
            raise
        run.transaction = None
        self._producer.transactions.commit(scope, timeout)

    def _metadata(self, run: Run, timeout: float, *, after_plain_marks: bool) -> Any:
        """Return the group metadata of the generation that holds this run's partition.

        Raises ConsumptionError if the partition is gone, DeliveryError if marks made before the transaction
        cannot be committed.
        """
        key = self._lane.key
        plain = after_plain_marks and transaction_offsets.has_plain_marks(self._connection, key)
        # A plain mark that is committed later would take the group back behind this transaction. Once it
        # is committed there is nothing left to send; commits already sent are awaited together with the metadata.
        if plain and not commits.commit_blocking(self._connection, key, run.epoch, timeout):
            raise _unsettled(run)
        try:
            metadata = transaction_offsets.group_metadata(
                self._connection, key, run.epoch, timeout, after_commits=plain
            )
        except (KafkaException, TimeoutError) as error:
            raise _unsettled(run) from error
        if metadata is None:
            raise ConsumptionError(f"{run.topic}[{run.partition}] was taken away during the transaction")
        return metadata

    def _doubted(self, epoch: int, doubtful: bool) -> None:
        transaction_offsets.doubt(self._connection, self._lane.key, epoch, doubtful=doubtful)


def _sought(run: Run) -> Mark | None:
    """The progress of a run that seeks to one of its own offsets; None for any other target."""
    first, last = run.first_offset, run.last_offset
    inside = isinstance(run.seek, int) and first is not None and last is not None and first <= run.seek <= last + 1
    return (run.seek, None, None) if inside else None


def _unsettled(run: Run) -> DeliveryError:
    return DeliveryError(
        f"{run.topic}[{run.partition}]: marks made before the transaction could not be committed and would take "
        f"the group back after it; is the broker reachable?"
    )


class Block(TransactionBlock):
    """One ``with self.transaction():``, or in an async handler ``async with self.transaction():``."""

    def __init__(self, transactions: RunTransactions, producer: Producer, timeout: float) -> None:
        self._transactions = transactions
        self._begin = producer.transactions
        self._timeout = timeout
        self._run: Run | None = None
        producer.check_transactional()

    def __enter__(self) -> None:
        if asyncio._get_running_loop() is not None:
            raise ConsumptionError(
                "in an async handler write `async with self.transaction():`; `with` would block every other handler"
            )
        run = self._join()
        if run.transaction is None:
            self._transactions.begun(run, self._begin.begin(self._timeout), self._timeout)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run, self._run = self._run, None
        if run is None or run.transaction is None:
            return
        if error is not None:
            self._transactions.failed(run, run.transaction, error)
        else:
            self._transactions.ended(run, run.transaction)

    async def __aenter__(self) -> None:
        run = self._join()
        if run.transaction is None:
            self._transactions.beginning = run
            try:
                scope = await self._begin.begin_async(self._timeout)
            finally:
                self._transactions.beginning = None
            self._transactions.begun(run, scope, self._timeout)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Awaited to its end even if the task is cancelled: no other thread may end the same transaction meanwhile.
        # Not a separate task, which the end of the loop would cancel.
        context = contextvars.copy_context()
        ending = asyncio.get_running_loop().run_in_executor(None, context.run, self.__exit__, kind, error, trace)
        cancelled: asyncio.CancelledError | None = None
        while not ending.done():
            try:
                await asyncio.wait([ending])
            except asyncio.CancelledError as cancellation:
                cancelled = cancellation
        ending.result()
        if cancelled is not None:
            raise cancelled

    def _join(self) -> Run:
        run = self._run = self._transactions.run_to_join()
        if run.transaction is not None:
            run.transaction.inside = True
        return run
