"""The members of groups that the lives of a node id were."""

from __future__ import annotations

from collections.abc import Iterator

from swarm_consumer._scheduling.remembrance import Member
from swarm_consumer.progress._layout import MEMBER, MEMBERS, MEMBERS_AT
from swarm_consumer.progress._pages import Pages
from swarm_consumer.progress._records import ERASED, NEVER, packed_member, read_member


class Members:
    """The records of both pages of a node id. The life of one page writes them; those of the dead are erased."""

    def __init__(self, pages: Pages, page: int, generation: int, run: int) -> None:
        self._pages, self._page = pages, page
        self._life = (run, generation)
        self._own: list[int] = []
        """The records of this life, the oldest first."""

    def _records(self, page: int) -> Iterator[tuple[int, tuple[int, int, Member] | None]]:
        """Each record up to the first that was never used, with what it says; None: it is free."""
        first = self._pages.layout.base(page) + MEMBERS_AT
        for at in range(first, first + MEMBERS * MEMBER, MEMBER):
            raw = self._pages.map[at : at + MEMBER]
            yield at, read_member(raw, at)
            if raw.startswith(NEVER):
                return

    def joined(self, member: Member) -> None:
        """Note the member that this life is in a group, in place of the one before; none if it has left.

        One whose names are too long is left out.
        """
        free = None
        for at, record in self._records(self._page):
            if record is not None and record == (*self._life, member):
                return
            if record is not None and record[:2] == self._life and record[2].group == member.group:
                self._pages.map[at : at + len(ERASED)] = ERASED
                self._own = [one for one in self._own if one != at]
                record = None
            if free is None and record is None:
                free = at
        if not member.member_id:
            return
        if free is None:
            free = self._own.pop(0) if self._own else self._pages.layout.base(self._page) + MEMBERS_AT
        raw = packed_member(free, *self._life, member)
        if raw is not None:
            self._pages.map[free : free + len(raw)] = raw
            self._own.append(free)

    def departed(self) -> list[Member]:
        """Return the members of dead lives, and erase them."""
        found = []
        for page in (self._page & ~1, self._page | 1):
            if not self._pages.is_used(page):
                continue  # to read it would give it memory
            for at, record in self._records(page):
                if record is not None and self._is_dead(page // 2, *record[:2]):
                    found.append(record[2])
                    self._pages.map[at : at + len(ERASED)] = ERASED
        return found

    def _is_dead(self, node_id: int, run: int, generation: int) -> bool:
        """The file is locked while a process of an earlier supervisor lives, so those of another run are dead."""
        return run != self._life[0] or (
            generation != self._life[1] and self._pages.epitaph(node_id, generation, run) is not None
        )
