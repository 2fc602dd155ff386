"""Detect the OOM killer, to tell its KILL from any other."""

from __future__ import annotations

import os
from pathlib import Path


class OomWatch:
    """Watches the count of OOM kills in the memory cgroup of this process."""

    def __init__(self, proc: Path = Path("/proc/self"), root: Path = Path("/sys/fs/cgroup")) -> None:
        """Take the current count as the start. Without a memory cgroup nothing is ever detected."""
        file = _events_file(proc, root)
        self._file = None if file is None else str(file)
        self._count = self._read()

    def hint(self) -> str:
        """Return a text for a KILL that the supervisor did not send; "" if the OOM killer was not active."""
        before, now = self._count, self._read()
        self._count = now
        if self._file is None or before is None or now is None or now <= before:
            return ""
        return f"probably the OOM killer: oom_kill in {self._file} went from {before} to {now}"

    def _read(self) -> int | None:
        if self._file is None:
            return None
        try:
            # This runs between a death and its replacement, and Path.read_text() would take longer than all the rest.
            fd = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                text = os.read(fd, 4096)
            finally:
                os.close(fd)
            for line in text.splitlines():
                name, _, value = line.partition(b" ")
                if name == b"oom_kill":
                    return int(value)
        except (OSError, ValueError):
            pass
        return None


def _events_file(proc: Path, root: Path) -> Path | None:
    """memory.events in cgroup v2 (which includes child groups), memory.oom_control in v1."""
    try:
        lines = (proc / "cgroup").read_text().splitlines()
    except OSError:
        return None
    candidates: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        inner = path.lstrip("/")
        if controllers == "":
            # In a container the path may be the host's path; then the mount itself is the container's group.
            candidates += [root / inner / "memory.events", root / "memory.events"]
        elif "memory" in controllers.split(","):
            candidates += [root / "memory" / inner / "memory.oom_control", root / "memory" / "memory.oom_control"]
    return next((path for path in candidates if path.is_file()), None)
