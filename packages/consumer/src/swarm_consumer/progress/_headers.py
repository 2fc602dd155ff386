"""The header of a life page: whose it is, how many entries it has, and since when notes are missing. Pure.

It has two copies that are written in turn. The checksum of the index stands in it *before* the index has the new word,
so the index fits one of the two copies at each moment, also after a kill.
"""

from __future__ import annotations

import struct
from typing import NamedTuple
from zlib import crc32

from swarm_consumer.progress._layout import HEADER

_BODY = struct.Struct("<QQQQII")
_SUM = struct.Struct("<I")
UNUSED = bytes(2 * HEADER)


class Header(NamedTuple):
    """One copy."""

    sequence: int
    generation: int
    run: int
    missing_since: int
    """Monotonic ns; 0: no note of any scope is missing."""
    entries: int
    """How many are in use."""
    index_sum: int

    def packed(self, at: int) -> bytes:
        """The bytes of this copy, for a header that stands at a place."""
        body = _BODY.pack(*self)
        return body + _SUM.pack(crc32(body, at))

    def place(self, at: int) -> int:
        """Where this copy belongs."""
        return at + HEADER * (self.sequence & 1)


def copies(raw: bytes, at: int) -> list[Header]:
    """Return the whole copies, the newest first."""
    found = []
    for start in (0, HEADER):
        body = raw[start : start + _BODY.size]
        if _SUM.unpack_from(raw, start + _BODY.size)[0] == crc32(body, at) and any(body):
            found.append(Header._make(_BODY.unpack(body)))
    return sorted(found, reverse=True)
