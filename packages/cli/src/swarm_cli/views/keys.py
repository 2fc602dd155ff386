"""Translate a terminal's bytes to key names. Pure."""

from __future__ import annotations

from collections.abc import Iterator

SEQUENCES = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1bOA": "up",  # the same keys in application mode
    b"\x1bOB": "down",
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
    b"\x1b[H": "home",
    b"\x1b[F": "end",
    b"\x1bOH": "home",
    b"\x1bOF": "end",
    b"\r": "enter",
    b"\n": "enter",
}
ESCAPE = "escape"


def keys(typed: bytes) -> Iterator[str]:
    """The keys in one read. A terminal writes a key's bytes together; unknown keys are skipped."""
    while typed:
        for sequence, name in SEQUENCES.items():
            if typed.startswith(sequence):
                yield name
                typed = typed[len(sequence) :]
                break
        else:
            if typed.startswith((b"\x1b[", b"\x1bO")):
                typed = typed[_length(typed) :]
            elif typed[:1] == b"\x1b":
                yield ESCAPE
                typed = typed[1:]
            else:
                if typed[:1].isascii() and typed[:1].decode().isprintable():
                    yield typed[:1].decode()
                typed = typed[1:]


def _length(typed: bytes) -> int:
    # A control sequence ends with a byte from @ to ~ (ECMA-48).
    for position in range(2, len(typed)):
        if 0x40 <= typed[position] <= 0x7E:
            return position + 1
    return len(typed)
