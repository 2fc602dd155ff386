"""What a node leaves behind of its partitions for the next owner: the words for it, and who keeps it. Pure.

Each process (*life*) writes one note for each partition that it owns: how far it is, what it has in hand, what is
suspected of having killed a process before. `Remembrance` is what a process sees of that memory, and `Place` is one
note of its own. `swarm_consumer.progress` keeps the notes in memory that all nodes of a swarm share.

Offsets of positions are *next* offsets; those of records in hand are the records' own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, runtime_checkable

from swarm_consumer._scheduling.ledger import Key

CLAIM_PREFIX = "swarm:"
"""How every token begins: the metadata of a commit that shows under which claim it was made."""


def is_token(metadata: str | None) -> bool:
    """Whether the metadata of a commit is a token, and so nothing of the application's."""
    return metadata is not None and metadata.startswith(CLAIM_PREFIX)


class Verdict(IntEnum):
    """What the parent process says of the end of a life."""

    UNKNOWN = 0
    """Nothing: it may still be running."""
    IN_ORDER = 1
    """It stopped gracefully. What it had in hand is not suspected."""
    SUSPECT = 2
    """It was killed from outside. What it had in hand is tried alone, and nothing is counted."""
    COUNTS = 3
    """It died, not killed from outside: the death counts against what it had in hand."""
    HUNG = 4
    """As COUNTS, but it hung: it counts only where hangs count."""


@dataclass(frozen=True, slots=True)
class InHand:
    """The records that a handler had when its process wrote its last note."""

    first: int
    last: int
    attempt: int
    alone: bool
    """Nothing else ran in the process."""


@dataclass(frozen=True, slots=True)
class Suspects:
    """Records that a process died with: they are handed out one at a time, with nothing beside them."""

    first: int
    last: int
    in_company: bool = False
    """A death counts that all of them shared."""
    culprit: int | None = None
    """The record that died alone last."""
    deaths_alone: int = 0
    """Deaths of the culprit that count, alone in its process."""
    evidence: int | None = None
    """What `Remembrance.handled` said after the first death of the culprit that counts."""
    witnessed: bool = False
    """When the present attempt began, it said more: other records could be handled meanwhile."""
    life: tuple[int, int] | None = None
    """Node id and generation of the last death that counts; its epitaph has the story."""


@dataclass(frozen=True, slots=True)
class Epitaph:
    """How a life ended, as its parent process wrote it."""

    verdict: Verdict = Verdict.UNKNOWN
    reason: str = ""
    """One sentence: the signal or exit code, and whether memory was the cause."""
    stack: str = ""
    """Where a process that hung was; "" if unknown."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """The newest note about a partition."""

    life: tuple[int, int]
    """Node id and generation of the process that wrote it."""
    token: str
    """What the commits of its claim carry as metadata: `CLAIM_PREFIX` and what no other claim has, on no machine."""
    position: int | None
    """Everything before this offset is done; None: unknown."""
    leader_epoch: int | None
    committed: int | None
    """The last offset that the broker is known to have taken under this claim; None: none."""
    written_ns: int
    """Monotonic nanoseconds."""
    released: bool
    """The partition was given up in order. Its position is None then."""
    complete: bool
    """False if a newer claim may be missing, because the memory was full."""
    in_hand: InHand | None
    suspects: Suspects | None
    letters: int
    """Dead letters in a row."""
    epitaph: Epitaph
    """Of the life that wrote the note."""
    story: Epitaph
    """Of the life that `suspects.life` names; empty if that is unknown."""
    runs_on: bool = False
    """The partition was given up with work in hand by a process that was not about to end: no epitaph is to come."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a group that a process was."""

    group: str
    """The subscription group: a process has one member for each, also where two are of one consumer group."""
    member_id: str
    """ "" once it has left in order: there is nothing to remove then."""
    instance_id: str | None = None


class Evict(Protocol):
    """Removes members from their group, so that their partitions need not wait for the end of their sessions."""

    def __call__(self, group: str, members: Sequence[Member], *, within_s: float = 1.0) -> None:
        """Remove members of processes that have ended, by member id, from the consumer group of a subscription group.

        It returns within `within_s` seconds and raises nothing: without an answer their sessions end as they would.
        """


class Place(Protocol):
    """The note of one partition under one claim, in this process. The lock of its connection guards it."""

    @property
    def token(self) -> str:
        """What a commit under this claim carries as metadata; "" for none."""

    def renew(self) -> None:
        """Begin a new claim after a seek: the position is unknown until the next `move`."""

    def begin(self, first: int, last: int, attempt: int, *, alone: bool) -> None:
        """Note what a handler is given."""

    def end(self, *, handled: bool) -> None:
        """Note that the handler has ended. Written with the next `move`, or by `settle`.

        handled: it has succeeded, which is evidence that records can be handled at all.
        """

    def settle(self) -> None:
        """Write what `end` noted, unless a `move` did."""

    def move(self, position: int | None, leader_epoch: int | None) -> None:
        """Note that everything before `position` is done. None: no other owner may go on from it."""

    def committed(self, offset: int) -> None:
        """Note an offset that the broker has taken under this claim."""

    def suspect(self, suspects: Suspects | None) -> None:
        """Note what is suspected; None: nothing any more."""

    def letters(self, in_a_row: int) -> None:
        """Note the count of dead letters in a row."""

    def run_on(self) -> None:
        """Note that the partition is given up while a handler still has what is in hand, and this process continues."""

    def release(self) -> None:
        """Note that the partition was given up in order: the next owner takes only suspects over."""


class Remembrance(Protocol):
    """The memory of this process, and its view of what others left. `scope` names the cluster and the group."""

    def claim(self, scope: str, key: Key, *, positions: bool = True) -> Place | None:
        """Open a note for a partition that was assigned. It hides older ones. None: the memory is full.

        positions: whether positions are kept; without, only what is in hand.
        """

    def recall(self, scope: str, keys: Iterable[Key]) -> dict[Key, Remembered]:
        """Return the newest note of each partition that has one."""

    def handled(self, scope: str) -> int | None:
        """Return how many runs have succeeded in all nodes, a number that only grows; None if it is unknown."""

    def joined(self, member: Member) -> None:
        """Note under which member id this process is in a group."""

    def departed(self) -> list[Member]:
        """Return the members that earlier processes of this node were, and that are known to be dead; each once."""


@runtime_checkable
class Restoring(Protocol):
    """A `Remembrance` that something else may write over, and that can put right what it still knows."""

    def restore(self) -> None:
        """Do that. It is called once a second."""
