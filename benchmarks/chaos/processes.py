"""What /proc says of processes that are not ours to wait for."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(condition: Callable[[], Value], timeout_s: float, pause_s: float = 0.02) -> Value | None:
    """Return the first true value of ``condition``; None if there is none within ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            return None
        time.sleep(pause_s)
    return value


def state(pid: int) -> str:
    """Return the state of a process as proc(5) has it (R, S, D, T, Z, ...); "" when there is none."""
    return _fields(pid)[0]


def gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    return state(pid) in ("", "Z", "X")


def in_session(session: int) -> dict[int, str]:
    """Return the processes of a session and their states, zombies included."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _fields(int(name))
            if fields[0] and int(fields[3]) == session:
                found[int(name)] = fields[0]
    return found


def descriptors(pid: int) -> int:
    """Return how many file descriptors a process has open; 0 when it has gone."""
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0


def threads(pid: int) -> int:
    """Return how many threads a process has; 0 when it has gone."""
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/task"))
    return 0


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MB of 2^20 bytes; 0 when it has gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


def _fields(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["", "0", "0", "0"]
