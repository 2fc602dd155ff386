"""The handle itself."""

from __future__ import annotations

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
"""How long to wait for a parent to reap an ended process: only then does the kernel give us its status."""
_TRACED_LOOK_S = 0.05
_TRACED = ExitStatus()
"""Marks a child that has ended but cannot be reaped yet, because its tracer gets the status first (ptrace(2))."""


class PidfdClosedError(ValueError):
    """The handle is closed: open another one, or keep it open longer."""


class Pidfd:
    """A handle on one process, a child or any other, alive or dead, until it is closed.

    It never refers to another process, even if the pid is reused. Every method may be called from any thread.
    """

    def __init__(self, pid: int) -> None:
        """Open a handle.

        Race-free for a child that only you reap, because its pid stays taken until then. For any other process,
        check after opening that it is the one you mean.

        ProcessLookupError: there is no such process. `PidfdUnsupportedError`: no pidfds here. ValueError: pid <= 0.
        TypeError: not an int. OSError: no file descriptor is left (EMFILE, ENFILE).
        """
        self._fd = -1
        if not isinstance(pid, int) or isinstance(pid, bool):
            raise TypeError(f"a pid is an int, not {type(pid).__name__}: {pid!r}")
        if pid <= 0:
            raise ValueError(
                f"a pid is positive, and a handle is for one process: {pid} means a group or all processes"
            )
        self._pid = int(pid)
        self._status: ExitStatus | None = None
        self._closed = False
        self._users = 0
        self._wake_fd = -1
        # Held only for short, non-blocking calls. Re-entrant: a signal handler may use the handle that it interrupts.
        self._lock = threading.RLock()
        self._fd = _syscalls.pidfd_open(self._pid)

    @property
    def pid(self) -> int:
        """The pid that was opened. Once it is reaped, another process may get the pid, but not this handle."""
        return self._pid

    @property
    def closed(self) -> bool:
        """Whether the handle has been closed."""
        return self._closed

    @property
    def exit_status(self) -> ExitStatus | None:
        """How the process ended, if wait() or cleanup() has found out; None otherwise. Makes no system call."""
        return self._status

    def fileno(self) -> int:
        """Return the file descriptor: it polls as readable once the process has ended. `PidfdClosedError` if closed."""
        if self._closed:
            raise self._closed_error()
        return self._fd

    def alive(self) -> bool:
        """Return whether the process is running. A zombie has ended.

        `PidfdClosedError` if closed before its end was known; after `cleanup` or a successful `wait` it still answers.
        """
        if self._status is not None:
            return False
        with self._use() as fd:
            return not _has_ended(fd)

    def signal(self, sig: int | str, *, group: bool = False) -> bool:
        """Send a signal: 15, "TERM", "SIGTERM" or signal.SIGTERM. Return False if the process has ended.

        With ``group`` the signal goes to every member of the process group that the process leads, even if the leader
        has ended; False if there is no member.

        ValueError: no such signal. PermissionError: not allowed. `PidfdUnsupportedError`: ``group`` needs Linux 6.9.
        `PidfdClosedError` if closed.
        """
        number = _signal_number(sig)
        with self._use() as fd:
            if group:
                return self._signal_group(fd, number)
            # A zombie accepts signals without error and without effect.
            if self._status is not None or _has_ended(fd):
                return False
            try:
                _syscalls.pidfd_send_signal(fd, number)
            except ProcessLookupError:
                return False
            return True

    def wait(self, timeout: float | None = None) -> ExitStatus | None:
        """Wait at most ``timeout`` seconds for the process to end. Return how it ended, or None if it has not.

        A child is reaped once, by any waiter; its status is remembered, even after close(). The status of a process
        that is not a child, or that other code has reaped, comes from the kernel if it keeps it (Linux 6.15),
        after its parent has reaped it, which is awaited for at most 1 s; otherwise it is ``ExitStatus(None, None)``. So
        is that of a child that ended under a debugger, which gets the status first: None if ``timeout`` ends before
        that 1 s.

        ValueError: the timeout is not a number. `PidfdClosedError` if closed, even while waiting.
        """
        deadline = _deadline(timeout)
        if self._status is not None:
            return self._status
        with self._use() as fd:
            if not _has_ended(fd) and not self._await_event(fd, select.POLLIN, deadline):
                return None
            grace = time.monotonic() + _REAPING_GRACE_S
            while (status := self._collect(fd)) is _TRACED:
                # Nothing becomes readable when a tracer lets go: the handle was readable all the time.
                now = time.monotonic()
                if now >= min(deadline, grace):
                    return None if deadline <= grace else ExitStatus()
                self._await_event(fd, 0, min(deadline, grace, now + _TRACED_LOOK_S))
            if status is None:
                self._await_event(fd, 0, min(deadline, grace))
                status = self._collect(fd) or ExitStatus()
            return status

    async def wait_async(self) -> ExitStatus:
        """Wait in the running asyncio loop until the process has ended; otherwise like wait(). Can be cancelled."""
        import asyncio  # takes 50 ms to import, which the caller has already done

        if self._status is not None:
            return self._status
        with self._use() as fd, select.epoll() as events:
            # A separate epoll has a separate descriptor: a loop keeps one reader per descriptor, but there may be
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
        """Reap the process if it has ended, and close the handle. Return False and do nothing if it is still alive.

        False too for a child that ended under a debugger that has not let go of it yet. Never waits. True for a handle
        that is already closed.
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
                self._status = status or ExitStatus()  # known or unknown, the answer is final
            self.close()
            return True

    def close(self) -> None:
        """Close the handle; the process is left alone and not reaped. Closing twice does nothing.

        A wait in another thread or task raises `PidfdClosedError`.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._users and self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)
            self._release_unused()

    def getfd(self, fd: int) -> int:
        """Return a close-on-exec duplicate of a file descriptor of that process. The caller closes it.

        This needs permission to trace the process (PermissionError). ProcessLookupError: the process has ended.
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

    def __enter__(self) -> Pidfd:
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        # A copy would share the descriptor: after one copy closed it, the other might refer to any file.
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
        """Keep the descriptor from being closed, and its number from being reused, during a call."""
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
        """Return the descriptor that close() makes readable to wake waiters. Created on first use, which is rare."""
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
        """Find out, once, how a process ended. None if that is not known yet; `_TRACED` if a tracer holds a child."""
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
            raise ValueError(f'there is no signal {sig!r}: give a name such as "TERM" or "SIGTERM"') from None
    if isinstance(sig, int) and not isinstance(sig, bool) and sig in signals.valid_signals():
        return int(sig)
    raise ValueError(f'{sig!r} is not a signal: give one such as 15, "TERM" or signal.SIGTERM')
