"""Sends dead letters: for a message that has used up its attempts, and for one that processes died with."""

from __future__ import annotations

import functools

from swarm_consumer._connection.connection import Connection
from swarm_consumer._producing.letters import letter
from swarm_consumer._producing.producer import Producer
from swarm_consumer._reporting.bus import Bus
from swarm_consumer._running.partition_context import PartitionContext
from swarm_consumer._running.run_transactions import RunTransactions
from swarm_consumer._scheduling.run import Run
from swarm_consumer._scheduling.suspects import Judgement, Sentence, deaths
from swarm_consumer.errors import NodeDied
from swarm_consumer.events import DeadLettered, ErrorOccurred, PartitionParked, describe
from swarm_consumer.routing.dead_letters import DeadLetters

NO_TOPIC = "there is no dead-letter topic for it: see dead_letters= of the topic"
SETTLE_TIMEOUT_S = 60.0
"""How long a batch waits at its end for the acknowledgement of its output before it counts as failed."""


class DeadLetterPost:
    """Used by all worker threads of a node; stateless."""

    def __init__(self, bus: Bus, producer: Producer) -> None:
        self._bus = bus
        self._producer = producer

    def divert(self, connection: Connection, run: Run, error: Exception) -> bool:
        """Send the message of a failed run to the dead letters if its attempts are used up. Returns whether it did."""
        record = connection.divertible(run)
        limits = run.lane.route.settings.dead_letters
        if record is None or limits is None:
            return False
        return self._send(connection, run, limits, error, run.attempt)

    def _send(self, connection: Connection, run: Run, limits: DeadLetters, error: Exception, attempts: int) -> bool:
        """Send the one message of a run to the dead letters. Returns whether the broker has it, or none was wanted."""
        if limits.topic is not None:
            try:
                (record,) = run.records
                stack = error.stack if isinstance(error, NodeDied) else ""
                options = letter(record, run.lane.route.group, attempts, describe(error), stack)
                produce = functools.partial(self._producer.produce, limits.topic, record.value(), told=True, **options)
                if self._producer.transactional:
                    # A message that is given up may be the first of its partition, which has no consumer then.
                    transactions = (
                        RunTransactions(connection, run.lane, self._producer)
                        if run.lane.consumer is None
                        else context_of(run).transactions
                    )
                    transactions.letter(run, produce, SETTLE_TIMEOUT_S, mark=connection.letter_moves(run))
                else:
                    produce().wait(SETTLE_TIMEOUT_S)
            except BaseException as failure:  # noqa: BLE001  without a dead letter there is no progress: the message is retried
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
                attempts=attempts,
                dead_letter_topic=limits.topic,
                error=error,
            )
        )
        return True

    def give_up(self, connection: Connection, run: Run, judgement: Judgement) -> None:
        """Do without the handler: a dead letter for a message that processes died with, or its partition waits."""
        assert run.suspects is not None
        count, story = deaths(run.suspects), run.lane.backlog.story
        error = NodeDied(count, story.reason, story.stack)
        limits = run.lane.route.settings.dead_letters
        diverted, remedy = False, judgement.reason
        if judgement.sentence is Sentence.GIVE_UP:
            remedy = NO_TOPIC
            if limits is not None and limits.topic is not None and connection.may_give_up(run):
                remedy = f"its dead letter could not be sent to {limits.topic}"
                diverted = self._send(connection, run, limits, error, count)
        outcome = connection.finish(run, failed=True, diverted=diverted)
        if not diverted and outcome.retry_in_s is not None:
            self._bus.emit(
                PartitionParked(
                    topic=run.topic,
                    partition=run.partition,
                    offset=run.first_offset or 0,
                    deaths=count,
                    retry_in_s=outcome.retry_in_s,
                    remedy=remedy,
                    error=error,
                )
            )


def context_of(run: Run) -> PartitionContext:
    """Return the context behind the run's consumer."""
    assert run.lane.consumer is not None
    context = run.lane.consumer._context
    assert isinstance(context, PartitionContext)
    return context
