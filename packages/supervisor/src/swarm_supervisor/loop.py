"""One epoll and one heap of timers: waits, and calls back. It knows nothing of nodes."""

import select
import time
from collections.abc import Callable

from swarm_supervisor.deadlines import NEVER, Deadlines


class _Reader:
    __slots__ = ("active", "callback", "fd")

    def __init__(self, fd: int, callback: Callable[[int], None]) -> None:
        self.fd = fd
        self.callback = callback
        self.active = True


class Timer:
    """A callback that will be made once, unless it is cancelled."""

    __slots__ = ("callback", "deadline", "scheduled")

    def __init__(self, callback: Callable[[], None]) -> None:
        """Use `Loop.call_at`."""
        self.callback: Callable[[], None] | None = callback
        self.deadline: float | None = None
        self.scheduled = NEVER

    def cancel(self) -> None:
        """Never call back. Cancelling twice, or too late, does nothing."""
        self.callback = None


class Loop:
    """Waits for file descriptors and timers.

    A descriptor number can be closed and used again while events of the same epoll batch are dealt with. So the events
    of a batch are bound to their readers before the first of them is called, and a reader that was removed since then
    is passed over.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, _Reader] = {}
        self._timers = Deadlines()

    def add_reader(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call back with the ready events (select.EPOLLIN, ...) of a descriptor. ValueError if it is there already."""
        if fd in self._readers:
            raise ValueError(f"file descriptor {fd} has a reader already: remove that one first")
        self._epoll.register(fd, events)
        self._readers[fd] = _Reader(fd, callback)

    def modify_reader(self, fd: int, events: int) -> None:
        """Wait for other events of a descriptor."""
        self._epoll.modify(fd, events)

    def remove_reader(self, fd: int) -> bool:
        """Call back no more. To be done before the descriptor is closed; False if there is no such reader."""
        reader = self._readers.pop(fd, None)
        if reader is None:
            return False
        reader.active = False
        # Forked siblings hold the same open file description: close() alone would not take it out of the epoll
        # (epoll(7), question 6).
        self._epoll.unregister(fd)
        return True

    def call_at(self, deadline: float, callback: Callable[[], None]) -> Timer:
        """Call back once, at a moment of CLOCK_MONOTONIC (time.monotonic())."""
        timer = Timer(callback)
        self._timers.set(timer, deadline)
        return timer

    def next_timer(self) -> float | None:
        """When the next timer is due."""
        return self._timers.next()

    def wait(self, deadline: float | None) -> list[tuple[_Reader, int]]:
        """Wait for events until a deadline (None: for ever). Returns them bound to their readers."""
        # epoll_wait counts in milliseconds and CPython rounds up: never early, at most 1 ms late.
        timeout = -1.0 if deadline is None else max(0.0, deadline - time.monotonic())
        # All at once: before silence is judged, whatever has been said must have been heard.
        events = self._epoll.poll(timeout, len(self._readers) + 1)
        readers = self._readers
        return [(readers[fd], mask) for fd, mask in events if fd in readers]

    def dispatch(self, events: list[tuple[_Reader, int]]) -> None:
        """Call the readers back."""
        for reader, mask in events:
            if reader.active:
                reader.callback(mask)

    def run_timers(self, now: float) -> None:
        """Call back every timer that is due."""
        while (timer := self._timers.pop(now)) is not None:
            if isinstance(timer, Timer) and timer.callback is not None:
                callback, timer.callback = timer.callback, None
                callback()

    def close(self) -> None:
        """Close the epoll. In a forked child too: it is shared with the parent until then."""
        self._readers.clear()
        self._epoll.close()
