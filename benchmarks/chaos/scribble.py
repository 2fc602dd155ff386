"""Writes random bytes over the notes of all nodes, as an extension with a wild pointer might."""

import ctypes
import mmap
import os
import random
from pathlib import Path

HITS_A_PAGE = 8
LONGEST = 64
LEAST_BYTES = 2**20
"""No other mapping that a node shares with its siblings is as large."""


def mapped(lines: list[str]) -> tuple[int, int]:
    """Return where the mapping of notes begins and ends, from the lines of /proc/PID/maps. LookupError: nowhere."""
    for line in lines:
        addresses, permissions, _, _, _, *name = line.split()
        start, end = (int(part, 16) for part in addresses.split("-"))
        if permissions == "rw-s" and end - start >= LEAST_BYTES and name[:1] != ["/SYSV00000000"]:
            return start, end
    raise LookupError("no node shares a mapping for notes")


def in_use(start: int, end: int) -> list[int]:
    """Return the addresses of the pages of a mapping that have memory."""
    pages = (end - start) // mmap.PAGESIZE
    vector = (ctypes.c_ubyte * pages)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(end - start), vector) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return [start + number * mmap.PAGESIZE for number in range(pages) if vector[number] & 1]


def scribble(draw: random.Random) -> int:
    """Overwrite random places of each page in use, and return how many.

    Not of the first: a file without its head is refused at the next start, and the refusal has a test of its own.
    """
    start, end = mapped(Path("/proc/self/maps").read_text().splitlines())
    hits = 0
    for page in in_use(start, end):
        for _ in range(HITS_A_PAGE if page > start else 0):
            raw = draw.randbytes(draw.randint(1, LONGEST))
            ctypes.memmove(page + draw.randrange(mmap.PAGESIZE - len(raw)), raw, len(raw))
            hits += 1
    return hits
