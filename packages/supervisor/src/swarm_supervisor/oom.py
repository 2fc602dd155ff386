"""Whether the OOM killer was at work: the only way to tell its KILL from anybody else's."""

import os
from pathlib import Path


class OomWatch:
    """Watches the count of OOM kills in the memory cgroup of this process."""

    def __init__(self, proc: Path = Path("/proc/self"), root: Path = Path("/sys/fs/cgroup")) -> None:
        """Take the present count as the start. Without a memory cgroup nothing is ever found."""
        file = _events_file(proc, root)
        self._file = None if file is None else str(file)
        self._count = self._read()

    def hint(self) -> str:
        """Return what to say about a KILL that nobody here has sent: "" if the OOM killer has not been at work."""
        before, now = self._count, self._read()
        self._count = now
        if self._file is None or before is None or now is None or now <= before:
            return ""
        return f"probably the OOM killer: oom_kill in {self._file} went from {before} to {now}"

    def _read(self) -> int | None:
        if self._file is None:
            return None
        try:
            # Between a death and its replacement: Path.read_text() would take longer than all the rest.
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
    """memory.events in cgroup v2 (it counts the groups below too), memory.oom_control in v1."""
    try:
        lines = (proc / "cgroup").read_text().splitlines()
    except OSError:
        return None
    candidates: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        inner = path.lstrip("/")
        if controllers == "":
            # In a container the path may be the host's; then the mount itself is the container's group.
            candidates += [root / inner / "memory.events", root / "memory.events"]
        elif "memory" in controllers.split(","):
            candidates += [root / "memory" / inner / "memory.oom_control", root / "memory" / "memory.oom_control"]
    return next((path for path in candidates if path.is_file()), None)
