"""The runtime's figures about itself, as plain values for a health report."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from swarm_consumer._connection.connection import Connection
from swarm_consumer._connection.partition_figures import partition_figures
from swarm_consumer._scheduling.counters import COUNTED
from swarm_consumer._scheduling.ledger import Key
from swarm_consumer._scheduling.partition import Partition
from swarm_consumer._scheduling.run import Run

Row = dict[str, object]


def node_statistics(phase: str, connections: Sequence[Connection], runs: Iterable[Run]) -> Row:
    """Return the node's counters and ages, with the last known lag and committed offset of each partition."""
    now = time.monotonic()
    started = [run.started for run in runs]
    polls = [connection.last_poll for connection in connections if connection.last_poll is not None]
    partitions: list[Row] = []
    topics: list[Row] = []
    totals = dict.fromkeys((*COUNTED, "bytes"), 0)
    for connection in connections:
        received = connection.statistics.received()
        with connection._lock:
            counted = {**connection.counters.totals(), "bytes": sum(received.values())}
            topics += _topics(connection, received)
            partitions += _partitions(connection, now)
        for name, value in counted.items():
            totals[name] += value
    return {
        "state": phase,
        **totals,
        "in_flight_age_s": now - min(started) if started else None,
        "poll_age_s": now - min(polls) if polls else None,
        "partitions": partitions,
        "topics": topics,
    }


def _topics(connection: Connection, received: dict[Key, int]) -> list[Row]:
    """The work per topic since the start, including partitions that have left."""
    sizes: dict[str, int] = {}
    for (topic, _), amount in received.items():
        sizes[topic] = sizes.get(topic, 0) + amount
    return [
        {"group": connection.group.name, "topic": topic, "bytes": sizes.get(topic, 0), **asdict(counters)}
        for topic, counters in sorted(connection.counters.topics().items())
    ]


def _partitions(connection: Connection, now: float) -> list[Row]:
    """Counters, lag and progress of each assigned partition."""
    connection.behind = {key: since for key, since in connection.behind.items() if key in connection.partitions.by_key}
    return [_partition(connection, key, one, now) for key, one in sorted(connection.partitions.by_key.items())]


def _partition(connection: Connection, key: Key, partition: Partition, now: float) -> Row:
    statistics, asked = connection.statistics, connection.ends.known(key)
    committed = statistics.committed_offset(key)
    committed = partition.start if committed is None else committed
    end = None if asked is None else asked.offset
    marked = connection.partitions.ledger.position(key)
    figures = partition_figures(partition, marked, statistics.known(key), committed, end)
    if figures.lag:
        since = connection.behind.setdefault(key, now)
    else:
        connection.behind.pop(key, None)
    return {
        "group": connection.group.name,
        "topic": key[0],
        "partition": key[1],
        **connection.counters.of(key),
        "bytes": statistics.received_bytes(key),
        "lag": figures.lag,
        # Without a record, the lag is at least as old as our knowledge of it.
        "lag_s": _age_s(figures.oldest_at, now - since) if figures.lag else figures.lag,
        "position": figures.position,
        "committed": committed,
        "in_flight_age_s": max((now - run.started for run in partition.running), default=None),
        "in_flight_limit_s": partition.route.settings.consuming_ttl,
    }


def _age_s(timestamp: float | None, at_least: float) -> float:
    # A timestamp comes from the producer's clock, which may be ahead of ours.
    return at_least if timestamp is None else max(0.0, time.time() - timestamp)
