"""prctl(2), sigaction(2), signalfd(2), tee(2), malloc_trim(3): libc calls missing from the standard library."""

from __future__ import annotations

import ctypes
import os

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_GET_NAME = 16
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
_MOST_NAME_BYTES = 15
_SPLICE_F_NONBLOCK = 2
_SIGACTION_BYTES = 256
"""More than any libc needs: 152 in glibc and musl on 64 bits."""

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, argument: object) -> None:
    if _libc.prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def set_parent_death_signal(signal: int) -> None:
    """Have the kernel send a signal to this process when the thread that forked it ends (0: none).

    The kernel clears it if the process changes its user or group ids, or executes a set-uid program (prctl(2)).
    """
    _prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal))


def set_thread_name(name: str) -> None:
    """Set the name that ps and top show for this thread, cut to 15 bytes between two characters."""
    _prctl(_PR_SET_NAME, ctypes.c_char_p(cut_name(name).encode()))


def signal_thread(pid: int, thread: int, signal: int) -> bool:
    """Send a signal to one thread of a process that is not reaped yet (tgkill(2)). False if that is not possible."""
    tgkill = getattr(_libc, "tgkill", None)  # in glibc since 2.30
    return tgkill is not None and tgkill(pid, thread, signal) == 0


def thread_name_bytes() -> bytes:
    """Return the kernel's name of this thread: up to 15 bytes that need not be text."""
    name = ctypes.create_string_buffer(_MOST_NAME_BYTES + 1)
    _prctl(_PR_GET_NAME, name)
    return name.value


def set_thread_name_bytes(name: bytes) -> None:
    """Restore a name returned by `thread_name_bytes`."""
    _prctl(_PR_SET_NAME, ctypes.c_char_p(name))


def cut_name(name: str, end: str = "") -> str:
    """Return a name shortened so that it fits with an uncut suffix into 15 bytes (PR_SET_NAME)."""
    room = max(0, _MOST_NAME_BYTES - len(end.encode()))
    return name.encode("utf-8", "replace")[:room].decode("utf-8", "ignore") + end


def set_child_subreaper(on: bool) -> None:
    """Make orphaned descendants children of this process, or of init again."""
    _prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(on))


def is_child_subreaper() -> bool:
    """Whether orphaned descendants become children of this process."""
    answer = ctypes.c_int()
    _prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer))
    return bool(answer.value)


def signal_descriptor(signal: int) -> int:
    """Return a descriptor from which a blocked signal and its sender can be read (signalfd(2))."""
    blocked = ctypes.create_string_buffer(128)  # sigset_t of glibc and musl
    _libc.sigemptyset(blocked)
    _libc.sigaddset(blocked, signal)
    fd = int(_libc.signalfd(-1, blocked, os.O_CLOEXEC | os.O_NONBLOCK))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"signalfd: {os.strerror(number)}")
    return fd


def tee(from_fd: int, to_fd: int, size: int) -> int:
    """Copy one pipe's contents to another without removing them; return the number of bytes (tee(2)). Never waits."""
    copied = int(_libc.tee(from_fd, to_fd, ctypes.c_size_t(size), _SPLICE_F_NONBLOCK))
    if copied < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"tee: {os.strerror(number)}")
    return copied


def signal_action(signal: int) -> bytes:
    """Return the kernel's action for a signal (struct sigaction), to be restored unchanged."""
    action = ctypes.create_string_buffer(_SIGACTION_BYTES)
    if _libc.sigaction(signal, None, action) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"sigaction({signal}): {os.strerror(number)}")
    return action.raw


def set_signal_action(signal: int, action: bytes) -> None:
    """Restore an action returned by `signal_action`."""
    if _libc.sigaction(signal, ctypes.create_string_buffer(action, len(action)), None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"sigaction({signal}): {os.strerror(number)}")


def malloc_trim() -> None:
    """Give freed memory of the C heap back to the kernel, if the libc can do that (glibc)."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
