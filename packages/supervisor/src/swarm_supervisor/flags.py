"""Flags of a node: something that is set once, can be waited for, polled and awaited, from any thread."""

import os
import select
import termios
from array import array
from collections.abc import Generator
from fcntl import ioctl
from typing import Any


class Flag:
    """Set once and for ever. Safe to set in a signal handler and to wait for in any thread."""

    def __init__(self) -> None:
        self._set = False
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def is_set(self) -> bool:
        """Whether the flag is set."""
        return self._set

    def fileno(self) -> int:
        """Return a descriptor that is readable once the flag is set, to be polled. Never read from it."""
        return self._fd

    def set(self) -> bool:
        """Set the flag. Return False if it was set already."""
        if self._set:
            return False
        self._set = True
        os.eventfd_write(self._fd, 1)
        return True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set, at most ``timeout`` seconds; return whether it is."""
        if not self.is_set():
            poll = select.poll()
            poll.register(self.fileno(), select.POLLIN)
            # A signal handler runs in the middle of this poll, and the poll then goes on (PEP 475): the descriptor is
            # what ends it.
            poll.poll(None if timeout is None else max(0.0, timeout) * 1000)
        return self.is_set()

    async def wait_async(self) -> None:
        """Wait in the running asyncio loop until the flag is set."""
        import asyncio  # 50 ms to import: for those who have done it already

        if self.is_set():
            return
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        fd = os.dup(self.fileno())  # a loop keeps one reader per descriptor, and there may be several waits

        def notice() -> None:
            if not ready.done():
                ready.set_result(None)

        loop.add_reader(fd, notice)
        try:
            await ready
        finally:
            loop.remove_reader(fd)
            os.close(fd)

    def __await__(self) -> Generator[Any, None, None]:
        return self.wait_async().__await__()


class OrdersFlag(Flag):
    """A flag that the supervisor sets: so many bytes have come through the pipe of orders.

    The bytes are never read, so that every thread sees the same, at any time: one byte is "go", two are "go, and your
    id goes for good".
    """

    def __init__(self, pipe_fd: int, count: int) -> None:
        """Watch the read end of the pipe of orders, which somebody else owns."""
        self._set = False
        self._fd = pipe_fd
        self._count = count

    def is_set(self) -> bool:
        """Whether the flag is set."""
        if not self._set:
            waiting = array("i", [0])
            ioctl(self._fd, termios.FIONREAD, waiting)
            self._set = waiting[0] >= self._count
        return self._set

    def set(self) -> bool:
        """Only the supervisor sets this flag. RuntimeError."""
        raise RuntimeError("only the supervisor sets this flag")
