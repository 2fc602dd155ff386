"""The ends of partitions that were asked for, because they bring nothing: paused ones, silent ones. Pure.

The client learns an end from the answers to its fetches. Of a partition that it does not fetch, or whose fetches are
not answered, its figure is as old as the last of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from swarm_consumer._scheduling.progress import Key


@dataclass(frozen=True, slots=True)
class KnownEnd:
    """What the broker said, and when."""

    offset: int
    """The offset of the next record that can be read once it is there."""
    at: float
    """Monotonic seconds."""


class PartitionEnds:
    """The last answers. The owner thread replaces the values, never edits them: any may read."""

    def __init__(self) -> None:
        self._known: dict[Key, KnownEnd] = {}

    def known(self, key: Key) -> KnownEnd | None:
        """Return what was said of a partition; None when it was not asked for, since it brings records."""
        return self._known.get(key)

    def answered(self, ends: Mapping[Key, int], asked: Iterable[Key], now: float) -> None:
        """Take the answers for the partitions that were asked for; forget all others. No answer leaves the last."""
        before = self._known
        fresh = {key: KnownEnd(offset, now) for key, offset in ends.items()}
        self._known = {key: end for key in asked if (end := fresh.get(key) or before.get(key)) is not None}

    def forget(self, keys: Iterable[Key]) -> None:
        """Forget partitions that have left."""
        gone = set(keys)
        self._known = {key: end for key, end in self._known.items() if key not in gone}
