"""Counts the work of a subscription group since its start, at the end of each run. Pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, fields

from swarm_consumer._scheduling.ledger import Key
from swarm_consumer._scheduling.run import Run

DURATION_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the buckets of batch durations, as in swarm_health.DURATION_BOUNDS_S; the last has no bound."""


@dataclass(slots=True)
class TopicCounters:
    """The work for one topic, over all partitions that were ever here."""

    messages: int = 0
    batches: int = 0
    errors: int = 0
    retries: int = 0
    dead_lettered: int = 0
    taken_over: int = 0
    take_overs_refused: int = 0
    suspected: int = 0
    parked: int = 0
    durations: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BOUNDS_S) + 1))
    duration_s: float = 0.0


COUNTED = tuple(each.name for each in fields(TopicCounters) if each.type == "int")
"""What a node sums up of its topics."""


class Counters:
    """Sums of a group by topic and by partition; they only grow. Not thread-safe: the caller holds the group's lock."""

    def __init__(self) -> None:
        self._topics: dict[str, TopicCounters] = {}
        self._partitions: dict[Key, list[int]] = {}  # messages, batches, errors

    def assigned(self, key: Key) -> None:
        """Start a new partition at 0, because an increase from a missing figure would not show."""
        self._topics.setdefault(key[0], TopicCounters())
        self._partitions.setdefault(key, [0, 0, 0])

    def count(self, run: Run, failed: bool, diverted: bool, duration_s: float) -> None:
        """Count a batch that has ended."""
        key = run.lane.key
        if key not in self._partitions:
            self.assigned(key)
        topic, partition = self._topics[key[0]], self._partitions[key]
        topic.durations[bisect_left(DURATION_BOUNDS_S, duration_s)] += 1
        topic.duration_s += duration_s
        if run.attempt > 1:
            topic.retries += 1
        if diverted:
            topic.dead_lettered += 1
        if failed:
            topic.errors += 1
            partition[2] += 1
            return
        messages = len(run.records)
        topic.batches += 1
        topic.messages += messages
        partition[0] += messages
        partition[1] += 1

    def took_over(self, key: Key, *, refused: bool) -> None:
        """Count a partition that continued where its last owner was, or whose notes were refused."""
        self.assigned(key)
        if refused:
            self._topics[key[0]].take_overs_refused += 1
        else:
            self._topics[key[0]].taken_over += 1

    def suspects(self, key: Key) -> None:
        """Count a partition that came with suspects."""
        self.assigned(key)
        self._topics[key[0]].suspected += 1

    def was_parked(self, key: Key) -> None:
        """Count one time that a partition was parked."""
        self._topics[key[0]].parked += 1

    def totals(self) -> dict[str, int]:
        """Return the group's totals under the names of the health protocol."""
        return {name: sum(getattr(one, name) for one in self._topics.values()) for name in COUNTED}

    def topics(self) -> dict[str, TopicCounters]:
        """Return the sums of each topic."""
        return self._topics

    def of(self, key: Key) -> dict[str, int]:
        """Return one partition's."""
        messages, batches, errors = self._partitions.get(key, (0, 0, 0))
        return {"messages": messages, "batches": batches, "errors": errors}
