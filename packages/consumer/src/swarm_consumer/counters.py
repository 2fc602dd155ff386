"""What a subscription group has done since its start, counted as its runs end. Pure."""

from __future__ import annotations

from swarm_consumer.lane import Run
from swarm_consumer.progress import Key


class Counters:
    """Totals of a group and of each of its partitions. Not thread-safe: the caller holds the group's lock."""

    def __init__(self) -> None:
        self._batches = self._messages = self._errors = self._retries = self._dead_lettered = 0
        self._partitions: dict[Key, list[int]] = {}  # messages, batches, errors

    def count(self, run: Run, failed: bool, diverted: bool) -> None:
        """Count a batch that has ended."""
        partition = self._partitions.get(run.lane.key)
        if partition is None:
            partition = self._partitions[run.lane.key] = [0, 0, 0]
        if run.attempt > 1:
            self._retries += 1
        if diverted:
            self._dead_lettered += 1
        if failed:
            self._errors += 1
            partition[2] += 1
            return
        messages = len(run.records)
        self._batches += 1
        self._messages += messages
        partition[0] += messages
        partition[1] += 1

    def totals(self) -> dict[str, int]:
        """Return the group's totals under the names of the health protocol."""
        return {
            "batches": self._batches,
            "messages": self._messages,
            "errors": self._errors,
            "retries": self._retries,
            "dead_lettered": self._dead_lettered,
        }

    def of(self, key: Key) -> dict[str, int]:
        """Return one partition's."""
        messages, batches, errors = self._partitions.get(key, (0, 0, 0))
        return {"messages": messages, "batches": batches, "errors": errors}
