"""Running many histories, and telling those that broke a promise with their course."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from benchmarks.crashes import mapped
from benchmarks.crashes.history import History

EXPECTED = (
    "taken over", "OTHER_BOOT", "COMMIT_GONE", "WENT_BACK", "RELEASED", "NO_POSITION", "AS_FAR", "INCOMPLETE",
    "NO_COMMIT_SEEN", "APPLICATION_METADATA", "OTHER_COMMIT", "TOO_OLD", "BEYOND_END", "END_UNKNOWN", "commit fenced",
)  # fmt: skip
"""What comes in some ten thousand histories."""


def breaks(seed: int, **options: Any) -> str | None:
    """Run one history; return what it broke. To be called while the memory has the clock of the histories."""
    error = History(seed, **options).run()
    return None if error is None else str(error)


def course(seed: int, **options: Any) -> str:
    """Tell a history step by step."""
    history = History(seed, traced=True, **options)
    error = history.run()
    told = "\n".join((history.trace or [])[-60:])
    return f"seed {seed}: {error}\nfeatures: {', '.join(sorted(history.features))}\n{told}"


def many(seeds: Iterable[int], most: int = 1) -> tuple[Counter[str], list[str]]:
    """Run histories until `most` of them broke something; return what happened how often, and their courses."""
    counts: Counter[str] = Counter()
    found: list[str] = []
    with mapped.clocked():
        for seed in seeds:
            history = History(seed)
            error = history.run()
            counts.update(history.broker.counts)
            if error is not None:
                found.append(course(seed))
                if len(found) >= most:
                    break
    return counts, found


def first(seeds: Iterable[int], **options: Any) -> tuple[int, str] | None:
    """Return the first seed that breaks something, with what."""
    with mapped.clocked():
        for seed in seeds:
            if (error := breaks(seed, **options)) is not None:
                return seed, error
    return None


def second_lock(seeds: Iterable[int], both: Any, one: Any, features: frozenset[str]) -> int | None:
    """Return the first seed that breaks something under the decision `both`, and nothing under `one`."""
    with mapped.clocked():
        for seed in seeds:
            missed = breaks(seed, judge=both, features=features) is not None
            if missed and breaks(seed, judge=one, features=features) is None:
                return seed
    return None
