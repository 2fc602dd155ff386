"""prctl(2), sigaction(2), signalfd(2), tee(2), malloc_trim(3): libc calls that the standard library does not have."""

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
"""More than any libc has: 152 in glibc and musl on 64 bits."""

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, argument: object) -> None:
    if _libc.prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def set_parent_death_signal(signal: int) -> None:
    """Have the kernel send a signal to this process when the thread that forked it ends (0: none).

    The kernel clears it when the process changes its user or group ids, or executes a set-uid program (prctl(2)).
    """
    _prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal))


def set_thread_name(name: str) -> None:
    """Set what ps and top show for this thread; 15 bytes at most, the rest is cut between two characters."""
    _prctl(_PR_SET_NAME, ctypes.c_char_p(cut_name(name).encode()))


def signal_thread(pid: int, thread: int, signal: int) -> bool:
    """Send a signal to one thread of a process that is not reaped yet (tgkill(2)). False if that cannot be."""
    tgkill = getattr(_libc, "tgkill", None)  # glibc has it since 2.30
    return tgkill is not None and tgkill(pid, thread, signal) == 0


def thread_name_bytes() -> bytes:
    """Return the name of this thread as the kernel has it: up to 15 bytes that need not be text."""
    name = ctypes.create_string_buffer(_MOST_NAME_BYTES + 1)
    _prctl(_PR_GET_NAME, name)
    return name.value


def set_thread_name_bytes(name: bytes) -> None:
    """Put back what `thread_name_bytes` returned."""
    _prctl(_PR_SET_NAME, ctypes.c_char_p(name))


def cut_name(name: str, end: str = "") -> str:
    """Return what fits of a name in front of an end that must not be cut: 15 bytes in all (PR_SET_NAME)."""
    room = max(0, _MOST_NAME_BYTES - len(end.encode()))
    return name.encode("utf-8", "replace")[:room].decode("utf-8", "ignore") + end


def set_child_subreaper(on: bool) -> None:
    """Have orphaned descendants become children of this process, or of init again."""
    _prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(on))


def is_child_subreaper() -> bool:
    """Whether orphaned descendants become children of this process."""
    answer = ctypes.c_int()
    _prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer))
    return bool(answer.value)


def signal_descriptor(signal: int) -> int:
    """Return a descriptor that a blocked signal can be read from, with who sent it (signalfd(2))."""
    blocked = ctypes.create_string_buffer(128)  # sigset_t of glibc and musl
    _libc.sigemptyset(blocked)
    _libc.sigaddset(blocked, signal)
    fd = int(_libc.signalfd(-1, blocked, os.O_CLOEXEC | os.O_NONBLOCK))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"signalfd: {os.strerror(number)}")
    return fd


def tee(from_fd: int, to_fd: int, size: int) -> int:
    """Copy what is in one pipe into another and leave it where it is; return how many bytes (tee(2)). Never waits."""
    copied = int(_libc.tee(from_fd, to_fd, ctypes.c_size_t(size), _SPLICE_F_NONBLOCK))
    if copied < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"tee: {os.strerror(number)}")
    return copied


def signal_action(signal: int) -> bytes:
    """Return what the kernel does about a signal: struct sigaction, to be put back as it is."""
    action = ctypes.create_string_buffer(_SIGACTION_BYTES)
    if _libc.sigaction(signal, None, action) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"sigaction({signal}): {os.strerror(number)}")
    return action.raw


def set_signal_action(signal: int, action: bytes) -> None:
    """Put back what `signal_action` returned."""
    if _libc.sigaction(signal, ctypes.create_string_buffer(action, len(action)), None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"sigaction({signal}): {os.strerror(number)}")


def malloc_trim() -> None:
    """Give freed memory of the C heap back to the kernel, where the libc is one that can (glibc)."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
