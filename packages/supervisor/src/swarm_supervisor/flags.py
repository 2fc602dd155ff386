"""Flags of a node: something that is set once, can be waited for, polled and awaited, from any thread."""

import os
import select
import time
from collections.abc import Generator
from typing import Any

from swarm_supervisor.fork import ORPHANED
from swarm_supervisor.orders import GO, orders_sent

_LONGEST_WAIT_S = 86400.0
"""poll(2) takes 2**31 - 1 ms at most, 24.8 days: a longer wait is made of several."""


class Flag:
    """Set once and for ever. Safe to set in a signal handler and to wait for in any thread.

    A process that was forked from the one that sets it sees it too: the descriptor is shared, the attribute is not.
    """

    def __init__(self) -> None:
        self._set = False
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def is_set(self) -> bool:
        """Whether the flag is set."""
        if not self._set:
            self._set = _readable(self._fd, 0.0)
        return self._set

    def fileno(self) -> int:
        """Return a descriptor that is readable once the flag is set, to be polled. Never read from it."""
        return self._fd

    def set(self) -> bool:
        """Set the flag. Return False if it was set already."""
        if self.is_set():
            return False
        self._set = True
        os.eventfd_write(self._fd, 1)
        return True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set, at most ``timeout`` seconds; return whether it is."""
        # A signal handler runs in the middle of this poll, which then continues (PEP 475): the descriptor ends it.
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = _LONGEST_WAIT_S if deadline is None else deadline - time.monotonic()
            if not left > 0:
                return False
            if _readable(self.fileno(), min(left, _LONGEST_WAIT_S)) and not self.is_set():
                return False  # hung up: nobody is left who could set it
        return True

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


class GoFlag(Flag):
    """A flag that the supervisor sets, with `GO` on the pipe of orders."""

    def __init__(self, pipe_fd: int) -> None:
        """Watch the read end of the pipe of orders, which somebody else owns."""
        self._set = False
        self._fd = pipe_fd

    def is_set(self) -> bool:
        """Whether the order has come. That the supervisor has gone, and its end of the pipe with it, is none."""
        if not self._set:
            self._set = GO in orders_sent(self._fd)
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        """As `Flag.wait`. Ends this process, with exit code 3, if the supervisor is gone."""
        return super().wait(timeout) or self._not_yet()

    async def wait_async(self) -> None:
        """As `Flag.wait_async`. Ends this process, with exit code 3, if the supervisor is gone."""
        await super().wait_async()
        if not self.is_set():
            self._not_yet()

    def _not_yet(self) -> bool:
        if _readable(self._fd, 0.0) and not self.is_set():
            os._exit(ORPHANED)  # an order of nobody: what this process would work at, others may be doing by then
        return self.is_set()

    def set(self) -> bool:
        """Only the supervisor sets this flag. RuntimeError."""
        raise RuntimeError("only the supervisor sets this flag")


def _readable(fd: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))
