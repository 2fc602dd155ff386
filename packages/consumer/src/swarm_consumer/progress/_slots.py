"""One entry: two slots, each a whole note with a checksum. Pure.

A write goes to the older slot, so that a process that is killed in the middle of it leaves the other one. The checksum
begins with the place of the entry: a slot that was copied elsewhere does not fit. What seldom changes comes first
(`COLD`), so that a write needs the checksum of the rest (`HOT`) only.

-1 stands for None, in all fields with a sign.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import Final, NamedTuple
from zlib import crc32

from swarm_consumer.progress._layout import SLOT

COLD = struct.Struct("<16sQQQqqqqqiIIB3x")
"""Digest, claim, run, generation; suspects: first, last, culprit, evidence, generation and node id of the life, deaths
alone; letters; flags."""
HOT = struct.Struct("<QqqQqqiIBB2x")
"""Sequence, position, committed, stamp; in hand: first, last; leader epoch, attempt, state, flags."""
SEALED = struct.Struct(f"<{HOT.size}sI")
"""What is hot, and the checksum."""
PEEK = struct.Struct("<" + 2 * f"16sQ{COLD.size - 24}xQ{SLOT - COLD.size - 8}x")
"""Digest, claim and sequence of both slots."""
IN_COMPANY, WITNESSED = 1, 2
"""Flags of `COLD`."""
ALONE, RUNS_ON = 1, 2
"""Flags of `HOT`, both of what is in hand."""
HELD, RELEASED = 1, 2
"""States."""
NAME = struct.Struct("<16sQ")
"""What a slot begins with: digest and claim."""
_NEVER = bytes(SLOT)
_WHOLE = 0x2144DF1C
"""The CRC-32 of anything that is followed by its own CRC-32."""


class Unread(Enum):
    """Why an entry has no note."""

    EMPTY = 0
    """It was never written; or its very first write was cut off, so no process has acted on it."""
    SPOILT = 1
    """Both slots were written, and neither has its checksum."""


EMPTY: Final = Unread.EMPTY
SPOILT: Final = Unread.SPOILT


class Note(NamedTuple):
    """A slot as it was written."""

    digest: bytes
    claim: int
    run: int
    generation: int
    suspects_first: int
    suspects_last: int
    culprit: int
    evidence: int
    suspects_generation: int
    suspects_node: int
    deaths_alone: int
    letters: int
    cold_flags: int
    sequence: int
    position: int
    committed: int
    stamp: int
    first: int
    last: int
    leader_epoch: int
    attempt: int
    state: int
    hot_flags: int


def newest(raw: bytes, at: int) -> bytes | Unread:
    """Return the newest whole slot of an entry that stands at a place."""
    _, claim, sequence, _, other_claim, other_sequence = PEEK.unpack(raw)
    second = other_claim > claim or (other_claim == claim and other_sequence > sequence)
    slot = raw[SLOT:] if second else raw[:SLOT]
    # A checksum is written behind what it is of: with it, the checksum of the whole is always the same.
    if crc32(slot, at) == _WHOLE and slot != _NEVER:
        return slot
    slot = raw[:SLOT] if second else raw[SLOT:]
    if crc32(slot, at) == _WHOLE and slot != _NEVER:
        return slot
    return EMPTY if _NEVER in (raw[:SLOT], raw[SLOT:]) else SPOILT


def note(slot: bytes) -> Note:
    """Return what a slot says."""
    return Note._make(COLD.unpack_from(slot) + HOT.unpack_from(slot, COLD.size))
