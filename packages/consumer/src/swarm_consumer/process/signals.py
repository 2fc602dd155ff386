"""Orders from outside: a flag, and optional signal handlers for an app without a supervisor."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any, Protocol


class Stoppable(Protocol):
    """The object that signals act on: a Runtime."""

    def stop(self, reason: str) -> None:
        """Stop gracefully. Callable from a signal handler."""

    def quiet(self) -> None:
        """Take no more messages. Callable from a signal handler."""


class Flag(Protocol):
    """An order from outside, such as a supervisor's: it can be checked, waited for, and polled."""

    def is_set(self) -> bool:
        """Whether the order was given."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for it."""

    def fileno(self) -> int:
        """Return a descriptor that is readable once the order was given."""


@contextlib.contextmanager
def handling(runtime: Stoppable) -> Iterator[None]:
    """Stop on INT, TERM and HUP, quiet on TSTP, while the block runs. A second INT or TERM has its default effect.

    An ignored HUP stays ignored, as nohup requires.
    """
    before: dict[int, Any] = {}

    def stop(number: int, _: object) -> None:
        runtime.stop(f"signal {signal.Signals(number).name}")
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_DFL)

    def quiet(_number: int, _: object) -> None:
        runtime.quiet()

    handlers: tuple[tuple[int, Any], ...] = ((signal.SIGINT, stop), (signal.SIGTERM, stop), (signal.SIGTSTP, quiet))
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        handlers = (*handlers, (signal.SIGHUP, stop))
    for number, handler in handlers:
        before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
