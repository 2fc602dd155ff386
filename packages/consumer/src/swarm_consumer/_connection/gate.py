"""The gate of a process: many calls of handlers and hooks run together, or a suspect runs alone.

While nothing is suspected, a pass costs a set's add and discard and two reads of an attribute: no lock. For that, a
thread that enters says so *before* it looks whether the gate is closed, and a thread that wants to be alone closes it
*before* it looks who is inside: at least one of the two sees the other.

No wait is without an end:
- A suspect that runs for too long lets others in. Its note says first that it is no longer alone.
- Threads that wait when a suspect ends, or when one has waited for too long to be alone, go first.
- A suspect that cannot get the process for itself runs in company in the end: then its death proves nothing. Those
  after it do so at once, while what it waited for in vain is still inside.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from threading import get_ident

ALONE_S = 60.0
"""How long suspects may keep others out at a stretch: while they run, and while they wait to be alone."""
PATIENCE_S = 600.0
"""How long a suspect waits to be alone. After that it runs in company."""
_LOOK_S = 1.0
"""How often a waiting thread looks whether it is to give up."""


def _never() -> bool:
    return False


class Tenure:
    """A thread's time alone in the process.

    in_company: called before others are let in. Afterwards no note of this thread may say that it is alone.
    """

    __slots__ = ("_in_company", "_thread", "begun", "over", "until")

    def __init__(self, in_company: Callable[[], None], now: float, longest_s: float) -> None:
        self.begun = now
        self.until = now + longest_s
        """When others may be let in."""
        self.over = False
        """Others are in, or about to be let in: what begins now is not alone."""
        self._in_company = in_company
        self._thread = get_ident()


class Gate:
    """Shared by all threads of a process that call handlers and hooks."""

    def __init__(self, alone_s: float = ALONE_S, patience_s: float = PATIENCE_S) -> None:
        self.alone_s = alone_s
        self._patience_s = patience_s
        self._inside: set[int] = set()
        self._closed = False
        self._changed = threading.Condition()
        self._tenure: Tenure | None = None
        self._wanted = 0  # how many threads wait to be alone
        self._waiting: set[int] = set()  # threads that wait to enter
        self._first: set[int] = set()  # those of them that go before the next tenure
        self._lasting: set[int] = set()  # threads inside that a suspect has waited for in vain
        self.ending = False  # the process stops: no thread is let in to a suspect any more

    # -- many together -------------------------------------------------------------------------------------------

    def enter(self, given_up: Callable[[], bool] = _never) -> bool:
        """Go in as one of many. False if `given_up` became true while waiting: the thread is not inside then."""
        self._inside.add(get_ident())
        return self._wait_to_enter(given_up) if self._closed else True

    def leave(self) -> None:
        """Go out."""
        self._inside.discard(get_ident())
        if self._lasting:
            self._lasting.discard(get_ident())
        if self._closed:
            with self._changed:
                self._changed.notify_all()

    def _wait_to_enter(self, given_up: Callable[[], bool]) -> bool:
        me = get_ident()
        with self._changed:
            self._inside.discard(me)
            self._waiting.add(me)
            self._changed.notify_all()
            try:
                while self._closed and not (me in self._first and self._tenure is None):
                    if given_up():
                        return False
                    tenure, longest = self._tenure, _LOOK_S
                    if tenure is not None and not tenure.over and not self.ending:
                        longest = tenure.until - time.monotonic()
                        if longest <= 0:
                            self._open(tenure)
                            continue
                    self._changed.wait(min(longest, _LOOK_S))
                self._inside.add(me)
                return True
            finally:
                self._waiting.discard(me)
                self._first.discard(me)
                self._changed.notify_all()

    # -- one alone -----------------------------------------------------------------------------------------------

    def begin_alone(self, in_company: Callable[[], None], given_up: Callable[[], bool] = _never) -> Tenure | None:
        """Go in alone, after all others have left. None: not inside, because of `given_up` or the end of patience."""
        with self._changed:
            self._wanted += 1
            self._look()
            try:
                return self._wait_to_be_alone(in_company, given_up)
            finally:
                self._wanted -= 1
                self._look()

    def _wait_to_be_alone(self, in_company: Callable[[], None], given_up: Callable[[], bool]) -> Tenure | None:
        now = time.monotonic()
        end, stretch = now + self._patience_s, now + self.alone_s
        while self._tenure is not None or self._inside or self._first:
            if given_up() or not self._lasting.isdisjoint(self._inside):
                return None
            if now >= end:
                self._lasting = set(self._inside)
                return None
            if now >= stretch:
                self._first |= self._waiting
                stretch = now + self.alone_s
                self._changed.notify_all()
            self._changed.wait(max(0.001, min(stretch - now, end - now, _LOOK_S)))
            now = time.monotonic()
        self._tenure = Tenure(in_company, now, self.alone_s)
        return self._tenure

    def end_alone(self, tenure: Tenure) -> None:
        """Go out; the threads that wait now go in before the next one that wants to be alone."""
        with self._changed:
            tenure.over = True
            if self._tenure is tenure:
                self._tenure = None
            self._inside.discard(get_ident())
            self._lasting.discard(get_ident())
            self._first |= self._waiting
            self._look()

    def _open(self, tenure: Tenure) -> None:
        """Let others in to a tenure that has lasted too long, once its note says so."""
        tenure.over = True
        self._changed.release()  # the note has a lock of its own
        try:
            tenure._in_company()
        finally:
            self._changed.acquire()
            if self._tenure is tenure:
                self._tenure = None
                self._inside.add(tenure._thread)
            self._first |= self._waiting
            self._look()

    def _look(self) -> None:
        """Close or open the gate, as it is wanted."""
        self._closed = self._tenure is not None or self._wanted > 0
        self._changed.notify_all()
