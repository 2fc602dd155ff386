"""Frames in a stream of bytes: pure functions and one small state, no file descriptor, no clock.

A frame is a 2-byte big-endian length and that many bytes of payload. A payload is a MessagePack array of 4 to 15
elements whose first is `MARK`::

    | length: 2 bytes | 0x94..0x9f | MARK: c4 02 ff fe | rest of the array |

A whole frame is never longer than PIPE_BUF, so one write() puts all of it into a pipe or none (POSIX, pipe(7)).

What happens after garbage. No UTF-8 text can contain 0xff or 0xfe, so that `MARK` hardly ever appears by chance. A
decoder that finds something else where a frame should begin has lost the frames: it counts one skip, searches for
the next mark, and goes on with the first whole frame that decodes. A frame that never ends does not hold up the ones
that follow: once a whole frame that decodes lies inside the unfinished one, the unfinished one is given up. Nothing
older than one frame is ever kept, so memory is bounded by `MAX_FRAME` plus what is fed in at once.
"""

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

_BEFORE_MARK = LENGTH_SIZE + 1
_PREFIX_SIZE = _BEFORE_MARK + len(MARK)
_MIN_PAYLOAD = _PREFIX_SIZE - LENGTH_SIZE
_ARRAY_HEADERS = range(0x94, 0xA0)

Decoded = TypeVar("Decoded")


class Rejected(Exception):
    """A payload that is of no use. The cause says whether the frame around it can be trusted."""

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
    """Turns pieces of a byte stream, cut anywhere, into what ``decode`` makes of each payload.

    ``decode`` raises `Rejected` for a payload that is of no use. No input makes the decoder itself raise.
    """

    def __init__(self, decode: Callable[[bytes], Decoded]) -> None:
        self.skips: Counter[str] = Counter()
        self._decode = decode
        self._kept = b""
        self._lost = False

    def feed(self, chunk: bytes) -> list[Decoded]:
        """Take the next bytes of the stream and return what has become whole, in order."""
        data = self._kept + chunk if self._kept else chunk
        results: list[Decoded] = []
        position = 0
        while position < len(data):
            if not _may_begin(data, position):
                position = self._lose(data, position)
                continue
            end = _frame_end(data, position)
            if end is None:
                inner = self._whole_frame_after(data, position)
                if inner is None:
                    break
                self._count_loss()
                position = inner
                continue
            try:
                results.append(self._decode(data[position + LENGTH_SIZE : end]))
            except Rejected as rejected:
                if not rejected.framed:
                    position = self._lose(data, position)
                    continue
                self.skips[rejected.cause] += 1
            self._lost = False
            position = end
        self._kept = data[position:]
        return results

    def finish(self) -> None:
        """The stream has ended: what is left of it will never become whole."""
        if self._kept and not self._lost:
            self.skips["truncated"] += 1
        self._kept = b""

    @property
    def kept_bytes(self) -> int:
        """Bytes held until the rest of their frame comes: at most `MAX_FRAME`."""
        return len(self._kept)

    def _lose(self, data: bytes, position: int) -> int:
        self._count_loss()
        return _next_candidate(data, position + 1)

    def _count_loss(self) -> None:
        if not self._lost:
            self.skips["garbage"] += 1
        self._lost = True

    def _whole_frame_after(self, data: bytes, position: int) -> int | None:
        candidate = _next_candidate(data, position + 1)
        while candidate < len(data):
            end = _frame_end(data, candidate)
            if end is not None:
                try:
                    self._decode(data[candidate + LENGTH_SIZE : end])
                except Rejected as rejected:
                    if rejected.framed:
                        return candidate
                else:
                    return candidate
            candidate = _next_candidate(data, candidate + 1)
        return None


def _may_begin(data: bytes, position: int) -> bool:
    """Whether the bytes that are there do not contradict a frame that begins here."""
    prefix = data[position : position + _PREFIX_SIZE]
    if len(prefix) < LENGTH_SIZE:
        return prefix[0] <= MAX_PAYLOAD >> 8
    if not _MIN_PAYLOAD <= int.from_bytes(prefix[:LENGTH_SIZE], "big") <= MAX_PAYLOAD:
        return False
    if len(prefix) > LENGTH_SIZE and prefix[LENGTH_SIZE] not in _ARRAY_HEADERS:
        return False
    return MARK.startswith(prefix[_BEFORE_MARK:])


def _frame_end(data: bytes, position: int) -> int | None:
    """Return where the frame that begins here ends, or None if that is not there yet."""
    if len(data) < position + LENGTH_SIZE:
        return None
    end = position + LENGTH_SIZE + int.from_bytes(data[position : position + LENGTH_SIZE], "big")
    return end if end <= len(data) else None


def _next_candidate(data: bytes, position: int) -> int:
    """Return the first place from ``position`` on where a frame may begin; the end of the data if there is none."""
    marked = data.find(MARK, position + _BEFORE_MARK)
    while marked >= 0:
        if _may_begin(data, marked - _BEFORE_MARK):
            return marked - _BEFORE_MARK
        marked = data.find(MARK, marked + 1)
    tail = max(position, len(data) - _PREFIX_SIZE + 1)
    return next((start for start in range(tail, len(data)) if _may_begin(data, start)), len(data))
