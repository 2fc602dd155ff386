"""Signal handlers of the application's own, in the supervisor: what they raise is kept, to be told by the loop."""

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from swarm_supervisor.prctl import set_signal_action, signal_action

_MOST_KEPT = 64
"""So many errors wait for the loop. Those beyond are dropped: a handler that raises does so for the same reason."""


class ForeignHandlers:
    """Contains the handlers that it finds.

    Python runs a handler between any two instructions of the main thread. What it raises would come out there: in the
    middle of a decision, with half of the state changed. So each handler is wrapped before the supervisor decides
    again: at the start, and after each call of the application's code, which may have installed it.
    """

    def __init__(self, wake: Callable[[], None], own: Callable[[Any], bool] = lambda handler: False) -> None:
        """``wake`` makes the loop turn; ``own`` tells the supervisor's handlers, which raise nothing."""
        self._wake = wake
        self._own = own
        self._pid = os.getpid()
        self._wrapped: dict[int, tuple[Any, Callable[[int, FrameType | None], None]]] = {}
        """What was there, and what is there instead."""
        self._raised: list[tuple[int, BaseException]] = []

    def wrap(self) -> None:
        """Wrap the handlers that the application has installed since the last time."""
        for number in signal.valid_signals():
            handler = signal.getsignal(number)
            if not callable(handler) or self._own(handler):  # default, ignored, or not Python's
                continue
            _, wrapper = self._wrapped.get(number, (None, None))
            if handler is not wrapper:
                wrapper = self._contained(handler)
                self._wrapped[number] = handler, wrapper
                _replace(number, wrapper)

    def take(self) -> list[tuple[int, BaseException]]:
        """Return what handlers have raised since the last time, each with its signal."""
        raised = self._raised[:_MOST_KEPT]
        del self._raised[: len(raised)]
        return raised

    def put_back(self) -> None:
        """Make the handlers the application's own again."""
        for number, (handler, wrapper) in self._wrapped.items():
            if signal.getsignal(number) is wrapper:
                _replace(number, handler)
        self._wrapped.clear()

    def _contained(self, handler: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], None]:
        def contained(number: int, frame: FrameType | None) -> None:
            if os.getpid() != self._pid:  # a process that was forked from this one: what it raises is its own affair
                handler(number, frame)
                return
            try:
                handler(number, frame)
            except BaseException as error:  # noqa: BLE001 - told by the loop
                if len(self._raised) < _MOST_KEPT:
                    self._raised.append((number, error))
                self._wake()

        return contained


def name_of_signal(number: int) -> str:
    """Return a signal's name; real-time signals have a number only."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _replace(number: int, handler: Any) -> None:
    # The kernel's record stays: signal.signal() would lose what siginterrupt() and faulthandler.register() have set.
    action = signal_action(number)
    signal.signal(number, handler)
    set_signal_action(number, action)
