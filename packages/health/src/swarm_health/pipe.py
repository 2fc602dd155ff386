"""The pipe between a node and its watcher: a `Writer` that never waits, a `Reader` that never fails."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import threading
from collections.abc import Mapping
from types import MappingProxyType

from swarm_health import _wire
from swarm_health._framing import MAX_FRAME, encode_frame
from swarm_health._report_stream import BEAT, Reading, ReportStream
from swarm_health.reports import Healthy, NodeStatistics, Ready, Recycle, Stopping, Unhealthy

__all__ = ["Reader", "Reading", "Writer", "pipe"]

_FIRST_BYTES = 256  # most readings are one short report, and small objects are cheap
_CHUNK_BYTES = 65536  # the usual capacity of a pipe (pipe(7)): one read empties it
_CHUNKS_A_READ = 4  # a node that writes without pause must not block the others: the rest waits for the next read

_SPARE_PAGES = 8  # for the reports already in the pipe


class Reader:
    """The watcher's end. It owns its file descriptor. Not thread-safe."""

    __slots__ = ("_fd", "_stream")

    def __init__(self, fd: int) -> None:
        """Take over the read end of a pipe; make it non-blocking and close-on-exec. ValueError if it is not a pipe."""
        self._fd = _own(fd)
        self._stream = ReportStream()

    def fileno(self) -> int:
        """Return the file descriptor, to wait for input or hang-up. ValueError after close()."""
        if self._fd < 0:
            raise ValueError("this health reader is closed: it has no file descriptor any more")
        return self._fd

    def read(self) -> Reading:
        """Return every report that has arrived completely. Never blocks, and never raises because of a writer.

        Anything that is not a report of this version is skipped and counted in `skipped`. After close() a reading is
        empty and closed. The end of all writers may only show in the next reading; the descriptor stays ready.
        """
        try:
            chunk = os.read(self._fd, _FIRST_BYTES) if self._fd >= 0 else b""
        except BlockingIOError:
            return self._stream.feed(b"", False)
        except OSError:  # other code closed our descriptor: nothing will arrive through it again
            chunk = b""
        if chunk == BEAT and (reading := self._stream.beat()) is not None:
            return reading
        return self._stream.feed(*self._read_on(chunk)) if chunk else self._stream.feed(b"", True)

    @property
    def skipped(self) -> int:
        """How often something was skipped that was not a complete report of this version."""
        return sum(self._stream.skips().values())

    @property
    def skipped_by_cause(self) -> Mapping[str, int]:
        """`skipped`, by cause.

        garbage: bytes that are not a frame; version, type: a report of another version, or of an unknown kind;
        invalid: a report with impossible values; truncated: the stream ended inside a report; incomplete:
        statistics with a missing part.
        """
        return MappingProxyType(self._stream.skips())

    def close(self) -> None:
        """Close the file descriptor. Closing twice does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _read_on(self, first: bytes) -> tuple[bytes, bool]:
        chunks = [first]
        try:
            while len(chunks) <= _CHUNKS_A_READ:
                chunk = os.read(self._fd, _CHUNK_BYTES)
                if not chunk:
                    return b"".join(chunks), True
                chunks.append(chunk)
        except BlockingIOError:
            pass
        except OSError:
            return b"".join(chunks), True
        return b"".join(chunks), False


class Writer:
    """The node's end. It owns its file descriptor. Any thread and any signal handler of one process may use it.

    No method waits or raises because the pipe is full, broken or closed: the report is dropped, False is
    returned, and the next report carries the number of dropped ones.
    """

    def __init__(self, fd: int) -> None:
        """Take over the write end of a pipe; make it non-blocking and close-on-exec. ValueError if it is not a pipe."""
        self._fd = _own(fd)
        self._dropped = 0
        self._sequence = 0
        # Re-entrant, because a signal handler may report while it interrupts a report. It is held for one
        # non-blocking write at most. Without it, close() could free the descriptor's number between look-up and write.
        self._lock = threading.RLock()

    def fileno(self) -> int:
        """Return the file descriptor: it polls as POLLERR after the reader has gone. ValueError after close()."""
        if self._fd < 0:
            raise ValueError("this health writer is closed: it has no file descriptor any more")
        return self._fd

    @property
    def dropped(self) -> int:
        """Reports dropped so far."""
        return self._dropped

    def healthy(self) -> bool:
        """Report that this node is healthy. Return False if the report was dropped."""
        return self._report(Healthy())

    def ready(self) -> bool:
        """Report that this node is prepared and waiting to be used. Return False if the report was dropped."""
        return self._report(Ready())

    def recycle(self, reason: str) -> bool:
        """Report that this node wants a fresh process in its place. Return False if the report was dropped."""
        return self._report(Recycle(_wire.cut_text(reason)))

    def unhealthy(self, code: int, reason: str) -> bool:
        """Report what is wrong. Return False if the report was dropped.

        ``code`` is a positive `Status` or your own positive int below 2**31: ValueError otherwise. A reason that
        is too long for one atomic write is cut and marked at its end.
        """
        if not isinstance(code, int) or isinstance(code, bool) or not 0 < code < 2**31:
            raise ValueError(f"an unhealthy status is a positive int below 2**31, such as Status.MEMORY, not {code!r}")
        return self._report(Unhealthy(int(code), _wire.cut_text(reason)))

    def stopping(self, reason: str) -> bool:
        """Report that this node has begun to stop. Return False if the report was dropped."""
        return self._report(Stopping(_wire.cut_text(reason)))

    def statistics(self, statistics: NodeStatistics) -> bool:
        """Report statistics. Return False if any part was dropped: then the reader discards the rest.

        Statistics too big for one atomic write are sent in parts. TypeError if a field's value does not match its type;
        ValueError for more partitions (thousands) than the reader can hold.
        """
        with self._lock:
            self._sequence += 1
            payloads = _wire.encode_statistics(statistics, self._sequence, self._dropped)
            if len(payloads) > 1:
                self._make_room(len(payloads))
            return self._count(all(self._write(payload) for payload in payloads))

    def close(self) -> None:
        """Close the file descriptor. Closing twice does nothing."""
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    def _report(self, report: _wire.WireReport) -> bool:
        with self._lock:
            return self._count(self._write(_wire.encode(report, self._dropped)))

    def _write(self, payload: bytes) -> bool:
        if self._fd < 0:
            return False
        try:
            os.write(self._fd, encode_frame(payload))
        except OSError:  # full (EAGAIN), or the reader has gone (EPIPE; CPython ignores SIGPIPE)
            return False
        return True

    def _make_room(self, parts: int) -> None:
        # A pipe holds 16 pages (pipe(7)) and a long report takes a page: several would never fit at once. An
        # unprivileged user may go up to /proc/sys/fs/pipe-max-size, 1 MB, with a limit on the pages of all pipes
        # together.
        wanted = (parts + _SPARE_PAGES) * MAX_FRAME
        with contextlib.suppress(OSError):
            if fcntl.fcntl(self._fd, fcntl.F_GETPIPE_SZ) < wanted:
                fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, wanted)

    def _count(self, written: bool) -> bool:
        self._dropped += not written
        return written


def pipe() -> tuple[Reader, Writer]:
    """Return both ends of a new health pipe, each close-on-exec and non-blocking. OSError if no descriptor is left.

    After a fork each side must close the other side's end; only then does each notice when the other ends.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    return Reader(read_fd), Writer(write_fd)


def _own(fd: int) -> int:
    # Only a pipe takes PIPE_BUF bytes completely or not at all (pipe(7)); a socket or a file may take half a report.
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        raise ValueError(f"file descriptor {fd} is not a pipe: reports need the atomic writes of one")
    os.set_blocking(fd, False)
    os.set_inheritable(fd, False)
    return fd
