"""What the runtime says about itself, in plain values that a health report can carry."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from swarm_consumer._connection.group_state import GroupState
from swarm_consumer._connection.partition_figures import partition_figures
from swarm_consumer._scheduling.counters import COUNTED
from swarm_consumer._scheduling.lane import Lane, Run
from swarm_consumer._scheduling.progress import Key

Row = dict[str, object]


def node_statistics(phase: str, clients: Sequence[GroupState], runs: Iterable[Run]) -> Row:
    """Return the node's counters and ages; a partition's lag and committed offset as last known."""
    now = time.monotonic()
    started = [run.started for run in runs]
    polls = [client.last_poll for client in clients if client.last_poll is not None]
    partitions: list[Row] = []
    topics: list[Row] = []
    totals = dict.fromkeys((*COUNTED, "bytes"), 0)
    for client in clients:
        received = client.statistics.received()
        with client.lock:
            counted = {**client.counters.totals(), "bytes": sum(received.values())}
            topics += _topics(client, received)
            partitions += _partitions(client, now)
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


def _topics(client: GroupState, received: dict[Key, int]) -> list[Row]:
    """What was done of each topic since the start; partitions that have left are included."""
    sizes: dict[str, int] = {}
    for (topic, _), amount in received.items():
        sizes[topic] = sizes.get(topic, 0) + amount
    return [
        {"group": client.group.name, "topic": topic, "bytes": sizes.get(topic, 0), **asdict(counters)}
        for topic, counters in sorted(client.counters.topics().items())
    ]


def _partitions(client: GroupState, now: float) -> list[Row]:
    """Counters, lag and progress of each assigned partition."""
    client.behind = {key: since for key, since in client.behind.items() if key in client.lanes.by_key}
    return [_partition(client, key, lane, now) for key, lane in sorted(client.lanes.by_key.items())]


def _partition(client: GroupState, key: Key, lane: Lane, now: float) -> Row:
    statistics, asked = client.statistics, client.ends.known(key)
    committed = statistics.committed_offset(key)
    committed = lane.start if committed is None else committed
    end = None if asked is None else asked.offset
    figures = partition_figures(lane, client.lanes.ledger.position(key), statistics.known(key), committed, end)
    if figures.lag:
        since = client.behind.setdefault(key, now)
    else:
        client.behind.pop(key, None)
    return {
        "group": client.group.name,
        "topic": key[0],
        "partition": key[1],
        **client.counters.of(key),
        "bytes": statistics.received_bytes(key),
        "lag": figures.lag,
        # Without a record at hand the lag is at least as old as we know of it.
        "lag_s": _age_s(figures.oldest_at, now - since) if figures.lag else figures.lag,
        "position": figures.position,
        "committed": committed,
        "in_flight_age_s": None if lane.running is None else now - lane.running.started,
        "in_flight_limit_s": lane.route.settings.consuming_ttl,
    }


def _age_s(timestamp: float | None, at_least: float) -> float:
    # A timestamp is a matter of the producer's clock, which may be ahead of ours.
    return at_least if timestamp is None else max(0.0, time.time() - timestamp)
