"""The supervisor's signals: they become readable bytes, and everything is put back at the end."""

import contextlib
import os
import signal
import struct
from types import FrameType
from typing import Any

from swarm_supervisor.prctl import signal_descriptor

STOPPING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP})
FORCING = frozenset({signal.SIGINT, signal.SIGTERM})
HANDLED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGUSR2,
)
_SI_KERNEL = 0x80


class SignalInbox:
    """Takes signals from `open` until `close`; between the two they wait in a pipe."""

    def __init__(self) -> None:
        self._read_fd = -1
        self._write_fd = -1
        self._handlers: dict[int, Any] = {}
        self._wakeup_fd = -1
        self._mask: set[int] = set()
        self._terminal_fd = -1
        self._stops = 0
        self.interruptible = False
        """Whether a second INT or TERM raises KeyboardInterrupt: while the application's own code runs."""

    def open(self, *, children: bool) -> None:
        """Install the handlers. ``children``: report SIGCHLD too. Only in the main thread."""
        self._read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # PEP 475: a Python handler alone would not end epoll_wait. The byte in the pipe does.
        self._wakeup_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in HANDLED:
            # nohup's promise: a hang-up that was ignored at the start stays ignored.
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._handlers[number] = signal.signal(number, self._notice)
        # Inherited SIG_IGN makes the kernel reap children by itself, and their exit statuses are lost (waitid(2)).
        self._handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, self._notice if children else signal.SIG_DFL)
        self._mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {*HANDLED, signal.SIGCHLD})
        # A Ctrl-Z comes from the kernel, a "kill -TSTP" from a process: only signalfd(2) tells which. Its handler is
        # for another thread that takes the signal first.
        self._terminal_fd = signal_descriptor(signal.SIGTSTP)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when a signal has come."""
        return self._read_fd

    def take(self) -> list[int]:
        """Return the signals that have come, in order."""
        with contextlib.suppress(BlockingIOError):
            return list(os.read(self._read_fd, 4096))
        return []

    def terminal_fileno(self) -> int:
        """Return the descriptor that becomes readable when a TSTP has come."""
        return self._terminal_fd

    def take_terminal(self) -> list[bool]:
        """Return for each TSTP that has come whether it was typed at the terminal."""
        typed = []
        with contextlib.suppress(BlockingIOError):
            while True:
                _, _, code = struct.unpack_from("Iii", os.read(self._terminal_fd, 128))
                typed.append(code == _SI_KERNEL)
        return typed

    def close(self) -> None:
        """Put back everything that `open` changed."""
        self._discard_pending()  # a TSTP that came too late would stop the process when its mask is put back
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._handlers.clear()
        signal.set_wakeup_fd(self._wakeup_fd)
        self.close_in_child()

    def close_in_child(self) -> None:
        """Close the pipe; the child has reset the handlers itself."""
        for fd in (self._read_fd, self._write_fd, self._terminal_fd):
            if fd >= 0:
                os.close(fd)
        self._read_fd = self._write_fd = self._terminal_fd = -1

    def _discard_pending(self) -> None:
        while signal.sigtimedwait({signal.SIGTSTP}, 0) is not None:
            pass

    def _notice(self, number: int, frame: FrameType | None) -> None:
        # The byte in the pipe is the message; this only makes the signal one that does not kill.
        if number in FORCING:
            self._stops += 1
            if self.interruptible and self._stops > 1:
                raise KeyboardInterrupt
