"""Which application callback has blocked the supervisor the longest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Slowest:
    """How long application callbacks have blocked the supervisor since the last query, and which one the longest."""

    __slots__ = ("_in_one", "_longest_s", "_name", "_total_s")

    def __init__(self) -> None:
        self._in_one = False
        self._total_s = self._longest_s = 0.0
        self._name = ""

    def call(self, name: Callable[[], str], callback: Callable[..., None], *arguments: Any) -> None:
        """Call one and note its duration, including nested calls."""
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
        """Return the name of the slowest one and reset, if all together took at least that long; "" otherwise."""
        name = self._name if self._total_s >= at_least_s else ""
        self.clear()
        return name

    def clear(self) -> None:
        """Reset."""
        self._total_s = self._longest_s = 0.0
        self._name = ""
