"""What the runtime says about itself, in plain values that a health report can carry."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from swarm_consumer.group_state import GroupState
from swarm_consumer.lane import Run


def node_statistics(phase: str, clients: Sequence[GroupState], runs: Iterable[Run]) -> dict[str, object]:
    """Return the node's counters and ages; a partition's lag and committed offset as last known."""
    now = time.monotonic()
    started = [run.started for run in runs]
    polls = [client.last_poll for client in clients if client.last_poll is not None]
    partitions: list[dict[str, object]] = []
    topics: list[dict[str, object]] = []
    totals = {"batches": 0, "messages": 0, "bytes": 0, "errors": 0, "retries": 0, "dead_lettered": 0}
    for client in clients:
        for name, value in client.totals().items():
            totals[name] += value
        partitions.extend(client.partition_statistics(now))
        topics.extend(client.topic_statistics())
    return {
        "state": phase,
        **totals,
        "in_flight_age_s": now - min(started) if started else None,
        "poll_age_s": now - min(polls) if polls else None,
        "partitions": partitions,
        "topics": topics,
    }
