"""Notes in plain objects: the same protocol as the shared memory, one page for each life of a node. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from swarm_consumer._scheduling.ledger import Key
from swarm_consumer._scheduling.remembrance import (
    CLAIM_PREFIX,
    Epitaph,
    InHand,
    Member,
    Place,
    Remembered,
    Remembrance,
    Suspects,
)


class Note(Place):
    """The note of the partition in one page."""

    __slots__ = (
        "_notes", "_positions", "claim", "in_hand", "last_committed", "life", "position", "released", "written_ns",
    )  # fmt: skip

    def __init__(self, notes: Notes, life: tuple[int, int], *, positions: bool) -> None:
        self._notes = notes
        self._positions = positions
        self.life = life
        self.in_hand: InHand | None = None
        self.claim = notes.number(), -1
        self.renew()

    def renew(self) -> None:
        """See `Place`. It stays older than the claim of a later owner: the process may have lost the partition."""
        self.claim = self.claim[0], self.claim[1] + 1
        self.position: tuple[int, int | None] | None = None
        self.last_committed: int | None = None
        self.released = False
        self._write()

    def _write(self) -> None:
        self.written_ns = self._notes.clock()

    @property
    def token(self) -> str:
        """See `Place`."""
        return f"{CLAIM_PREFIX}{self.claim[0]}.{self.claim[1]}.{self._notes.machine}"

    def begin(self, first: int, last: int, attempt: int, *, alone: bool) -> None:
        """See `Place`."""
        self.in_hand = InHand(first, last, attempt, alone)
        self._write()

    def end(self, *, handled: bool) -> None:
        """See `Place`."""
        self.in_hand = None

    def settle(self) -> None:
        """See `Place`."""
        self._write()

    def move(self, position: int | None, leader_epoch: int | None) -> None:
        """See `Place`."""
        self.position = None if position is None or not self._positions else (position, leader_epoch)
        self._write()

    def committed(self, offset: int) -> None:
        """See `Place`."""
        self.last_committed = offset
        self._write()

    def suspect(self, suspects: Suspects | None) -> None:
        """See `Place`."""

    def letters(self, in_a_row: int) -> None:
        """See `Place`."""

    def run_on(self) -> None:
        """See `Place`."""

    def release(self) -> None:
        """See `Place`."""
        self.released, self.position = True, None
        self._write()

    def remembered(self, *, complete: bool) -> Remembered:
        """As another process reads it."""
        position, epoch = self.position or (None, None)
        return Remembered(
            self.life, self.token, position, epoch, self.last_committed, self.written_ns, self.released, complete,
            self.in_hand, None, 0, Epitaph(), Epitaph(),
        )  # fmt: skip


class Notes:
    """All pages. A life of a node writes over the page of the life before the last one, as the parity says."""

    def __init__(self, clock: Callable[[], int], machine: int = 0) -> None:
        self.clock, self.machine = clock, machine
        self.pages: dict[tuple[int, int], Note] = {}
        self.full = False
        self._overflowed = -1  # the claim from which on nothing is missing
        self._last = 0

    def number(self) -> int:
        """A number for a claim: the time, never twice."""
        self._last = max(self.clock(), self._last + 1)
        return self._last

    def wipe(self) -> None:
        """Forget everything: the machine was started again."""
        self.pages.clear()

    def another_supervisor(self) -> None:
        """It has the memory of the one before, and numbers lives from the beginning."""

    def died(self, node: int, generation: int) -> None:
        """Not needed here: which page a life takes follows from its generation."""

    def tear(self, place: Place | None, share: float) -> None:
        """Objects are written whole."""

    def scribble(self) -> None:
        """Objects cannot be written over."""

    def newest(self) -> Remembered | None:
        """The note of the newest claim."""
        note = max(self.pages.values(), key=lambda note: note.claim, default=None)
        return None if note is None else note.remembered(complete=note.claim[0] > self._overflowed)

    def of_life(self, node: int, generation: int) -> Remembrance:
        """The memory as one life has it."""
        self.pages.pop((node, generation & 1), None)
        return _OfLife(self, node, generation)

    def claim(self, node: int, generation: int, *, positions: bool) -> Note | None:
        """See `Remembrance`."""
        if self.full:
            self._overflowed = self.number()
            return None
        note = self.pages[node, generation & 1] = Note(self, (node, generation), positions=positions)
        return note


class _OfLife(Remembrance):
    def __init__(self, notes: Notes, node: int, generation: int) -> None:
        self._notes, self._node, self._generation = notes, node, generation

    def claim(self, scope: str, key: Key, *, positions: bool = True) -> Place | None:
        return self._notes.claim(self._node, self._generation, positions=positions)

    def recall(self, scope: str, keys: Iterable[Key]) -> dict[Key, Remembered]:
        note = self._notes.newest()
        return {} if note is None else dict.fromkeys(keys, note)

    def handled(self, scope: str) -> int | None:
        return None

    def joined(self, member: Member) -> None:
        """Not asked for here."""

    def departed(self) -> Iterator[Member]:  # type: ignore[override]
        return iter(())
