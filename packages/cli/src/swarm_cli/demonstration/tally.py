"""Count what came out against what had to come out: pure, fed one output record at a time."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Every record by its key: seen how often, from which node, and with the right value or not.

    `expected` is what one process makes of the same input: key → value, compared byte by byte.
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
        """How many came out once more than they had to (a record that came out three times counts twice)."""
        return self.seen.total() - len(self.seen)

    def lost(self, expected: Mapping[bytes, bytes]) -> int:
        """How many of the expected records never came out."""
        return len(expected.keys() - self.values.keys())

    def wrong(self, expected: Mapping[bytes, bytes]) -> int:
        """How many differ from what one process makes of them, from their own duplicate, or were never put in."""
        differing = {key for key, value in self.values.items() if expected.get(key) != value}
        return len(differing | self.disagreeing)
