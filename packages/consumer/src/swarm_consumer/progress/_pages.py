"""What any process reads of the life pages: notes, epitaphs, counters. It writes nothing, and never raises.

Whatever stands in the mapping, reading ends: numbers are checked against the layout, searches are bounded, and only
what has its checksum is used. What is spoilt shows as missing (`Seen.missing_since`, `Unread.SPOILT`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from mmap import mmap
from time import monotonic_ns
from zlib import crc32

from swarm_consumer._scheduling.remembrance import Epitaph
from swarm_consumer.progress._headers import UNUSED, Header, copies
from swarm_consumer.progress._index import numbers, sought
from swarm_consumer.progress._layout import BEYOND, ENTRY, EPITAPH, HEADER, MEMBERS_AT, WORD, Layout
from swarm_consumer.progress._records import read_epitaph
from swarm_consumer.progress._scopes import ALWAYS, MASK, PAIR, Scope, scopes
from swarm_consumer.progress._slots import NAME, PEEK, SPOILT, Note, Unread, newest, note

_TRIES = 4
"""A slot that seems spoilt may be one that is written at this moment."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The used life pages at one moment, as far as a scope is concerned."""

    pages: list[int]
    missing_since: int
    """Claims that are not newer may have been lost."""


class Pages:
    """Reads a mapping with a layout.

    descriptor: the file of the mapping; negative: it has none.
    """

    __slots__ = ("_descriptor", "_known_used", "_places", "_words", "layout", "map")

    def __init__(self, mapping: mmap, layout: Layout, descriptor: int = -1) -> None:
        self.map, self.layout, self._descriptor = mapping, layout, descriptor
        self._words = memoryview(mapping).cast("I")
        self._known_used: list[int] = []
        self._places: dict[int, tuple[int, int]] = {}
        """Of each used page, the first word of its index, and where the entry 0 would be."""

    def close(self) -> None:
        """Let go of the mapping: nothing can be read any more."""
        self._words.release()

    def has_memory(self, start: int, size: int) -> bool:
        """Whether a part of the mapping has memory; if not, it gets some. Without, a write would end the process."""
        if self._descriptor >= 0:
            try:
                os.posix_fallocate(self._descriptor, start, size)
            except OSError:
                return False
        return True

    def used(self) -> list[int]:
        """The life pages that a process has written to, or that something has scribbled over."""
        known = self._known_used
        if len(known) < 2 * self.layout.nodes:
            for page in range(2 * self.layout.nodes):
                if page not in known and self.is_used(page):
                    known.append(page)
                    self._places[page] = self.layout.index(page) // WORD, self.layout.entry(page, 0)
        return known

    def is_used(self, page: int) -> bool:
        """Whether a life has a page, or had it. Each writes both copies of the header before it writes anything else.

        So with one copy that was never written, the other one shows whether its only write was cut off.
        """
        at = self.layout.header(page)
        raw = self.map[at : at + 2 * HEADER]
        return raw != UNUSED and (UNUSED[HEADER:] not in (raw[:HEADER], raw[HEADER:]) or bool(copies(raw, at)))

    def headers(self, page: int) -> list[Header]:
        """The whole copies of a page's header, the newest first."""
        at = self.layout.header(page)
        return copies(self.map[at : at + 2 * HEADER], at)

    def index(self, page: int) -> bytes:
        """A copy of a page's index."""
        start = self.layout.index(page)
        return self.map[start : start + WORD * self.layout.words]

    def scopes(self, page: int) -> list[Scope]:
        """The scopes of a page."""
        base = self.layout.base(page)
        return scopes(self.map[base : base + MEMBERS_AT], base)

    def see(self, scope: bytes) -> Seen:
        """Look at the used pages, and since when notes of a scope are missing in one of them."""
        since = self._missing_beyond()
        pages = self.used()
        for page in pages:
            headers = self._consistent(page)
            since = max(since, headers[0].missing_since if headers else ALWAYS)
            for one in self.scopes(page):
                if one.digest == scope or one.missing_since == ALWAYS:
                    since = max(since, one.missing_since)
        return Seen(pages, since)

    def _consistent(self, page: int) -> list[Header]:
        """The header of a page whose index is whole; nothing where it is not."""
        for _ in range(_TRIES):
            headers = self.headers(page)
            checksum = crc32(self.index(page))
            if any(one.index_sum == checksum for one in headers):
                return headers
        return []

    def is_sound(self, page: int) -> bool:
        """Whether nothing but a life has written to the header, the index, the scopes and the entries of a page."""
        headers = self._consistent(page)
        if not headers or any(one.missing_since == ALWAYS for one in self.scopes(page)):
            return False
        numbers = range(1, min(headers[0].entries, self.layout.partitions) + 1)
        return not any(self.slot(self.layout.entry(page, number)) is SPOILT for number in numbers)

    def _missing_beyond(self) -> int:
        since, check = PAIR.unpack_from(self.map, BEYOND)
        return since if since ^ check == MASK else 0 if since == check == 0 else ALWAYS

    def missing_beyond(self, *, only_if_spoilt: bool = False) -> None:
        """Note that all claims until now are in doubt, because a node id is beyond the mapping."""
        if not only_if_spoilt or self._missing_beyond() == ALWAYS:
            now = monotonic_ns()
            PAIR.pack_into(self.map, BEYOND, now, now ^ MASK)

    def _entries(self, page: int, place: int, mark: int) -> list[int]:
        """Where the entry of a partition may be in a used page."""
        start, first = self._places[page]
        found = numbers(self._words, start, self.layout.words - 1, place, mark)
        return [first + ENTRY * number for number in found if 0 < number <= self.layout.partitions] if found else found

    def newest(self, seen: Seen, digest: bytes) -> tuple[int, Note, bool] | None:
        """Return page and note of the newest claim of a partition, and whether another entry of it is spoilt."""
        newest, best, spoilt = -1, None, False
        place, mark = sought(digest)
        for page in seen.pages:
            for at in self._entries(page, place, mark):
                slot = self.slot(at)
                if isinstance(slot, Unread):
                    spoilt |= slot is SPOILT
                    continue
                of, claim = NAME.unpack_from(slot)
                if of == digest and claim > newest:
                    newest, best = claim, (page, slot)
        return (best[0], note(best[1]), spoilt) if best is not None else None

    def slot(self, at: int) -> bytes | Unread:
        """Return the newest slot of the entry at a place."""
        for _ in range(_TRIES):
            found = newest(self.map[at : at + ENTRY], at)
            if found is not SPOILT:
                break
        return found

    def of_life(self, node_id: int, generation: int, run: int) -> list[Note]:
        """The notes that one life has written."""
        notes = []
        for page, header in self.taken_by(node_id, generation, run).items():
            for number in range(1, min(header.entries, self.layout.partitions) + 1):
                slot = self.slot(self.layout.entry(page, number))
                if not isinstance(slot, Unread):
                    notes.append(note(slot))
        return [one for one in notes if (one.generation, one.run) == (generation, run)]

    def taken_by(self, node_id: int, generation: int, run: int) -> dict[int, Header]:
        """The page that one life has taken, and no later one, with its header; nothing if there is none."""
        life, pages = (generation, run), (2 * node_id, 2 * node_id + 1)
        return {page: one for page in pages for one in self.headers(page)[:1] if (one.generation, one.run) == life}

    def newest_claim(self, digest: bytes, now: int) -> int:
        """Return the newest claim of a partition that is not older than now; 0: none."""
        found = 0
        place, mark = sought(digest)
        for page in self.used():
            for at in self._entries(page, place, mark):
                one, claim, _, other, other_claim, _ = PEEK.unpack_from(self.map, at)
                # The clock of the machine is behind nearly all claims; only others are worth a checksum.
                if (claim < now or one != digest) and (other_claim < now or other != digest):
                    continue
                slot = self.slot(at)
                if not isinstance(slot, Unread):
                    of, claim = NAME.unpack_from(slot)
                    found = max(found, claim if of == digest and claim >= now else 0)
        return found

    def epitaph(self, node_id: int, generation: int, run: int) -> Epitaph | None:
        """Return the epitaph of a life; None: it has none."""
        if not 0 <= node_id < self.layout.nodes:
            return None
        at = self.layout.epitaph(node_id, generation)
        return read_epitaph(self.map[at : at + EPITAPH], at, run, generation)

    def handled(self, scope: bytes) -> int | None:
        """Return how many runs of a scope have succeeded; None: a counter is spoilt."""
        total = 0
        for page in self.used():
            for one in self.scopes(page):
                if one.digest == scope or one.missing_since == ALWAYS:
                    if one.handled is None:
                        return None
                    total += one.handled
        return total
