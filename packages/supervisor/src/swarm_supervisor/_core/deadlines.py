"""All deadlines of a supervisor in one structure. Pure."""

from __future__ import annotations

import heapq
from typing import Protocol

NEVER = float("inf")


class Timed(Protocol):
    """A thing that can have a deadline."""

    deadline: float | None
    """When it is due (monotonic seconds); None: not at all. Set by `Deadlines` alone."""
    scheduled: float
    """The earliest entry that the heap holds for it; NEVER if there is none. Set by `Deadlines` alone."""


class Deadlines:
    """A heap that is corrected lazily.

    A beat only sets a field; the entry in the heap is corrected when it is at the top and almost due. So a
    report costs almost nothing here, and no deadline is missed.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timed]] = []
        self._serial = 0  # breaks ties, so that things themselves are never compared

    def set(self, thing: Timed, deadline: float | None) -> None:
        """Change or remove the deadline of a thing."""
        thing.deadline = deadline
        if deadline is not None and deadline < thing.scheduled:
            self._push(thing, deadline)

    def next(self, near: float = NEVER) -> float | None:
        """When the next thing is due; None if there is no deadline.

        The answer is exact up to ``near``. After that it may be too early, but never too late. So for a thousand
        postponed deadlines each heap entry is corrected when it is due, not on every postponement.
        """
        heap = self._heap
        while heap:
            entry, _, thing = heap[0]
            if entry > near or (entry == thing.scheduled and thing.deadline == entry):
                return entry
            heapq.heappop(heap)
            if entry != thing.scheduled:
                continue  # an earlier entry replaced this one
            thing.scheduled = NEVER
            if thing.deadline is not None:
                self._push(thing, thing.deadline)
        return None

    def pop(self, now: float) -> Timed | None:
        """Return the thing that has been due the longest, and remove its deadline. None if nothing is due."""
        due = self.next(now)
        if due is None or due > now:
            return None
        _, _, thing = heapq.heappop(self._heap)
        thing.scheduled = NEVER
        thing.deadline = None
        return thing

    def sweep(self) -> None:
        """Drop the entries of things without a deadline."""
        for entry in self._heap:
            if entry[2].deadline is None:
                entry[2].scheduled = NEVER
        self._heap = [entry for entry in self._heap if entry[0] == entry[2].scheduled]
        heapq.heapify(self._heap)

    def __len__(self) -> int:
        """The number of entries, including outdated ones."""
        return len(self._heap)

    def _push(self, thing: Timed, deadline: float) -> None:
        thing.scheduled = deadline
        self._serial += 1
        heapq.heappush(self._heap, (deadline, self._serial, thing))
