"""The handle itself."""

import contextlib
import errno
import math
import os
import select
import signal as signals
import threading
import time
import warnings
from collections.abc import Iterator
from types import TracebackType
from typing import NoReturn

from swarm_pidfd import _syscalls
from swarm_pidfd._exit_status import ExitStatus
from swarm_pidfd._syscalls import PidfdUnsupportedError

_REAPING_GRACE_S = 1.0
"""How long the parent of a process that has ended is given to reap it: only then does the kernel tell us its status."""
_TRACED_LOOK_S = 0.05
_TRACED = ExitStatus()
"""Stands for a child that has ended and cannot be reaped yet: whoever traces it gets its status first (ptrace(2))."""


class PidfdClosedError(ValueError):
    """The handle has been closed: open another one, or keep it open for longer."""


class Pidfd:
    """A handle on one process, a child or a stranger, for as long as it is open, dead or alive.

    It never comes to mean another process, whatever becomes of the pid. Every method may be called from any thread.
    """

    def __init__(self, pid: int) -> None:
        """Open a handle.

        Free of races for a child that nobody else reaps: its pid stays taken until it is reaped. For any other process
        make sure after opening that it is the one you mean.

        ProcessLookupError: there is no such process. `PidfdUnsupportedError`: no pidfd here. ValueError: pid <= 0.
        TypeError: not an int. OSError: no file descriptor is left (EMFILE, ENFILE).
        """
        self._fd = -1
        if not isinstance(pid, int) or isinstance(pid, bool):
            raise TypeError(f"a pid is an int, not {type(pid).__name__}: {pid!r}")
        if pid <= 0:
            raise ValueError(f"a pid is positive, and a handle is for one process: {pid} is a group, or all of them")
        self._pid = int(pid)
        self._status: ExitStatus | None = None
        self._closed = False
        self._users = 0
        self._wake_fd = -1
        # Held for short, non-blocking calls only. Re-entrant: a signal handler may use the handle that it interrupts.
        self._lock = threading.RLock()
        self._fd = _syscalls.pidfd_open(self._pid)

    @property
    def pid(self) -> int:
        """The pid that was opened. Once the process is reaped it may belong to another one; this handle does not."""
        return self._pid

    @property
    def closed(self) -> bool:
        """Whether the handle has been closed."""
        return self._closed

    @property
    def exit_status(self) -> ExitStatus | None:
        """How the process ended, if wait() or cleanup() has found out already; None otherwise. Asks nobody."""
        return self._status

    def fileno(self) -> int:
        """Return the file descriptor: it polls as readable once the process has ended. `PidfdClosedError` if closed."""
        if self._closed:
            raise self._closed_error()
        return self._fd

    def alive(self) -> bool:
        """Return whether the process has not ended. A zombie has.

        `PidfdClosedError` if closed before its end was known; after `cleanup` and a successful `wait` the answer stays.
        """
        if self._status is not None:
            return False
        with self._use() as fd:
            return not _has_ended(fd)

    def signal(self, sig: int | str, *, group: bool = False) -> bool:
        """Send a signal: 15, "TERM", "SIGTERM" or signal.SIGTERM. Return False if the process has ended.

        With ``group`` the signal goes to every member of the process group that the process leads, also when it has
        itself ended; False if there is none.

        ValueError: no such signal. PermissionError: not allowed. `PidfdUnsupportedError`: ``group`` needs Linux 6.9.
        `PidfdClosedError` if closed.
        """
        number = _signal_number(sig)
        with self._use() as fd:
            if group:
                return self._signal_group(fd, number)
            # A zombie takes signals without an error and without effect.
            if self._status is not None or _has_ended(fd):
                return False
            try:
                _syscalls.pidfd_send_signal(fd, number)
            except ProcessLookupError:
                return False
            return True

    def wait(self, timeout: float | None = None) -> ExitStatus | None:
        """Wait until the process has ended, at most ``timeout`` seconds; return how, or None if it has not.

        A child is reaped, once, whoever waits; its status is remembered, also after close(). The status of a process
        that is not a child, or that somebody else has reaped, comes from the kernel where it keeps it (Linux 6.15) and
        once its parent has reaped it, which is awaited for 1 s at most; else it is ``ExitStatus(None, None)``. Likewise
        a child that ended under a debugger, which gets the status first: None if ``timeout`` is over before that 1 s.

        ValueError: a timeout that is no number. `PidfdClosedError` if closed, also while waiting.
        """
        deadline = _deadline(timeout)
        if self._status is not None:
            return self._status
        with self._use() as fd:
            if not _has_ended(fd) and not self._await_event(fd, select.POLLIN, deadline):
                return None
            grace = time.monotonic() + _REAPING_GRACE_S
            while (status := self._collect(fd)) is _TRACED:
                # Nothing becomes readable when a tracer lets go: the handle has been readable all the time.
                now = time.monotonic()
                if now >= min(deadline, grace):
                    return None if deadline <= grace else ExitStatus()
                self._await_event(fd, 0, min(deadline, grace, now + _TRACED_LOOK_S))
            if status is None:
                self._await_event(fd, 0, min(deadline, grace))
                status = self._collect(fd) or ExitStatus()
            return status

    async def wait_async(self) -> ExitStatus:
        """Wait in the running asyncio loop until the process has ended; otherwise like wait(). May be cancelled."""
        import asyncio  # 50 ms to import: for those who have done it already

        if self._status is not None:
            return self._status
        with self._use() as fd, select.epoll() as events:
            # An epoll of our own is a descriptor of our own: a loop keeps one reader per descriptor, and there may be
            # several waits for one handle.
            events.register(fd, select.EPOLLIN)
            events.register(self._wake_descriptor(), select.EPOLLIN)
            await _readable(events)
            self._check_open()
            grace = time.monotonic() + _REAPING_GRACE_S
            while (status := self._collect(fd)) is _TRACED and time.monotonic() < grace:
                await asyncio.sleep(_TRACED_LOOK_S)
                self._check_open()
            if status is None:
                events.modify(fd, 0)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_REAPING_GRACE_S):
                        await _readable(events)
                self._check_open()
                status = self._collect(fd) or ExitStatus()
            return status

    def cleanup(self) -> bool:
        """Reap the process if it has ended and close the handle. Return False, and do nothing, if it is still alive.

        False too for a child that has ended under a debugger, which lets go of it later. Never waits. True for a handle
        that is closed already.
        """
        with self._lock:
            if self._closed:
                return True
            if self._status is None:
                if not _has_ended(self._fd):
                    return False
                status = self._collect(self._fd)
                if status is _TRACED:
                    return False
                self._status = status or ExitStatus()  # known or not, this is the answer from now on
            self.close()
            return True

    def close(self) -> None:
        """Close the handle; the process is left alone, and not reaped. Closing twice does nothing.

        Whoever is waiting in another thread or task gets `PidfdClosedError`.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._users and self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)
            self._release_unused()

    def getfd(self, fd: int) -> int:
        """Return a duplicate, close-on-exec, of a file descriptor of that process. The caller closes it.

        It takes the permission to trace the process (PermissionError). ProcessLookupError: the process has ended.
        OSError (EBADF): it has no such descriptor. `PidfdUnsupportedError`: before Linux 5.6. `PidfdClosedError` if
        closed.
        """
        if not isinstance(fd, int) or isinstance(fd, bool) or not 0 <= fd < 2**31:
            raise ValueError(f"a file descriptor is an int, 0 or more, not {fd!r}")
        with self._use() as own:
            try:
                return _syscalls.pidfd_getfd(own, fd)
            except OSError as error:
                if error.errno == errno.EBADF:
                    raise OSError(errno.EBADF, f"process {self._pid} has no file descriptor {fd}") from error
                if error.errno == errno.ESRCH:
                    raise ProcessLookupError(errno.ESRCH, f"process {self._pid} has ended") from error
                raise

    def __enter__(self) -> "Pidfd":
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        # A copy would share the descriptor, and the first of the two to close it would leave the other with any file.
        raise TypeError("a Pidfd is an open descriptor and cannot be copied or pickled: open another one for its pid")

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"fd {self._fd}"
        return f"<Pidfd of process {self._pid}, {state}{f', {self._status}' if self._status else ''}>"

    def __del__(self) -> None:
        if self._fd >= 0:
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)
            self.close()

    @contextlib.contextmanager
    def _use(self) -> Iterator[int]:
        """Keep the descriptor from being closed, and its number from being used again, while a call is under way."""
        with self._lock:
            self._check_open()
            self._users += 1
        try:
            yield self._fd
        finally:
            with self._lock:
                self._users -= 1
                self._release_unused()

    def _release_unused(self) -> None:
        if not self._closed or self._users:
            return
        fds, self._fd, self._wake_fd = (self._fd, self._wake_fd), -1, -1
        for fd in fds:
            if fd >= 0:
                os.close(fd)

    def _wake_descriptor(self) -> int:
        """Return what close() makes readable to wake those who wait. Made when first needed, so that it rarely is."""
        with self._lock:
            self._check_open()
            if self._wake_fd < 0:
                self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            return self._wake_fd

    def _await_event(self, fd: int, event: int, deadline: float) -> bool:
        timeout_s = None if deadline == math.inf else deadline - time.monotonic()
        if timeout_s is not None and timeout_s <= 0:
            return False
        ready = _syscalls.poll([(fd, event), (self._wake_descriptor(), select.POLLIN)], timeout_s)
        self._check_open()
        return fd in ready

    def _collect(self, fd: int) -> ExitStatus | None:
        """Find out, once, how a process has ended. None if nobody has told yet; `_TRACED` if a tracer holds a child."""
        with self._lock:
            if self._status is None:
                try:
                    status = _syscalls.waitid_exited(fd)
                    if status is None:
                        return _TRACED
                    self._status = status
                except ChildProcessError:
                    try:
                        self._status = _syscalls.exit_status_of_reaped(fd)
                    except PidfdUnsupportedError:
                        return ExitStatus()
            return self._status

    def _signal_group(self, fd: int, number: int) -> bool:
        try:
            _syscalls.pidfd_send_signal(fd, number, _syscalls.PIDFD_SIGNAL_PROCESS_GROUP)
        except ProcessLookupError:
            return False
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise PidfdUnsupportedError(
                errno.ENOSYS, "a signal to a process group through a pidfd needs Linux 6.9: use os.killpg()"
            ) from error
        return True

    def _check_open(self) -> None:
        if self._closed:
            raise self._closed_error()

    def _closed_error(self) -> PidfdClosedError:
        return PidfdClosedError(f"the handle of process {self._pid} is closed: open another, or close it later")


def _has_ended(fd: int) -> bool:
    return bool(_syscalls.poll([(fd, select.POLLIN)], 0.0))


async def _readable(events: select.epoll) -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def notice() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(events.fileno(), notice)
    try:
        await ready
    finally:
        loop.remove_reader(events.fileno())


def _deadline(timeout: float | None) -> float:
    if timeout is None:
        return math.inf
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or math.isnan(timeout):
        raise ValueError(f"a timeout is a number of seconds or None, not {timeout!r}")
    return time.monotonic() + timeout


def _signal_number(sig: int | str) -> int:
    if isinstance(sig, str):
        name = sig if sig.startswith("SIG") else f"SIG{sig}"
        try:
            return signals.Signals[name]
        except KeyError:
            raise ValueError(f'no signal is called {sig!r}: give a name such as "TERM" or "SIGTERM"') from None
    if isinstance(sig, int) and not isinstance(sig, bool) and sig in signals.valid_signals():
        return int(sig)
    raise ValueError(f'{sig!r} is no signal: give one such as 15, "TERM" or signal.SIGTERM')
