"""The series of partitions in /metrics. Their number is bounded, and their counters never fall. Pure.

A partition gets its series when it is first seen and keeps it forever: its own while there is room, then one that it
shares with others of its group and topic, then one for all the rest. A sum over the partitions that happen to be
assigned would fall after a rebalance, which rate() takes for a restart of the counter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from operator import attrgetter

from swarm_health import PartitionAccount
from swarm_health.figures import Figure, counters, figures
from swarm_liveness.metrics_table import Detail

OTHER = "other"
Key = tuple[str, str, int]
Labels = tuple[str, str, str]
"""Group, topic, partition: the last is a number, OTHER, or "" for a whole topic."""
Figures = dict[str, float | int | None]
_GAUGES = tuple(figures("partition", "gauge"))
_ENDINGS = tuple((one.ending, one.without) for one in _GAUGES)
_gauges_of = attrgetter(*(one.name for one in _GAUGES))
_NAMES = tuple(one.ending for one in figures("partition", "counter"))
_counts = attrgetter(*counters("partition"))
_NOTHING = (0,) * len(_NAMES)


class PartitionSeries:
    """Which partition belongs to which series, and the counters of each partition. For one thread."""

    def __init__(self, most: int, detail: Detail) -> None:
        """Allow at most `most` series."""
        self._detail = detail
        self._apart = max(0, most - max(1, most // 10)) if detail == "partition" else 0
        self._most = most
        self._labels: dict[Key, Labels] = {}
        self._used: set[Labels] = set()
        self._counted: dict[Key, tuple[int, ...]] = {}
        self._rest = (OTHER, OTHER, OTHER)

    def take(self, accounts: Iterable[PartitionAccount]) -> Iterator[tuple[Labels, Figures]]:
        """Take in the present figures; yield those of every series, also for partitions that are no longer assigned."""
        here: dict[Labels, list[PartitionAccount]] = defaultdict(list)
        for one in accounts:
            key = one.group, one.topic, one.partition
            here[self._of(key)].append(one)
            counts = _counts(one)
            self._counted[key] = tuple(map(max, self._counted.get(key, _NOTHING), counts))
        sums: dict[Labels, list[int]] = {}
        for key, counts in self._counted.items():
            total = sums.setdefault(self._labels[key], [0] * len(counts))
            for place, count in enumerate(counts):
                total[place] += count
        for labels in sorted(sums):
            counters: Figures = dict(zip(_NAMES, sums[labels], strict=True))
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
    """The gauges of one partition, or of several that share a series, each as its row says that it is summed up."""
    if len(accounts) == 1:
        shown = zip(_ENDINGS, _gauges_of(accounts[0]), strict=True)
        return {ending: without if value is None else value for (ending, without), value in shown}
    longest = max(accounts, key=lambda one: (one.in_flight_age_s or 0.0) / (one.in_flight_limit_s or 1e9))
    return {one.ending: _summed(one, accounts, longest) for one in _GAUGES}


def _summed(figure: Figure, accounts: list[PartitionAccount], longest: PartitionAccount) -> float | int | None:
    if figure.summed == "never":
        return None
    asked = [longest] if figure.summed == "nearest its limit" else accounts
    known: list[float] = [value for one in asked if (value := getattr(one, figure.name)) is not None]
    if not known:
        return figure.without
    return sum(known) if figure.summed == "sum" else max(known)
