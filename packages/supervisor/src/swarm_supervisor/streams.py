"""Standard output and error across a fork: what is buffered is the parent's, and nobody waits for it."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path


def open_standard_streams() -> None:
    """Open /dev/null where descriptor 0, 1 or 2 is closed, and leave it so.

    The next file to be opened would get the number otherwise, and what a C library complains about on descriptor 2
    would go there: into a pipe of the supervisor's.
    """
    while (fd := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def flush_streams() -> None:
    """Write out what print() has left in the buffers. Waits for a reader, as any print() does."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, None, or replaced by something that cannot
            stream.flush()


def discard_buffered() -> None:
    """In a fresh child: empty the buffers of stdout and stderr, whose contents the parent will write.

    Flushed before the fork instead, a supervisor would wait for whoever reads its pipe: POLLOUT promises room for one
    page, and a buffer is two.
    """
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            with contextlib.suppress(Exception):
                _discard(stream.fileno(), stream.flush, null)  # type: ignore[union-attr]
    finally:
        os.close(null)


def _discard(fd: int, flush: Callable[[], object], null: int) -> None:
    # The streams stay the objects that they are: log handlers and others have taken hold of them.
    kept = os.dup(fd)
    inheritable = os.get_inheritable(fd)
    try:
        os.dup2(null, fd, inheritable=False)
        flush()
    finally:
        os.dup2(kept, fd, inheritable=inheritable)
        os.close(kept)


def identity(fd: int) -> tuple[int, int] | None:
    """Return what tells the file behind a descriptor from whatever has its number later; None if it is closed."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def detach(fds: Iterable[int]) -> None:
    """In a fresh child: put /dev/null in the place of descriptors, and of those that wait in them if they are epolls.

    Not closed, since Python objects hold the numbers: one of them would close what has got its number since.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        for number in {each for fd in fds for each in (fd, *_inside(fd))}:
            if number != null:  # else it was closed
                os.dup2(null, number, inheritable=False)
    finally:
        os.close(null)


def _inside(epoll_fd: int) -> list[int]:
    """Return the descriptors in an epoll; [] for any other file (proc(5), fdinfo)."""
    try:
        lines = Path(f"/proc/self/fdinfo/{epoll_fd}").read_text().splitlines()
    except OSError:
        return []
    found = [int(line.split()[1]) for line in lines if line.startswith("tfd:")]
    return [fd for fd in found if fd > 2]
