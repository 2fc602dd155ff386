"""Log lines of many processes on one stream: whole, never mixed, and never blocking the supervisor."""

from __future__ import annotations

import logging
import os
import select
import socket
import stat
from collections.abc import Callable

PIPE_BUF = select.PIPE_BUF
"""Most bytes that a pipe takes from one process without mixing them with another's (pipe(7))."""
FORMAT = "%(asctime)s %(levelname)-7s %(process)d %(name)s: %(message)s"
_PATIENCE_MS = 5000


class LineHandler(logging.Handler):
    """Writes each record with one write(2).

    On a pipe or a socket a record above PIPE_BUF is cut and marked: by the formatter's ``shorten(line, limit)`` if it
    has one, else by `cut`. A process that is not patient does not wait for a full stream: the record is
    dropped and counted, and the count is written with the next record. A regular file takes everything.
    """

    def __init__(self, fd: int = 2, *, patient: bool | None = None, level: int = logging.NOTSET) -> None:
        """Write to a file descriptor, standard error by default. OSError if it is not open.

        ``patient``: whether to wait for space. None: not in the process that creates the handler (the supervisor), but
        in its forked children (the nodes), as any program does.
        """
        super().__init__(level)
        self.setFormatter(logging.Formatter(FORMAT))
        self.dropped = 0
        """Number of records dropped for lack of space or reader since the last one that was written."""
        mode = os.fstat(fd).st_mode
        self._limit = PIPE_BUF if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None
        self._fd = fd
        self._patient = patient
        self._pid = os.getpid()
        self._rest = b""
        """The rest of a line that a terminal or socket has only partly taken."""
        self._own_fd = -1
        self._write_now = self._without_waiting(mode)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or drop it. Never raises."""
        try:
            line = self._line(record)
            if self._patient or (self._patient is None and os.getpid() != self._pid):
                self._wait_and_write(line)
                return
            if self.dropped:
                self._write(self._line(_lost(self.dropped)))
                self.dropped = 0
            self._write(line)
        except OSError:
            self.dropped += 1
        except Exception:  # noqa: BLE001  as in every logging handler, the log must not end the program
            self.handleError(record)

    def close(self) -> None:
        """Close what this handler has opened, but not the stream, which it does not own."""
        if self._own_fd >= 0 and os.getpid() == self._pid:
            os.close(self._own_fd)
            self._own_fd = -1
            self._write_now = lambda data: os.write(self._fd, data)
        super().close()

    def _line(self, record: logging.LogRecord) -> bytes:
        line = self.format(record)
        if self._limit is not None and len(line.encode("utf-8", "backslashreplace")) >= self._limit:
            line = getattr(self.formatter, "shorten", cut)(line, self._limit - 1)
        return line.encode("utf-8", "backslashreplace") + b"\n"

    def _wait_and_write(self, line: bytes) -> None:
        while line:
            try:
                line = line[os.write(self._fd, line) :]
            except BlockingIOError:  # another process that shares the stream has made it non-blocking
                if not _has_room(self._fd, _PATIENCE_MS):
                    raise

    def _write(self, line: bytes) -> None:
        if self._rest:
            self._rest = self._rest[self._write_now(self._rest) :]
            if self._rest:
                raise BlockingIOError
        self._rest = line[self._write_now(line) :]

    def _without_waiting(self, mode: int) -> Callable[[bytes], int]:
        """How to write without waiting. O_NONBLOCK on the stream itself would affect all processes that share it."""
        fd = self._fd
        if stat.S_ISSOCK(mode):  # the journal's stream
            return lambda data: _send(fd, data)
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            try:
                # A new opening of the same pipe or terminal has its own flags.
                own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
            except OSError:
                return lambda data: _write_if_ready(fd, data)
            self._own_fd = own
            return lambda data: os.write(own, data)
        return lambda data: os.write(fd, data)


def configure(level: int = logging.INFO, fd: int = 2) -> LineHandler:
    """Send the log of this process and of its future nodes to a stream. Returns the handler."""
    handler = LineHandler(fd)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    return handler


def cut(text: str, limit: int) -> str:
    """Return the text in at most ``limit`` bytes: its start and its end, where a traceback shows its cause."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return text
    mark = f" [... {len(data) - limit} bytes cut ...] "
    room = max(0, limit - len(mark) - 8)
    head, tail = data[: room - room // 2], data[len(data) - room // 2 :]
    return f"{head.decode('utf-8', 'ignore')}{mark}{tail.decode('utf-8', 'ignore')}"


def _lost(count: int) -> logging.LogRecord:
    message = "%d log lines were dropped because stderr was not read"
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, (count,), None)


def _send(fd: int, data: bytes) -> int:
    sock = socket.socket(fileno=os.dup(fd))
    try:
        return sock.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    finally:
        sock.close()


def _has_room(fd: int, timeout_ms: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(timeout_ms))


def _write_if_ready(fd: int, data: bytes) -> int:
    if not _has_room(fd, 0):
        raise BlockingIOError
    return os.write(fd, data)
