"""What is told of a batch: that it is begun, that it is done, that it has failed and what follows."""

from __future__ import annotations

import time
from typing import Any

from swarm_consumer._handling.batch import Batch
from swarm_consumer._reporting.bus import Bus
from swarm_consumer._scheduling.run import Outcome, Run
from swarm_consumer.events import BatchFailed, BatchFinished, BatchStarted, DeadLetterLimitReached, RetryStarted


def started(bus: Bus, run: Run) -> None:
    """Tell that a batch is given to its handler."""
    if run.again:
        bus.emit(
            RetryStarted(topic=run.topic, partition=run.partition, offset=run.first_offset or 0, attempt=run.attempt)
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


def ended(bus: Bus, run: Run, batch: Batch[Any], error: BaseException | None, outcome: Outcome) -> None:
    """Tell how a batch ended: with which error and what follows, or that it is done."""
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
                    topic=run.topic, partition=run.partition, offset=run.first_offset or 0, reason=outcome.refusal
                )
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
