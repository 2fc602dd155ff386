"""What a life page says of each scope: since when notes are missing, and how many runs have succeeded. Pure.

The counter is written once a run, so it has no checksum: each of its two copies is the number and its complement. A
record is marked last of all when it is made: one without its checksum and without its mark was cut off by a kill.
"""

from __future__ import annotations

import struct
from typing import NamedTuple
from zlib import crc32

from swarm_consumer.progress._digests import NONE
from swarm_consumer.progress._layout import SCOPE, SCOPES

_BODY = struct.Struct("<16sQ")
_SEALED = struct.Struct(f"<{_BODY.size}sI")
MARK = 28
"""Where a record has a 1 once it was whole."""
_COUNTER = 32
PAIR = struct.Struct("<QQ")
_PAIRS = struct.Struct("<QQQQ")
MASK = 2**64 - 1
ALWAYS = 2**64
"""Later than every claim: nothing is known to be complete."""
_FREE = bytes(SCOPE)


class Scope(NamedTuple):
    """One record. `missing_since` is ALWAYS, and `digest` is NONE, where the record is spoilt."""

    at: int
    digest: bytes
    missing_since: int
    handled: int | None
    """None: unknown, because both copies are spoilt."""


def scopes(raw: bytes, at: int) -> list[Scope]:
    """Return the records of a table that stands at a place, up to the first free one."""
    found = []
    for start in range(0, SCOPES * SCOPE, SCOPE):
        record = raw[start : start + SCOPE]
        if record == _FREE:
            break
        body, checksum = _SEALED.unpack_from(record)
        if crc32(body, at + start) == checksum:
            digest, since = _BODY.unpack(body)
            found.append(Scope(at + start, digest, since, _handled(record)))
        elif record[MARK]:
            found.append(Scope(at + start, NONE, ALWAYS, None))
        else:
            found.append(Scope(at + start, NONE, 0, None))
    return found


def _handled(record: bytes) -> int | None:
    first, first_check, second, second_check = _PAIRS.unpack_from(record, _COUNTER)
    whole = [number for number, check in ((first, first_check), (second, second_check)) if number ^ check == MASK]
    return max(whole) if whole else None


def packed(at: int, digest: bytes, missing_since: int) -> bytes:
    """The bytes of a record before its counter."""
    body = _BODY.pack(digest, missing_since)
    return _SEALED.pack(body, crc32(body, at))


def counter(at: int, number: int) -> int:
    """Where the copy of a counter with this number belongs."""
    return at + _COUNTER + PAIR.size * (number & 1)
