"""How a process has ended."""

from __future__ import annotations

import os
import signal as signals
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended: by an exit code, by a signal, or (both None) unknown."""

    code: int | None = None
    """The exit code, 0 to 255; None if a signal ended the process or if it is unknown."""
    signal: int | None = None
    """The signal that ended the process, a `signal.Signals` if it has a name; None if none did or if unknown."""
    core_dumped: bool = False
    """Whether the kernel wrote (or piped away) a core dump."""

    @property
    def known(self) -> bool:
        """Whether it is known how the process ended."""
        return self.code is not None or self.signal is not None

    @property
    def success(self) -> bool:
        """Whether the process exited with code 0."""
        return self.code == 0

    @classmethod
    def from_wait_status(cls, status: int) -> ExitStatus:
        """Decode a wait status: the number from os.waitpid() or PIDFD_GET_INFO, not an exit code."""
        if os.WIFSIGNALED(status):
            return cls(signal=_named(os.WTERMSIG(status)), core_dumped=os.WCOREDUMP(status))
        return cls(code=os.WEXITSTATUS(status))

    @classmethod
    def from_waitid(cls, result: os.waitid_result) -> ExitStatus:
        """Decode the result of os.waitid(..., os.WEXITED)."""
        if result.si_code == os.CLD_EXITED:
            return cls(code=result.si_status)
        return cls(signal=_named(result.si_status), core_dumped=result.si_code == os.CLD_DUMPED)

    def __str__(self) -> str:
        if self.signal is not None:
            signal = _named(self.signal)
            name = signal.name if isinstance(signal, signals.Signals) else f"signal {signal}"
            return f"killed by {name}{' (core dumped)' if self.core_dumped else ''}"
        return "ended, exit status unknown" if self.code is None else f"exited with code {self.code}"


def _named(number: int) -> int:
    try:
        return signals.Signals(number)
    except ValueError:  # a real-time signal between SIGRTMIN and SIGRTMAX
        return number
