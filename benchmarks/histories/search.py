"""Running many histories, and telling those that broke a promise."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.histories import seams
from benchmarks.histories.history import History

OPEN: frozenset[str] = frozenset()
"""Features that are left out."""


@dataclass
class Found:
    """A history that broke a promise."""

    seed: int
    features: tuple[str, ...]
    error: BaseException
    trace: list[str]

    def __str__(self) -> str:
        told = "\n".join(self.trace[-120:])
        return (
            f"seed {self.seed}: {type(self.error).__name__}: {self.error}\nfeatures: {', '.join(self.features)}\n{told}"
        )


def one(seed: int, without: frozenset[str] = OPEN) -> tuple[History, BaseException | None]:
    """Run one history; to be called while the seams are installed."""
    history = History(seed, without)
    return history, history.run()


def many(seeds: Iterable[int], without: frozenset[str] = OPEN, most: int = 1) -> tuple[Counter[str], list[Found]]:
    """Run histories until `most` of them broke something; return what happened how often, and those."""
    counts: Counter[str] = Counter()
    found: list[Found] = []
    with seams.installed():
        for seed in seeds:
            history, error = one(seed, without)
            counts.update(history.journal.counts)
            counts["spins"] += history.scheduler.spins
            if error is not None:
                found.append(shrunk(seed, without))
                if len(found) >= most:
                    break
    return counts, found


def shrunk(seed: int, without: frozenset[str] = OPEN) -> Found:
    """Return the story of a seed that breaks something, with as few features as still do."""
    history, error = one(seed, without)
    if error is None:
        raise ValueError(f"seed {seed} breaks nothing")
    for feature in sorted(history.features):
        _, still = one(seed, without | {feature})
        if type(still) is type(error):
            without |= {feature}
    history = History(seed, without, traced=True)
    error = history.run()
    assert error is not None
    return Found(seed, tuple(sorted(history.features)), error, history.journal.trace or [])
