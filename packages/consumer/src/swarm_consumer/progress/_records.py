"""Records with texts: epitaphs and members. Pure. A record that is torn or spoilt is none."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from zlib import crc32

from swarm_consumer._scheduling.remembrance import Epitaph, Member, Verdict
from swarm_consumer.progress._layout import EPITAPH, MEMBER

_HEAD = struct.Struct("<QQBBHHHI")
"""Run, generation, kind, 0, the lengths of three texts, checksum of all that is before it and of the texts."""
_SUMMED = _HEAD.size - 4
MOST_REASON = 300
MOST_STACK = EPITAPH - _HEAD.size - MOST_REASON
NEVER = bytes(_HEAD.size)
"""How a record begins that was never used; none comes after it."""
ERASED = b"\xff" * _HEAD.size
"""How one begins that is free again."""
_STATIC = 1
_VERDICTS = {verdict.value: verdict for verdict in Verdict}


def _packed(at: int, run: int, generation: int, kind: int, texts: Sequence[bytes]) -> bytes:
    text = b"".join(texts)
    lengths = [len(one) for one in texts]
    head = _HEAD.pack(run, generation, kind, 0, *lengths, 0)[:_SUMMED]
    return head + crc32(text, crc32(head, at)).to_bytes(4, "little") + text


def _read(raw: bytes, at: int) -> tuple[int, int, int, list[str]] | None:
    run, generation, kind, _, *lengths, checksum = _HEAD.unpack_from(raw)
    text = raw[_HEAD.size : _HEAD.size + sum(lengths)]
    if crc32(text, crc32(raw[:_SUMMED], at)) != checksum or not any(raw[: _HEAD.size]):
        return None
    texts, start = [], 0
    for length in lengths:
        texts.append(text[start : start + length].decode("utf-8", "replace"))
        start += length
    return run, generation, kind, texts


def _cut(text: str, most: int) -> bytes:
    """As UTF-8, cut after a whole character."""
    raw = text[:most].encode("utf-8", "replace")[:most]
    return raw.decode("utf-8", "ignore").encode()


def packed_epitaph(at: int, run: int, generation: int, epitaph: Epitaph) -> bytes:
    """The bytes of an epitaph that stands at a place; its texts are cut to what a record holds."""
    texts = (_cut(epitaph.reason, MOST_REASON), _cut(epitaph.stack, MOST_STACK), b"")
    return _packed(at, run, generation, epitaph.verdict, texts)


def read_epitaph(raw: bytes, at: int, run: int, generation: int) -> Epitaph | None:
    """Return the epitaph of this life; None: it has none."""
    found = _read(raw, at)
    if found is None or found[:2] != (run, generation) or found[2] not in _VERDICTS:
        return None
    return Epitaph(_VERDICTS[found[2]], found[3][0], found[3][1])


def packed_member(at: int, run: int, generation: int, member: Member) -> bytes | None:
    """The bytes of a member that stands at a place; None: its names are longer than a record holds."""
    names = (member.group, member.member_id, member.instance_id or "")
    texts = [name.encode("utf-8", "replace") for name in names]
    if sum(map(len, texts)) > MEMBER - _HEAD.size:
        return None
    return _packed(at, run, generation, _STATIC if member.instance_id is not None else 0, texts)


def read_member(raw: bytes, at: int) -> tuple[int, int, Member] | None:
    """Return run and generation of the life that was this member, and the member."""
    found = _read(raw, at)
    if found is None:
        return None
    run, generation, kind, (group, member_id, instance_id) = found
    return run, generation, Member(group, member_id, instance_id if kind == _STATIC else None)
