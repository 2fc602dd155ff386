"""The accounts of a whole swarm, from the reports of its processes: totals including dead ones, partition owners. Pure.

A process counts from its own start and reports the partitions that it has now. A watcher of several processes wants
figures that only grow although processes die and partitions move, and wants to see partitions without an owner. So
the counts of a process are kept when it ends, a partition that it stops reporting keeps its last known figures, and
for a while it is shown without an owner. No clock is read: `now` is given, in seconds that never go back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import zip_longest
from operator import add, attrgetter
from typing import Any

import msgspec
from msgspec.structs import replace

from swarm_health.figures import counters, figures
from swarm_health.reports import NodeStatistics, PartitionStatistics, TopicStatistics

MOVING_S = 30.0
"""How long a partition that a living process gave back is shown without an owner: then another swarm has it."""
JOINING_S = 60.0
"""A partition whose process ended is shown without an owner until the successor has reported for this many seconds,
or has had partitions for `MOVING_S`; without a successor it is shown until its node is removed."""
MOST_PARTITIONS = 50_000
"""Most partitions listed one by one; further ones only count in the sums of their topic."""
MOST_TOPICS = 5_000
"""Most topics listed one by one; further ones are counted as `OTHER`."""
OTHER = "other"

Place = tuple[str, str]
"""Group and topic."""
Key = tuple[str, str, int]
"""Group, topic, partition."""
Counts = tuple[int, ...]
"""The counters of a partition, in the order of `swarm_health.figures`."""
_NODE_COUNTERS, _TOPIC_COUNTERS, _PARTITION_COUNTERS = counters("node"), counters("topic"), counters("partition")
_counts = attrgetter(*_PARTITION_COUNTERS)
_gauges = attrgetter(*(one.name for one in figures("partition", "gauge") if one.name != "node"))
NOTHING: Counts = (0,) * len(_PARTITION_COUNTERS)


class Totals(msgspec.Struct):
    """The work done, including that of dead processes. It only grows."""

    messages: int = 0
    batches: int = 0
    bytes: int = 0
    errors: int = 0
    retries: int = 0
    dead_lettered: int = 0
    taken_over: int = 0
    take_overs_refused: int = 0
    suspected: int = 0
    parked: int = 0
    cpu_s: float = 0.0


class PartitionAccount(msgspec.Struct):
    """One partition of one group: sums over all processes that had it, and its last known figures."""

    group: str
    topic: str
    partition: int
    node: int | None
    """The owner; None if no process here has it now."""
    unowned_s: float | None
    """How long it has had no owner here; None while it has one. The figures are the last known ones."""
    messages: int
    batches: int
    bytes: int
    errors: int
    lag: int | None
    lag_s: float | None
    position: int | None
    committed: int | None
    in_flight_age_s: float | None
    in_flight_limit_s: float | None


class _Life:
    """The reports of a living process. No figure falls within a life, whatever the process reports."""

    __slots__ = ("born", "held", "partitions", "topics", "totals")

    def __init__(self, born: float) -> None:
        self.born = born
        self.totals = Totals()
        self.topics: dict[Place, TopicStatistics] = {}
        self.partitions: dict[Key, Counts] = {}
        self.held: set[Key] = set()


class _Holding:
    """Where a partition is or was, and its last reported figures."""

    __slots__ = ("borrowed_until", "life", "owned", "row", "since", "until")

    def __init__(self, row: PartitionStatistics, life: tuple[int, int]) -> None:
        self.row = row
        self.life = life
        self.owned = True
        self.since = self.until = 0.0
        self.borrowed_until: float | None = None
        """Until when an older lag is shown; None if the lag is from the latest report."""


class Accounts:
    """The accounts of a swarm. Not thread-safe."""

    def __init__(self) -> None:
        self._lives: dict[tuple[int, int], _Life] = {}
        self._nodes: dict[int, Totals] = {}  # of dead processes, like the next two
        self._topics: dict[Place, TopicStatistics] = {}
        self._partitions: dict[Key, Counts] = {}
        self._holdings: dict[Key, _Holding] = {}
        self._unowned: set[Key] = set()
        self._known: set[Key] = set()  # all that ever existed
        self._shown: list[PartitionAccount] | None = None

    def take(self, node: int, generation: int, statistics: NodeStatistics, now: float) -> None:
        """Record a report of a process."""
        name = node, generation
        life = self._lives.get(name) or self._lives.setdefault(name, _Life(now))
        _raise(life.totals, statistics, _NODE_COUNTERS)
        self._take_topics(life, statistics.topics)
        held = set()
        for row in statistics.partitions:
            key = row.group, row.topic, row.partition
            if key not in self._known:
                if len(self._known) >= MOST_PARTITIONS:
                    continue
                self._known.add(key)
            self._holdings[key] = _holding(row, name, self._holdings.get(key), now)
            self._unowned.discard(key)
            held.add(key)
            told: Counts = _counts(row)
            known = life.partitions.get(key)
            life.partitions[key] = told if known is None else _highest(known, told)
        self._let_go(name, life.held - held, now)
        if self._unowned:
            until = now + MOVING_S if held and not life.held else life.born + JOINING_S
            self._expect(node, until, but=name)
        life.held = held
        self._shown = None

    def ended(self, node: int, generation: int, now: float) -> None:
        """Keep the counts of a process that has ended, and note that its partitions have no owner."""
        name = node, generation
        life = self._lives.pop(name, None)
        if life is None:
            return
        _add(self._nodes.setdefault(node, Totals()), life.totals, _NODE_COUNTERS)
        for place, topic in life.topics.items():
            _add_topic(self._topics.setdefault(place, TopicStatistics(*place)), topic)
        for key, counts in life.partitions.items():
            self._partitions[key] = _sum(self._partitions.get(key, NOTHING), counts)
        self._let_go(name, life.held, now)
        for key in self._unowned:
            holding = self._holdings[key]
            if holding.life[0] == node:  # also the partitions of earlier processes, if it did not get them
                holding.until = math.inf
        self._shown = None

    def removed(self, node: int, now: float) -> None:
        """Note that a node was removed without a successor: its partitions belong to others by now."""
        self._expect(node, now + MOVING_S)

    def node(self, node: int) -> Totals:
        """The work of all processes of a node together."""
        total = replace(self._nodes.get(node, Totals()))
        for (of, _), life in self._lives.items():
            if of == node:
                _add(total, life.totals, _NODE_COUNTERS)
        return total

    def total(self) -> Totals:
        """The work of the whole swarm, including removed nodes."""
        total = Totals()
        for one in (*self._nodes.values(), *(life.totals for life in self._lives.values())):
            _add(total, one, _NODE_COUNTERS)
        return total

    def topics(self) -> list[TopicStatistics]:
        """The work per group and topic, sorted."""
        sums: dict[Place, TopicStatistics] = {}
        for source in (self._topics, *(life.topics for life in self._lives.values())):
            for place, topic in source.items():
                _add_topic(sums.setdefault(place, TopicStatistics(*place)), topic)
        return [sums[place] for place in sorted(sums)]

    def partitions(self, now: float) -> list[PartitionAccount]:
        """Every partition that a process here has, or had recently, sorted."""
        self._forget(now)
        if self._shown is None:
            counts = self.counted()
            self._shown = [_account(key, one, counts.get(key, NOTHING)) for key, one in sorted(self._holdings.items())]
        if not self._unowned:
            return list(self._shown)
        return [
            one
            if one.unowned_s is None
            else replace(one, unowned_s=max(0.0, now - self._holdings[one.group, one.topic, one.partition].since))
            for one in self._shown
        ]

    def counted(self) -> dict[Key, Counts]:
        """Messages, batches, bytes and errors of every partition that ever existed. They only grow."""
        sums = dict(self._partitions)
        for life in self._lives.values():
            for key, counts in life.partitions.items():
                before = sums.get(key)
                sums[key] = counts if before is None else _sum(before, counts)
        return sums

    # ------------------------------------------------------------------------------------------------------------

    def _take_topics(self, life: _Life, told: Iterable[TopicStatistics]) -> None:
        rest: TopicStatistics | None = None
        for one in told:
            place = one.group, one.topic
            known = life.topics.get(place)
            if known is None and len(life.topics) >= MOST_TOPICS:
                rest = rest or TopicStatistics(OTHER, OTHER)
                _add_topic(rest, one)
                continue
            if known is None:
                known = life.topics[place] = TopicStatistics(*place)
            _raise_topic(known, one)
        if rest is not None:
            _raise_topic(life.topics.setdefault((OTHER, OTHER), TopicStatistics(OTHER, OTHER)), rest)

    def _let_go(self, name: tuple[int, int], keys: Iterable[Key], now: float) -> None:
        for key in keys:
            holding = self._holdings.get(key)
            if (
                holding is not None and holding.owned and holding.life == name
            ):  # otherwise another process has reported it since
                holding.owned, holding.since, holding.until = False, now, now + MOVING_S
                self._unowned.add(key)

    def _expect(self, node: int, until: float, but: tuple[int, int] | None = None) -> None:
        """Show the partitions of a node's ended processes until then at most: a new owner has reported them by then."""
        for key in self._unowned:
            holding = self._holdings[key]
            if holding.life[0] == node and holding.life != but:
                holding.until = min(holding.until, until)

    def _forget(self, now: float) -> None:
        for key in [key for key in self._unowned if now >= self._holdings[key].until]:
            del self._holdings[key]
            self._unowned.discard(key)
            self._shown = None


