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


def sought(digest: bytes) -> tuple[int, int]:
    """Return where the search for a digest begins, and the bits of it that a word has."""
    place, mark = _HASH.unpack_from(digest)
    return place, mark


def numbers(words: Sequence[int], start: int, last: int, place: int, mark: int) -> list[int]:
    """Return the numbers of the entries that may be those of what is `sought`.

    words: a table begins at `start`; `last` is its size, a power of two, less one. If it is scribbled over, any number
    comes.
    """
    found = []
    word = words[start + (place & last)]
    probes = PROBES
    while word and probes:
        if word >> _BITS == mark:
            found.append(word & _NUMBER)
        place += 1
        probes -= 1
        word = words[start + (place & last)]
    return found


def insert(words: array[int], digest: bytes, number: int) -> bool:
    """Add an entry; False: there is no room near enough."""
    place, mark = _HASH.unpack_from(digest)
    last = len(words) - 1
    for probe in range(PROBES):
        at: int = place + probe & last
        if not words[at]:
            words[at] = mark << _BITS | number
            return True
    return False
