"""A small event loop in its own thread, for a process without a supervisor whose loop could serve probes."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import os
import select
import threading
import time
from collections.abc import Callable

from swarm_liveness._threads import leave_signals_to_main_thread

logger = logging.getLogger("swarm_liveness")


class ThreadLoop:
    """Waits for descriptors and deadlines in a daemon thread. Not for a supervisor, which must not have threads."""

    def __init__(self, name: str = "swarm-probes") -> None:
        """Open an epoll and a wake-up descriptor; nothing runs yet."""
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._ending = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """Stop the thread, wait at most `timeout` seconds for it, and close what the loop opened. Idempotent."""
        if self._ending:
            return
        self._ending = True
        os.eventfd_write(self._wake, 1)
        if self._thread.is_alive():
            self._thread.join(timeout)
        if not self._thread.is_alive():
            self._epoll.close()
            os.close(self._wake)

    def add_reader(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call back with the ready events of a descriptor. To be called before `start` or from a callback."""
        self._callbacks[fd] = callback
        self._epoll.register(fd, events)

    def remove_reader(self, fd: int) -> None:
        """Stop watching a descriptor. To be called from a callback or after `stop`."""
        if self._callbacks.pop(fd, None) is not None and not self._epoll.closed:
            self._epoll.unregister(fd)

    def call_at(self, deadline: float, callback: Callable[[], None]) -> None:
        """Call back once at or after `deadline` (monotonic seconds). To be called before `start` or from a callback."""
        heapq.heappush(self._timers, (deadline, next(self._order), callback))

    def _run(self) -> None:
        leave_signals_to_main_thread()
        while not self._ending:
            timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
            for fd, events in self._epoll.poll(timeout):
                callback = self._callbacks.get(fd)
                if callback is not None:
                    self._guard(lambda callback=callback, events=events: callback(events))  # type: ignore[misc]
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                self._guard(heapq.heappop(self._timers)[2])

    def _guard(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except BaseException:
            with contextlib.suppress(BaseException):  # even the text of an error may raise
                logger.exception("a callback of the probe loop failed")
