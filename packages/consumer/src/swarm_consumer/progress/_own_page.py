"""The life page that a process writes to, and takes over from an earlier life of its node id.

Entries of earlier lives stay: each note names the life that wrote it. What is spoilt is found here and put right.
Claims may have been lost with it, so the page says that notes older than this moment may be missing.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from time import monotonic_ns
from zlib import crc32

from swarm_consumer.progress._digests import DIGEST, NONE
from swarm_consumer.progress._headers import Header
from swarm_consumer.progress._index import insert, numbers, sought
from swarm_consumer.progress._layout import CHUNK, ENTRY, EPITAPHS, SCOPE, SCOPES, WORD
from swarm_consumer.progress._pages import Pages
from swarm_consumer.progress._place import RunCount
from swarm_consumer.progress._scopes import ALWAYS, MARK, packed
from swarm_consumer.progress._slots import SPOILT, Unread, note


def free_page(pages: Pages, node_id: int, generation: int, run: int, ended: Mapping[int, int]) -> int:
    """Return the page of a node id that a new life takes; `ended` is as for `is_free`.

    That is the one of its generation's parity, unless a life that may still run has it: a spare that was given up
    leaves the next spare a generation of the same parity as that of the life beside it.
    """
    wanted, other = 2 * node_id + generation % 2, 2 * node_id + (generation + 1) % 2
    return next((page for page in (wanted, other) if is_free(pages, page, generation, run, ended)), wanted)


def is_free(pages: Pages, page: int, generation: int, run: int, ended: Mapping[int, int]) -> bool:
    """Whether no other life writes to a page, as far as a new life of its node id can tell.

    ended: the generation of each page's last life that is known to have ended. Eight lives that end before they take a
    page leave no epitaph of it.
    """
    headers = pages.headers(page)
    if headers and headers[0].run == run and headers[0].generation != generation:
        last = headers[0].generation
        return ended.get(page) == last or pages.epitaph(page // 2, last, run) is not None
    # A spoilt header may be of a life that still runs.
    return bool(headers) or not pages.is_used(page) or _is_alone(pages, page // 2, generation, run)


def mend(pages: Pages, page: int) -> None:
    """Put a page right that no process writes to, if something has been written over it.

    Its claims until now are in doubt then. Left as it is, it would cast doubt on all claims for as long as it stands.
    """
    if pages.is_used(page) and not pages.is_sound(page):
        headers = pages.headers(page)
        OwnPage(pages, page, *((headers[0].generation, headers[0].run) if headers else (0, 0)))


def _is_alone(pages: Pages, node_id: int, generation: int, run: int) -> bool:
    earlier = range(max(1, generation - EPITAPHS + 1), generation)
    return all(pages.epitaph(node_id, one, run) is not None for one in earlier)


def _nameless(at: int) -> bytes:
    """A scope's record that was spoilt: without a scope, and not marked, so that it casts no doubt."""
    return packed(at, NONE, 0).ljust(SCOPE, b"\0")


