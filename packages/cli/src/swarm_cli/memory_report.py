"""How much memory a swarm uses, how much is shared, and what separate processes would use. Pure, except `read`.

1 MB is 2^20 bytes. The figures come from the kernel's smaps_rollup (proc(5)):

- PSS counts a page mapped by n processes as 1/n in each, so the sum over all processes is their total memory.
- Anonymous memory is what a process has written, or inherited from a process that wrote it: fork() copies its page
  tables, so it counts in every node although it exists once. Separate processes would each have their own copy.
- File pages (libraries, code) are in the page cache once for all processes; separate processes share them too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PRIVATE = ("Private_Clean", "Private_Dirty", "Private_Hugetlb")


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a swarm."""

    role: str
    """supervisor, node or spare."""
    node: int | None
    pid: int
    rss_mb: float
    pss_mb: float
    uss_mb: float
    anonymous_mb: float
    """Part of RSS: memory without a file behind it, including inherited pages."""
    file_pss_mb: float
    """Part of PSS: pages of files and shared memory."""

    @property
    def shared(self) -> float:
        """The share of its resident memory that other processes map too."""
        return 1 - self.uss_mb / self.rss_mb if self.rss_mb else 0.0


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """All processes of a swarm at one moment."""

    processes: Sequence[Process]
    fresh_mb: float | None = None
    """Anonymous memory of a fresh process with the application loaded, if measured."""

    @property
    def rss_mb(self) -> float:
        """The sum of RSS, which counts shared pages several times."""
        return sum(process.rss_mb for process in self.processes)

    @property
    def total_mb(self) -> float:
        """What the swarm uses: the sum of PSS."""
        return sum(process.pss_mb for process in self.processes)

    @property
    def uss_mb(self) -> float:
        """Memory that belongs to a single process."""
        return sum(process.uss_mb for process in self.processes)

    @property
    def shared_mb(self) -> float:
        """Memory that exists once and is used by several processes."""
        return self.total_mb - self.uss_mb

    @property
    def shared(self) -> float:
        """The shared part of the total, 0 to 1."""
        return self.shared_mb / self.total_mb if self.total_mb else 0.0

    @property
    def nodes(self) -> Sequence[Process]:
        """The processes that do the work; the same number of separate processes would be needed."""
        return [process for process in self.processes if process.role == "node"]

    @property
    def separate_mb(self) -> float:
        """What the same number of separate processes would use, without a supervisor.

        Each would have its own anonymous memory; files are shared as in the nodes. If a fresh process was measured,
        its memory replaces what a node inherited, and the node's growth since its fork is added.
        """
        files = sum(process.file_pss_mb for process in self.processes)
        if self.fresh_mb is None:
            return files + sum(node.anonymous_mb for node in self.nodes)
        inherited = next((process.anonymous_mb for process in self.processes if process.role == "supervisor"), 0.0)
        grown = sum(max(0.0, node.anonymous_mb - inherited) for node in self.nodes)
        return files + len(self.nodes) * self.fresh_mb + grown

    @property
    def saved_mb(self) -> float:
        """How much less memory the swarm uses than separate processes would."""
        return self.separate_mb - self.total_mb

    @property
    def saved(self) -> float:
        """The saving as a part of what separate processes would use."""
        return self.saved_mb / self.separate_mb if self.separate_mb else 0.0


def read(role: str, node: int | None, pid: int) -> Process | None:
    """The current figures of a process; None if it has ended. Raises PermissionError for another user's process."""
    try:
        descriptor = os.open(f"/proc/{pid}/smaps_rollup", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # One read: the kernel computes the figures on each read, and two reads may not match.
        text = os.read(descriptor, 16384)
    except ProcessLookupError:
        return None
    finally:
        os.close(descriptor)
    return process_of(role, node, pid, rollup(text)) if text else None


def process_of(role: str, node: int | None, pid: int, figures: Mapping[str, float]) -> Process:
    """A process from the fields of its smaps_rollup in MB."""
    return Process(
        role=role,
        node=node,
        pid=pid,
        rss_mb=figures.get("Rss", 0.0),
        pss_mb=figures.get("Pss", 0.0),
        uss_mb=sum(figures.get(name, 0.0) for name in PRIVATE),
        anonymous_mb=figures.get("Anonymous", 0.0),
        file_pss_mb=figures.get("Pss_File", 0.0) + figures.get("Pss_Shmem", 0.0),
    )


def rollup(text: bytes) -> dict[str, float]:
    """The fields of a smaps_rollup in MB; its kB are 1024 bytes."""
    figures = {}
    for line in text.decode().splitlines()[1:]:  # the first line has the address range
        name, _, rest = line.partition(":")
        amount, _, unit = rest.strip().partition(" ")
        if unit == "kB" and amount.isdigit():
            figures[name] = int(amount) / 1024
    return figures
