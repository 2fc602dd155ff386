"""Frames in a stream of bytes: pure functions and one small state, no file descriptor, no clock.

A frame is a 2-byte big-endian length and that many bytes of payload. A payload is a MessagePack array of 4 to 15
elements whose first is `MARK`::

    | length: 2 bytes | 0x94..0x9f | MARK: c4 02 ff fe | rest of the array |

A whole frame is never longer than PIPE_BUF, so one write() puts all of it into a pipe or none (POSIX, pipe(7)).

What happens after garbage. UTF-8 text never contains 0xff or 0xfe, so `MARK` hardly ever appears by chance. A
decoder that finds something else at the start of a frame is out of step: it counts one skip, searches for
the next mark, and continues with the first whole frame that decodes. A frame that contains another whole frame
was cut short: it is dropped for the inner one, finished or not, so that an endless frame does
not block the ones that follow. Garbage costs at most the frames within the `MAX_FRAME` bytes that follow it.

Bounds. At most one frame is kept, so memory is bounded by `MAX_FRAME` plus the size of one feed. Garbage that looks
like frames costs about `MAX_ATTEMPTS` decodings per feed; after that the rest of the feed is discarded.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

MAX_FRAME = 4096
"""Bytes of a whole frame: PIPE_BUF of Linux (limits.h), the most that a pipe takes atomically."""
LENGTH_SIZE = 2
MAX_PAYLOAD = MAX_FRAME - LENGTH_SIZE
MARK_VALUE = b"\xff\xfe"
MARK = b"\xc4\x02" + MARK_VALUE
"""`MARK_VALUE` as MessagePack encodes it: bin 8, two bytes."""

MAX_ATTEMPTS = 256
"""Most failed frames in one feed: a healthy node never sends that many, and each costs time."""

_BEFORE_MARK = LENGTH_SIZE + 1
_PREFIX_SIZE = _BEFORE_MARK + len(MARK)
_MIN_PAYLOAD = _PREFIX_SIZE - LENGTH_SIZE
_ARRAY_HEADERS = range(0x94, 0xA0)
_FRAME_BEGINNING = re.compile(rb"[\x00-\x0f].[\x94-\x9f]" + re.escape(MARK), re.DOTALL)

Decoded = TypeVar("Decoded")


class Rejected(Exception):
    """An unusable payload. The cause shows whether the frame around it can be trusted."""

    def __init__(self, cause: str, *, framed: bool) -> None:
        super().__init__(cause)
        self.cause = cause
        self.framed = framed


def encode_frame(payload: bytes) -> bytes:
    """Return the frame of a payload. ValueError if it does not fit into one atomic write."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a payload of {len(payload)} bytes does not fit into a frame: at most {MAX_PAYLOAD}")
    return len(payload).to_bytes(LENGTH_SIZE, "big") + payload


class FrameDecoder(Generic[Decoded]):
    """Turns pieces of a byte stream, cut anywhere, into the decoded payloads.

    ``decode`` raises `Rejected` for an unusable payload. No input makes the decoder itself raise.
    """

    __slots__ = ("_attempts", "_decode", "_kept", "_lost", "skips")

    def __init__(self, decode: Callable[[bytes], Decoded]) -> None:
        self.skips: Counter[str] = Counter()
        self._decode = decode
        self._kept = b""
        self._lost = False
        self._attempts = 0

    def feed(self, chunk: bytes) -> list[Decoded]:
        """Take the next bytes of the stream and return the completed payloads, in order."""
        data = self._kept + chunk if self._kept else chunk
        results: list[Decoded] = []
        position = 0
        self._attempts = 0
        while position < len(data) and self._attempts <= MAX_ATTEMPTS:
            if not _may_begin(data, position):
                position = self._lose(data, position)
                continue
            end = _frame_end(data, position)
            inner = self._whole_frame_inside(data, position, len(data) if end is None else end)
            if inner is not None:
                self._count_loss()
                position = inner
                continue
            if end is None:
                break
            try:
                results.append(self._decode(data[position + LENGTH_SIZE : end]))
            except Rejected as rejected:
                if not rejected.framed:
                    self._attempts += 1
                    position = self._lose(data, position)
                    continue
                self.skips[rejected.cause] += 1
            self._lost = False
            position = end
        self._kept = data[position:] if self._attempts <= MAX_ATTEMPTS else b""
        return results

    def finish(self) -> None:
        """Note the end of the stream: an unfinished frame will never be completed."""
        if self._kept and not self._lost:
            self.skips["truncated"] += 1
        self._kept = b""

    @property
    def kept_bytes(self) -> int:
        """Number of bytes held until the rest of their frame arrives: at most `MAX_FRAME`."""
        return len(self._kept)

    @property
    def between_frames(self) -> bool:
        """Whether the next byte begins a frame, that is, nothing is held and the stream is in step."""
        return not self._kept and not self._lost

    def _lose(self, data: bytes, position: int) -> int:
        self._count_loss()
        return _next_candidate(data, position + 1)

    def _count_loss(self) -> None:
        if not self._lost:
            self.skips["garbage"] += 1
        self._lost = True

    def _whole_frame_inside(self, data: bytes, position: int, end: int) -> int | None:
        """Return where, between this frame's beginning and its end, another whole frame begins; usually None."""
        if data.find(MARK, position + _PREFIX_SIZE, end + _PREFIX_SIZE - 1) < 0:
            return None
        candidate = _next_candidate(data, position + 1)
        while candidate < end and self._attempts <= MAX_ATTEMPTS:
            candidate_end = _frame_end(data, candidate)
            if candidate_end is not None:
                try:
                    self._decode(data[candidate + LENGTH_SIZE : candidate_end])
                except Rejected:
                    self._attempts += 1
                else:
                    return candidate
            candidate = _next_candidate(data, candidate + 1)
        return None


def _may_begin(data: bytes, position: int) -> bool:
    """Whether the available bytes could be the start of a frame here."""
    prefix = data[position : position + _PREFIX_SIZE]
    if len(prefix) < LENGTH_SIZE:
        return prefix[0] <= MAX_PAYLOAD >> 8
    if not _MIN_PAYLOAD <= int.from_bytes(prefix[:LENGTH_SIZE], "big") <= MAX_PAYLOAD:
        return False
    if len(prefix) > LENGTH_SIZE and prefix[LENGTH_SIZE] not in _ARRAY_HEADERS:
        return False
    return MARK.startswith(prefix[_BEFORE_MARK:])


def _frame_end(data: bytes, position: int) -> int | None:
    """Return where the frame that begins here ends, or None if the end has not arrived yet."""
    if len(data) < position + LENGTH_SIZE:
        return None
    end = position + LENGTH_SIZE + int.from_bytes(data[position : position + LENGTH_SIZE], "big")
    return end if end <= len(data) else None


def _next_candidate(data: bytes, position: int) -> int:
    """Return the first place from ``position`` on where a frame may begin; the end of the data if there is none."""
    while (found := _FRAME_BEGINNING.search(data, position)) is not None:
        if _may_begin(data, found.start()):
            return found.start()
        position = found.start() + 1
    tail = max(position, len(data) - _PREFIX_SIZE + 1)
    return next((start for start in range(tail, len(data)) if _may_begin(data, start)), len(data))
