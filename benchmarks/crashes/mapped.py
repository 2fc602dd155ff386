"""The real memory of `swarm_consumer.progress`, with the clock of a history, and what may happen to it."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import random
from collections.abc import Callable, Iterable, Iterator

from benchmarks.crashes.log import KEY, SCOPE
from swarm_consumer import progress
from swarm_consumer._scheduling.ledger import Key
from swarm_consumer._scheduling.remembrance import Epitaph, Member, Place, Remembered, Remembrance, Verdict
from swarm_consumer.progress import ProgressMemory

FILLER = ("filler", 0)
NODES = 2
BLOCK = 1024
_READERS = [
    module
    for one in pkgutil.iter_modules(progress.__path__)
    if hasattr(module := importlib.import_module(f"{progress.__name__}.{one.name}"), "monotonic_ns")
]
"""The modules that read the clock."""
_clock: Callable[[], int] = lambda: 0  # noqa: E731


@contextlib.contextmanager
def clocked() -> Iterator[None]:
    """While this lasts, the memory has the clock of the history that was begun last."""
    before = [module.monotonic_ns for module in _READERS]
    for module in _READERS:
        module.monotonic_ns = lambda: _clock()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module, one in zip(_READERS, before, strict=True):
            module.monotonic_ns = one  # type: ignore[attr-defined]


class Mapped:
    """A mapping for two nodes, with room for one partition: another one in its place fills it."""

    def __init__(self, clock: Callable[[], int], rng: random.Random) -> None:
        global _clock
        _clock = clock
        self._rng = rng
        self.full = False
        self.wipe()

    def wipe(self) -> None:
        """The machine was started again, or the memory ended with its supervisor."""
        self._memory = ProgressMemory(NODES, partitions=1)
        self.another_supervisor()
        self._reader = self._memory.of_life(NODES, 0)  # without a page of its own

    def another_supervisor(self) -> None:
        """It has the memory of the one before, and numbers lives from the beginning."""
        self._memory._run = self._rng.getrandbits(64)

    def of_life(self, node: int, generation: int) -> Remembrance:
        """The memory as one life has it."""
        return _Filled(self, self._memory.of_life(node, generation))

    def died(self, node: int, generation: int) -> None:
        """Its supervisor knows that it is dead."""
        self._memory.epitaph(node, generation, Epitaph(Verdict.COUNTS, "killed by SIGSEGV"))

    def tear(self, place: Place | None, share: float) -> None:
        """Let a life be killed in the middle of the next write, after a share of its bytes."""
        if place is None:
            return
        mapping = self._memory._map
        before = mapping[:]
        place.end(handled=False)
        place.settle()
        after = mapping[:]
        written = [
            at
            for block in range(0, len(after), BLOCK)
            if before[block : block + BLOCK] != after[block : block + BLOCK]
            for at in range(block, min(block + BLOCK, len(after)))
            if before[at] != after[at]
        ]
        for at in written[int(share * len(written)) :]:
            mapping[at] = before[at]

    def newest(self) -> Remembered | None:
        """The newest note."""
        return self._reader.recall(SCOPE, [KEY]).get(KEY)

    def scribble(self) -> None:
        """Write random bytes somewhere."""
        size, pick = len(self._memory._map), self._rng.random
        if pick() < 0.8:  # where there may be something
            layout, page = self._memory._layout, int(pick() * 2 * NODES)
            at = (layout.header(page), layout.base(page), layout.index(page), layout.entry(page, 1))[int(pick() * 4)]
            at += int(pick() * 320)
        else:
            at = int(pick() * size)
        count = min(1 + int(pick() * 64), size - at)
        self._memory._map[at : at + count] = self._rng.randbytes(count)


class _Filled:
    """A `Remembrance` that lets another partition take the room first, while the memory is to be full."""

    def __init__(self, mapped: Mapped, memory: Remembrance) -> None:
        self._mapped, self._memory = mapped, memory

    def claim(self, scope: str, key: Key, *, positions: bool = True) -> Place | None:
        if self._mapped.full:
            self._memory.claim(scope, FILLER)
        return self._memory.claim(scope, key, positions=positions)

    def recall(self, scope: str, keys: Iterable[Key]) -> dict[Key, Remembered]:
        return self._memory.recall(scope, keys)

    def handled(self, scope: str) -> int | None:
        return self._memory.handled(scope)

    def joined(self, member: Member) -> None:
        self._memory.joined(member)

    def departed(self) -> list[Member]:
        return self._memory.departed()
