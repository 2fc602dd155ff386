"""Ends of partitions that deliver nothing, paused or silent ones, as answered by the broker. Pure.

The client learns an end from the answers to its fetches. For a partition that it does not fetch, or whose fetches are
not answered, its figure is as old as the last answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from swarm_consumer._scheduling.ledger import Key


@dataclass(frozen=True, slots=True)
class KnownEnd:
    """The broker's answer and its time."""

    offset: int
    """The offset of the next readable record."""
    at: float
    """Monotonic seconds."""


class PartitionEnds:
    """The last answers. The owner thread replaces values and never edits them, so any thread may read."""

    def __init__(self) -> None:
        self._known: dict[Key, KnownEnd] = {}

    def known(self, key: Key) -> KnownEnd | None:
        """Return the answer for a partition; None if it was not asked about, because it delivers records."""
        return self._known.get(key)

    def answered(self, ends: Mapping[Key, int], asked: Iterable[Key], now: float) -> None:
        """Take the answers for these partitions; forget all others. Without a new answer the last one stays."""
        before = self._known
        fresh = {key: KnownEnd(offset, now) for key, offset in ends.items()}
        self._known = {key: end for key in asked if (end := fresh.get(key) or before.get(key)) is not None}

    def forget(self, keys: Iterable[Key]) -> None:
        """Forget partitions that have left."""
        gone = set(keys)
        self._known = {key: end for key, end in self._known.items() if key not in gone}
