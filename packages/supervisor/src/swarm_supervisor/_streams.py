"""Standard output and error across a fork: buffered output belongs to the parent, and never blocks a fork."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path


def open_standard_streams() -> None:
    """Open /dev/null on descriptors 0, 1 and 2 if they are closed, and leave it open.

    Otherwise the next opened file would get the number, and error messages of a C library to descriptor 2
    would go there, perhaps into a pipe of the supervisor.
    """
    while (fd := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def flush_streams() -> None:
    """Write out the buffers of print(). Waits for a reader, as any print() does."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, None, or replaced by something that cannot
            stream.flush()


def discard_buffered() -> None:
    """In a new child: discard the buffers of stdout and stderr, whose contents the parent will write.

    A flush before the fork instead might block on the reader of a pipe: POLLOUT guarantees space for one
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
    # The stream objects stay the same, because log handlers and others hold them.
    kept = os.dup(fd)
    inheritable = os.get_inheritable(fd)
    try:
        os.dup2(null, fd, inheritable=False)
        flush()
    finally:
        os.dup2(kept, fd, inheritable=inheritable)
        os.close(kept)


def identity(fd: int) -> tuple[int, int] | None:
    """Return the identity of the file behind a descriptor, to detect a reused number; None if it is closed."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def detach(fds: Iterable[int]) -> None:
    """In a new child: replace descriptors by /dev/null, including those inside an epoll.

    They are not closed, because Python objects hold the numbers, and one of them might later close a reused number.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        for number in {each for fd in fds for each in (fd, *_inside(fd))}:
            if number != null:  # otherwise it was closed
                os.dup2(null, number, inheritable=False)
    finally:
        os.close(null)


def _inside(epoll_fd: int) -> list[int]:
    """Return the descriptors in an epoll; [] for other files (proc(5), fdinfo)."""
    try:
        lines = Path(f"/proc/self/fdinfo/{epoll_fd}").read_text().splitlines()
    except OSError:
        return []
    found = [int(line.split()[1]) for line in lines if line.startswith("tfd:")]
    return [fd for fd in found if fd > 2]
