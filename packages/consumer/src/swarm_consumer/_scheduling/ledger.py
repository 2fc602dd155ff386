"""The offset ledger: which offset of which partition may be committed. Pure; it knows no client and no clock.

A partition is added when it is assigned and gets an *epoch*, a number that is never used twice. Everything that is
done for a partition names the epoch it was started under: an older epoch is refused, so that a batch
that outlived its assignment cannot move anything, not even if the partition has left and come back.

Runs of offsets may finish in any order. The *position* is the end of the first gapless run: everything delivered before
it is done. It never passes a gap, and only `restart` moves it back.

Offsets here are *next* offsets, as Kafka keeps them: 8 means that offsets up to 7 are done.

A partition may have a note (`Place`) that outlives the process. It follows the position, so that the next owner
continues there; a position with metadata of the application is not noted, because only a commit can
carry both.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from swarm_consumer._scheduling.offset_runs import OffsetRuns

if TYPE_CHECKING:
    from swarm_consumer._scheduling.remembrance import Place

Key = tuple[str, int]
"""A topic and a partition."""


@dataclass(slots=True)
class _Entry:
    epoch: int
    begun: int | None = None  # the first offset handed to a handler
    delivered: int | None = None  # next offset after the last message handed to a handler
    position: int | None = None  # next offset: everything before it is handled or marked
    runs: OffsetRuns = field(default_factory=OffsetRuns)
    plain: bool = False  # whether a mark outside of transactions may still be under way to the broker
    metadata: str | None = None
    leader_epoch: int | None = None
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Committable:
    """A position to be committed: the next offset of a partition, with what Kafka keeps beside it."""

    topic: str
    partition: int
    offset: int
    metadata: str | None = None
    leader_epoch: int | None = None


class Ledger:
    """The delivered, the finished and the committable offsets of each assigned partition.

    Not thread-safe: the connection's lock guards it.
    """

    def __init__(self) -> None:
        self._entries: dict[Key, _Entry] = {}
        self._changed: set[Key] = set()
        self._doubtful: set[Key] = set()  # a transaction with an offset of theirs was not answered
        self._epochs = itertools.count(1)

    def assign(self, key: Key, place: Place | None = None) -> int:
        """Add a partition, forget its earlier state, and return its new epoch. `place` is its note, just claimed."""
        epoch = next(self._epochs)
        self._entries[key] = _Entry(epoch, place=place)
        self._changed.discard(key)
        self._doubtful.discard(key)
        return epoch

    def restart(self, key: Key, position: int | None = None, leader_epoch: int | None = None) -> int:
        """Start a new epoch of an assigned partition, after a seek; `position` is the next offset, if known.

        leader_epoch: of the record before it, if known. A commit with it shows later whether the log was cut.

        Raises KeyError for a partition that is not assigned.
        """
        place = self._entries[key].place
        if place is not None:
            place.renew()
        epoch = self.assign(key, place)
        if position is not None:
            entry = self._entries[key]
            entry.position = entry.delivered = position
            entry.leader_epoch = leader_epoch
            entry.plain = True
            self._changed.add(key)
        return epoch

    def release(self, key: Key, *, gracefully: bool = False) -> Committable | None:
        """Strike a partition out; return what is still to be committed for it (None: nothing new).

        gracefully: nothing of it is running, so its next owner starts at the committed offset.
        """
        committable = self._committable(key) if key in self._changed and key not in self._doubtful else None
        entry = self._entries.pop(key, None)
        if gracefully and entry is not None and entry.place is not None:
            entry.place.release()
        self._changed.discard(key)
        self._doubtful.discard(key)
        return committable

    def owns(self, key: Key, epoch: int) -> bool:
        """Whether `epoch` is the current epoch of an assigned partition."""
        entry = self._entries.get(key)
        return entry is not None and entry.epoch == epoch

    def deliver(
        self, key: Key, epoch: int, first: int, next_offset: int, runs: Sequence[tuple[int, int]] | None = None
    ) -> bool:
        """Note that messages from `first` to before `next_offset` are handed to a handler, possibly again.

        runs: where there are messages between the two, if not everywhere. False for a stale epoch.
        """
        entry = self._entries.get(key)
        if entry is None or entry.epoch != epoch:
            return False
        if entry.begun is None:
            entry.begun = first
        if entry.delivered is None or next_offset > entry.delivered:
            new = first if entry.delivered is None else entry.delivered
            if runs is None:  # as nearly always
                entry.runs.add(((max(first, new), next_offset),))
            else:
                entry.runs.add((max(one, new), end) for one, end in runs if end > new)
            entry.delivered = next_offset
        return True

    def may_mark(self, key: Key, epoch: int, next_offset: int) -> bool:
        """Whether everything before `next_offset` may be marked under this epoch; False for a stale one.

        Raises ValueError for an offset that no handler has received yet.
        """
        entry = self._entries.get(key)
        if entry is None or entry.epoch != epoch:
            return False
        if entry.delivered is None or next_offset > entry.delivered:
            topic, partition = key
            raise ValueError(
                f"offset {next_offset - 1} of {topic}[{partition}] cannot be marked: it is not delivered yet"
            )
        return True

    def all_done_before(self, key: Key, epoch: int, offset: int) -> bool:
        """Whether no message handed out before `offset` waits for a mark."""
        entry = self._entries.get(key)
        if entry is None or entry.epoch != epoch:
            return False
        waiting = entry.runs.first_open
        return waiting is None or waiting >= offset

    def mark(
        self,
        key: Key,
        epoch: int,
        next_offset: int,
        metadata: str | None = None,
        leader_epoch: int | None = None,
    ) -> bool:
        """Note that everything before `next_offset` is done, including open runs; False for a stale epoch.

        A mark below the present position changes nothing: progress never goes back, except by `restart`. Metadata
        belongs to one position: it goes when the position moves on. Raises ValueError as `may_mark` does.
        """
        if not self.may_mark(key, epoch, next_offset):
            return False
        entry = self._entries[key]
        if entry.position is None or next_offset > entry.position:
            self._move(key, entry, entry.runs.finish_all_before(next_offset, leader_epoch))
            if entry.position == next_offset and metadata is not None:
                self._annotate(entry, metadata)
        elif next_offset == entry.position and metadata is not None and metadata != entry.metadata:
            self._annotate(entry, metadata)
            entry.plain = True
            self._changed.add(key)
        return True

    def complete(self, key: Key, epoch: int, first: int, next_offset: int, leader_epoch: int | None = None) -> bool:
        """Note that messages from `first` to before `next_offset` are done; False for a stale epoch.

        The position moves once no earlier run is open. Raises ValueError as `may_mark` does.
        """
        if not self.may_mark(key, epoch, next_offset):
            return False
        entry = self._entries[key]
        reached = entry.runs.finish(first, next_offset, leader_epoch)
        if reached is not None and (entry.position is None or reached[0] > entry.position):
            self._move(key, entry, reached)
        return True

    def _move(self, key: Key, entry: _Entry, reached: tuple[int, int | None]) -> None:
        """Move the position forward; metadata belongs to the earlier one."""
        entry.position, entry.leader_epoch = reached
        entry.metadata = None
        entry.plain = True
        self._changed.add(key)
        if entry.place is not None:
            entry.place.move(*reached)

    @staticmethod
    def _annotate(entry: _Entry, metadata: str) -> None:
        entry.metadata = metadata
        if entry.place is not None:
            entry.place.move(None, None)

    def resume_at(self, key: Key) -> int | None:
        """Return the first offset that was handed out but is not done; None if nothing was handed out."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        return entry.begun if entry.position is None else entry.position

    def plain_marks_arrived(self, key: Key) -> None:
        """Note that none of them is on its way any more."""
        if key in self._entries:
            self._entries[key].plain = False

    def committing(self, key: Key) -> None:
        """Note that the current position is on its way to the broker outside of any transaction."""
        if key in self._entries:
            self._entries[key].plain = True

    def has_plain_marks(self, key: Key) -> bool:
        """Whether a mark outside of transactions may still be on its way to the broker."""
        entry = self._entries.get(key)
        return entry is not None and entry.plain

    def doubt(self, key: Key, epoch: int, *, doubtful: bool) -> None:
        """Note whether it is unknown that a transaction has committed an offset of this partition.

        Until it is known nothing is committed for it: what is marked now may be behind what is committed.
        """
        if doubtful and self.owns(key, epoch):
            self._doubtful.add(key)
        elif self.owns(key, epoch):
            self._doubtful.discard(key)

    def is_doubtful(self, key: Key) -> bool:
        """Whether it is unknown what a transaction has committed for this partition."""
        return key in self._doubtful

    def committed(
        self, key: Key, epoch: int, next_offset: int, metadata: str | None = None, leader_epoch: int | None = None
    ) -> None:
        """Note a position that a transaction has committed: it is done, and not to be committed once more."""
        entry = self._entries.get(key)
        if entry is None or entry.epoch != epoch or (entry.position is not None and next_offset < entry.position):
            return
        entry.position, entry.leader_epoch = entry.runs.finish_all_before(next_offset, leader_epoch)
        if entry.place is not None:
            entry.place.move(None, None)  # the broker alone knows what became of the transaction
        if entry.position == next_offset:
            entry.metadata = metadata
            self._changed.discard(key)
        else:  # later runs were finished and waited for it
            entry.metadata = None
            entry.plain = True
            self._changed.add(key)

    def taken(self, key: Key, next_offset: int, metadata: str | None) -> None:
        """Note that the broker has taken this offset, in a commit outside of transactions.

        Only one with the token of the present claim is noted: an answer may be late, and of the time before a seek.
        """
        entry = self._entries.get(key)
        if entry is not None and entry.place is not None and metadata == entry.place.token:
            entry.place.committed(next_offset)

    def position(self, key: Key) -> int | None:
        """Return the next offset that is not done yet; None if nothing was done under the current epoch."""
        entry = self._entries.get(key)
        return entry.position if entry is not None else None

    def present(self, key: Key) -> Committable | None:
        """Return a partition's position as it would be committed, moved or not; None when nothing is done."""
        entry = self._entries.get(key)
        if entry is None or entry.position is None or key in self._doubtful:
            return None
        return _committable_of(key, entry, entry.position)

    def take_committable(self) -> list[Committable]:
        """Return the positions that moved since the last call; each is given out once."""
        if not self._changed:
            return []
        ready = self._changed - self._doubtful if self._doubtful else self._changed
        moved = [committable for key in ready if (committable := self._committable(key)) is not None]
        self._changed = self._changed & self._doubtful
        return moved

    def _committable(self, key: Key) -> Committable | None:
        entry = self._entries[key]
        return None if entry.position is None else _committable_of(key, entry, entry.position)


def _committable_of(key: Key, entry: _Entry, position: int) -> Committable:
    """A commit carries the token of its claim, unless it carries metadata of the application."""
    metadata = entry.metadata
    if metadata is None and entry.place is not None:
        metadata = entry.place.token or None
    return Committable(key[0], key[1], position, metadata, entry.leader_epoch)
