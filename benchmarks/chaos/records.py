"""Records that can be accounted for: numbered per key, with a checksum, and the lines that tell what became of them."""

import zlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Numbered:
    """What a record says of itself."""

    key: str
    sequence: int
    """0, 1, 2, ... for each key."""
    checksum: int
    """CRC-32 of the whole value."""


def encode(key: str, sequence: int, filling: bytes = b"") -> bytes:
    """Return the value of a record."""
    return b"%s %d %s" % (key.encode(), sequence, filling)


def decode(value: bytes) -> Numbered:
    """Read a value. ValueError for one that `encode` did not make."""
    key, sequence, _ = value.split(b" ", 2)
    return Numbered(key.decode(), int(sequence), zlib.crc32(value))


@dataclass(frozen=True, slots=True)
class BatchBegun:
    """A node was given a batch. ``at`` is monotonic seconds, one clock for all processes of a machine."""

    at: float
    pid: int
    node: int
    generation: int
    partition: int
    first: int
    last: int

    def line(self) -> str:
        """Return it as a line of the log."""
        return f"B {self.at:.6f} {self.pid} {self.node} {self.generation} {self.partition} {self.first} {self.last}\n"


@dataclass(frozen=True, slots=True)
class Handled:
    """A node has handled a record."""

    at: float
    pid: int
    partition: int
    offset: int
    record: Numbered

    def line(self) -> str:
        """Return it as a line of the log."""
        one = self.record
        return f"R {self.at:.6f} {self.pid} {self.partition} {self.offset} {one.key} {one.sequence} {one.checksum}\n"


@dataclass(frozen=True, slots=True)
class Misbehaved:
    """A handler has carried out an order to misbehave: a fault was really there."""

    at: float
    pid: int
    node: int
    kind: str

    def line(self) -> str:
        """Return it as a line of the log."""
        return f"F {self.at:.6f} {self.pid} {self.node} {self.kind}\n"


@dataclass(frozen=True, slots=True)
class MemberSeen:
    """What a member of the group went through: assigned, revoked, lost, or the number of a generation."""

    at: float
    pid: int
    node: int
    what: str

    def line(self) -> str:
        """Return it as a line of the log."""
        return f"M {self.at:.6f} {self.pid} {self.node} {self.what}\n"


@dataclass(frozen=True, slots=True)
class Continued:
    """A new owner continues where a dead one was, by its note; `committed` is what commits alone would have given."""

    at: float
    pid: int
    partition: int
    position: int
    committed: int

    def line(self) -> str:
        """Return it as a line of the log."""
        return f"T {self.at:.6f} {self.pid} {self.partition} {self.position} {self.committed}\n"


@dataclass(frozen=True, slots=True)
class NoteRefused:
    """A new owner does not believe the note of a dead one."""

    at: float
    pid: int
    partition: int
    reason: str

    def line(self) -> str:
        """Return it as a line of the log."""
        return f"X {self.at:.6f} {self.pid} {self.partition} {self.reason}\n"


Entry = BatchBegun | Handled | Misbehaved | MemberSeen | Continued | NoteRefused


def parse(line: str) -> Entry:
    """Read a line of the log. ValueError for anything else."""
    kind, *fields = line.split() or [""]
    if kind == "B" and len(fields) == 7:
        at, *numbers = fields
        return BatchBegun(float(at), *map(int, numbers))
    if kind == "R" and len(fields) == 7:
        at, pid, partition, offset, key, sequence, checksum = fields
        return Handled(float(at), int(pid), int(partition), int(offset), Numbered(key, int(sequence), int(checksum)))
    if kind == "F" and len(fields) == 4:
        at, pid, node, what = fields
        return Misbehaved(float(at), int(pid), int(node), what)
    if kind == "M" and len(fields) == 4:
        at, pid, node, what = fields
        return MemberSeen(float(at), int(pid), int(node), what)
    if kind == "T" and len(fields) == 5:
        at, *numbers = fields
        return Continued(float(at), *map(int, numbers))
    if kind == "X" and len(fields) >= 4:
        at, pid, partition, *words = fields
        return NoteRefused(float(at), int(pid), int(partition), " ".join(words))
    raise ValueError(f"not a line of the log: {line!r}")
