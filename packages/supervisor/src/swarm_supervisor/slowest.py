"""Which callback of the application has kept the supervisor the longest."""

import time
from collections.abc import Callable
from typing import Any


class Slowest:
    """How long callbacks of the application have kept the supervisor since it was last asked, and which one longest."""

    __slots__ = ("_in_one", "_longest_s", "_name", "_total_s")

    def __init__(self) -> None:
        self._in_one = False
        self._total_s = self._longest_s = 0.0
        self._name = ""

    def call(self, name: Callable[[], str], callback: Callable[..., None], *arguments: Any) -> None:
        """Call one and note how long it takes. What it calls in turn is its own time."""
        if self._in_one:
            callback(*arguments)
            return
        self._in_one = True
        began = time.monotonic()
        try:
            callback(*arguments)
        finally:
            self._in_one = False
            seconds = time.monotonic() - began
            self._total_s += seconds
            if seconds > self._longest_s:
                self._longest_s, self._name = seconds, name()

    def take(self, at_least_s: float) -> str:
        """Return the name of the slowest one, if all together took so long, and forget it; "" if they did not."""
        name = self._name if self._total_s >= at_least_s else ""
        self.clear()
        return name

    def clear(self) -> None:
        """Forget it."""
        self._total_s = self._longest_s = 0.0
        self._name = ""
