"""How a process of a node ended, as one word, for listeners that have to judge it. Pure.

`NodeExited.end` is that word. The facts that it follows from are fields of the same event: `cause` (who wanted the
end), `code` and `signal` (how it came about), `killed` (this supervisor sent KILL) and `oom` (the OOM killer was at
work).
"""

from __future__ import annotations

from enum import StrEnum

_SIGKILL, _SIGTERM = 9, 15
_FAULTS = frozenset({4, 5, 6, 7, 8, 11, 31})
"""ILL, TRAP, ABRT, BUS, FPE, SEGV, SYS: a process gets these for what it does itself."""
_HANGS = frozenset({"silent", "unhealthy"})


class End(StrEnum):
    """How a process ended."""

    GRACEFUL = "graceful"
    """It was told to stop, by the supervisor or by a signal from outside, and did so with exit code 0. Or it was a
    spare that was not needed."""
    OVERRAN = "overran"
    """It was told to stop gracefully (shutdown, replacement, memory, signal from outside), and did not finish: it ended
    with another exit code, or it was killed, when its time was over or in a forced shutdown."""
    HUNG = "hung"
    """It was told to stop because it was silent or unhealthy, and did not finish: it was killed, or ended with an exit
    code other than 0."""
    ON_ITS_OWN = "on its own"
    """It exited without being told to, with any code (a target may call os._exit(0)), or died of a fault such as
    SIGSEGV, which includes one while it stops."""
    KILLED = "killed"
    """A signal ended it that is no fault and that this supervisor did not send: SIGKILL of an operator or a kubelet."""
    OUT_OF_MEMORY = "out of memory"
    """As KILLED, by SIGKILL, and the OOM killer was at work in this memory cgroup."""
    UNKNOWN = "unknown"
    """Its exit status is not known, because a debugger has it."""


def end_of(cause: str, code: int | None, signal: int | None, *, killed: bool, oom: bool) -> End:
    """Return how a process ended, from the facts of `NodeExited`."""
    if code is None and signal is None:
        return End.UNKNOWN
    if signal in _FAULTS:
        return End.ON_ITS_OWN
    if signal == _SIGKILL and not killed:
        return End.OUT_OF_MEMORY if oom else End.KILLED
    if not cause:
        return End.ON_ITS_OWN if signal is None else End.KILLED
    if cause == "aborted" or code == 0:
        return End.GRACEFUL
    if cause in _HANGS:
        return End.HUNG
    if signal == _SIGTERM:
        return End.GRACEFUL  # it has no handler for it, so it ends at once
    return End.KILLED if signal is not None and signal != _SIGKILL else End.OVERRAN
