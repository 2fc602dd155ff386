"""The note of one partition under one claim, as its owner writes it."""

from __future__ import annotations

from collections.abc import Callable
from mmap import mmap
from time import monotonic_ns
from typing import NamedTuple
from zlib import crc32

from swarm_consumer._scheduling.remembrance import CLAIM_PREFIX, Suspects
from swarm_consumer.progress._layout import ENTRY, SLOT
from swarm_consumer.progress._scopes import MASK, PAIR, counter
from swarm_consumer.progress._slots import ALONE, COLD, HELD, HOT, IN_COMPANY, RELEASED, RUNS_ON, SEALED, WITNESSED

_pack_hot, _seal = HOT.pack, SEALED.pack_into
_NO_SUSPECTS = (-1, -1, -1, -1, 0, -1, 0)


def token(run: int, claim: int) -> str:
    """What commits under a claim carry as metadata. The run is random, so no other machine writes the same."""
    return f"{CLAIM_PREFIX}{claim:x}.{run:x}"


class RunCount:
    """How many runs of a scope have succeeded in this process and in the earlier ones of its life page."""

    __slots__ = ("_at", "_map", "number")

    def __init__(self, mapping: mmap | bytearray, at: int, number: int) -> None:
        self._map, self._at, self.number = mapping, at, number
        self.put()

    def add(self) -> None:
        """Count one more. Two threads at the same moment may count one only: it stands for "at least"."""
        self.number = (self.number + 1) & MASK
        self.put()

    def put(self) -> None:
        """Write it: after a change, or again because something else has been written over it."""
        number = self.number
        PAIR.pack_into(self._map, counter(self._at, number), number, number ^ MASK)


class Owner(NamedTuple):
    """What stands in a note about its writer and its partition."""

    digest: bytes
    run: int
    generation: int


class MappedPlace:
    """A `Place` in the mapping.

    What changes with each batch costs one write of 64 bytes. What changes seldom, a claim above all, is written to both
    slots one after another: a slot that is spoilt later cannot bring an older claim back.
    """

    __slots__ = (
        "_attempt", "_claim", "_cold_sum", "_committed", "_ended", "_first", "_flags", "_last", "_leader_epoch",
        "_letters", "_next_claim", "_owner", "_position", "_positions", "_runs", "_sequence", "_state", "_succeeded",
        "_suspects", "_target",
    )  # fmt: skip

    def __init__(
        self,
        mapping: mmap,
        at: int,
        owner: Owner,
        runs: RunCount,
        next_claim: Callable[[bytes], int],
        *,
        sequence: int,
        positions: bool,
    ) -> None:
        self._target: tuple[mmap | bytearray, int] = mapping, at
        """One value, because another thread may supersede this place in the middle of a write."""
        self._owner, self._runs, self._next_claim = owner, runs, next_claim
        self._sequence, self._positions = sequence, positions
        self._attempt = self._flags = self._letters = 0
        self._suspects: Suspects | None = None
        self._first = self._last = -1
        self._state = HELD
        self._ended = self._succeeded = False
        self.renew()

    @property
    def token(self) -> str:
        """What a commit under this claim carries as metadata."""
        return token(self._owner.run, self._claim)

    def renew(self) -> None:
        """Begin a new claim: position and committed offset are unknown."""
        self._claim = self._next_claim(self._owner.digest)
        self._position = self._committed = self._leader_epoch = -1
        self._rewrite()

    def begin(self, first: int, last: int, attempt: int, *, alone: bool) -> None:
        """Note what a handler is given."""
        self._first, self._last, self._attempt, self._flags = first, last, attempt, ALONE if alone else 0
        self._ended = False
        self._write()

    def end(self, *, handled: bool) -> None:
        """Note, with the next write, that the handler has ended."""
        self._first = self._last = -1
        self._ended = True
        if handled:
            self._succeeded = True

    def settle(self) -> None:
        """Write what `end` noted, unless it is written."""
        if self._ended:
            self._write()
        if self._succeeded:
            self._succeeded = False
            self._runs.add()

    def move(self, position: int | None, leader_epoch: int | None) -> None:
        """Note that everything before `position` is done; None: unknown."""
        self._position = position if position is not None and self._positions else -1
        self._leader_epoch = -1 if leader_epoch is None else leader_epoch
        self._write()
        if self._succeeded:
            self._succeeded = False
            self._runs.add()

    def committed(self, offset: int) -> None:
        """Note an offset that the broker has taken under this claim."""
        self._committed = offset
        self._write()

    def suspect(self, suspects: Suspects | None) -> None:
        """Note what is suspected; None: nothing."""
        self._suspects = suspects
        self._rewrite()

    def letters(self, in_a_row: int) -> None:
        """Note the count of dead letters in a row."""
        if in_a_row != self._letters:
            self._letters = in_a_row
            self._rewrite()

    def run_on(self) -> None:
        """Note that the partition goes to another owner, and the handler continues."""
        self._flags |= RUNS_ON
        self._write()

    def release(self) -> None:
        """Note that the partition was given up: only what is suspected is left."""
        self._state = RELEASED
        self._position = self._first = self._last = -1
        self._rewrite()

    def supersede(self) -> None:
        """Let all later writes of this object go nowhere: its process has a new claim for the partition."""
        self._target = bytearray(ENTRY), 0

    def _write(self) -> None:
        self._sequence = sequence = self._sequence + 1
        self._ended = False
        hot = _pack_hot(
            sequence, self._position, self._committed, monotonic_ns(), self._first, self._last, self._leader_epoch,
            self._attempt, self._state, self._flags,
        )  # fmt: skip
        mapping, at = self._target
        _seal(mapping, at + (SLOT if sequence & 1 else 0) + COLD.size, hot, crc32(hot, self._cold_sum))

    def _rewrite(self) -> None:
        cold = COLD.pack(
            self._owner.digest, self._claim, self._owner.run, self._owner.generation,
            *_packable(self._suspects), self._letters,
            _flags(self._suspects),
        )  # fmt: skip
        self._cold_sum = crc32(cold, self._target[1])
        for _ in range(2):
            mapping, at = self._target
            start = at + (0 if self._sequence & 1 else SLOT)
            mapping[start : start + COLD.size] = cold
            self._write()


def _flags(suspects: Suspects | None) -> int:
    if suspects is None:
        return 0
    return (IN_COMPANY if suspects.in_company else 0) | (WITNESSED if suspects.witnessed else 0)


def _packable(suspects: Suspects | None) -> tuple[int, ...]:
    if suspects is None:
        return _NO_SUSPECTS
    node_id, generation = suspects.life or (-1, 0)
    return (
        suspects.first, suspects.last, -1 if suspects.culprit is None else suspects.culprit,
        -1 if suspects.evidence is None else suspects.evidence, generation, node_id, suspects.deaths_alone,
    )  # fmt: skip
