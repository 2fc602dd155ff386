"""The account of the second group of a chaos run: every record written by a hook, or a dead letter. Pure.

It asks less than the ledger (no order, no bound on duplicates: a bulk writer repeats what it had not marked) and one
thing more: a record that is no poison must not be among the dead letters, and poison must not be anywhere else.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.chaos.records import Numbered

POISON_EVERY = 500
"""One record in so many of each key cannot be handled."""
EXPECTED_HOOKS = ("initialized", "revoked", "shutdown", "tick")
LISTED = 5


def is_poison(record: Numbered) -> bool:
    """Whether the second group cannot handle a record."""
    return record.sequence % POISON_EVERY == POISON_EVERY // 2


@dataclass(frozen=True, slots=True)
class Written:
    """A hook has written a record."""

    partition: int
    offset: int

    def line(self) -> str:
        """Return it as a line of the log."""
        return f"W {self.partition} {self.offset}\n"


@dataclass(frozen=True, slots=True)
class Hooked:
    """A hook was called. ``at`` is monotonic seconds."""

    at: float
    name: str

    def line(self) -> str:
        """Return it as a line of the log."""
        return f"H {self.at:.6f} {self.name}\n"


def parse(line: str) -> Written | Hooked:
    """Read a line of the log. ValueError for anything else."""
    kind, *fields = line.split() or [""]
    if kind == "W" and len(fields) == 2:
        return Written(int(fields[0]), int(fields[1]))
    if kind == "H" and len(fields) == 2:
        return Hooked(float(fields[0]), fields[1])
    raise ValueError(f"not a line of the log: {line!r}")


class Audit:
    """What the second group did with each record."""

    def __init__(self) -> None:
        self.hooks: Counter[str] = Counter()
        self.letters: Counter[tuple[int, int]] = Counter()
        self._written: dict[int, Counter[int]] = defaultdict(Counter)

    def enter(self, line: str) -> None:
        """Take a line of the group's log."""
        match parse(line):
            case Written(partition, offset):
                self._written[partition][offset] += 1
            case Hooked(_, name):
                self.hooks[name] += 1

    def letter(self, partition: int, offset: int) -> None:
        """Take a dead letter, by where its record came from."""
        self.letters[partition, offset] += 1

    @property
    def written(self) -> int:
        """Records written, each counted once."""
        return sum(map(len, self._written.values()))

    @property
    def repeated(self) -> int:
        """Records written again, all in all."""
        return sum(sum(counts.values()) - len(counts) for counts in self._written.values())

    def missing(self, produced: Iterable[tuple[int, int, Numbered]]) -> int:
        """How many records besides poison were written by nobody so far."""
        return sum(
            1
            for partition, offset, record in produced
            if not is_poison(record) and offset not in self._written[partition]
        )

    def problems(self, produced: Iterable[tuple[int, int, Numbered]], *, hooks: bool = True) -> list[str]:
        """Judge the whole: what was passed over, what is a letter and should not be, hooks that were never called.

        hooks: whether everything was done that calls each hook.
        """
        lost, unanswered, wrong = [], [], []
        for partition, offset, record in produced:
            place = f"partition {partition} offset {offset}"
            lettered = (partition, offset) in self.letters
            if is_poison(record):
                if not lettered:
                    unanswered.append(place)
                if offset in self._written[partition]:
                    wrong.append(f"{place} is poison and was written")
            elif lettered:
                wrong.append(f"{place} is sound and is a dead letter")
            elif offset not in self._written[partition]:
                lost.append(place)
        found = []
        if lost:
            found.append(f"second group: {len(lost)} records were passed and never written: {', '.join(lost[:LISTED])}")
        if unanswered:
            found.append(
                f"second group: {len(unanswered)} poison records are no dead letter: {', '.join(unanswered[:LISTED])}"
            )
        found += [f"second group: {what}" for what in wrong[:LISTED]]
        found += [
            f"second group: the hook {name} was never called"
            for name in EXPECTED_HOOKS
            if hooks and not self.hooks[name]
        ]
        return found
