"""Signal handlers for an app that runs without a supervisor; installed only when asked, and taken back at the end."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any, Protocol


class Stoppable(Protocol):
    """What the signals are about: a Runtime."""

    def stop(self, reason: str) -> None:
        """Stop in order; from a signal handler."""

    def quiet(self) -> None:
        """Take no more; from a signal handler."""


@contextlib.contextmanager
def handling(runtime: Stoppable) -> Iterator[None]:
    """Stop on INT and TERM, quiet on TSTP, while the block runs. A second INT or TERM has its default effect."""
    before: dict[int, Any] = {}

    def stop(number: int, _: object) -> None:
        runtime.stop(f"signal {signal.Signals(number).name}")
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_DFL)

    def quiet(_number: int, _: object) -> None:
        runtime.quiet()

    handlers: tuple[tuple[int, Any], ...] = ((signal.SIGINT, stop), (signal.SIGTERM, stop), (signal.SIGTSTP, quiet))
    for number, handler in handlers:
        before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
