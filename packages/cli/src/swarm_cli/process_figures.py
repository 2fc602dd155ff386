"""CPU time and memory of other processes of this machine, from /proc, even of a hung process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from swarm_cli.rates import Rate

if TYPE_CHECKING:
    from swarm_liveness import MemorySample

MEMORY_INTERVAL_S = 2.0
PRICE_FACTOR = 100
"""The kernel holds the process's mmap lock while it counts PSS and USS, so at most 1 % of the time is spent on that."""

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float | None:
    """User and system time of a process; None if it has ended or cannot be read."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    # Fields 14 and 15 (proc(5)); the name, field 2, may contain spaces and brackets.
    fields = text.rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS if len(fields) > 12 else None


@dataclass(slots=True)
class _Observed:
    cpu: Rate = field(default_factory=Rate)
    memory: MemorySample | None = None
    memory_due: float = 0.0


class ProcessFigures:
    """CPU shares and memory of some processes, refreshed by `look`."""

    def __init__(self) -> None:
        self._observed: dict[int, _Observed] = {}

    def look(self, pids: Iterable[int]) -> None:
        """Read the figures of these processes now and forget all others."""
        self._observed = {pid: self._observed.get(pid) or _Observed() for pid in pids}
        for pid, observed in self._observed.items():
            if (used := cpu_seconds(pid)) is not None:
                observed.cpu.add(pid, time.monotonic(), used)
            if time.monotonic() >= observed.memory_due:
                began = time.monotonic()
                observed.memory = memory_of(pid)
                ended = time.monotonic()
                observed.memory_due = ended + max(MEMORY_INTERVAL_S, PRICE_FACTOR * (ended - began))

    def cpu(self, pid: int | None) -> float | None:
        """The share of one CPU that the process uses; above 1 with several busy threads."""
        observed = self._observed.get(pid) if pid is not None else None
        return None if observed is None else observed.cpu.per_second(time.monotonic())

    def memory(self, pid: int | None) -> MemorySample | None:
        """RSS, USS and PSS in MB."""
        observed = self._observed.get(pid) if pid is not None else None
        return None if observed is None else observed.memory


def memory_of(pid: int) -> MemorySample | None:
    """RSS, USS and PSS of a process in MB; None if it has ended or cannot be read."""
    from swarm_liveness import ProcessMemory

    try:
        with ProcessMemory(pid) as memory:
            return memory.exact()
    except OSError:
        return None
