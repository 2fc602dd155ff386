"""The supervisor's signals: they become readable bytes, and everything is restored at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
from types import FrameType
from typing import Any

from swarm_supervisor._containment import Interrupted
from swarm_supervisor._foreign_handlers import ForeignHandlers
from swarm_supervisor._prctl import set_signal_action, signal_action, signal_descriptor

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
_GIVEN_BACK = (signal.SIGUSR2, signal.SIGPIPE, signal.SIGCHLD)
"""Signals that belong to the application in a node, and to the supervisor while it runs."""
_SI_KERNEL = 0x80
_WAKE = b"\0"
"""No signal has this number."""


class SignalInbox:
    """Takes signals from `open` until `close`; between the two they wait in a pipe."""

    def __init__(self) -> None:
        """Change nothing yet."""
        self._read_fd = -1
        self._write_fd = -1
        self._handlers: dict[int, tuple[Any, bytes]] = {}
        """The previous handlers, as known to Python and to the kernel."""
        self._wakeup_fd: int | None = None
        self._mask: set[int] | None = None
        self._terminal_fd = -1
        self._stops = 0
        self._pid = -1
        self.foreign = ForeignHandlers(self.wake, lambda handler: handler == self._notice)
        """The application's handlers."""
        self.interruptible = False
        """Whether a second INT or TERM raises `Interrupted`: while the application's own code runs."""
        self.stop_answered = False
        """Whether a signal that asks for the end was answered; further ones then ask for nothing new."""

    def open(self, *, children: bool) -> None:
        """Install the handlers. ``children``: report SIGCHLD too. Only in the main thread. All or nothing."""
        try:
            self._open(children)
        except BaseException:
            self.close()
            raise

    def _open(self, children: bool) -> None:
        self._pid = os.getpid()
        self._read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # PEP 475: a Python handler alone does not end epoll_wait, but the byte in the pipe does.
        self._wakeup_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in HANDLED:
            # As nohup requires, a hang-up that was ignored at the start stays ignored.
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._install(number, self._notice)
        # With an inherited SIG_IGN the kernel reaps children itself, and their exit statuses are lost (waitid(2)).
        self._install(signal.SIGCHLD, self._notice if children else signal.SIG_DFL)
        # Python ignores it at start, but the usual recipe for `| head` resets it: then a client that hangs up before
        # its answer, or an order to a node that has just died, would silently end the supervisor.
        self._install(signal.SIGPIPE, signal.SIG_IGN)
        self._mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {*HANDLED, signal.SIGCHLD})
        # A Ctrl-Z comes from the kernel, a "kill -TSTP" from a process: only signalfd(2) shows which. The handler is
        # for the case that another thread takes the signal first.
        self._terminal_fd = signal_descriptor(signal.SIGTSTP)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})

    def _install(self, number: int, handler: Any) -> None:
        # The kernel's record first, because Python does not know a handler in C (faulthandler.register()).
        action = signal_action(number)
        self._handlers[number] = signal.signal(number, handler), action

    def _put_back(self, number: int) -> None:
        handler, action = self._handlers[number]
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
        set_signal_action(number, action)

    def wake(self) -> None:
        """End the loop's wait. Callable from any thread."""
        if self._write_fd >= 0:
            with contextlib.suppress(BlockingIOError):  # full, so the loop is awake
                os.write(self._write_fd, _WAKE)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when a signal arrives."""
        return self._read_fd

    def take(self) -> list[int]:
        """Return the signals that have arrived, in order."""
        with contextlib.suppress(BlockingIOError):
            return list(os.read(self._read_fd, 4096))
        return []

    def terminal_fileno(self) -> int:
        """Return the descriptor that becomes readable when a TSTP arrives."""
        return self._terminal_fd

    def take_terminal(self) -> list[bool]:
        """Return for each TSTP that has arrived whether it was typed at the terminal."""
        typed = []
        with contextlib.suppress(BlockingIOError):
            while True:
                _, _, code = struct.unpack_from("Iii", os.read(self._terminal_fd, 128))
                typed.append(code == _SI_KERNEL)
        return typed

    def close(self) -> None:
        """Restore everything that was changed, then raise the signals that came too late for the run to answer them.

        Only signals that ask for the end, and only if none of them was answered. They go to the handlers that were
        there before `open`, which may raise.
        """
        self.foreign.put_back()
        if self._mask is not None:
            self._discard_pending()  # a late TSTP would stop the process when the mask is restored
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            self._mask = None
        for number in list(self._handlers):
            self._put_back(number)
            del self._handlers[number]
        if self._wakeup_fd is not None:
            signal.set_wakeup_fd(self._wakeup_fd)
            self._wakeup_fd = None
        late = self._unanswered()
        self._close_descriptors()
        for number in late:
            signal.raise_signal(number)

    def _unanswered(self) -> list[int]:
        # In a process that was forked meanwhile, the pipe belongs to the parent.
        if self._read_fd < 0 or self.stop_answered or os.getpid() != self._pid:
            return []
        return [number for number in dict.fromkeys(self.take()) if number in STOPPING]

    def close_in_child(self) -> None:
        """In a forked child: close the pipe, and restore those application handlers that only a supervisor replaces.

        An ignored SIGCHLD is not restored: it comes from the parent of this program, and exit statuses would be lost.
        """
        self.foreign.put_back()
        for number in _GIVEN_BACK:
            if number in self._handlers:
                if number == signal.SIGCHLD and self._handlers[number][0] is signal.SIG_IGN:
                    signal.signal(number, signal.SIG_DFL)
                else:
                    self._put_back(number)
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        for fd in (self._read_fd, self._write_fd, self._terminal_fd):
            if fd >= 0:
                os.close(fd)
        self._read_fd = self._write_fd = self._terminal_fd = -1

    def _discard_pending(self) -> None:
        while signal.sigtimedwait({signal.SIGTSTP}, 0) is not None:
            pass

    def _notice(self, number: int, frame: FrameType | None) -> None:
        # The byte in the pipe is the message; this handler only keeps the signal from killing the process.
        if number in FORCING:
            self._stops += 1
            if self.interruptible and self._stops > 1:
                self.stop_answered = True
                raise Interrupted
