"""Where in a life page the entry of a partition is: a hash table of words, with open addressing. Pure.

A word has 16 bits of the digest and the number of an entry; 0 is free. No word is ever freed, so a search ends at the
first free one, and after `PROBES` words in any case: whatever is written over the table, a search ends.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence

PROBES = 128
_HASH = struct.Struct("<IH")
_NUMBER = 0xFFFF
_BITS = 16


def numbers(words: Sequence[int], digest: bytes) -> list[int]:
    """Return the numbers of the entries that may be those of a digest. A table that was written over may give any."""
    place, mark = _HASH.unpack_from(digest)
    last = len(words) - 1
    found = []
    for _ in range(PROBES):
        word = words[place & last]
        if not word:
            break
        if word >> _BITS == mark:
            found.append(word & _NUMBER)
        place += 1
    return found


def insert(words: array[int], digest: bytes, number: int) -> int | None:
    """Add an entry, and return where its word is; None: there is no room near enough."""
    begin, mark = _HASH.unpack_from(digest)
    last = len(words) - 1
    for probe in range(PROBES):
        place: int = (begin + probe) & last
        if not words[place]:
            words[place] = mark << _BITS | number
            return place
    return None
