"""The memory of one life: what its process writes, and what it sees of all others."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from time import monotonic_ns

from swarm_consumer._scheduling.ledger import Key
from swarm_consumer._scheduling.remembrance import Epitaph, InHand, Member, Remembered, Suspects, Verdict
from swarm_consumer.progress._digests import ScopeName
from swarm_consumer.progress._members import Members
from swarm_consumer.progress._own_page import OwnPage, free_page, is_free, mend
from swarm_consumer.progress._pages import Pages
from swarm_consumer.progress._place import MappedPlace, Owner, token
from swarm_consumer.progress._slots import ALONE, IN_COMPANY, RELEASED, RUNS_ON, WITNESSED, Note

_UNTOLD = Epitaph()
_NEVER_TOLD = Epitaph(reason="its supervisor ended before it")


class LifeMemory:
    """A `Remembrance` in the mapping. Any thread may use it; each place is guarded by the lock of its connection."""

    def __init__(self, pages: Pages, node_id: int, generation: int, run: int, ended: Mapping[int, int]) -> None:
        self._pages, self._life, self._run = pages, (node_id, generation), run
        self._lock = threading.Lock()
        self._places: dict[int, MappedPlace] = {}
        """The place of the present claim of each entry."""
        self._own: OwnPage | None = None
        self._members: Members | None = None
        pages.missing_beyond(only_if_spoilt=True)
        page = free_page(pages, node_id, generation, run, ended) if 0 <= node_id < pages.layout.nodes else None
        if page is not None and pages.has_memory(pages.layout.base(page), pages.layout.entries_at):
            self._own = OwnPage(pages, page, generation, run)
            if is_free(pages, page ^ 1, generation, run, ended):
                mend(pages, page ^ 1)
            self._members = Members(pages, page, generation, run)

    def claim(self, scope: str, key: Key, *, positions: bool = True) -> MappedPlace | None:
        """Open a note for a partition that was assigned. It hides older ones. None: there is no room.

        positions: whether positions are kept; without, only what is in hand.
        """
        name = ScopeName(scope)
        digest = name.partition(key)
        with self._lock:
            own = self._own
            if own is None:
                self._pages.missing_beyond()
                return None
            runs = own.runs(name.digest)
            entry = own.entry(digest) if runs is not None else None
            if runs is None or entry is None:
                own.missing(name.digest)
                return None
            at, sequence = entry
            if (before := self._places.get(at)) is not None:
                before.supersede()
            owner = Owner(digest, self._run, self._life[1])
            place = MappedPlace(
                self._pages.map, at, owner, runs, self._next_claim, sequence=sequence, positions=positions
            )
            if not own.publish(digest, at):
                own.missing(name.digest)
                return None
            self._places[at] = place
            return place

    def _next_claim(self, digest: bytes) -> int:
        now = monotonic_ns()
        return max(now, self._pages.newest_claim(digest, now) + 1)

    def recall(self, scope: str, keys: Iterable[Key]) -> dict[Key, Remembered]:
        """Return the newest note of each partition that has one."""
        name = ScopeName(scope)
        self.restore()
        seen = self._pages.see(name.digest)
        found = {}
        for key in keys:
            newest = self._pages.newest(seen, name.partition(key))
            if newest is not None:
                page, note, spoilt = newest
                found[key] = self._remembered(page // 2, note, complete=note.claim > seen.missing_since and not spoilt)
        return found

    def _remembered(self, node_id: int, note: Note, *, complete: bool) -> Remembered:
        released = note.state == RELEASED
        suspects, story = self._suspects(note)
        return Remembered(
            life=(node_id, note.generation),
            token=token(note.run, note.claim),
            position=None if released else _known(note.position),
            leader_epoch=None if released else _known(note.leader_epoch),
            committed=_known(note.committed),
            written_ns=note.stamp,
            released=released,
            complete=complete,
            in_hand=in_hand_of(note),
            suspects=suspects,
            letters=0 if released else note.letters,
            epitaph=self._epitaph(node_id, note),
            story=story,
            runs_on=bool(note.hot_flags & RUNS_ON),
        )

    def _epitaph(self, node_id: int, note: Note) -> Epitaph:
        """The epitaph of the life that wrote a note.

        No death of an earlier supervisor's life counts: its code may have been another, and its life has no name here.
        """
        found = self._pages.epitaph(node_id, note.generation, note.run)
        if note.run == self._run:
            return found or _UNTOLD
        return _NEVER_TOLD if found is None else replace(found, verdict=min(found.verdict, Verdict.SUSPECT))

    def _suspects(self, note: Note) -> tuple[Suspects | None, Epitaph]:
        """What is suspected, and the epitaph of the life that died with it last.

        A note that was given up under another supervisor suspects nothing: a new start may run other code. And lives of
        another supervisor have no name here that the notes of this one could carry on.
        """
        same_run = note.run == self._run
        if note.suspects_first < 0 or (note.state == RELEASED and not same_run):
            return None, _UNTOLD
        life = (note.suspects_node, note.suspects_generation) if note.suspects_node >= 0 else None
        story = self._pages.epitaph(*life, note.run) if life is not None else None
        suspects = suspects_of(note)
        if suspects is not None and not same_run:
            suspects = replace(suspects, life=None)
        return suspects, story or _UNTOLD

    def restore(self) -> None:
        """Put right what something else has written over what this process alone writes, but for the notes."""
        self._pages.missing_beyond(only_if_spoilt=True)
        if self._own is not None:
            with self._lock:
                self._own.restore()

    def handled(self, scope: str) -> int | None:
        """Return how many runs have succeeded in all nodes, a number that only grows; None if it is unknown."""
        return self._pages.handled(ScopeName(scope).digest)

    def joined(self, member: Member) -> None:
        """Note under which member id this process is in a group."""
        if self._members is not None:
            with self._lock:
                self._members.joined(member)

    def departed(self) -> list[Member]:
        """Return the members that earlier processes of this node were, and that are known to be dead; each once."""
        if self._members is None:
            return []
        with self._lock:
            return self._members.departed()


def in_hand_of(note: Note) -> InHand | None:
    """Return what a note says was in hand."""
    if note.state == RELEASED or note.first < 0:
        return None
    return InHand(note.first, note.last, note.attempt, bool(note.hot_flags & ALONE))


def suspects_of(note: Note) -> Suspects | None:
    """Return what a note says was suspected."""
    if note.suspects_first < 0:
        return None
    return Suspects(
        first=note.suspects_first,
        last=note.suspects_last,
        in_company=bool(note.cold_flags & IN_COMPANY),
        culprit=_known(note.culprit),
        deaths_alone=note.deaths_alone,
        evidence=_known(note.evidence),
        witnessed=bool(note.cold_flags & WITNESSED),
        life=(note.suspects_node, note.suspects_generation) if note.suspects_node >= 0 else None,
    )


def _known(value: int) -> int | None:
    return value if value >= 0 else None