class OwnPage:
    """Its single writer. Not thread-safe."""

    def __init__(self, pages: Pages, page: int, generation: int, run: int) -> None:
        self._pages, self._map, self._layout = pages, pages.map, pages.layout
        self.page, self.generation, self.run = page, generation, run
        self._scopes: dict[bytes, tuple[int, RunCount]] = {}
        """Each scope's record and counter."""
        self._missing: dict[bytes, int] = {}
        """Since when notes of a scope are missing, if they are."""
        self._nameless: set[int] = set()
        """Records of scopes that were spoilt."""
        headers, index = pages.headers(page), pages.index(page)
        newest = headers[0] if headers else Header(0, 0, 0, 0, 0, 0)
        checksum = crc32(index)
        is_sound = any(one.index_sum == checksum for one in headers)
        if not pages.is_used(page):
            index, is_sound = bytes(len(index)), True
        self._words, self._count = array("I", index), newest.entries
        if not (is_sound and self._take_entries()):
            is_sound = False
            self._rebuild()
        is_sound &= self._take_scopes()
        self._since = newest.missing_since if is_sound else monotonic_ns()
        self._memory_end = 0
        """Entries before it have memory."""
        self._sequence = newest.sequence
        self._put_header()
        self._put_index()
        self._put_header()  # both copies fit the index now

    def _take_entries(self) -> bool:
        """Wipe the entries that are spoilt, so that they cast no doubt on later claims; False if there are any."""
        sound = True
        for number in range(1, self._count + 1):
            at = self._layout.entry(self.page, number)
            if self._pages.slot(at) is SPOILT:
                self._map[at : at + ENTRY] = bytes(ENTRY)
                sound = False
        return sound

    def _rebuild(self) -> None:
        """Make the index of the entries that can be read, unless there is no memory to look at all of them."""
        self._words, self._count = array("I", bytes(WORD * self._layout.words)), 0
        first = self._layout.entry(self.page, 1)
        if not self._pages.has_memory(first, self._layout.entry(self.page, self._layout.partitions + 1) - first):
            return
        for number in range(1, self._layout.partitions + 1):
            at = self._layout.entry(self.page, number)
            slot = self._pages.slot(at)
            if slot is SPOILT:
                self._map[at : at + ENTRY] = bytes(ENTRY)
            elif not isinstance(slot, Unread):
                self._count = number
                insert(self._words, slot[:DIGEST], number)

    def _take_scopes(self) -> bool:
        """Continue the counters of earlier lives; False if a record was spoilt."""
        sound = True
        for one in self._pages.scopes(self.page):
            if one.missing_since == ALWAYS:
                # Its counter is lost too. The record stays, without a scope: a free one would end each search.
                self._map[one.at : one.at + SCOPE] = _nameless(one.at)
                self._nameless.add(one.at)
                sound = False
            elif one.digest == NONE:
                self._nameless.add(one.at)
            else:
                self._missing[one.digest] = one.missing_since
                self._scopes[one.digest] = one.at, RunCount(self._map, one.at, one.handled or 0)
        free = self._first_free_scope()
        end = self._layout.base(self.page) + SCOPES * SCOPE
        self._map[free:end] = bytes(end - free)  # what is scribbled there would show once the record before it is taken
        return sound

    def _first_free_scope(self) -> int:
        return self._layout.base(self.page) + SCOPE * len(self._pages.scopes(self.page))

    def _header(self, checksum: int) -> Header:
        return Header(self._sequence, self.generation, self.run, self._since, self._count, checksum)

    def _put_header(self) -> None:
        self._sequence += 1
        header = self._header(crc32(self._words))
        at = self._layout.header(self.page)
        raw = header.packed(at)
        self._map[header.place(at) : header.place(at) + len(raw)] = raw

    # -- scopes --------------------------------------------------------------------------------------------------------

    def runs(self, scope: bytes) -> RunCount | None:
        """Return the counter of a scope; None: the table of scopes is full."""
        if (known := self._scopes.get(scope)) is not None:
            return known[1]
        at = self._first_free_scope()
        if at >= self._layout.base(self.page) + SCOPE * SCOPES:
            return None
        runs = RunCount(self._map, at, 0)
        self._put_scope(at, scope, 0)
        self._map[at + MARK] = 1
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
        self._missing[scope] = since
        raw = packed(at, scope, since)
        self._map[at : at + len(raw)] = raw

    def restore(self) -> None:
        """Put right what something else has written over the header, the index and the scopes.

        This process knows all of it, so that no claim is lost and none is in doubt. An entry that is spoilt is put
        right by the next claim of its partition.
        """
        headers, checksum = self._pages.headers(self.page), crc32(self._pages.index(self.page))
        if len(headers) < 2 or headers[0] != self._header(checksum) or checksum != crc32(self._words):
            self._put_header()
            self._put_index()
            self._put_header()
        mine = {at: (scope, runs) for scope, (at, runs) in self._scopes.items()}
        first = self._layout.base(self.page)
        known = {one.at: one.handled for one in self._pages.scopes(self.page)}
        for at in range(first, first + SCOPES * SCOPE, SCOPE):
            if at in mine:
                scope, runs = mine[at]
                raw = packed(at, scope, self._missing[scope])
                if self._map[at : at + len(raw)] != raw or not self._map[at + MARK]:
                    self._map[at : at + len(raw)] = raw
                    self._map[at + MARK] = 1
                if known.get(at) != runs.number:
                    runs.put()
            else:
                raw = _nameless(at) if at in self._nameless else bytes(SCOPE)
                if self._map[at : at + SCOPE] != raw:
                    self._map[at : at + SCOPE] = raw

    # -- entries -------------------------------------------------------------------------------------------------------

    def entry(self, digest: bytes) -> tuple[int, int] | None:
        """Return the place of the entry of a partition and the sequence of its last write; None: no entry is free.

        An entry that is new is not in the index yet: `publish` adds it after its first write.
        """
        for number in numbers(self._words, 0, len(self._words) - 1, *sought(digest)):
            at = self._layout.entry(self.page, number)
            slot = self._pages.slot(at)
            if isinstance(slot, Unread):
                return at, 0
            if slot[:DIGEST] == digest:
                return at, note(slot).sequence
        at = self._layout.entry(self.page, self._count + 1)
        if self._count >= self._layout.partitions or not self._has_memory(at):
            return None
        self._map[at : at + ENTRY] = bytes(ENTRY)
        return at, 0

    def _has_memory(self, at: int) -> bool:
        if at < self._memory_end:
            return True
        whole = self._layout.entry(self.page, self._layout.partitions + 1)
        end = min(at + CHUNK * ENTRY, whole)
        if not self._pages.has_memory(at, end - at):
            return False
        self._memory_end = end
        return True

    def publish(self, digest: bytes, at: int) -> bool:
        """Add an entry to the index, unless it is there; False: the index has no room near enough."""
        number = (at - self._layout.entry(self.page, 1)) // ENTRY + 1
        if number <= self._count:
            return True
        if not insert(self._words, digest, number):
            return False
        self._count = number
        self._put_header()
        self._put_index()
        return True

    def _put_index(self) -> None:
        """Write all of it, because that repairs what something else has written there."""
        raw = self._words.tobytes()
        start = self._layout.index(self.page)
        self._map[start : start + len(raw)] = raw
