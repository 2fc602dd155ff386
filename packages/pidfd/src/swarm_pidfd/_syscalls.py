"""The system calls, as the kernel defines them, with clear errors.

Sources: pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2), waitid(2); include/uapi/linux/pidfd.h for the flags and
the layout of struct pidfd_info.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import select
import signal
import struct
import time
from collections.abc import Iterable

from swarm_pidfd._exit_status import ExitStatus

PIDFD_NONBLOCK = os.O_NONBLOCK  # os.PIDFD_NONBLOCK exists from Python 3.12
PIDFD_THREAD = os.O_EXCL
PIDFD_SIGNAL_PROCESS_GROUP = 1 << 2
PIDFD_INFO_EXIT = 1 << 3

# struct pidfd_info, first version: mask, cgroupid; pid, tgid, ppid, eight ids of users and groups; exit_code (signed).
_INFO = struct.Struct("=QQ11Ii")
_INFO_MASK = struct.Struct("=Q")
_PIDFD_GET_INFO = 3 << 30 | _INFO.size << 16 | 0xFF << 8 | 11  # _IOWR(0xFF, 11, struct pidfd_info)
# The same numbers on every architecture except alpha and mips, where they do not exist: ENOSYS.
_SYS_PIDFD_SEND_SIGNAL = 424
_SYS_PIDFD_OPEN = 434
_SYS_PIDFD_GETFD = 438
_P_PIDFD = 3
_MAX_POLL_MS = 2**31 - 1


class PidfdUnsupportedError(OSError):
    """The kernel, or a seccomp filter, does not support the call."""


def _unsupported(what: str, needs: str) -> PidfdUnsupportedError:
    sentence = f"{what} is not available: it needs Linux {needs} or newer, and no seccomp filter that forbids it"
    return PidfdUnsupportedError(errno.ENOSYS, sentence)


def pidfd_open(pid: int, flags: int = 0) -> int:
    """Open a handle. ProcessLookupError if there is no such process, PidfdUnsupportedError if there is no such call."""
    # A Python that was built against old kernel headers (conda's, some of uv's) has no os.pidfd_open on any kernel.
    call = getattr(os, "pidfd_open", _pidfd_open_by_number)
    try:
        return int(call(pid, flags))
    except OverflowError:
        pass
    except OSError as error:
        # The call itself never returns EPERM (pidfd_open(2)): container engines use it for filtered calls.
        if error.errno in (errno.ENOSYS, errno.EPERM, errno.ENODEV):
            raise _unsupported("pidfd_open()", "5.3") from error
        # EINVAL for a pid > 0: a process about to die, or a thread that is not a leader; ENOENT: such
        # a thread, since 6.16.
        if error.errno not in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
            raise
    raise ProcessLookupError(errno.ESRCH, f"there is no process with pid {pid}")


def _pidfd_open_by_number(pid: int, flags: int) -> int:
    if pid >= 2**31:
        raise OverflowError("a pid has 31 bits")
    return _syscall(_SYS_PIDFD_OPEN, pid, flags)  # it sets close-on-exec itself


def pidfd_send_signal(fd: int, number: int, flags: int = 0) -> None:
    """Send a signal, 0 for none. Errors are as in the man page; EINVAL for flags that this kernel lacks."""
    try:
        if hasattr(signal, "pidfd_send_signal"):
            signal.pidfd_send_signal(fd, number, None, flags)
        else:
            _syscall(_SYS_PIDFD_SEND_SIGNAL, fd, number, None, flags)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise _unsupported("pidfd_send_signal()", "5.1") from error
        raise


def _syscall(number: int, *arguments: int | None) -> int:
    """Make a system call by its number. OSError (ENOSYS) also if Python itself cannot (no ctypes, no libc)."""
    try:
        import ctypes  # takes 5 ms to import, so only when needed

        libc = ctypes.CDLL(None, use_errno=True)
        call = libc.syscall
    except (ImportError, OSError, AttributeError) as error:
        raise OSError(errno.ENOSYS, f"no system call can be made through ctypes: {error}") from error
    # syscall(2) is variadic and takes longs: an int would leave the upper half of its register undefined.
    values = [ctypes.c_void_p(None) if value is None else ctypes.c_long(value) for value in arguments]
    result = int(call(ctypes.c_long(number), *values))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def waitid_exited(fd: int) -> ExitStatus | None:
    """Reap a child. None if it has not ended; ChildProcessError if it is not, or no longer, our child."""
    # Always WNOHANG: the handle's readiness decides when to ask, so that nothing can block here.
    try:
        result = os.waitid(getattr(os, "P_PIDFD", _P_PIDFD), fd, os.WEXITED | os.WNOHANG)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EPERM):
            raise _unsupported("waitid(P_PIDFD)", "5.4") from error
        raise
    return None if result is None else ExitStatus.from_waitid(result)


def pidfd_info(fd: int, mask: int = 0) -> tuple[int, ...]:
    """Return struct pidfd_info as numbers; the first shows which of them the kernel filled in.

    ProcessLookupError for a reaped process (unless exit information is there and asked for).
    """
    buffer = bytearray(_INFO.size)
    _INFO_MASK.pack_into(buffer, 0, mask)
    try:
        fcntl.ioctl(fd, _PIDFD_GET_INFO, buffer)
    except OSError as error:
        # ENOTTY: no such ioctl here; EINVAL: the same before 6.13; EPERM: filtered away.
        if error.errno in (errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EPERM):
            raise _unsupported("PIDFD_GET_INFO", "6.13") from error
        raise
    return _INFO.unpack(buffer)


def exit_status_of_reaped(fd: int) -> ExitStatus | None:
    """Return how a reaped process ended. None if it is not reaped yet, or if the kernel does not keep it.

    PidfdUnsupportedError before 6.13, where it is never known.
    """
    # The kernel answers what it knows: only the returned mask shows whether the exit code is set.
    try:
        mask, *_, wait_status = pidfd_info(fd, PIDFD_INFO_EXIT)
    except OSError as error:
        # ESRCH: reaped and not kept; EREMOTE: a process of an unrelated pid namespace.
        if error.errno not in (errno.ESRCH, errno.EREMOTE):
            raise
        return None
    return ExitStatus.from_wait_status(wait_status) if mask & PIDFD_INFO_EXIT else None


def pidfd_getfd(fd: int, remote_fd: int) -> int:
    """Duplicate a file descriptor of another process into this one, close-on-exec. Errors are as in the man page."""
    try:
        return _syscall(_SYS_PIDFD_GETFD, fd, remote_fd, 0)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise _unsupported("pidfd_getfd()", "5.6") from error
        raise


def poll(events_by_fd: Iterable[tuple[int, int]], timeout_s: float | None) -> dict[int, int]:
    """Wait until a descriptor has one of its events, or until the timeout. POLLHUP and POLLERR always count."""
    deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
    poller = select.poll()
    for fd, events in events_by_fd:
        poller.register(fd, events)
    while True:
        remaining_ms = max(0.0, math.ceil((deadline - time.monotonic()) * 1000)) if deadline < math.inf else math.inf
        ready = poller.poll(min(remaining_ms, _MAX_POLL_MS))
        if ready or remaining_ms <= _MAX_POLL_MS:
            return dict(ready)
