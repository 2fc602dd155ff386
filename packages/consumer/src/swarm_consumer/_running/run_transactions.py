"""Transactions inside a consumer: which run they belong to, which offset goes with them, and when they are committed.

A block with a mark is committed at its end. Blocks without one are parts of a single transaction of their batch, which
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
from swarm_consumer._scheduling.lane import Lane, Mark, Run, RunTransaction, run_in_hand
from swarm_consumer._scheduling.progress import Storable
from swarm_consumer.errors import ConsumptionError, DeliveryError


class RunTransactions:
    """The transactions of one consumer instance."""

    def __init__(self, connection: Connection, lane: Lane, producer: Producer) -> None:
        self._connection = connection
        self._lane = lane
        self._producer = producer
        self._lock = threading.Lock()
        self.beginning: Run | None = None  # whose block waits for its transaction

    def block(self, timeout: float) -> Block:
        """Return the context manager behind Consumer.transaction."""
        return Block(self, self._producer, timeout)

    def mark(self, run: Run, transaction: RunTransaction, mark: Mark, blocking: bool) -> bool:
        """Commit this position with the transaction that is open."""
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
        """Commit what a run that has succeeded left open. Raises when its output is not committed."""
        if run.spoiled is not None:
            raise ConsumptionError(
                f"a transaction() block failed, and undid the blocks before it in this batch, which had no mark of "
                f"their own: mark inside each block that has to stand alone ({type(run.spoiled).__name__})"
            ) from run.spoiled
        transaction = run.transaction
        if transaction is None:
            return
        if transaction.inside:
            self.discard(run)
            raise ConsumptionError(f"{run.action}() returned inside a transaction: leave the block of transaction()")
        if run.seek is not None:  # what lies behind it was not handled, and is not passed: the node may end before it
            transaction.mark = transaction.mark or _sought(run)
            self._commit(run, transaction)
            return
        if run.last_offset is not None and not run.marks_only:
            transaction.mark = (run.last_offset + 1, None, run.records[-1].leader_epoch())
        if transaction.mark is None:  # it has seen that it should leave: the next owner does all of it
            self.discard(run)
            return
        self._commit(run, transaction)

    def discard(self, run: Run) -> None:
        """Abort what is open."""
        with self._lock:
            transaction, run.transaction = run.transaction, None
        if transaction is not None:
            self._producer.transactions.abort(transaction.timeout)

    def letter(self, run: Run, produce: Callable[[], object], timeout: float, *, mark: bool) -> None:
        """Produce a dead letter and move the offset past its message, both or neither."""
        transaction = self.opened(run, self._producer.transactions.begin(timeout), timeout)
        try:
            produce()
        except BaseException:
            self.discard(run)
            raise
        if mark and run.last_offset is not None:
            transaction.mark = (run.last_offset + 1, None, run.records[-1].leader_epoch())
        self._commit(run, transaction)

    # -- what a block does -----------------------------------------------------------------------------------------

    def run_to_join(self) -> Run:
        """Return the run that asks for a transaction; raises ConsumptionError when none may."""
        run = self._lane.running
        if run is None or run_in_hand.get() is not run:
            raise ConsumptionError(
                "transaction() is possible inside consume() and hooks only, in their own thread or task"
            )
        if self.beginning is run or (run.transaction is not None and run.transaction.inside):
            raise ConsumptionError(
                "transactions do not nest, and those of one batch do not run side by side: leave one block of "
                "transaction() before the next begins"
            )
        return run

    def opened(self, run: Run, scope: TransactionScope, timeout: float) -> RunTransaction:
        """Begin the run's transaction, unless that of the attempt before has turned out to be committed."""
        transaction = run.transaction = RunTransaction(scope, timeout)
        if run.overtaken:
            self.discard(run)
            raise ConsumptionError(
                f"{run.topic}[{run.partition}]: the transaction of the attempt before was committed after all; the "
                f"partition goes on behind it"
            )
        return transaction

    def begun(self, run: Run, scope: TransactionScope, timeout: float) -> None:
        """Do the same for a block. A batch that has ended meanwhile would never end its transaction."""
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
        """Abort because of what was raised in a block."""
        if transaction.blocks:
            run.spoiled = error
        self.discard(run)

    def _commit(self, run: Run, transaction: RunTransaction) -> None:
        scope, timeout, mark = transaction.scope, transaction.timeout, transaction.mark
        try:
            # Whoever has the partition now produces all of it again: without a mark, too, as one may have been refused.
            if mark is not None or transaction.refused or run.action == "consume":
                metadata = self._metadata(run, timeout, after_plain_marks=mark is not None)
            if mark is not None and transaction_offsets.moves(self._connection, self._lane.key, mark):
                place = commits.topic_partition(Storable(run.topic, run.partition, *mark))
                scope.add_offsets([place], metadata)
                scope.on_committed.append(functools.partial(transaction_offsets.committed, self._connection, run, mark))
                scope.on_doubt.append(functools.partial(self._doubted, run.epoch))
        except BaseException:
            self.discard(run)
            raise
        run.transaction = None
        self._producer.transactions.commit(scope, timeout)

    def _metadata(self, run: Run, timeout: float, *, after_plain_marks: bool) -> Any:
        """Return the group metadata of the generation that this run's partition is held under.

        Raises ConsumptionError when the partition is gone, DeliveryError when what was marked before the transaction
        cannot be committed.
        """
        key = self._lane.key
        plain = after_plain_marks and transaction_offsets.has_plain_marks(self._connection, key)
        # A plain mark that the automatic commit sends later would take the group back behind this transaction. Once it
        # is committed nothing is left to be sent; what has been sent meanwhile is waited for with the metadata.
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
    """How far a run has come that seeks to an offset among its own; None for any other place."""
    first, last = run.first_offset, run.last_offset
    inside = isinstance(run.seek, int) and first is not None and last is not None and first <= run.seek <= last + 1
    return (run.seek, None, None) if inside else None


def _unsettled(run: Run) -> DeliveryError:
    return DeliveryError(
        f"{run.topic}[{run.partition}]: what was marked before the transaction could not be committed, and would take "
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
                "in an async handler write `async with self.transaction():`; `with` would hold up every other one"
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
        # Waited for to its end whoever cancels the task: another thread must not end the same transaction meanwhile.
        # No task of its own, which the end of the loop would cancel.
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
