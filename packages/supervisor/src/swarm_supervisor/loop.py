"""One epoll and one heap of timers: waits, and calls back. It knows nothing of nodes."""

import contextlib
import select
import time
from collections import deque
from collections.abc import Callable

from swarm_supervisor._core.deadlines import NEVER, Deadlines

BATCH_S = 0.05
"""How long patient readers wait for company when they come thick and fast."""
_BATCH_AFTER = 4
_LONGEST_WAIT_S = 86400.0
"""epoll_wait takes 2**31 - 1 ms at most, 24.8 days. A deadline beyond is looked at again."""
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0
_SWEEP_FROM = 128


class _Reader:
    __slots__ = ("active", "callback", "events", "failures", "fd", "patient", "paused", "where")

    def __init__(self, fd: int, events: int, callback: Callable[[int], None], patient: bool, where: str) -> None:
        self.fd = fd
        self.events = events
        self.callback = callback
        self.patient = patient
        self.where = where
        self.active = True
        self.paused = False
        self.failures = 0
        """How often in a row it has raised."""


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
        self.deadline = None


class Loop:
    """Waits for file descriptors and timers.

    A descriptor number can be closed and used again while events of the same epoll batch are dealt with. So the events
    of a batch are bound to their readers before the first of them is called, and a reader that was removed since then
    is passed over.

    Patient readers are in an epoll of their own, which is one more descriptor of the first (epoll(7)). Once they have
    been ready four times within 50 ms, that one is left alone for 50 ms: what costs is to wake up, not to read. So a
    thousand nodes that report once a second wake their supervisor 20 times a second, and a few wake it at once.
    """

    def __init__(self, contain: Callable[[str, BaseException], None] | None = None) -> None:
        """``contain`` takes what a reader or a timer raises, with its name, and raises what must not be contained."""
        self._epoll = select.epoll()
        try:
            self._patient = select.epoll()
            self._patient_fd = self._patient.fileno()
            self._epoll.register(self._patient_fd, select.EPOLLIN)
        except BaseException:
            self._epoll.close()
            raise
        self._batches: deque[float] = deque(maxlen=_BATCH_AFTER)
        self._readers: dict[int, _Reader] = {}
        self._timers = Deadlines()
        self._sweep_at = _SWEEP_FROM
        self.contain = contain or _raise

    def add_reader(
        self, fd: int, events: int, callback: Callable[[int], None], *, patient: bool = False, where: str = "reader"
    ) -> None:
        """Call back with the ready events (select.EPOLLIN, ...) of a descriptor. ValueError if it is there already.

        A ``patient`` reader may be called back 50 ms later. One that raises is named by ``where``. It is called again;
        if it raises each time, after pauses that grow to a second.
        """
        if (there := self._readers.get(fd)) is not None:
            if self._is_open(there):
                raise ValueError(f"file descriptor {fd} has a reader already: remove that one first")
            there.active = False
            del self._readers[fd]
        (self._patient if patient else self._epoll).register(fd, events)
        self._readers[fd] = _Reader(fd, events, callback, patient, where)

    def modify_reader(self, fd: int, events: int) -> None:
        """Wait for other events of a descriptor."""
        reader = self._readers[fd]
        reader.events = events
        if not reader.paused:
            (self._patient if reader.patient else self._epoll).modify(fd, events)

    def remove_reader(self, fd: int) -> bool:
        """Call back no more. To be done before the descriptor is closed; False if there is no such reader."""
        reader = self._readers.pop(fd, None)
        if reader is None:
            return False
        reader.active = False
        if not reader.paused:
            # Forked siblings may hold the same open file description: close() alone would not take it out of the epoll
            # (epoll(7), question 6).
            with contextlib.suppress(OSError):  # closed before: it is out of the epoll
                (self._patient if reader.patient else self._epoll).unregister(fd)
        return True

    def _is_open(self, reader: _Reader) -> bool:
        """Whether a reader is for what its number means now: whoever closes without `remove_reader` leaves it behind.

        The number may be that of a node's pipe by then, and its fork must not fail.
        """
        if reader.paused:
            return True
        try:
            (self._patient if reader.patient else self._epoll).modify(reader.fd, reader.events)
        except OSError:
            return False
        return True

    def call_at(self, deadline: float, callback: Callable[[], None]) -> Timer:
        """Call back once, at a moment of CLOCK_MONOTONIC (time.monotonic())."""
        timer = Timer(callback)
        self._timers.set(timer, deadline)
        if len(self._timers) > self._sweep_at:  # those that were cancelled stay in the heap until then
            self._timers.sweep()
            self._sweep_at = max(_SWEEP_FROM, 2 * len(self._timers))
        return timer

    def next_timer(self) -> float | None:
        """When the next timer is due."""
        return self._timers.next()

    def wait(self, deadline: float | None) -> list[tuple[_Reader, int]]:
        """Wait for events until a deadline (None: for ever). Returns them bound to their readers."""
        # epoll_wait counts in milliseconds and CPython rounds up: never early, at most 1 ms late.
        timeout = -1.0 if deadline is None else min(max(0.0, deadline - time.monotonic()), _LONGEST_WAIT_S)
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
        if self._epoll.closed:
            return
        try:
            self._epoll.modify(self._patient_fd, select.EPOLLIN)
        except BaseException:  # or no node would be heard any more
            self.call_at(time.monotonic() + BATCH_S, self._resume)
            raise

    def dispatch(self, events: list[tuple[_Reader, int]]) -> None:
        """Call the readers back."""
        for reader, mask in events:
            if reader.active:
                try:
                    reader.callback(mask)
                except BaseException as error:  # noqa: BLE001 - contain() raises what must not be contained
                    self._pause(reader)
                    self.contain(reader.where, error)
                else:
                    reader.failures = 0

    def run_timers(self, now: float) -> None:
        """Call back every timer that is due. One that a callback sets waits for the next turn, even if it is due."""
        due = []
        while (timer := self._timers.pop(now)) is not None:
            due.append(timer)
        for timer in due:
            if isinstance(timer, Timer) and timer.callback is not None:
                callback, timer.callback = timer.callback, None
                try:
                    callback()
                except BaseException as error:  # noqa: BLE001 - as above
                    self.contain("timer", error)

    def _pause(self, reader: _Reader) -> None:
        """Leave a reader alone that raises again and again: its descriptor would be ready in every turn."""
        reader.failures += 1
        if reader.failures == 1 or not reader.active or reader.paused:
            return
        try:
            (self._patient if reader.patient else self._epoll).unregister(reader.fd)
        except OSError:  # closed without remove_reader(): there is nothing to wait for any more
            reader.active = False
            del self._readers[reader.fd]
            return
        reader.paused = True
        pause_s = min(_FIRST_PAUSE_S * 2 ** min(reader.failures, 10), _LONGEST_PAUSE_S)
        self.call_at(time.monotonic() + pause_s, lambda: self._unpause(reader))

    def _unpause(self, reader: _Reader) -> None:
        if not reader.active or self._epoll.closed:
            return
        try:
            (self._patient if reader.patient else self._epoll).register(reader.fd, reader.events)
            reader.paused = False
        except BaseException:
            self.call_at(time.monotonic() + _LONGEST_PAUSE_S, lambda: self._unpause(reader))
            raise

    def close(self) -> None:
        """Close the epoll. In a forked child too: it is shared with the parent until then."""
        self._readers.clear()
        self._patient.close()
        self._epoll.close()


def _raise(where: str, error: BaseException) -> None:
    raise error
