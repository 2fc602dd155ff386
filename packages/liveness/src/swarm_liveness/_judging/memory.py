"""Memory of a process as the kernel counts it. RSS costs microseconds to read, USS and PSS milliseconds."""

from __future__ import annotations

import os
from types import TracebackType

import psutil

from swarm_liveness._judging.memory_watch import MemorySample

MB = 2**20
_PAGE = os.sysconf("SC_PAGE_SIZE")


class ProcessMemory:
    """Reads the memory of this process, or of another one by its pid.

    The descriptor of /proc/<pid>/statm is kept open, which makes RSS ten times cheaper than opening it each time. It
    belongs to the process that opened it: /proc/self is resolved at open, so after a fork it would still show the
    parent's figures. Therefore nothing is opened before the first reading, and a fork in between is detected.

    Since Linux 6.2 statm adds up counters that each CPU updates in batches, so RSS may be off by some hundred KB per
    CPU. All figures are in MB of 2^20 bytes.
    """

    def __init__(self, pid: int | None = None) -> None:
        """Observe `pid`, or the calling process if it is None. Nothing is opened yet."""
        self._pid = pid
        self._owner = -1
        self._statm = -1

    def rss_mb(self) -> float:
        """Resident memory in MB, shared pages included.

        Raises ProcessLookupError when the process is gone, PermissionError when it belongs to another user.
        """
        owner = os.getpid()
        if self._owner != owner:
            self.close()
            self._statm = self._open("statm")
            self._owner = owner
        # Fields: size resident shared text lib data dt, in pages (proc(5)).
        fields = os.pread(self._statm, 128, 0).split()
        return int(fields[1]) * _PAGE / MB

    def exact(self) -> MemorySample:
        """RSS, USS and PSS from smaps_rollup, or from psutil where /proc does not have that file.

        Raises ProcessLookupError when the process is gone, PermissionError when it belongs to another user.
        """
        try:
            rollup = self._open("smaps_rollup")
        except FileNotFoundError:
            return self._exact_by_psutil()
        try:
            # Read once: the kernel walks the page tables for each read.
            text = os.read(rollup, 16384)
        finally:
            os.close(rollup)
        return parse_rollup(text) if text else MemorySample(0.0, 0.0, 0.0)

    def close(self) -> None:
        """Close the descriptor; a later reading opens it again."""
        if self._statm >= 0 and self._owner >= 0:
            os.close(self._statm)
        self._statm = self._owner = -1

    def __enter__(self) -> ProcessMemory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _open(self, name: str) -> int:
        folder = f"/proc/{os.getpid() if self._pid is None else self._pid}"
        try:
            return os.open(f"{folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if os.path.isdir(folder):
                raise
            raise ProcessLookupError(f"there is no process {self._pid}") from None

    def _exact_by_psutil(self) -> MemorySample:
        try:
            info = psutil.Process(self._pid).memory_full_info()
        except psutil.NoSuchProcess:
            raise ProcessLookupError(f"there is no process {self._pid}") from None
        except psutil.AccessDenied:
            raise PermissionError(f"this user may not read the memory of process {self._pid}") from None
        return MemorySample(info.rss / MB, info.uss / MB, info.pss / MB)


def parse_rollup(text: bytes) -> MemorySample:
    """Parse a smaps_rollup, whose kB are 1024 bytes. USS is all private memory, huge pages included (proc(5))."""
    rss = pss = uss = 0
    for line in text.splitlines():
        name, _, rest = line.partition(b":")
        if name == b"Rss":
            rss = _kib(rest)
        elif name == b"Pss":
            pss = _kib(rest)
        elif name in _PRIVATE:
            uss += _kib(rest)
    return MemorySample(rss / 1024, uss / 1024, pss / 1024)


_PRIVATE = frozenset({b"Private_Clean", b"Private_Dirty", b"Private_Hugetlb"})


def _kib(rest: bytes) -> int:
    return int(rest.split()[0])  # "    1234 kB"
