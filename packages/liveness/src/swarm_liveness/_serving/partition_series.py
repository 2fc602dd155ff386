"""The series of partitions in /metrics. Their number is bounded, and their counters never fall. Pure.

A partition gets its series when it is first seen and keeps it forever: its own while there is room, then one that it
shares with others of its group and topic, then one for all the rest. A sum over the partitions that happen to be
assigned would fall after a rebalance, which rate() takes for a restart of the counter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from swarm_health import PartitionAccount
from swarm_liveness.metrics_table import Detail

OTHER = "other"
Key = tuple[str, str, int]
Labels = tuple[str, str, str]
"""Group, topic, partition: the last is a number, OTHER, or "" for a whole topic."""
Figures = dict[str, float | int | None]
NO_OWNER = -1


class PartitionSeries:
    """Which partition belongs to which series, and the counters of each partition. For one thread."""

    def __init__(self, most: int, detail: Detail) -> None:
        """Allow at most `most` series."""
        self._detail = detail
        self._apart = max(0, most - max(1, most // 10)) if detail == "partition" else 0
        self._most = most
        self._labels: dict[Key, Labels] = {}
        self._used: set[Labels] = set()
        self._counted: dict[Key, tuple[int, int, int, int]] = {}
        self._rest = (OTHER, OTHER, OTHER)

    def take(self, accounts: Iterable[PartitionAccount]) -> Iterator[tuple[Labels, Figures]]:
        """Take in the present figures; yield those of every series, also for partitions that are no longer assigned."""
        here: dict[Labels, list[PartitionAccount]] = defaultdict(list)
        for one in accounts:
            key = one.group, one.topic, one.partition
            here[self._of(key)].append(one)
            before = self._counted.get(key, (0, 0, 0, 0))
            self._counted[key] = _highest(before, (one.messages, one.batches, one.bytes, one.errors))
        sums: dict[Labels, list[int]] = {}
        for key, counts in self._counted.items():
            total = sums.setdefault(self._labels[key], [0, 0, 0, 0])
            for place, count in enumerate(counts):
                total[place] += count
        for labels in sorted(sums):
            names = ("messages_total", "batches_total", "bytes_total", "errors_total")
            counters: Figures = dict(zip(names, sums[labels], strict=True))
            yield labels, counters | (_gauges(here[labels]) if labels in here else {})

    def summed_up(self, accounts: Iterable[PartitionAccount]) -> int:
        """How many of these partitions share a series although each should have its own."""
        if self._detail != "partition":
            return 0
        return sum(self._of((one.group, one.topic, one.partition))[2] == OTHER for one in accounts)

    def _of(self, key: Key) -> Labels:
        labels = self._labels.get(key)
        if labels is None:
            labels = self._labels[key] = self._new(key)
            self._used.add(labels)
        return labels

    def _new(self, key: Key) -> Labels:
        group, topic, partition = key
        if len(self._used) < self._apart:
            return group, topic, str(partition)
        together = group, topic, OTHER if self._detail == "partition" else ""
        if together in self._used or len(self._used - {self._rest}) < self._most - 1:
            return together
        return self._rest


def _gauges(accounts: list[PartitionAccount]) -> Figures:
    """The gauges of one partition, or of several that share a series: sums, largest ages, no offsets."""
    lags = [one.lag for one in accounts if one.lag is not None]
    ages = [one.lag_s for one in accounts if one.lag_s is not None]
    alone = accounts[0] if len(accounts) == 1 else None
    longest = max(accounts, key=lambda one: (one.in_flight_age_s or 0.0) / (one.in_flight_limit_s or 1e9))
    return {
        "lag_messages": sum(lags) if lags else None,
        "lag_seconds": max(ages, default=None),
        "position": None if alone is None else alone.position,
        "committed": None if alone is None else alone.committed,
        "owner": None if alone is None else NO_OWNER if alone.node is None else alone.node,
        "in_flight_age_seconds": longest.in_flight_age_s or 0.0,
        "in_flight_limit_seconds": longest.in_flight_limit_s,
    }


def _highest(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return max(one[0], other[0]), max(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])
