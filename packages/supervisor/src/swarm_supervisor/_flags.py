"""Flags of a node: set once, and waited for, polled or awaited from any thread."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Generator
from typing import Any

from swarm_supervisor._orders import GO, orders_sent
from swarm_supervisor.fork import ORPHANED

_LONGEST_WAIT_S = 86400.0
"""poll(2) takes 2**31 - 1 ms at most, 24.8 days: a longer wait is split."""


class Flag:
    """Once set, it stays set. It can be set in a signal handler and waited for in any thread.

    A forked child sees it too, because the descriptor is shared; the attribute is not.
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
        """Return a descriptor that becomes readable when the flag is set. Poll it, but never read from it."""
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
        # A signal handler runs during this poll, which then continues (PEP 475); the descriptor ends it.
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = _LONGEST_WAIT_S if deadline is None else deadline - time.monotonic()
            if not left > 0:
                return False
            if _readable(self.fileno(), min(left, _LONGEST_WAIT_S)) and not self.is_set():
                return False  # hung up: no process is left that could set it
        return True

    async def wait_async(self) -> None:
        """Wait in the running asyncio loop until the flag is set."""
        import asyncio  # takes 50 ms to import, which the caller has already done

        if self.is_set():
            return
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        fd = os.dup(self.fileno())  # a loop keeps one reader per descriptor, but there may be several waits

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
        """Watch the read end of the pipe of orders, which this object does not own."""
        self._set = False
        self._fd = pipe_fd

    def is_set(self) -> bool:
        """Whether the order has arrived. The end of the supervisor, which closes the pipe, is not an order."""
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
            os._exit(ORPHANED)  # the supervisor is gone: other processes may already be doing this work
        return self.is_set()

    def set(self) -> bool:
        """Only the supervisor sets this flag. RuntimeError."""
        raise RuntimeError("only the supervisor sets this flag")


def _readable(fd: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))
