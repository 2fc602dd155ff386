"""The first thing that every thread of this package does: leave signals to the main thread."""

from __future__ import annotations

import signal

# Signals that the kernel raises for a fault of the thread itself. If they were blocked, the process would die silently.
_FAULTS = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP})


def leave_signals_to_main_thread() -> None:
    """Block every signal but faults in the calling thread.

    Python runs its handlers in the main thread only, and a signal that the kernel delivers to another thread does not
    interrupt the main thread's wait.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FAULTS)
