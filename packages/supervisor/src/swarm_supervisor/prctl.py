"""prctl(2) and malloc_trim(3): the two libc calls that the standard library does not have."""

import ctypes
import os

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37

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
    """Set what ps and top show for this thread; 15 bytes at most, the rest is cut."""
    _prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]))


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


def malloc_trim() -> None:
    """Give freed memory of the C heap back to the kernel, where the libc is one that can (glibc)."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