def _holding(row: PartitionStatistics, life: tuple[int, int], before: _Holding | None, now: float) -> _Holding:
    """The known figures of a partition, from its owner's latest report.

    A new owner does not know the lag at once. Until it does, the old lag is shown, for
    at most `MOVING_S`. After that the lag is unknown.
    """
    holding = _Holding(row, life)
    if row.lag is None and before is not None and before.row.lag is not None:
        until = now + MOVING_S if before.borrowed_until is None else before.borrowed_until
        if now < until:
            holding.row = replace(row, lag=before.row.lag, lag_s=before.row.lag_s)
            holding.borrowed_until = until
    return holding


def _account(key: Key, holding: _Holding, counts: Counts) -> PartitionAccount:
    row, owned = holding.row, holding.owned
    node, unowned_s = (holding.life[0], None) if owned else (None, 0.0)
    account = PartitionAccount(*key, node, unowned_s, *counts, *_gauges(row))
    if not owned:
        account.in_flight_age_s = None
    return account


def _sum(one: Counts, other: Counts) -> Counts:
    return tuple(map(add, one, other))


def _highest(one: Counts, other: Counts) -> Counts:
    return tuple(map(max, one, other))


def _add(total: Any, one: Any, counters: Iterable[str]) -> None:
    for counter in counters:
        setattr(total, counter, getattr(total, counter) + getattr(one, counter))


def _raise(known: Any, told: Any, counters: Iterable[str]) -> None:
    for counter in counters:
        value = getattr(told, counter)
        if value is not None and value > getattr(known, counter):
            setattr(known, counter, value)


def _add_topic(total: TopicStatistics, one: TopicStatistics) -> None:
    _add(total, one, _TOPIC_COUNTERS)
    total.durations = [a + b for a, b in zip_longest(total.durations, one.durations, fillvalue=0)]


def _raise_topic(known: TopicStatistics, told: TopicStatistics) -> None:
    _raise(known, told, _TOPIC_COUNTERS)
    known.durations = [max(a, b) for a, b in zip_longest(known.durations, told.durations, fillvalue=0)]
