"""The application's signal handlers in the supervisor: their exceptions are kept for the loop to report."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from swarm_supervisor._prctl import set_signal_action, signal_action

_MOST_KEPT = 64
"""Most errors kept for the loop. Further ones are dropped: a handler usually raises for the same reason."""


class ForeignHandlers:
    """Contains the exceptions of the handlers that it finds.

    Python runs a handler between any two instructions of the main thread. An exception would be raised there, in the
    middle of a decision, with half of the state changed. So each handler is wrapped before the supervisor decides
    again: at the start, and after each call of application code, which may have installed one.
    """

    def __init__(self, wake: Callable[[], None], own: Callable[[Any], bool] = lambda handler: False) -> None:
        """``wake`` makes the loop turn; ``own`` recognises the supervisor's handlers, which never raise."""
        self._wake = wake
        self._own = own
        self._pid = os.getpid()
        self._wrapped: dict[int, tuple[Any, Callable[[int, FrameType | None], None]]] = {}
        """The original handler and its wrapper."""
        self._raised: list[tuple[int, BaseException]] = []

    def wrap(self) -> None:
        """Wrap the handlers that the application has installed since the last call."""
        for number in signal.valid_signals():
            handler = signal.getsignal(number)
            if not callable(handler) or self._own(handler):  # default, ignored, or not a Python handler
                continue
            _, wrapper = self._wrapped.get(number, (None, None))
            if handler is not wrapper:
                wrapper = self._contained(handler)
                self._wrapped[number] = handler, wrapper
                _replace(number, wrapper)

    def take(self) -> list[tuple[int, BaseException]]:
        """Return the errors of handlers since the last call, each with its signal."""
        raised = self._raised[:_MOST_KEPT]
        del self._raised[: len(raised)]
        return raised

    def put_back(self) -> None:
        """Restore the application's handlers."""
        for number, (handler, wrapper) in self._wrapped.items():
            if signal.getsignal(number) is wrapper:
                _replace(number, handler)
        self._wrapped.clear()

    def _contained(self, handler: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], None]:
        def contained(number: int, frame: FrameType | None) -> None:
            if os.getpid() != self._pid:  # a forked process handles its own errors
                handler(number, frame)
                return
            try:
                handler(number, frame)
            except BaseException as error:  # noqa: BLE001  the loop reports it
                if len(self._raised) < _MOST_KEPT:
                    self._raised.append((number, error))
                self._wake()

        return contained


def name_of_signal(number: int) -> str:
    """Return a signal's name; real-time signals only have a number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _replace(number: int, handler: Any) -> None:
    # The kernel's record stays, because signal.signal() would lose the settings of siginterrupt() and
    # faulthandler.register().
    action = signal_action(number)
    signal.signal(number, handler)
    set_signal_action(number, action)
