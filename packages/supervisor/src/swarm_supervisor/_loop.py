"""An event loop of one epoll and one heap of timers. It knows nothing about nodes."""

from __future__ import annotations

import contextlib
import select
import time
from collections import deque
from collections.abc import Callable

from swarm_supervisor._core.deadlines import NEVER, Deadlines

BATCH_S = 0.05
"""How long patient readers are batched when many become ready in quick succession."""
_BATCH_AFTER = 4
_LONGEST_WAIT_S = 86400.0
"""epoll_wait takes 2**31 - 1 ms at most, 24.8 days. A later deadline is checked again."""
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
        """Number of exceptions in a row."""


class Timer:
    """A callback that is called once, unless it is cancelled."""

    __slots__ = ("callback", "deadline", "scheduled")

    def __init__(self, callback: Callable[[], None]) -> None:
        """Use `Loop.call_at`."""
        self.callback: Callable[[], None] | None = callback
        self.deadline: float | None = None
        self.scheduled = NEVER

    def cancel(self) -> None:
        """Cancel the callback. Cancelling twice or too late does nothing."""
        self.callback = None
        self.deadline = None


class Loop:
    """Waits for file descriptors and timers.

    A descriptor number can be closed and reused while events of the same epoll batch are handled. So the events
    of a batch are bound to their readers before the first is called, and a reader that has been removed since then
    is skipped.

    Patient readers are in a second epoll, which is a descriptor of the first (epoll(7)). Once they have
    been ready four times within 50 ms, it is ignored for 50 ms, because waking up is expensive, not reading. So a
    thousand nodes that report once a second wake their supervisor 20 times a second, while a few nodes wake it at once.
    """

    def __init__(self, contain: Callable[[str, BaseException], None] | None = None) -> None:
        """``contain`` gets a reader's or timer's exception with its name, and raises it if it must not be contained."""
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
        """Call back with the ready events (select.EPOLLIN, ...) of a descriptor. ValueError if it has a reader.

        A ``patient`` reader may be called 50 ms later. ``where`` names a reader that raises. It is called again;
        if it keeps raising, after pauses of up to a second.
        """
        if (there := self._readers.get(fd)) is not None:
            if self._is_open(there):
                raise ValueError(f"file descriptor {fd} already has a reader: remove it first")
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
        """Remove a reader. Do this before the descriptor is closed. False if there is no such reader."""
        reader = self._readers.pop(fd, None)
        if reader is None:
            return False
        reader.active = False
        if not reader.paused:
            # Forked siblings may hold the same open file description: close() alone would not remove it from the epoll
            # (epoll(7), question 6).
            with contextlib.suppress(OSError):  # already closed, so it is no longer in the epoll
                (self._patient if reader.patient else self._epoll).unregister(fd)
        return True

    def _is_open(self, reader: _Reader) -> bool:
        """Whether a reader still belongs to the file of its number; closing without `remove_reader` leaves it behind.

        The number may belong to a node's pipe by then, and its fork must not fail.
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
        if len(self._timers) > self._sweep_at:  # cancelled timers stay in the heap until they are due
            self._timers.sweep()
            self._sweep_at = max(_SWEEP_FROM, 2 * len(self._timers))
        return timer

    def next_timer(self) -> float | None:
        """When the next timer is due."""
        return self._timers.next()

    def wait(self, deadline: float | None) -> list[tuple[_Reader, int]]:
        """Wait for events until a deadline (None: for ever). Returns them bound to their readers."""
        # epoll_wait counts in milliseconds and CPython rounds up, so it is never early and at most 1 ms late.
        timeout = -1.0 if deadline is None else min(max(0.0, deadline - time.monotonic()), _LONGEST_WAIT_S)
        events = self._epoll.poll(timeout, len(self._readers) + 1)
        readers = self._readers
        found = [(readers[fd], mask) for fd, mask in events if fd in readers]
        if len(found) < len(events):
            self._note_batch()
            found += self._patient_events()
        return found

    def look(self) -> list[tuple[_Reader, int]]:
        """Return everything that is ready now, including deferred patient readers."""
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
            # While that continues, a pause follows every batch.
            self._batches.extend([now + BATCH_S] * (_BATCH_AFTER - 1))
            self.call_at(now + BATCH_S, self._resume)

    def _resume(self) -> None:
        if self._epoll.closed:
            return
        try:
            self._epoll.modify(self._patient_fd, select.EPOLLIN)
        except BaseException:  # otherwise no node would be heard
            self.call_at(time.monotonic() + BATCH_S, self._resume)
            raise

    def dispatch(self, events: list[tuple[_Reader, int]]) -> None:
        """Call the readers back."""
        for reader, mask in events:
            if reader.active:
                try:
                    reader.callback(mask)
                except BaseException as error:  # noqa: BLE001  contain() raises the errors that must not be contained
                    self._pause(reader)
                    self.contain(reader.where, error)
                else:
                    reader.failures = 0

    def run_timers(self, now: float) -> None:
        """Call every timer that is due. A timer set by a callback waits for the next turn, even if it is due."""
        due = []
        while (timer := self._timers.pop(now)) is not None:
            due.append(timer)
        for timer in due:
            if isinstance(timer, Timer) and timer.callback is not None:
                callback, timer.callback = timer.callback, None
                try:
                    callback()
                except BaseException as error:  # noqa: BLE001  as above
                    self.contain("timer", error)

    def _pause(self, reader: _Reader) -> None:
        """Pause a reader that keeps raising, because its descriptor would be ready in every turn."""
        reader.failures += 1
        if reader.failures == 1 or not reader.active or reader.paused:
            return
        try:
            (self._patient if reader.patient else self._epoll).unregister(reader.fd)
        except OSError:  # closed without remove_reader(), so there is nothing left to wait for
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
        """Close the epoll. Do this in a forked child too, because it is shared with the parent."""
        self._readers.clear()
        self._patient.close()
        self._epoll.close()


def _raise(where: str, error: BaseException) -> None:
    raise error
