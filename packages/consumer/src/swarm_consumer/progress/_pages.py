"""What any process reads of the life pages: notes, epitaphs, counters. It writes nothing, and never raises.

Whatever stands in the mapping, reading ends: numbers are checked against the layout, searches are bounded, and only
what has its checksum is used. What is spoilt shows as missing (`Seen.missing_since`, `Unread.SPOILT`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import Literal
from zlib import crc32

from swarm_consumer._scheduling.remembrance import Epitaph
from swarm_consumer.progress._headers import UNUSED, Header, copies
from swarm_consumer.progress._index import numbers
from swarm_consumer.progress._layout import BEYOND, ENTRY, EPITAPH, HEADER, MEMBERS_AT, WORD, Layout
from swarm_consumer.progress._records import read_epitaph
from swarm_consumer.progress._scopes import ALWAYS, MASK, PAIR, Scope, scopes
from swarm_consumer.progress._slots import EMPTY, PEEK, SPOILT, Note, Unread, note

_TRIES = 4
"""A slot that seems spoilt may be one that is written at this moment."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The used life pages at one moment, as far as a scope is concerned."""

    indexes: list[tuple[int, memoryview]]
    """Each used page with a copy of its index."""
    missing_since: int
    """Claims that are not newer may have been lost."""


class Pages:
    """Reads a mapping with a layout."""

    __slots__ = ("layout", "map")

    def __init__(self, mapping: mmap, layout: Layout) -> None:
        self.map, self.layout = mapping, layout

    def used(self) -> Iterator[int]:
        """The life pages that a process has written to, or that something has scribbled over."""
        for page in range(2 * self.layout.nodes):
            at = self.layout.header(page)
            if self.map[at : at + 2 * HEADER] != UNUSED:
                yield page

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
        indexes = []
        for page in self.used():
            headers, index = self._consistent(page)
            since = max(since, headers[0].missing_since if headers else ALWAYS)
            for one in self.scopes(page):
                if one.digest == scope or one.missing_since == ALWAYS:
                    since = max(since, one.missing_since)
            indexes.append((page, memoryview(index).cast("I")))
        return Seen(indexes, since)

    def _consistent(self, page: int) -> tuple[list[Header], bytes]:
        for _ in range(_TRIES):
            headers, index = self.headers(page), self.index(page)
            checksum = crc32(index)
            if any(one.index_sum == checksum for one in headers):
                return headers, index
        return [], index

    def _missing_beyond(self) -> int:
        since, check = PAIR.unpack_from(self.map, BEYOND)
        return since if since ^ check == MASK else 0 if since == check == 0 else ALWAYS

    def newest(self, seen: Seen, digest: bytes) -> tuple[int, Note, bool] | None:
        """Return page and note of the newest claim of a partition, and whether another entry of it is spoilt."""
        best: tuple[int, Note] | None = None
        spoilt = False
        for page, words in seen.indexes:
            for number in numbers(words, digest):
                if not 0 < number <= self.layout.partitions:
                    continue
                found = self.note(self.layout.entry(page, number))
                if isinstance(found, Unread):
                    spoilt |= found is SPOILT
                elif found.digest == digest and (best is None or found.claim > best[1].claim):
                    best = page, found
        return (*best, spoilt) if best is not None else None

    def note(self, at: int) -> Note | Literal[Unread.EMPTY, Unread.SPOILT]:
        """Return the note of the entry at a place."""
        found: Note | Literal[Unread.EMPTY, Unread.SPOILT] = EMPTY
        for _ in range(_TRIES):
            found = note(self.map[at : at + ENTRY], at)
            if found is not SPOILT:
                break
        return found

    def newest_claim(self, digest: bytes, *, checked: bool) -> int:
        """Return the newest claim of a partition; 0: none. Unchecked is quicker, and may be any number."""
        newest = 0
        size = WORD * self.layout.words
        for page in self.used():
            start = self.layout.index(page)
            for number in numbers(memoryview(self.map)[start : start + size].cast("I"), digest):
                if not 0 < number <= self.layout.partitions:
                    continue
                at = self.layout.entry(page, number)
                if checked:
                    found = self.note(at)
                    if not isinstance(found, Unread) and found.digest == digest:
                        newest = max(newest, found.claim)
                    continue
                one, claim, _, other, other_claim, _ = PEEK.unpack_from(self.map, at)
                if one == digest and claim > newest:
                    newest = claim
                if other == digest and other_claim > newest:
                    newest = other_claim
        return newest

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
