"""Where everything stands in the mapping. Pure arithmetic.

    head            magic, version, sizes, boot; since when notes of node ids beyond are missing
    life headers    two for each node id, each with two copies
    epitaphs        8 for each node id
    life pages      two for each node id, each: scopes 16 | members 16 | index | entries

An unused life page is not touched at all: the kernel gives it no memory. So what shows which pages are used, and what
the supervisor writes, stands together before them. A file has memory for that from its start on, and for the rest as
it comes into use.
"""

from __future__ import annotations

from dataclasses import dataclass, field

VERSION = 1
"""Of all that is written to the mapping. A file of another version is wiped."""
ALIGNMENT = 4096

BEYOND = 128
"""In the head: since when notes are missing because a node id was beyond the mapping."""
HEADER = 64
"""Bytes of one copy of a life header."""

EPITAPHS = 8
EPITAPH = 2432

SCOPES = 16
SCOPE = 64
MEMBERS = 16
MEMBER = 640
MEMBERS_AT = SCOPES * SCOPE
INDEX_AT = 12288

WORD = 4
SLOT = 160
ENTRY = 2 * SLOT
CHUNK = 64
"""A file gets memory for this number of entries at a time."""
MOST_PARTITIONS = 65535
"""A word of the index has 16 bits for the number of an entry, and 0 means none."""


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of a mapping for some node ids, each with entries for some partitions."""

    nodes: int
    partitions: int
    words: int = field(init=False)
    """Words of an index: a power of two, at most half of them in use."""
    entries_at: int = field(init=False)
    page: int = field(init=False)
    """Bytes of a life page."""
    epitaphs_at: int = field(init=False)
    pages_at: int = field(init=False)
    """Where the life pages begin."""
    size: int = field(init=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "words", 1 << (2 * self.partitions - 1).bit_length())
        put(self, "entries_at", _aligned(INDEX_AT + WORD * self.words))
        put(self, "page", _aligned(self.entries_at + ENTRY * self.partitions))
        put(self, "epitaphs_at", ALIGNMENT + 4 * HEADER * self.nodes)
        put(self, "pages_at", _aligned(self.epitaphs_at + EPITAPHS * EPITAPH * self.nodes))
        put(self, "size", self.pages_at + 2 * self.page * self.nodes)

    def header(self, page: int) -> int:
        """Where the header of a life page is; page 2 * n + p is page p of node id n."""
        return ALIGNMENT + 2 * HEADER * page

    def base(self, page: int) -> int:
        """Where a life page begins."""
        return self.pages_at + self.page * page

    def index(self, page: int) -> int:
        """Where the index of a life page begins."""
        return self.base(page) + INDEX_AT

    def epitaph(self, node_id: int, generation: int) -> int:
        """Where the epitaph of a life is. The life eight generations on has the same place."""
        return self.epitaphs_at + EPITAPH * (EPITAPHS * node_id + generation % EPITAPHS)

    def entry(self, page: int, number: int) -> int:
        """Where an entry of a life page begins; numbers begin at 1."""
        return self.base(page) + self.entries_at + ENTRY * (number - 1)
