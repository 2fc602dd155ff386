"""The life page that a process writes to, and takes over from an earlier life of its node id.

Entries of earlier lives stay: each note names the life that wrote it. What is spoilt is found here and put right.
Claims may have been lost with it, so the page says that notes older than this moment may be missing.
"""

from __future__ import annotations

from array import array
from time import monotonic_ns
from zlib import crc32

from swarm_consumer.progress._digests import NONE
from swarm_consumer.progress._headers import Header
from swarm_consumer.progress._index import insert, numbers
from swarm_consumer.progress._layout import ENTRY, SCOPE, SCOPES, WORD
from swarm_consumer.progress._pages import Pages
from swarm_consumer.progress._place import RunCount
from swarm_consumer.progress._scopes import ALWAYS, packed
from swarm_consumer.progress._slots import EMPTY, SPOILT, Unread


def free_page(pages: Pages, node_id: int, generation: int, run: int) -> int:
    """Return the page of a node id that a new life takes.

    That is the one of its generation's parity, unless a life that may still run has it: a spare that was given up
    leaves the next spare a generation of the same parity as that of the life beside it.
    """
    wanted, other = 2 * node_id + generation % 2, 2 * node_id + (generation + 1) % 2
    for page in (wanted, other):
        headers = pages.headers(page)
        if not headers or headers[0].run != run or headers[0].generation == generation:
            return page
        if pages.epitaph(node_id, headers[0].generation, run) is not None:
            return page
    return wanted


class OwnPage:
    """Its single writer. Not thread-safe."""

    def __init__(self, pages: Pages, page: int, generation: int, run: int) -> None:
        self._pages, self._map, self._layout = pages, pages.map, pages.layout
        self.page, self.generation, self.run = page, generation, run
        self._scopes: dict[bytes, tuple[int, RunCount]] = {}
        """Each scope's record and counter."""
        headers, index = pages.headers(page), pages.index(page)
        words = array("I", index)
        newest = headers[0] if headers else Header(0, 0, 0, 0, 0, 0)
        count, since = newest.entries, newest.missing_since
        checksum = crc32(index)
        is_sound = any(one.index_sum == checksum for one in headers) and count <= pages.layout.partitions
        if page in pages.used() and not is_sound:
            words, count = self._rebuilt()
            since = monotonic_ns()
        if not self._take_scopes():
            since = monotonic_ns()
        self._words, self._count, self._since = words, min(count, self._layout.partitions), since
        self._sequence = newest.sequence
        self._put_header()
        start = self._layout.index(page)
        self._map[start : start + WORD * self._layout.words] = words.tobytes()
        self._put_header()  # both copies fit the index now

    def _rebuilt(self) -> tuple[array[int], int]:
        """An index of all entries that can be read, and the count up to the last one that was ever written."""
        words, count = array("I", bytes(WORD * self._layout.words)), 0
        for number in range(1, self._layout.partitions + 1):
            found = self._pages.note(self._layout.entry(self.page, number))
            if found is not EMPTY:
                count = number
            if not isinstance(found, Unread):
                insert(words, found.digest, number)
        return words, count

    def _take_scopes(self) -> bool:
        """Continue the counters of earlier lives; False if a record was spoilt."""
        sound = True
        for one in self._pages.scopes(self.page):
            if one.missing_since == ALWAYS:
                # Its counter is lost too. The record stays, without a scope: a free one would end each search.
                self._map[one.at : one.at + SCOPE] = packed(one.at, NONE, 0).ljust(SCOPE, b"\0")
                sound = False
            elif one.digest != NONE:
                self._scopes[one.digest] = one.at, RunCount(self._map, one.at, one.handled or 0)
        return sound

    def _put_header(self) -> None:
        self._sequence += 1
        header = Header(self._sequence, self.generation, self.run, self._since, self._count, crc32(self._words))
        at = self._layout.header(self.page)
        raw = header.packed(at)
        self._map[header.place(at) : header.place(at) + len(raw)] = raw

    # -- scopes --------------------------------------------------------------------------------------------------------

    def runs(self, scope: bytes) -> RunCount | None:
        """Return the counter of a scope; None: the table of scopes is full."""
        if (known := self._scopes.get(scope)) is not None:
            return known[1]
        at = self._layout.base(self.page) + SCOPE * len(self._pages.scopes(self.page))
        if at >= self._layout.base(self.page) + SCOPE * SCOPES:
            return None
        runs = RunCount(self._map, at, 0)
        self._put_scope(at, scope, 0)
        self._scopes[scope] = at, runs
        return runs

    def missing(self, scope: bytes) -> None:
        """Note that a claim of a scope could not be written: all claims until now are in doubt."""
        if (known := self._scopes.get(scope)) is not None:
            self._put_scope(known[0], scope, monotonic_ns())
        else:
            self._since = monotonic_ns()
            self._put_header()

    def _put_scope(self, at: int, scope: bytes, since: int) -> None:
        raw = packed(at, scope, since)
        self._map[at : at + len(raw)] = raw

    # -- entries -------------------------------------------------------------------------------------------------------

    def entry(self, digest: bytes) -> tuple[int, int] | None:
        """Return the place of the entry of a partition and the sequence of its last write; None: no entry is free.

        An entry that is new is not in the index yet: `publish` adds it after its first write.
        """
        for number in numbers(self._words, digest):
            at = self._layout.entry(self.page, number)
            found = self._pages.note(at)
            if found is EMPTY or found is SPOILT:
                return at, 0
            if found.digest == digest:
                return at, found.sequence
        if self._count >= self._layout.partitions:
            return None
        at = self._layout.entry(self.page, self._count + 1)
        self._map[at : at + ENTRY] = bytes(ENTRY)
        return at, 0

    def publish(self, digest: bytes, at: int) -> bool:
        """Add an entry to the index, unless it is there; False: the index has no room near enough."""
        number = (at - self._layout.entry(self.page, 1)) // ENTRY + 1
        if number <= self._count:
            return True
        place = insert(self._words, digest, number)
        if place is None:
            return False
        self._count = number
        self._put_header()
        start = self._layout.index(self.page) + WORD * place
        self._map[start : start + WORD] = self._words[place : place + 1].tobytes()
        return True
