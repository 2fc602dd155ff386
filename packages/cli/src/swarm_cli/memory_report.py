"""How much memory a swarm holds, what of it is shared, and what separate processes would hold. Pure, but for `read`.

MB are of 2^20 bytes. The figures are the kernel's, from smaps_rollup (proc(5)):

- PSS counts a page that n processes map as 1/n in each: the sum over all processes is what they hold together.
- Anonymous memory is what a process has written, or inherited from one that had: fork() copies the page tables of it,
  so it counts in every node though it is there once. Separate processes would each have it for themselves.
- File pages (libraries, code) are in the page cache once, whoever maps them: separate processes share them too.
"""

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
    """Of RSS: memory that no file backs, inherited pages included."""
    file_pss_mb: float
    """Of PSS: pages of files and shared memory."""

    @property
    def shared(self) -> float:
        """The share of its resident memory that others map too."""
        return 1 - self.uss_mb / self.rss_mb if self.rss_mb else 0.0


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """All processes of a swarm at one moment."""

    processes: Sequence[Process]
    fresh_mb: float | None = None
    """Anonymous memory of a fresh process that has loaded the application, where that was measured."""

    @property
    def rss_mb(self) -> float:
        """The sum of RSS: shared pages counted again and again."""
        return sum(process.rss_mb for process in self.processes)

    @property
    def total_mb(self) -> float:
        """What the swarm holds: the sum of PSS."""
        return sum(process.pss_mb for process in self.processes)

    @property
    def uss_mb(self) -> float:
        """What belongs to one process alone."""
        return sum(process.uss_mb for process in self.processes)

    @property
    def shared_mb(self) -> float:
        """What is there once and used by several."""
        return self.total_mb - self.uss_mb

    @property
    def shared(self) -> float:
        """The shared part of all, 0 to 1."""
        return self.shared_mb / self.total_mb if self.total_mb else 0.0

    @property
    def nodes(self) -> Sequence[Process]:
        """The processes that do the work: as many separate ones would be needed."""
        return [process for process in self.processes if process.role == "node"]

    @property
    def separate_mb(self) -> float:
        """What as many separate processes would hold, without a supervisor.

        Each has its anonymous memory for itself; files they share as the nodes do. Where a fresh process was measured,
        its memory stands in for what a node inherited, and what the node has grown by since comes on top.
        """
        files = sum(process.file_pss_mb for process in self.processes)
        if self.fresh_mb is None:
            return files + sum(node.anonymous_mb for node in self.nodes)
        inherited = next((process.anonymous_mb for process in self.processes if process.role == "supervisor"), 0.0)
        grown = sum(max(0.0, node.anonymous_mb - inherited) for node in self.nodes)
        return files + len(self.nodes) * self.fresh_mb + grown

    @property
    def saved_mb(self) -> float:
        """What the swarm holds less than they would."""
        return self.separate_mb - self.total_mb

    @property
    def saved(self) -> float:
        """That as a part of what they would hold."""
        return self.saved_mb / self.separate_mb if self.separate_mb else 0.0


def read(role: str, node: int | None, pid: int) -> Process | None:
    """The figures of a process now; None when it has ended. PermissionError when it is another user's."""
    try:
        descriptor = os.open(f"/proc/{pid}/smaps_rollup", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # One read: the figures are made when it is read, and two reads may not belong together.
        text = os.read(descriptor, 16384)
    except ProcessLookupError:
        return None
    finally:
        os.close(descriptor)
    return process_of(role, node, pid, rollup(text)) if text else None


def process_of(role: str, node: int | None, pid: int, figures: Mapping[str, float]) -> Process:
    """A process by the fields of its smaps_rollup in MB."""
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
    for line in text.decode().splitlines()[1:]:  # the first has the address range
        name, _, rest = line.partition(":")
        amount, _, unit = rest.strip().partition(" ")
        if unit == "kB" and amount.isdigit():
            figures[name] = int(amount) / 1024
    return figures
