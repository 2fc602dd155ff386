"""One epoll and one heap of timers: waits, and calls back. It knows nothing of nodes."""

import select
import time
from collections import deque
from collections.abc import Callable

from swarm_supervisor.deadlines import NEVER, Deadlines

BATCH_S = 0.05
"""How long patient readers wait for company when they come thick and fast."""
_BATCH_AFTER = 4


class _Reader:
    __slots__ = ("active", "callback", "patient")

    def __init__(self, callback: Callable[[int], None], patient: bool) -> None:
        self.callback = callback
        self.patient = patient
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

    Patient readers are in an epoll of their own, which is one more descriptor of the first (epoll(7)). Once they have
    been ready four times within 50 ms, that one is left alone for 50 ms: what costs is to wake up, not to read. So a
    thousand nodes that report once a second wake their supervisor 20 times a second, and a few wake it at once.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._patient = select.epoll()
        self._patient_fd = self._patient.fileno()
        self._epoll.register(self._patient_fd, select.EPOLLIN)
        self._batches: deque[float] = deque(maxlen=_BATCH_AFTER)
        self._readers: dict[int, _Reader] = {}
        self._timers = Deadlines()

    def add_reader(self, fd: int, events: int, callback: Callable[[int], None], *, patient: bool = False) -> None:
        """Call back with the ready events (select.EPOLLIN, ...) of a descriptor. ValueError if it is there already.

        A ``patient`` reader may be called back 50 ms later.
        """
        if fd in self._readers:
            raise ValueError(f"file descriptor {fd} has a reader already: remove that one first")
        (self._patient if patient else self._epoll).register(fd, events)
        self._readers[fd] = _Reader(callback, patient)

    def modify_reader(self, fd: int, events: int) -> None:
        """Wait for other events of a descriptor."""
        (self._patient if self._readers[fd].patient else self._epoll).modify(fd, events)

    def remove_reader(self, fd: int) -> bool:
        """Call back no more. To be done before the descriptor is closed; False if there is no such reader."""
        reader = self._readers.pop(fd, None)
        if reader is None:
            return False
        reader.active = False
        # Forked siblings hold the same open file description: close() alone would not take it out of the epoll
        # (epoll(7), question 6).
        (self._patient if reader.patient else self._epoll).unregister(fd)
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
        events = self._epoll.poll(timeout, len(self._readers) + 1)
        readers = self._readers
        found = [(readers[fd], mask) for fd, mask in events if fd in readers]
        if len(found) < len(events):
            self._note_batch()
            found += self._patient_events()
        return found

    def look(self) -> list[tuple[_Reader, int]]:
        """Return what is ready now, all of it: also what the patient readers were waiting to be called for."""
        readers = self._readers
        events = self._epoll.poll(0.0, len(readers) + 1)
        return [(readers[fd], mask) for fd, mask in events if fd in readers] + self._patient_events()

    def _patient_events(self) -> list[tuple[_Reader, int]]:
        readers = self._readers
        return [(readers[fd], mask) for fd, mask in self._patient.poll(0.0, len(readers) + 1) if fd in readers]

    def _note_batch(self) -> None:
        now = time.monotonic()
        self._batches.append(now)
        if len(self._batches) == _BATCH_AFTER and now - self._batches[0] < BATCH_S:
            self._epoll.modify(self._patient_fd, 0)
            self._batches.clear()
            # While they go on like that, every batch is followed by a pause.
            self._batches.extend([now + BATCH_S] * (_BATCH_AFTER - 1))
            self.call_at(now + BATCH_S, self._resume)

    def _resume(self) -> None:
        if not self._epoll.closed:
            self._epoll.modify(self._patient_fd, select.EPOLLIN)

    def dispatch(self, events: list[tuple[_Reader, int]]) -> None:
        """Call the readers back."""
        for reader, mask in events:
            if reader.active:
                reader.callback(mask)

    def run_timers(self, now: float) -> None:
        """Call back every timer that is due. One that a callback sets waits for the next turn, even if it is due."""
        due: list[Timer] = []
        while (timer := self._timers.pop(now)) is not None:
            assert isinstance(timer, Timer)
            due.append(timer)
        for timer in due:
            callback, timer.callback = timer.callback, None
            if callback is not None:  # else it was cancelled, perhaps by the one before
                callback()

    def close(self) -> None:
        """Close the epoll. In a forked child too: it is shared with the parent until then."""
        self._readers.clear()
        self._patient.close()
        self._epoll.close()
