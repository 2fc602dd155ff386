"""Detect the OOM killer, to tell its KILL from any other."""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

LOOK_EVERY_S = 1.0
"""How often reports of nodes have the count read: no timer, because a swarm that says nothing wakes nothing."""
NARROW_S = 10.0
"""A count that moved within a longer time may belong to the kill of another process at any moment of it."""
LINGER_S = 5.0
"""How long after its KILL a large process may take to end."""


@dataclass(slots=True)
class _Move:
    """The count went up, between two looks at it."""

    after: float
    seen: float
    before: int
    now: int
    left: int
    """How many of these kills were not yet those of a node."""


@dataclass(frozen=True, slots=True)
class Hint:
    """What the count says of a KILL that the supervisor did not send."""

    text: str = ""
    sure: bool = False
    """False: the OOM killer may as well have killed another process of the cgroup, much earlier."""


class OomWatch:
    """Watches the count of OOM kills in the memory cgroup of this process, which counts those of all its processes."""

    def __init__(self, proc: Path = Path("/proc/self"), root: Path = Path("/sys/fs/cgroup")) -> None:
        """Take the current count as the start. Without a memory cgroup nothing is ever detected."""
        file = _events_file(proc, root)
        self._file = None if file is None else str(file)
        self._count = self._read()
        self._looked_at = time.monotonic()
        self._moves: deque[_Move] = deque(maxlen=16)

    def look(self, now: float) -> None:
        """Read the count, unless that was done lately: a kill that is counted now is not one of hours later."""
        if self._file is not None and now - self._looked_at >= LOOK_EVERY_S:
            self._note(now)

    def hint(self, now: float) -> Hint:
        """Return what is known about a KILL that the supervisor did not send, and whose process has just ended.

        Each kill that was counted explains one end.
        """
        if self._file is None:
            return Hint()
        self._note(now)
        while self._moves and (not self._moves[0].left or now - self._moves[0].seen > LINGER_S):
            self._moves.popleft()
        if not self._moves:
            return Hint()
        move = self._moves[0]
        move.left -= 1
        took_s = move.seen - move.after
        went = f"the OOM killer: oom_kill in {self._file} went from {move.before} to {move.now}"
        if took_s > NARROW_S:
            return Hint(f"perhaps {went}, at some time in the last {took_s:.0f} s")
        return Hint(f"probably {went}", sure=True)

    def _note(self, now: float) -> None:
        before, count = self._count, self._read()
        if count is None:
            return
        if before is not None and count > before:
            self._moves.append(_Move(self._looked_at, now, before, count, count - before))
        self._count, self._looked_at = count, now

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
