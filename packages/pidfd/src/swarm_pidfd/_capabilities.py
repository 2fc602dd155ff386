"""What the kernel and the seccomp filter allow this process to do: tried out, never guessed from a version."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, fields

from swarm_pidfd import _syscalls
from swarm_pidfd._syscalls import PidfdUnsupportedError

_PROBE_TIMEOUT_S = 5.0

__all__ = ["Capabilities", "PidfdUnsupportedError", "capabilities", "supported"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The features that work. The README lists the kernel version of each."""

    open: bool
    """pidfd_open(): handles can be opened at all."""
    signal: bool
    """pidfd_send_signal()."""
    wait: bool
    """waitid(P_PIDFD): the exit status of a child."""
    nonblock: bool
    """PIDFD_NONBLOCK."""
    getfd: bool
    """pidfd_getfd(): `Pidfd.getfd`, with permission to trace the process."""
    thread: bool
    """PIDFD_THREAD: a handle on a single thread."""
    process_group: bool
    """PIDFD_SIGNAL_PROCESS_GROUP: `Pidfd.signal` with ``group=True``."""
    info: bool
    """PIDFD_GET_INFO: facts about any process."""
    exit_info: bool
    """PIDFD_INFO_EXIT: the exit status of a process that is not a child."""
    unique_inode: bool
    """pidfs: fstat() of a handle gives an inode that is unique to the process."""


def supported() -> bool:
    """Return whether `Pidfd` works here: open, signal and wait all answer, and no seccomp filter forbids one.

    OSError if it cannot be determined, because no file descriptor is left.
    """
    fd = _open_self()
    if fd is None:
        return False
    try:
        return _can_signal(fd) and _can_wait(fd)
    finally:
        os.close(fd)


def capabilities() -> Capabilities:
    """Try everything and return what works. Starts one short-lived thread, but no process.

    OSError if it cannot be determined, because no file descriptor is left.
    """
    fd = _open_self()
    if fd is None:
        return Capabilities(*[False] * len(fields(Capabilities)))
    try:
        thread, exit_info = _thread_and_exit_info()
        return Capabilities(
            open=True,
            signal=_can_signal(fd),
            wait=_can_wait(fd),
            nonblock=_can_open(_syscalls.PIDFD_NONBLOCK),
            getfd=_can_getfd(fd),
            thread=thread,
            process_group=_can_signal_group(fd),
            info=_can_info(fd),
            exit_info=exit_info,
            unique_inode=_has_unique_inode(fd),
        )
    finally:
        os.close(fd)


def _open_self() -> int | None:
    try:
        return _syscalls.pidfd_open(os.getpid())
    except PidfdUnsupportedError:
        return None


def _can_open(flags: int) -> bool:
    try:
        os.close(_syscalls.pidfd_open(os.getpid(), flags))
    except (PidfdUnsupportedError, ProcessLookupError):  # EINVAL is normally read as "gone"; here it is about the flag
        return False
    return True


def _can_signal(fd: int) -> bool:
    try:
        _syscalls.pidfd_send_signal(fd, 0)
    except OSError:
        return False
    return True


def _can_wait(fd: int) -> bool:
    # A process is never its own child: ECHILD means that P_PIDFD was understood, EINVAL that it was not.
    try:
        _syscalls.waitid_exited(fd)
    except ChildProcessError:
        return True
    except OSError:
        return False
    return True


def _can_getfd(fd: int) -> bool:
    try:
        os.close(_syscalls.pidfd_getfd(fd, fd))
    except OSError:
        return False
    return True


def _can_signal_group(fd: int) -> bool:
    try:
        _syscalls.pidfd_send_signal(fd, 0, _syscalls.PIDFD_SIGNAL_PROCESS_GROUP)
    except ProcessLookupError:  # the flag was understood: we lead no process group
        return True
    except OSError:
        return False
    return True


def _can_info(fd: int) -> bool:
    try:
        _syscalls.pidfd_info(fd)
    except OSError:
        return False
    return True


def _thread_and_exit_info() -> tuple[bool, bool]:
    # Exit information only exists after an exit. A thread is the cheapest way to get one: it need not be reaped,
    # it sends no SIGCHLD, and no fork copies the page tables of a big process. It is gone (release_task) when the last
    # reference to its pid is; poll then returns POLLHUP.
    identifiers: list[int] = []
    known, leave = threading.Event(), threading.Event()

    def live_shortly() -> None:
        identifiers.append(threading.get_native_id())
        known.set()
        leave.wait(_PROBE_TIMEOUT_S)

    thread = threading.Thread(target=live_shortly, name="pidfd-probe", daemon=True)
    thread.start()
    fd = None
    try:
        if not known.wait(_PROBE_TIMEOUT_S):
            return False, False
        fd = _syscalls.pidfd_open(identifiers[0], _syscalls.PIDFD_THREAD)
    except (PidfdUnsupportedError, ProcessLookupError):
        return False, False
    finally:
        leave.set()
        thread.join()
    try:
        _syscalls.poll([(fd, 0)], _PROBE_TIMEOUT_S)
        return True, _syscalls.exit_status_of_reaped(fd) is not None
    except PidfdUnsupportedError:
        return True, False
    finally:
        os.close(fd)


def _has_unique_inode(fd: int) -> bool:
    # Before pidfs (6.9) every pidfd was the one anonymous inode that epoll and eventfd share as well.
    anonymous = os.eventfd(0, os.EFD_CLOEXEC)
    try:
        return os.fstat(fd).st_dev != os.fstat(anonymous).st_dev
    finally:
        os.close(anonymous)
