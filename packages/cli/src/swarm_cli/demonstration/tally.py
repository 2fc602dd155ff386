"""Compare the output with the expected output, one record at a time. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Tally:
    """For every key: how often it was seen, from which node, and whether the value was right.

    `expected` is the output of one process for the same input (key → value), compared byte by byte.
    """

    total: int
    seen: Counter[bytes] = field(default_factory=Counter)
    values: dict[bytes, bytes] = field(default_factory=dict)
    by_node: Counter[str] = field(default_factory=Counter)
    disagreeing: set[bytes] = field(default_factory=set)

    def add(self, key: bytes, value: bytes, node: str) -> None:
        """One record of the output topic."""
        self.seen[key] += 1
        self.by_node[node] += 1
        if self.values.setdefault(key, value) != value:
            self.disagreeing.add(key)

    @property
    def distinct(self) -> int:
        """How many different records came out."""
        return len(self.values)

    @property
    def duplicated(self) -> int:
        """How many extra copies came out (a record that came out three times counts twice)."""
        return self.seen.total() - len(self.seen)

    def lost(self, expected: Mapping[bytes, bytes]) -> int:
        """How many of the expected records never came out."""
        return len(expected.keys() - self.values.keys())

    def wrong(self, expected: Mapping[bytes, bytes]) -> int:
        """How many differ from the expected output, differ from their own duplicate, or were never put in."""
        differing = {key for key, value in self.values.items() if expected.get(key) != value}
        return len(differing | self.disagreeing)
