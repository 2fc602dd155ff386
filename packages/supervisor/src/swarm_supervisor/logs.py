"""Log lines of many processes on one stream: whole, never mixed, and never worth waiting for in the supervisor."""

import logging
import os
import select
import socket
import stat
from collections.abc import Callable

PIPE_BUF = select.PIPE_BUF
"""The most bytes that a pipe takes from one process without mixing them with those of another (pipe(7))."""
CUT_MARK = b"... [cut]\n"
FORMAT = "%(asctime)s %(levelname)-7s %(process)d %(name)s: %(message)s"


class LineHandler(logging.Handler):
    """Writes each record with one write(2).

    A record above PIPE_BUF is cut, with a mark at its end. In the process that made the handler (the supervisor) a
    stream that takes nothing is not waited for: the record is dropped and counted, and the count is told with the next
    one that gets through. Its forked children (the nodes) wait, as any program does.
    """

    def __init__(self, fd: int = 2, *, level: int = logging.NOTSET) -> None:
        """Write to a file descriptor, standard error by default."""
        super().__init__(level)
        self.setFormatter(logging.Formatter(FORMAT))
        self.dropped = 0
        self._fd = fd
        self._pid = os.getpid()
        self._own_fd = -1
        self._write_now = self._writer()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or drop it. Never raises."""
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
            if os.getpid() != self._pid:
                os.write(self._fd, _cut(line))
                return
            if self.dropped:
                line = f"({self.dropped} log records dropped: the log was not read) ".encode() + line
            try:
                self._write_now(_cut(line))
                self.dropped = 0
            except BlockingIOError:
                self.dropped += 1
        except Exception:  # noqa: BLE001 - as every logging handler: the log must not end the program
            self.handleError(record)

    def close(self) -> None:
        """Close what this handler has opened; the stream itself is somebody else's."""
        if self._own_fd >= 0 and os.getpid() == self._pid:
            os.close(self._own_fd)
            self._own_fd = -1
            self._write_now = lambda data: os.write(self._fd, data)
        super().close()

    def _writer(self) -> Callable[[bytes], int]:
        """How to write without waiting. O_NONBLOCK on the stream itself would change it for all who share it."""
        fd = self._fd
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):  # the journal's stream
            return lambda data: _send(fd, data)
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            try:
                # Another opening of the same pipe or terminal: with flags of its own.
                own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
            except OSError:
                return lambda data: _write_if_ready(fd, data)
            self._own_fd = own
            return lambda data: os.write(own, data)
        return lambda data: os.write(fd, data)


def configure(level: int = logging.INFO, fd: int = 2) -> LineHandler:
    """Send the log of this process, and of the nodes that it will fork, to a stream; return the handler."""
    handler = LineHandler(fd)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    return handler


def _cut(line: bytes) -> bytes:
    return line if len(line) <= PIPE_BUF else line[: PIPE_BUF - len(CUT_MARK)] + CUT_MARK


def _send(fd: int, data: bytes) -> int:
    sock = socket.socket(fileno=os.dup(fd))
    try:
        return sock.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    finally:
        sock.close()


def _write_if_ready(fd: int, data: bytes) -> int:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(fd, data)
